"""Which lineage a cell takes, against where it is when its marker comes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t

from napari_marrow.errors import TableError
from napari_marrow.lineage.coupling import COUPLING, FEWEST_ORGANOIDS
from napari_marrow.lineage.pedigree import Ints
from napari_marrow.lineage.places import with_organoid

Floats = npt.NDArray[np.float64]


def lineage_choice(
    spans: pd.DataFrame,
    layout: pd.DataFrame | None,
    *,
    covariate: str,
    adjust: Sequence[str] = (),
    lineages: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Ask of the cells that switched on whether their place bears on which lineage they took.

    Whatever hides or delays all markers alike (depth, brightness, the age of a clone) cannot bias this, as it can the
    hazard of onset: onsets are compared with onsets of the same organoid.

    Parameters
    ----------
    spans, layout, covariate, adjust, lineages
        As for `niche_coupling`.

    Returns
    -------
    pandas.DataFrame
        As `niche_coupling`; `log_hazard_ratio` is here the log odds ratio of the lineage against all others, by
        logistic regression with a level per organoid; organoids with one outcome only say nothing and are left out.
    """
    columns = [covariate, *adjust]
    missing = [c for c in columns if c not in spans.columns]
    if missing:
        raise TableError(f"The spans lack the column(s) {', '.join(missing)}.")
    onsets = with_organoid(spans[spans["lineage"] != ""], layout)
    onsets = onsets[np.isfinite(onsets[columns].to_numpy(dtype=np.float64)).all(axis=1)]
    names = list(lineages) if lineages is not None else sorted(set(onsets["lineage"]))
    rows = [[name, covariate, *_choice(onsets, name, columns)] for name in names]
    return pd.DataFrame(rows, columns=COUPLING)


def _choice(onsets: pd.DataFrame, lineage: str, columns: list[str]) -> list[object]:
    nan = float("nan")
    taken = onsets["lineage"] == lineage
    share = taken.groupby(onsets["organoid"]).transform("mean")
    table = onsets[(share > 0) & (share < 1)]
    y = np.where(table["lineage"] == lineage, 1.0, 0.0)
    organoid, clone = (
        pd.factorize(table["organoid"])[0],
        table.groupby(["position", "session", "founder_track_id"], sort=False).ngroup().to_numpy(),
    )
    organoids = int(organoid.max(initial=-1)) + 1
    total = int(taken.sum())
    if min(y.sum(), (1 - y).sum()) < 3:
        return [nan, nan, nan, nan, total, organoids, "none", "three onsets of it and three of others are needed"]
    fit = _logistic(y, table[columns].to_numpy(dtype=np.float64), organoid)
    if fit is None:
        return [nan, nan, nan, nan, total, organoids, "none", "the covariate tells the lineages apart without fail"]
    value, bread, scores = fit
    errors = []
    for clusters in (organoid, clone):
        summed = np.zeros((int(clusters.max()) + 1, scores.shape[1]))
        np.add.at(summed, clusters, scores)
        m = len(summed)
        errors.append(float(np.sqrt((bread @ (summed.T @ summed) @ bread)[0, 0] * m / max(m - 1, 1))))
    few = organoids < FEWEST_ORGANOIDS
    error = errors[1] if few else max(errors)
    df = len(np.unique(clone)) - 1 if few else organoids - 1
    half = float(t.ppf(0.975, df)) * error
    p = float(2 * t.sf(abs(value) / error, df))
    note = f"onsets in {organoids} organoids: says nothing about others" if few else ""
    return [value, value - half, value + half, p, total, organoids, "clones" if few else "organoids", note]


def _logistic(y: Floats, x: Floats, organoid: Ints) -> tuple[float, Floats, Floats] | None:
    """First coefficient, inverse information and scores of a logistic model with a level per organoid, by Newton."""
    scale = x.std(axis=0)
    if not (scale > 0).all():
        return None
    levels = (organoid[:, None] == np.arange(organoid.max() + 1)[None]).astype(np.float64)
    design = np.column_stack([(x - x.mean(axis=0)) / scale, levels])
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        information = (design * (p * (1 - p))[:, None]).T @ design
        if np.linalg.cond(information) > 1e10:
            return None
        step = np.linalg.solve(information, design.T @ (y - p))
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    else:
        return None
    k = x.shape[1]
    back = np.append(1 / scale, np.ones(design.shape[1] - k))
    bread = np.linalg.inv(information) * back[:, None] * back[None]
    return float(beta[0] / scale[0]), bread, design * (y - p)[:, None] / back[None]
