"""Colonies over weeks: growth before they merge, type by rules, and how many stand alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t as student

from napari_marrow.errors import SettingsError
from napari_marrow.lineage.places import with_organoid
from napari_marrow.schemas import COLONIES, COLONY_GROWTH

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ColonyRule:
    """A colony type: how many cells, and which lineages in which share.

    Attributes
    ----------
    name : str
    lineages : tuple of str
        Lineages that must each have at least `min_fraction` of the cells.
    min_cells, max_cells : float
        Bounds of the cell number, both included.
    min_fraction : float
        Smallest share of each of `lineages`.
    min_lineages : int
        Lineages (any) that must reach `presence`.
    presence : float
        Share from which a lineage counts as present.
    """

    name: str
    lineages: tuple[str, ...]
    min_cells: float
    max_cells: float = float("inf")
    min_fraction: float = 0.5
    min_lineages: int = 1
    presence: float = 0.05


DEFAULT_RULES = (
    ColonyRule("CFU-GEMM", ("erythroid",), 501, min_fraction=0.05, min_lineages=3),
    ColonyRule("BFU-E", ("erythroid",), 201, min_fraction=0.5),
    ColonyRule("CFU-E", ("erythroid",), 8, 200, min_fraction=0.5),
    ColonyRule("CFU-GM", ("granulo-monocytic",), 20, min_fraction=0.5),
    ColonyRule("CFU-Mk", ("megakaryocytic",), 3, min_fraction=0.5),
)
"""Usual bounds of colony assays, in order of precedence; laboratories differ, so edit them."""


def rules_table(rules: tuple[ColonyRule, ...] = DEFAULT_RULES) -> pd.DataFrame:
    """Return rules as a table that can be edited and given back to `colony_types`; lineages are joined by ';'."""
    return pd.DataFrame([{**rule.__dict__, "lineages": ";".join(rule.lineages)} for rule in rules])


def rules_from_table(table: pd.DataFrame) -> tuple[ColonyRule, ...]:
    """Read rules from a table as `rules_table` writes it; columns left out take their defaults.

    Raises
    ------
    SettingsError
        If `name`, `lineages` or `min_cells` is missing, a column is unknown, or bounds contradict each other.
    """
    known = set(ColonyRule.__dataclass_fields__)
    if not {"name", "lineages", "min_cells"} <= set(table.columns) or not set(table.columns) <= known:
        raise SettingsError(f"A table of colony rules has the columns {sorted(known)}: found {list(table.columns)}.")
    rules = []
    for record in table.to_dict("records"):
        names = tuple(name.strip() for name in str(record["lineages"]).split(";") if name.strip())
        rest = {str(k): v for k, v in record.items() if k not in ("lineages", "name") and pd.notna(v)}
        rule = ColonyRule(name=str(record["name"]), lineages=names, **rest)
        if rule.max_cells < rule.min_cells or not 0 <= rule.min_fraction <= 1:
            raise SettingsError(f"The colony rule {rule.name!r} can never be met: check its bounds.")
        rules.append(rule)
    return tuple(rules)


def colony_types(colonies: pd.DataFrame, *, rules: tuple[ColonyRule, ...] | pd.DataFrame | None = None) -> pd.DataFrame:
    """Name the type of each colony in each frame, by the first rule that it meets.

    Parameters
    ----------
    colonies : pandas.DataFrame
        COLONIES table with ``fraction_<lineage>`` columns.
    rules : tuple of ColonyRule or table, optional
        `DEFAULT_RULES` by default.

    Returns
    -------
    pandas.DataFrame
        position, session, t, colony_id, n_cells, type (``"unclassified"`` if no rule is met, ``""`` if no lineage was
        measured), merged (more than one founder: a mixed type may be two colonies), note.
    """
    table = COLONIES.conform(colonies)
    given = rules_from_table(rules) if isinstance(rules, pd.DataFrame) else (rules or DEFAULT_RULES)
    fractions = {c.removeprefix("fraction_"): table[c].to_numpy(dtype=np.float64) for c in _fraction_columns(table)}
    size = table["n_cells"].to_numpy(dtype=np.float64)
    kind = np.full(len(table), "unclassified", dtype=object)
    for rule in reversed(given):
        met = (size >= rule.min_cells) & (size <= rule.max_cells)
        for lineage in rule.lineages:
            met &= fractions.get(lineage, np.zeros(len(table))) >= rule.min_fraction
        present = sum((f >= rule.presence).astype(int) for f in fractions.values()) if fractions else 0
        met &= present >= rule.min_lineages
        kind[met] = rule.name
    measured = np.zeros(len(table), dtype=bool)
    for values in fractions.values():
        measured |= np.isfinite(values)
    kind[~measured] = ""
    out = table[["position", "session", "t", "colony_id", "n_cells"]].copy()
    out["type"] = kind
    out["merged"] = [len(f) > 1 for f in _founder_sets(table)]
    out["note"] = np.where(measured, "", "no lineage fraction measured")
    return out


def colony_growth(colonies: pd.DataFrame, layout: pd.DataFrame | None, *, min_sessions: int = 2) -> pd.DataFrame:
    """Fit exponential growth, log(n) = a + k t, to each colony's cell counts over sessions.

    A dense session counts once (median over its frames). Sessions from the one on in which a colony has merged are
    left out of `growth_rate`: the merged colony's cells have several founders. `growth_rate_merged` is the slope over
    all sessions.

    Parameters
    ----------
    colonies : pandas.DataFrame
        COLONIES table.
    layout : pandas.DataFrame or None
        LAYOUT table.
    min_sessions : int
        Sessions with cells that a slope needs, 2 or more.

    Returns
    -------
    pandas.DataFrame
        COLONY_GROWTH table and `growth_low`, `growth_high` (95 % interval of the slope, t with n - 2 degrees of
        freedom; NaN for two sessions), `n_used` (sessions in the slope), `growth_rate_merged`, `note`.
    """
    if min_sessions < 2:
        raise SettingsError(f"min_sessions is {min_sessions}: a slope needs 2.")
    table = _per_session(COLONIES.conform(colonies))
    merged_at = _merge_sessions(table)
    table = with_organoid(table, layout)
    rows = []
    for (position, colony), seen in _by_colony(table):
        merge = merged_at.get((position, colony), np.inf)
        usable = (seen["n_cells"] > 0).to_numpy()
        before = usable & (seen["session"] < merge).to_numpy()
        time, log_n = seen["time_h"].to_numpy(), np.log(np.maximum(seen["n_cells"].to_numpy(dtype=np.float64), 1))
        rate, low, high = _slope(time[before], log_n[before], min_sessions)
        all_rate = _slope(time[usable], log_n[usable], min_sessions)[0]
        note = (
            ""
            if np.isfinite(rate)
            else f"{int(before.sum())} session(s) with cells before merging, {min_sessions} needed"
        )
        if rate <= 0:
            note = "does not grow: no doubling time"
        rows.append(
            {
                "position": position,
                "organoid": seen["organoid"].iloc[0],
                "condition": seen["condition"].iloc[0],
                "colony_id": colony,
                "n_sessions": len(seen),
                "growth_rate": rate,
                "doubling_time": np.log(2) / rate if rate > 0 else np.nan,
                "merged": bool(np.isfinite(merge)),
                "growth_low": low,
                "growth_high": high,
                "n_used": int(before.sum()),
                "growth_rate_merged": all_rate,
                "note": note,
            }
        )
    return COLONY_GROWTH.conform(pd.DataFrame(rows)) if rows else COLONY_GROWTH.empty()


def colony_fates(colonies: pd.DataFrame) -> pd.DataFrame:
    """Return how each colony's own record ends: merged, lost, or seen in the position's last session.

    Returns
    -------
    pandas.DataFrame
        position, colony_id, entry_h, time_h [h], fate (merged, lost, end) and `cause` for `aalen_johansen` (1 merged,
        2 lost, 0 censored). The merger or loss is dated to the first session in which it shows.
    """
    table = _per_session(COLONIES.conform(colonies))
    merged_at = _merge_sessions(table)
    looks = {str(p): g.groupby("session")["time_h"].median() for p, g in table.groupby("position")}
    rows = []
    for (position, colony), seen in _by_colony(table):
        times = looks[position]
        merge = merged_at.get((position, colony))
        last = int(seen["session"].max())
        later = times.index[times.index > last]
        if merge is not None:
            fate, cause, time = "merged", 1, float(times[merge])
        elif len(later):
            fate, cause, time = "lost", 2, float(times[later[0]])
        else:
            fate, cause, time = "end", 0, float(times[last])
        rows.append([position, colony, float(seen["time_h"].min()), time, fate, cause])
    return pd.DataFrame(rows, columns=["position", "colony_id", "entry_h", "time_h", "fate", "cause"])


def isolation_probability(density: float, radius: float) -> float:
    """P(a colony of `radius` [length] has touched no other) among founders of `density` [1/length²] thrown at random.

    ``exp(-4πλR²)``: no other centre within 2R (void probability of a Poisson process).
    """
    if density < 0 or radius < 0:
        raise SettingsError("Density and radius must be 0 or more.")
    return float(np.exp(-4 * np.pi * density * radius**2))


def _fraction_columns(table: pd.DataFrame) -> list[str]:
    return [c for c in table.columns if str(c).startswith("fraction_")]


def _founder_sets(table: pd.DataFrame) -> list[set[int]]:
    return [{int(part) for part in str(text).split(";") if part.strip().isdigit()} for text in table["founders"]]


def _by_colony(table: pd.DataFrame) -> list[tuple[tuple[str, int], pd.DataFrame]]:
    groups = table.groupby(["position", "colony_id"], sort=True)
    return [((str(seen["position"].iloc[0]), int(seen["colony_id"].iloc[0])), seen) for _, seen in groups]


def _per_session(table: pd.DataFrame) -> pd.DataFrame:
    """One row per colony and session: medians over frames, founders of all frames."""
    if table.empty:
        return table[["position", "session", "colony_id", "time_h", "n_cells", "founders"]]
    groups = table.groupby(["position", "colony_id", "session"], sort=True)
    out = groups[["time_h", "n_cells"]].median()
    out["founders"] = groups["founders"].agg(lambda texts: ";".join(sorted({str(text) for text in texts})))
    return out.reset_index()


def _merge_sessions(table: pd.DataFrame) -> dict[tuple[str, int], int]:
    """First session in which each colony is part of a merged one, as the one that stays or one swallowed."""
    merged: dict[tuple[str, int], int] = {}
    for row, founders in zip(table.itertuples(), _founder_sets(table), strict=True):
        if len(founders) < 2:
            continue
        for member in founders | {int(row.colony_id)}:  # type: ignore[arg-type]
            key = (str(row.position), member)
            merged[key] = min(merged.get(key, int(row.session)), int(row.session))  # type: ignore[arg-type]
    return merged


def _slope(time: Floats, y: Floats, needed: int) -> tuple[float, float, float]:
    """Least-squares slope with its 95 % interval."""
    nan = float("nan")
    n = len(time)
    if n < needed or np.ptp(time) <= 0:
        return nan, nan, nan
    centred = time - time.mean()
    square = float((centred**2).sum())
    slope = float((centred * y).sum() / square)
    if n < 3:
        return slope, nan, nan
    residual = y - y.mean() - slope * centred
    error = float(np.sqrt((residual**2).sum() / (n - 2) / square))
    half = float(student.ppf(0.975, n - 2)) * error
    return slope, slope - half, slope + half
