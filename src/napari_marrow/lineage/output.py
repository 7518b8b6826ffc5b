"""Blood output over weeks: how many cells of which lineage an organoid holds and releases, and whether that lasts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t as student

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage.places import with_organoid

Floats = npt.NDArray[np.float64]
OUTPUT_COLUMNS = [
    "organoid", "condition", "session", "time_h", "lineage", "source", "n_cells", "fraction", "rate_per_h", "note",
]  # fmt: skip


def blood_output(
    cells: pd.DataFrame, layout: pd.DataFrame | None, *, released: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Count the cells of every lineage in each organoid and session.

    Parameters
    ----------
    cells : pandas.DataFrame
        CELLS table with a column `lineage`. A session counts by the median over its frames; fields of an organoid add
        up.
    layout : pandas.DataFrame or None
        LAYOUT table.
    released : pandas.DataFrame, optional
        Cells counted in the medium: organoid, time_h, lineage, n_cells (since the count before, or since seeding), as
        a flow cytometer or counting chamber gives them.

    Returns
    -------
    pandas.DataFrame
        organoid, condition, session, time_h [h], lineage (``all`` and each one; "" cells without marker are in ``all``
        only), source (``held`` in the organoid, ``released``), n_cells, fraction (of all cells of that source and
        time), rate_per_h [1/h; change of the held cells, or released cells, since the time before; NaN for the first],
        and note.

    Raises
    ------
    TableError
        If a column is missing, a count is negative, or an organoid of `released` is not in the layout.
    """
    if "lineage" not in cells.columns:
        raise TableError("The cells have no column 'lineage': name them first (classify_cells).")
    if cells.empty:
        return pd.DataFrame(columns=OUTPUT_COLUMNS)
    table = with_organoid(cells, layout)
    names = sorted(set(table["lineage"].astype(str)) - {"", "ambiguous"})
    frames = table.groupby(["organoid", "condition", "position", "session", "t"], sort=True)
    wide = pd.DataFrame({name: frames["lineage"].agg(lambda x, name=name: int((x == name).sum())) for name in names})
    wide["all"] = frames.size()
    wide["time_h"] = frames["time_h"].first()
    by_field = wide.groupby(["organoid", "condition", "position", "session"]).median()
    summed = by_field.drop(columns="time_h").groupby(["organoid", "condition", "session"]).sum()
    summed["time_h"] = by_field["time_h"].groupby(["organoid", "condition", "session"]).median()
    held = summed.reset_index().melt(
        ["organoid", "condition", "session", "time_h"], ["all", *names], var_name="lineage", value_name="n_cells"
    )
    parts = [_with_rates(held.assign(source="held"), change=True)]
    if released is not None and len(released):
        parts.append(_with_rates(_released(released, held), change=False))
    out = pd.concat(parts, ignore_index=True)
    whole = out[out["lineage"] == "all"].set_index(["organoid", "source", "time_h"])["n_cells"]
    base = whole.reindex(pd.MultiIndex.from_frame(out[["organoid", "source", "time_h"]])).to_numpy(dtype=np.float64)
    count = out["n_cells"].to_numpy(dtype=np.float64)
    out["fraction"] = np.where(base > 0, count / np.where(base > 0, base, 1.0), np.nan)
    out["note"] = np.where(np.isnan(out["rate_per_h"]), "no time before it", "")
    return out[OUTPUT_COLUMNS].sort_values(["source", "organoid", "lineage", "time_h"], ignore_index=True)


def production_trend(output: pd.DataFrame, *, source: str = "held", min_times: int = 3) -> pd.DataFrame:
    """Ask of each organoid and lineage whether production lasts: slope of the count over time.

    Parameters
    ----------
    output : pandas.DataFrame
        As returned by `blood_output`.
    source : {"held", "released"}
        ``released`` takes the rate of release, which is what production means for cells that leave.
    min_times : int
        Times that a slope needs, 3 or more for an interval.

    Returns
    -------
    pandas.DataFrame
        organoid, condition, lineage, source, n_times, mean, slope_per_day, low, high (95 %, t), verdict (``sustained``
        where the interval holds 0 or lies above it, ``falling``, ``unknown``), exhausted_h [h; where the falling line
        meets 0, NaN unless falling], exhausted_low_h, exhausted_high_h (95 %, Fieller; inf: may never be), note.

    References
    ----------
    Fieller 1954, JRSS B 16:175.
    """
    if min_times < 3:
        raise SettingsError(f"min_times is {min_times}: a slope with an interval needs 3.")
    column = "rate_per_h" if source == "released" else "n_cells"
    rows = []
    mine = output[output["source"] == source]
    for (organoid, condition, lineage), part in mine.groupby(["organoid", "condition", "lineage"], sort=True):
        known = part[np.isfinite(part[column].to_numpy(dtype=np.float64))]
        time = known["time_h"].to_numpy(dtype=np.float64)
        value = known[column].to_numpy(dtype=np.float64)
        mean = float(value.mean()) if len(value) else np.nan
        rows.append([organoid, condition, lineage, source, len(value), mean, *_trend(time, value, min_times)])
    names = ["organoid", "condition", "lineage", "source", "n_times", "mean", "slope_per_day", "low", "high",
             "verdict", "exhausted_h", "exhausted_low_h", "exhausted_high_h", "note"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def recovery(output: pd.DataFrame, insult_h: float, *, level: float = 0.9, source: str = "held") -> pd.DataFrame:
    """Describe how each organoid's counts fall after an insult and come back.

    Parameters
    ----------
    output : pandas.DataFrame
        As returned by `blood_output`.
    insult_h : float
        Time of the insult [h since t0]; the baseline is the mean of the counts up to it.
    level : float
        Share of the baseline that counts as recovered, in (0, 1].
    source : {"held", "released"}

    Returns
    -------
    pandas.DataFrame
        organoid, condition, lineage, baseline, nadir (share of the baseline), nadir_h (after the insult), recovered_h
        (after the insult, from the nadir on, by linear interpolation between times; NaN where not seen to recover),
        last (share at the last time), note.
    """
    if not 0 < level <= 1:
        raise SettingsError(f"level is {level}: give a share of the baseline in (0, 1].")
    column = "rate_per_h" if source == "released" else "n_cells"
    rows = []
    mine = output[output["source"] == source]
    for (organoid, condition, lineage), part in mine.groupby(["organoid", "condition", "lineage"], sort=True):
        part = part[np.isfinite(part[column].to_numpy(dtype=np.float64))].sort_values("time_h")
        time, value = part["time_h"].to_numpy(dtype=np.float64), part[column].to_numpy(dtype=np.float64)
        before = time <= insult_h
        base = float(value[before].mean()) if before.any() else np.nan
        rows.append(
            [organoid, condition, lineage, base, *_course(time[~before] - insult_h, value[~before], base, level)]
        )
    names = ["organoid", "condition", "lineage", "baseline", "nadir", "nadir_h", "recovered_h", "last", "note"]
    return pd.DataFrame(rows, columns=names)


def _released(released: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
    missing = [c for c in ("organoid", "time_h", "lineage", "n_cells") if c not in released.columns]
    if missing:
        raise TableError(f"The table of released cells lacks the column(s) {', '.join(missing)}.")
    if (released["n_cells"].to_numpy(dtype=np.float64) < 0).any():
        raise TableError("The table of released cells holds a negative count.")
    condition = dict(zip(held["organoid"], held["condition"], strict=True))
    strange = sorted(set(released["organoid"].astype(str)) - set(condition))
    if strange:
        raise TableError(f"The released cells name the organoid(s) {', '.join(strange)}, which were not imaged.")
    table = released[["organoid", "time_h", "lineage", "n_cells"]].copy()
    if not (table["lineage"] == "all").any():
        total = table.groupby(["organoid", "time_h"], as_index=False)["n_cells"].sum().assign(lineage="all")
        table = pd.concat([table, total], ignore_index=True)
    table["condition"] = table["organoid"].map(condition)
    return table.assign(source="released", session=np.int32(0))


def _with_rates(table: pd.DataFrame, *, change: bool) -> pd.DataFrame:
    table = table.sort_values(["organoid", "lineage", "time_h"], ignore_index=True)
    groups = table.groupby(["organoid", "lineage"], sort=False)
    hours = groups["time_h"].diff()
    amount = groups["n_cells"].diff() if change else table["n_cells"].where(hours.notna())
    table["rate_per_h"] = (amount / hours).where(hours > 0)
    return table


def _trend(time: Floats, value: Floats, needed: int) -> list[object]:
    nan = float("nan")
    n = len(time)
    if n < needed or np.ptp(time) <= 0:
        return [nan, nan, nan, "unknown", nan, nan, nan, f"{n} times, {needed} needed"]
    centre = time.mean()
    square = float(((time - centre) ** 2).sum())
    slope = float(((time - centre) * value).sum() / square)
    residual = value - value.mean() - slope * (time - centre)
    variance = float((residual**2).sum() / (n - 2))
    q = float(student.ppf(0.975, n - 2))
    half = q * np.sqrt(variance / square)
    falling = slope + half < 0
    ends = [nan, nan, nan]
    if falling:
        # 0 = mean + slope (t - centre): the ratio of two estimates, bounded by Fieller's theorem.
        g = q**2 * variance / square / slope**2
        ratio = -value.mean() / slope
        spread = q / abs(slope) * np.sqrt(variance * ((1 - g) / n + ratio**2 / square))
        middle = ratio / (1 - g)
        ends = [centre + ratio, centre + middle - spread / (1 - g), centre + middle + spread / (1 - g)]
    verdict = "falling" if falling else "sustained"
    return [24 * slope, 24 * (slope - half), 24 * (slope + half), verdict, *map(float, ends), ""]


def _course(time: Floats, value: Floats, base: float, level: float) -> list[object]:
    nan = float("nan")
    if not np.isfinite(base) or base <= 0:
        return [nan, nan, nan, nan, "no cells before the insult"]
    if len(value) == 0:
        return [nan, nan, nan, nan, "not observed after the insult"]
    share = value / base
    low = int(np.argmin(share))
    later = np.flatnonzero(share[low:] >= level)
    last = float(share[-1])
    if share[low] >= level:
        return [float(share[low]), float(time[low]), 0.0, last, "never fell below the level"]
    if len(later) == 0:
        return [float(share[low]), float(time[low]), nan, last, "not seen to recover"]
    k = low + int(later[0])
    part = (level - share[k - 1]) / (share[k] - share[k - 1])
    return [float(share[low]), float(time[low]), float(time[k - 1] + part * (time[k] - time[k - 1])), last, ""]
