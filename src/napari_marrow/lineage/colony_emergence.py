"""When lineages arise in colonies: for the weeks in which colonies can be followed and single cells cannot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.lineage.colonies import colony_fates
from napari_marrow.lineage.interval import turnbull
from napari_marrow.lineage.places import with_organoid
from napari_marrow.lineage.proportion_limits import clustered_proportion_limits, few_limits, unseen_limit
from napari_marrow.schemas import COLONIES, EMERGENCE

Floats = npt.NDArray[np.float64]


def colony_emergence(colonies: pd.DataFrame, layout: pd.DataFrame | None, *, min_cells: int = 1) -> pd.DataFrame:
    """Estimate the share of colonies in which each lineage has arisen by each look.

    Parameters
    ----------
    colonies : pandas.DataFrame
        COLONIES table with ``fraction_<lineage>`` columns; one look per session (its last frame in which the colony was
        seen).
    layout : pandas.DataFrame or None
        LAYOUT table.
    min_cells : int
        Cells of a lineage from which it is there.

    Returns
    -------
    pandas.DataFrame
        EMERGENCE table (`time_h` since t0; `at_risk`: colonies that were seen at that time or later and did not have
        the lineage before) with `n_units` (colonies of an organoid, organoids of a condition) and `note`. A colony may
        hold several lineages: they do not compete here.

    Raises
    ------
    SettingsError
        If `min_cells` is below 1.

    Notes
    -----
    A lineage arose between the last look without it and the first with it, or before the first look. Colonies are
    censored at the last look at which they stood alone: a merged colony has several founders. Turnbull's estimate per
    organoid with beta limits for so many colonies; `clustered_proportion_limits` for conditions. Nothing is said of
    single cells, and no cell is followed from one look to the next.
    """
    if min_cells < 1:
        raise SettingsError(f"min_cells is {min_cells}: give 1 or more.")
    table = COLONIES.conform(colonies)
    lineages = [str(c).removeprefix("fraction_") for c in table.columns if str(c).startswith("fraction_")]
    if table.empty or not lineages:
        return EMERGENCE.empty().assign(n_units=pd.Series([], dtype="int32"), note=pd.Series([], dtype="object"))
    looks = _looks(table)
    placed = with_organoid(looks, layout)
    blocks: list[pd.DataFrame] = []
    for condition, of_condition in placed.groupby("condition", sort=True):
        for lineage in lineages:
            times = np.unique(of_condition["time_h"].to_numpy(dtype=np.float64))
            own = [
                _organoid(mine, lineage, times, min_cells).assign(organoid=str(organoid))
                for organoid, mine in of_condition.groupby("organoid", sort=True)
            ]
            part = pd.concat([*own, _mean(own, times)], ignore_index=True)
            blocks.append(part.assign(condition=str(condition), lineage=lineage))
    return EMERGENCE.conform(pd.concat(blocks, ignore_index=True).drop(columns="events"))


def _looks(table: pd.DataFrame) -> pd.DataFrame:
    """One row per colony and session in which it stands alone."""
    last = table.sort_values(["session", "t"]).groupby(["position", "colony_id", "session"], as_index=False).last()
    # The clock of a session is one for all colonies of a position, so that they share their looks.
    last["time_h"] = last.groupby(["position", "session"])["time_h"].transform("max")
    fates = colony_fates(table)[["position", "colony_id", "fate", "time_h"]].rename(columns={"time_h": "until_h"})
    merged = last.merge(fates, on=["position", "colony_id"], how="left")
    several = merged["founders"].astype(str).str.contains(";").to_numpy()
    late = (merged["fate"] == "merged") & (merged["time_h"] >= merged["until_h"])
    return merged[~late.to_numpy() & ~several].drop(columns=["fate", "until_h"])


def _organoid(looks: pd.DataFrame, lineage: str, times: Floats, min_cells: int) -> pd.DataFrame:
    share = looks[f"fraction_{lineage}"].to_numpy(dtype=np.float64)
    known = looks[np.isfinite(share)].sort_values("time_h")
    has = np.round(known[f"fraction_{lineage}"] * known["n_cells"]) >= min_cells
    first = known["time_h"].where(has)
    groups = known.assign(first=first).groupby(["position", "colony_id"], sort=True)
    right = groups["first"].min().fillna(np.inf).to_numpy(dtype=np.float64)
    before = known["time_h"].where(known["time_h"] < groups["first"].transform("min").fillna(np.inf))
    left = known.assign(before=before).groupby(["position", "colony_id"], sort=True)["before"].max()
    left_h = left.fillna(0.0).to_numpy(dtype=np.float64)
    n = len(right)
    out = pd.DataFrame({"time_h": times, "n_units": np.int32(n), "note": "", "at_risk": 0, "events": 0.0})
    for column in ("cumulative_incidence", "low", "high"):
        out[column] = np.nan
    if n == 0:
        return out.assign(note="no colony in which the lineage was measured")
    last = float(known["time_h"].max())
    value = turnbull(left_h, right).at(times)
    events = np.array([(right <= t).sum() for t in times], dtype=np.float64)
    out["at_risk"] = [int((np.where(np.isfinite(right), right, left_h) >= t).sum()) for t in times]
    least, most = few_limits(value * n, np.clip(value, 1e-12, 1 - 1e-12), 0.025)
    none = value <= 1e-12
    seen = times <= last
    out["cumulative_incidence"] = np.where(seen, value, np.nan)
    out["low"] = np.where(seen, np.where(none, 0.0, np.minimum(least, value)), np.nan)
    high = np.where(none, unseen_limit([n], variation=0.0), np.maximum(most, value))
    out["high"] = np.where(seen, high, np.nan)
    out["events"] = events
    out["note"] = np.where(seen, "", "observation had ended")
    return out


def _mean(own: list[pd.DataFrame], times: Floats) -> pd.DataFrame:
    usable = [o for o in own if o["cumulative_incidence"].notna().any()]
    out = pd.DataFrame({"time_h": times, "n_units": np.int32(len(usable)), "note": "", "organoid": "all"})
    out["at_risk"] = np.sum([o["at_risk"].to_numpy() for o in own], axis=0)
    out["events"] = np.sum([o["events"].to_numpy() for o in own], axis=0)
    for column in ("cumulative_incidence", "low", "high"):
        out[column] = np.nan
    if not usable:
        return out.assign(note="no colony in which the lineage was measured")
    values = np.stack([o["cumulative_incidence"].to_numpy() for o in usable])
    out["cumulative_incidence"] = values.mean(axis=0)
    if len(usable) < 2:
        return out.assign(note="one organoid only: no interval")
    events = np.stack([o["events"].to_numpy() for o in usable])
    colonies = np.stack([np.full(len(times), float(o["n_units"].iloc[0])) for o in usable])
    out["low"], out["high"] = clustered_proportion_limits(values, events, colonies)
    return out
