"""Does the place of a cell drive its fate? Hazard of a lineage's onset against what changes as cells move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, t

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage.cox import CoxFit, cox_regression
from napari_marrow.lineage.pedigree import Ints, Pedigree
from napari_marrow.lineage.places import with_organoid

Floats = npt.NDArray[np.float64]
Exposure = Literal["current", "history"]
_FEWEST_ORGANOIDS = 4
COUPLING = [
    "lineage", "covariate", "log_hazard_ratio", "low", "high", "p_value", "n_events", "n_organoids", "method", "note",
]  # fmt: skip


def exposure_spans(
    tracks: pd.DataFrame | Pedigree,
    nodes: pd.DataFrame,
    onsets: pd.DataFrame,
    covariates: Sequence[str],
    *,
    exposure: Exposure = "current",
) -> pd.DataFrame:
    """Cut the time at risk of every uncommitted cell into spans between its frames, each with its covariates.

    Parameters
    ----------
    tracks : pandas.DataFrame or Pedigree
        TRACKS table.
    nodes : pandas.DataFrame
        TRACK_NODES joined with the covariates, for example the distance to the nearest vessel [µm]. A frame without a
        value keeps the last known one.
    onsets : pandas.DataFrame
        ONSETS table.
    covariates : sequence of str
        Columns of `nodes`.
    exposure : {"current", "history"}
        ``current``: the value where the cell is. ``history``: the mean over its life and its ancestors' so far, for
        fates that are decided generations before their marker shows.

    Returns
    -------
    pandas.DataFrame
        position, session, track_id, founder_track_id, entry_h, stop_h [h], lineage (the onset that ends the span, ""
        for none), and the covariates as they were at the span's begin: what a cell does afterwards cannot act on it.

    Raises
    ------
    TableError
        If a column is missing.
    """
    if exposure not in ("current", "history"):
        raise SettingsError(f"Unknown exposure {exposure!r}: choose current or history.")
    missing = [c for c in ("position", "session", "track_id", "time_h", *covariates) if c not in nodes.columns]
    if missing:
        raise TableError(f"The track nodes lack the column(s) {', '.join(missing)}.")
    pedigree = tracks if isinstance(tracks, Pedigree) else Pedigree.from_tracks(tracks)
    rows = pedigree.rows_of(nodes)
    inside = rows >= 0
    order = np.lexsort((nodes["time_h"].to_numpy()[inside], rows[inside]))
    row = rows[inside][order]
    time = nodes["time_h"].to_numpy(dtype=np.float64)[inside][order]
    values = nodes[list(covariates)].to_numpy(dtype=np.float64)[inside][order]
    if exposure == "history":
        values = _history(pedigree, row, time, values)
    return _spans(pedigree, row, time, values, onsets, list(covariates))


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
    missing = [c for c in columns if c not in spans.columns]
    if missing:
        raise TableError(f"The spans lack the column(s) {', '.join(missing)}.")
    table = with_organoid(spans, layout)
    table = table[np.isfinite(table[columns].to_numpy(dtype=np.float64)).all(axis=1)]
    names = list(lineages) if lineages is not None else sorted(set(spans["lineage"]) - {""})
    rows = [[name, covariate, *_coupling(table, name, columns)] for name in names]
    return pd.DataFrame(rows, columns=COUPLING)


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
    few = organoids < _FEWEST_ORGANOIDS
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


def birth_niche_output(
    clones: pd.DataFrame,
    layout: pd.DataFrame | None,
    *,
    output: str,
    covariate: str,
    permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate what a clone makes with where it began, within organoids.

    Parameters
    ----------
    clones : pandas.DataFrame
        `clone_table` with a column `covariate` (for example the founder's first distance to a vessel).
    layout : pandas.DataFrame or None
        LAYOUT table.
    output, covariate : str
        Columns of `clones`; rows with NaN are left out.
    permutations : int
        Shuffles of the covariate within organoids.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row: output, covariate, spearman (mean of the organoids' rank correlations, weighted by clones - 1),
        p_value (two-sided), n_clones, n_organoids, note.
    """
    for column in (output, covariate):
        if column not in clones.columns:
            raise TableError(f"The clone table lacks the column '{column}'.")
    table = with_organoid(clones, layout)
    table = table[np.isfinite(table[[output, covariate]].to_numpy(dtype=np.float64)).all(axis=1)]
    groups = [g for _, g in table.groupby("organoid") if len(g) > 2]
    groups = [g for g in groups if np.ptp(g[output]) > 0 and np.ptp(g[covariate]) > 0]
    columns = ["output", "covariate", "spearman", "p_value", "n_clones", "n_organoids", "note"]
    if not groups:
        note = "no organoid has three clones that differ"
        return pd.DataFrame([[output, covariate, np.nan, np.nan, len(table), 0, note]], columns=columns)
    rng = np.random.default_rng(seed)
    total = np.zeros(permutations + 1)
    weight = 0.0
    for group in groups:
        y = _standard(group[output])
        x = _standard(group[covariate])
        orders = np.vstack([np.arange(len(x)), rng.permuted(np.tile(np.arange(len(x)), (permutations, 1)), axis=1)])
        total += (len(x) - 1) * (x[orders] @ y) / len(x)
        weight += len(x) - 1
    rho = total / weight
    p = (np.abs(rho[1:]) >= abs(rho[0]) - 1e-12).sum() + 1
    row = [output, covariate, float(rho[0]), float(p) / (permutations + 1), sum(map(len, groups)), len(groups), ""]
    return pd.DataFrame([row], columns=columns)


def _standard(values: pd.Series) -> Floats:
    ranks = rankdata(values.to_numpy(dtype=np.float64))
    return np.asarray((ranks - ranks.mean()) / ranks.std(), dtype=np.float64)


def _history(pedigree: Pedigree, row: Ints, time: Floats, values: Floats) -> Floats:
    """Return the running mean over time along each line of descent; a frame stands for the time until the next one."""
    n = len(pedigree)
    first, stop = np.searchsorted(row, np.arange(n), "left"), np.searchsorted(row, np.arange(n), "right")
    known = np.isfinite(values)
    step = np.zeros(len(row))
    step[:-1] = np.where(row[1:] == row[:-1], np.diff(time), 0.0)
    # The last frame of a cell stands for one typical interval, so that a cell seen once has a history.
    step[stop[stop > first] - 1] = float(np.median(step[step > 0])) if (step > 0).any() else 1.0
    width = known * step[:, None]
    amount = np.where(known, values, 0.0) * width
    running, weight = np.cumsum(amount, axis=0), np.cumsum(width, axis=0)
    has = stop > first
    before = np.zeros((n, values.shape[1]))
    before_w = np.zeros_like(before)
    before[has] = running[first[has]] - amount[first[has]]
    before_w[has] = weight[first[has]] - width[first[has]]
    own, own_w = np.zeros_like(before), np.zeros_like(before)
    own[has] = running[stop[has] - 1] - before[has]
    own_w[has] = weight[stop[has] - 1] - before_w[has]
    inherited, inherited_w = np.zeros_like(before), np.zeros_like(before)
    for level in pedigree.levels()[1:]:
        mother = pedigree.mother[level]
        inherited[level] = inherited[mother] + own[mother]
        inherited_w[level] = inherited_w[mother] + own_w[mother]
    total = running - before[row] + inherited[row]
    hours = weight - before_w[row] + inherited_w[row]
    return np.where(hours > 0, total / np.where(hours > 0, hours, 1.0), np.nan)


def _spans(
    pedigree: Pedigree, row: Ints, time: Floats, values: Floats, onsets: pd.DataFrame, covariates: list[str]
) -> pd.DataFrame:
    mine = onsets[onsets["event"] != "prevalent"]
    who = pedigree.rows_of(mine)
    mine, who = mine[who >= 0], who[who >= 0]
    n = len(pedigree)
    entry, leave = np.full(n, np.nan), np.full(n, np.nan)
    left, right = mine["left_h"].to_numpy(dtype=np.float64), mine["right_h"].to_numpy(dtype=np.float64)
    event = (mine["event"] == "onset").to_numpy()
    entry[who] = mine["entry_h"].to_numpy(dtype=np.float64)
    leave[who] = np.where(event, right, left)
    lineage = np.full(n, "", dtype=object)
    lineage[who[event]] = mine["lineage"].to_numpy()[event]
    # A value holds from its frame to the next; before the first frame of a daughter her mother's last one holds.
    begins = np.ones(len(row), dtype=bool)
    begins[1:] = row[1:] != row[:-1]
    start = np.where(begins, np.fmin(entry[row], time), time)
    stop = np.append(time[1:], np.inf)
    last = np.append(row[1:] != row[:-1], True) if len(row) else begins
    stop = np.where(last, np.inf, stop)
    stop = np.fmin(stop, leave[row])
    filled = _carried(pedigree, row, begins, values)
    keep = np.isfinite(entry[row]) & (stop > start)
    spans = pedigree.tracks[["position", "session", "track_id", "founder_track_id"]].iloc[row[keep]]
    spans = spans.reset_index(drop=True)
    spans["entry_h"], spans["stop_h"] = start[keep], stop[keep]
    ends = (stop == leave[row])[keep]
    spans["lineage"] = np.where(ends, lineage[row[keep]], "")
    for name, column in zip(covariates, filled[keep].T, strict=True):
        spans[name] = column
    return spans


def _carried(pedigree: Pedigree, row: Ints, begins: npt.NDArray[np.bool_], values: Floats) -> Floats:
    """Fill unknown values with the last known one of the track; a daughter's first span takes her mother's last."""
    out = values.copy()
    n = len(pedigree)
    first, stop = np.searchsorted(row, np.arange(n), "left"), np.searchsorted(row, np.arange(n), "right")
    has = stop > first
    for k in range(values.shape[1]):
        column = values[:, k]
        index = np.maximum.accumulate(np.where(np.isfinite(column) | begins, np.arange(len(column)), 0))
        out[:, k] = column[index]
        heirs = np.flatnonzero(has & (pedigree.mother >= 0))
        heirs = heirs[has[pedigree.mother[heirs]]]
        inherited = out[stop[pedigree.mother[heirs]] - 1, k]
        own = out[first[heirs], k]
        out[first[heirs], k] = np.where(np.isfinite(own), own, inherited)
    return out


def _coupling(table: pd.DataFrame, lineage: str, columns: list[str]) -> list[object]:
    nan = float("nan")
    event = (table["lineage"] == lineage).to_numpy()
    total = int(event.sum())
    organoids = int(table["organoid"].nunique())
    if total < 3:
        return [nan, nan, nan, nan, total, organoids, "none", f"{total} onsets: three are needed"]
    clone = table.groupby(["position", "session", "founder_track_id"], sort=False).ngroup().to_numpy()
    strata = table[["organoid", "session"]].astype(str).agg("/".join, axis=1)
    by_clone = _fit(table, event, columns, strata, clone)
    if not by_clone.converged:
        return [nan, nan, nan, nan, total, organoids, "none", "the covariate does not vary among cells at risk"]
    value = float(by_clone.coefficient[0])
    with_events = int(table.loc[event, "organoid"].nunique())
    if with_events < _FEWEST_ORGANOIDS:
        low, high = by_clone.interval()
        note = f"onsets in {with_events} organoids: says nothing about others, for which {_FEWEST_ORGANOIDS} are needed"
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
    strata: pd.Series,
    clusters: npt.NDArray[np.generic],
) -> CoxFit:
    return cox_regression(table["entry_h"], table["stop_h"], event, table[columns], strata=strata, clusters=clusters)
