"""Does the place of a cell drive its fate? Hazard of a lineage's onset against what changes as cells move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t

from napari_marrow.errors import TableError
from napari_marrow.lineage.cox import CoxFit, cox_regression, cox_scores
from napari_marrow.lineage.places import with_organoid

Floats = npt.NDArray[np.float64]
FEWEST_ORGANOIDS, FEWEST_EVENTS = 4, 3
_MOST_EXACT = 13  # organoids of which all signs are tried
COUPLING = [
    "lineage", "covariate", "log_hazard_ratio", "low", "high", "p_value", "n_events", "n_organoids", "method", "note",
]  # fmt: skip


def niche_coupling(
    spans: pd.DataFrame,
    layout: pd.DataFrame | None,
    *,
    covariate: str,
    adjust: Sequence[str] = (),
    lineages: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Estimate how the hazard of each lineage's onset changes with a covariate, other fates being censored.

    Parameters
    ----------
    spans : pandas.DataFrame
        As returned by `exposure_spans`.
    layout : pandas.DataFrame or None
        LAYOUT table; each organoid is a stratum with its own baseline hazard.
    covariate : str
        Column of `spans`.
    adjust : sequence of str
        Further columns that act on both, above all depth or signal-to-noise ratio: deep cells are dim, so that their
        markers show late, and lie far from the vessels that were seen.
    lineages : sequence of str, optional
        Lineages to report; those that occur by default.

    Returns
    -------
    pandas.DataFrame
        lineage, covariate, log_hazard_ratio (per unit of the covariate), low, high, p_value, n_events, n_organoids,
        method, note. One fit with a baseline hazard per organoid and session. With four organoids or more that have
        onsets, errors are clustered by organoid (never below those clustered by clone), and interval and p are those
        of t with organoids - 1 degrees of freedom; with fewer they are clustered by clone, which speaks for these
        organoids only.

    Notes
    -----
    With few organoids the interval is wide for a reason: cells of one organoid share whatever else it has.
    """
    columns = [covariate, *adjust]
    table, names = _usable(spans, layout, columns, lineages)
    rows = [[name, covariate, *_coupling(table, name, columns)] for name in names]
    return pd.DataFrame(rows, columns=COUPLING)


def coupling_test(
    spans: pd.DataFrame,
    layout: pd.DataFrame | None,
    *,
    covariate: str,
    adjust: Sequence[str] = (),
    lineages: Sequence[str] | None = None,
    draws: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether a covariate bears on the onset of any lineage, with the organoid as unit.

    The test to settle on before the data are seen: of the hazard, with the mean along the line of descent as exposure
    (spans with ``exposure="history"``). Under no coupling the score of each organoid (sum over its onsets of the cell's
    covariate less the mean of the cells at risk then) is as often positive as negative, whatever else the organoid has.
    All scores of an organoid change their sign together, in all ways (up to 13 organoids) or in `draws` random ones;
    the largest |z| of the lineages is compared with its largest in these, which keeps the error of all lineages
    together at the level.

    Parameters
    ----------
    spans, layout, covariate, adjust, lineages
        As for `niche_coupling`.
    draws, seed
        Random signs for 14 organoids or more.

    Returns
    -------
    pandas.DataFrame
        lineage, z (sum of the organoids' scores over the root of the sum of their squares; positive: onsets where the
        covariate is high), p_adjusted (over the lineages), n_events, n_organoids, note (why there is none; with fewer
        than six organoids no p can fall below .05).

    References
    ----------
    Kline & Santos 2012, J Econometric Methods 1:23 (score bootstrap with clusters); Westfall & Young 1993,
    Resampling-Based Multiple Testing (largest statistic).
    """
    table, names = _usable(spans, layout, [covariate, *adjust], lineages)
    columns = ["lineage", "z", "p_adjusted", "n_events", "n_organoids", "note"]
    organoids = sorted(set(table["organoid"]))
    scores = np.zeros((len(organoids), len(names)))
    counts = [int((table["lineage"] == name).sum()) for name in names]
    for k, name in enumerate(names):
        event = (table["lineage"] == name).to_numpy()
        if counts[k] >= FEWEST_EVENTS:
            scores[:, k] = cox_scores(
                table["entry_h"], table["stop_h"], event, table[[covariate, *adjust]], strata=_strata(table),
                clusters=pd.Categorical(table["organoid"], organoids).codes,
            )  # fmt: skip
    size = np.sqrt((scores**2).sum(axis=0))
    z = np.where(size > 0, scores.sum(axis=0) / np.where(size > 0, size, 1.0), np.nan)
    with_score = int((scores != 0).any(axis=1).sum())
    p = np.full(len(names), np.nan)
    if with_score >= 2 and np.isfinite(z).any():
        largest = np.nanmax(np.abs(random_signs(with_score, draws, seed) @ _standardised(scores, size)), axis=1)
        p = np.array([np.nan if np.isnan(v) else (largest >= abs(v) - 1e-9).mean() for v in z])
    few = (
        f"{with_score} organoids: the smallest p attainable is {2.0 ** (1 - with_score):.3g}" if with_score < 6 else ""
    )
    notes = [f"{n} onsets: three are needed" if n < FEWEST_EVENTS else few for n in counts]
    notes = [n if n or np.isfinite(v) else "the covariate does not vary" for n, v in zip(notes, z, strict=True)]
    rows = zip(names, z, p, counts, [with_score] * len(names), notes, strict=True)
    return pd.DataFrame(list(rows), columns=columns)


def _standardised(scores: Floats, size: Floats) -> Floats:
    used = scores[(scores != 0).any(axis=1)]
    return np.where(size > 0, used / np.where(size > 0, size, 1.0), np.nan)[:, size > 0]


def random_signs(n: int, draws: int, seed: int) -> Floats:
    """Return all ways to give n organoids a sign; a random sample, if too many. The first row has none changed."""
    if n <= _MOST_EXACT:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
    random = np.random.default_rng(seed).choice([-1.0, 1.0], (draws, n))
    return np.concatenate([np.ones((1, n)), random])


def _usable(
    spans: pd.DataFrame, layout: pd.DataFrame | None, columns: list[str], lineages: Sequence[str] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Spans with known covariates, and the names of the lineages."""
    missing = [c for c in columns if c not in spans.columns]
    if missing:
        raise TableError(f"The spans lack the column(s) {', '.join(missing)}.")
    table = with_organoid(spans, layout)
    table = table[np.isfinite(table[columns].to_numpy(dtype=np.float64)).all(axis=1)]
    return table, list(lineages) if lineages is not None else sorted(set(spans["lineage"]) - {""})


def _strata(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    return np.asarray(table.groupby(["organoid", "session"], sort=False).ngroup().to_numpy(), dtype=np.int64)


def _coupling(table: pd.DataFrame, lineage: str, columns: list[str]) -> list[object]:
    nan = float("nan")
    event = (table["lineage"] == lineage).to_numpy()
    total = int(event.sum())
    organoids = int(table["organoid"].nunique())
    if total < FEWEST_EVENTS:
        return [nan, nan, nan, nan, total, organoids, "none", f"{total} onsets: three are needed"]
    clone = table.groupby(["position", "session", "founder_track_id"], sort=False).ngroup().to_numpy()
    strata = _strata(table)
    by_clone = _fit(table, event, columns, strata, clone)
    if not by_clone.converged:
        return [nan, nan, nan, nan, total, organoids, "none", "the covariate does not vary among cells at risk"]
    value = float(by_clone.coefficient[0])
    with_events = int(table.loc[event, "organoid"].nunique())
    if with_events < FEWEST_ORGANOIDS:
        low, high = by_clone.interval()
        note = f"onsets in {with_events} organoids: says nothing about others, for which {FEWEST_ORGANOIDS} are needed"
        return [value, float(low[0]), float(high[0]), float(by_clone.p_value[0]), total, organoids, "clones", note]
    by_organoid = _fit(table, event, columns, strata, table["organoid"].to_numpy())
    # Never surer than clones allow: chance agreement of a few organoids is no precision.
    error = float(max(by_organoid.error[0], by_clone.error[0]))
    half = float(t.ppf(0.975, with_events - 1)) * error
    p = float(2 * t.sf(abs(value) / error, with_events - 1))
    return [value, value - half, value + half, p, total, with_events, "organoids", ""]


def _fit(
    table: pd.DataFrame,
    event: npt.NDArray[np.bool_],
    columns: list[str],
    strata: npt.NDArray[np.int64],
    clusters: npt.NDArray[np.generic],
) -> CoxFit:
    return cox_regression(table["entry_h"], table["stop_h"], event, table[columns], strata=strata, clusters=clusters)
