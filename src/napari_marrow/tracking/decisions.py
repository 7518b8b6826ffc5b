"""What a person should look at: the least certain decisions, each with its reason, and what the costs rest on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.tracking.found_tracks import Tracking
from napari_marrow.tracking.hypotheses import Solution
from napari_marrow.tracking.points import Detections, Floats, Ints

REASONS = ("two candidates", "unseen in between", "jump", "size change", "division", "few neighbours explain it")
"""Reasons a decision may be given, the first that holds."""

_RIVAL = float(np.log(0.01))  # a competitor that weighs less beside the link is none
_BINS = 60


def rivals(n: int, solution: Solution) -> Ints:
    """Strongest competitor of every detection's incoming link: another source of it, or another target of its source.

    One that weighs less than a hundredth of the link is none, nor is another detection of the same track.

    Parameters
    ----------
    n : int
    solution : Solution

    Returns
    -------
    (n,) int64
        Detection, -1 where nothing competes.
    """
    links = solution.links
    chosen = np.zeros(len(links.i), bool)
    chosen[solution.chosen] = True
    other = np.flatnonzero(~chosen & ~_of_one_track(n, solution) & (links.gain > 0))
    order = other[np.lexsort((links.j[other], links.i[other], links.gain[other]))]  # the strongest is written last
    source, target = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    source_gain, target_gain = np.full(n, -np.inf), np.full(n, -np.inf)
    source[links.j[order]], source_gain[links.j[order]] = links.i[order], links.gain[order]
    target[links.i[order]], target_gain[links.i[order]] = links.j[order], links.gain[order]
    out = np.full(n, -1, np.int64)
    i, j = solution.i, solution.j
    worth = np.maximum(source_gain[j], target_gain[i]) >= links.gain[solution.chosen] + _RIVAL
    out[j] = np.where(worth, np.where(source_gain[j] >= target_gain[i], source[j], target[i]), -1)
    return out


def _of_one_track(n: int, solution: Solution) -> npt.NDArray[np.bool_]:
    """Whether each candidate leads over detections of the track that both its ends are in."""
    following = np.full(n + 1, -1, np.int64)  # the last one is for none
    following[solution.i] = solution.j
    links = solution.links
    at, same = links.i, np.zeros(len(links.i), bool)
    for _ in range(int(links.gap.max(initial=0))):
        at = following[at]
        same |= at == links.j
    return same


def uncertain_decisions(tracking: Tracking, points: pd.DataFrame, *, share: float = 0.05) -> pd.DataFrame:
    """List the least certain links and divisions, the least certain first.

    Parameters
    ----------
    tracking : Tracking
    points : DataFrame
        What was tracked.
    share : float
        Share of the decisions to list, above 0 and at most 1.

    Returns
    -------
    DataFrame
        ``kind`` (link, gap, division), ``probability``, ``reason`` (one of `REASONS`), ``parent_row``, ``child_row``,
        ``rival_row`` (-1 without), ``t_parent, t_child``, ``track_id`` (of the child), the child's ``y, x`` (``z``).

    Raises
    ------
    SettingsError
        If `share` is none.
    TableError
        If the points are not those that were tracked.
    """
    if not 0 < share <= 1:
        raise SettingsError(f"The share of decisions to list is {share}: give a number above 0 and at most 1.")
    if len(points) != len(tracking.track_id):
        raise TableError(f"There are {len(points)} points for {len(tracking.track_id)} tracked rows: give the same.")
    edges = tracking.edges
    keep = np.argsort(edges["probability"].to_numpy(), kind="stable")[: int(np.ceil(share * len(edges)))]
    table = edges.iloc[keep].reset_index(drop=True)
    parent, child = table["parent_row"].to_numpy(), table["child_row"].to_numpy()
    axes = [a for a in ("z", "y", "x") if a in points.columns]
    t = points["t"].to_numpy()
    out = pd.DataFrame(
        {
            "kind": table["kind"],
            "probability": table["probability"],
            "reason": _reasons(table, edges, points, axes),
            "parent_row": parent,
            "child_row": child,
            "rival_row": table["rival_row"],
            "t_parent": t[parent],
            "t_child": t[child],
            "track_id": tracking.track_id[child],
        }
    )
    return out.assign(**{a: points[a].to_numpy()[child] for a in axes})


def _reasons(table: pd.DataFrame, edges: pd.DataFrame, points: pd.DataFrame, axes: list[str]) -> list[str]:
    def steps(part: pd.DataFrame) -> Floats:
        x = points[axes].to_numpy(np.float64)
        return np.sqrt(((x[part["child_row"]] - x[part["parent_row"]]) ** 2).sum(1))

    size = next((c for c in ("area", "volume") if c in points.columns), None)

    def changes(part: pd.DataFrame) -> Floats:
        if size is None:
            return np.zeros(len(part))
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.log(points[size].to_numpy(np.float64))
            return np.nan_to_num(np.abs(value[part["child_row"]] - value[part["parent_row"]]), posinf=0.0)

    usual = edges[edges["kind"] == "link"]
    far = np.quantile(steps(usual), 0.98) if len(usual) else np.inf
    unlike = np.quantile(changes(usual), 0.98) if len(usual) and size is not None else np.inf
    kind = table["kind"].to_numpy()
    return np.select(
        [
            kind == "division", table["rival_row"].to_numpy() >= 0, kind == "gap", steps(table) > far,
            changes(table) > unlike,
        ],
        ["division", "two candidates", "unseen in between", "jump", "size change"],
        "few neighbours explain it",
    ).tolist()  # fmt: skip


def distributions(detections: Detections, past: Floats, future: Floats, solution: Solution) -> dict[str, Any]:
    """Histograms of displacement, of each measurement's change and of the gain, for chosen links and for their rivals.

    Parameters
    ----------
    detections : Detections
    past, future : (n, k) float64
        Levels of the measurements up to, from every detection (see `chains.Chains`).
    solution : Solution

    Returns
    -------
    dict
        Per quantity ``edges``, ``chosen`` and ``rivals`` (counts), as lists.
    """
    links = solution.links
    one = links.gap == 1
    chosen = np.zeros(len(links.i), bool)
    chosen[solution.chosen] = True
    i, j = links.i[one], links.j[one]
    groups = chosen[one]
    step = np.sqrt(((detections.xyz[j] - detections.xyz[i]) ** 2).sum(1))
    out = {"displacement": _histogram(step, groups, low=0.0), "gain": _histogram(links.gain[one], groups)}
    for f, name in enumerate(detections.names):
        out[name] = _histogram(future[j, f] - past[i, f], groups)
    return out


def _histogram(values: Floats, chosen: Any, low: float | None = None) -> dict[str, list[float]]:
    known = np.isfinite(values)
    values, chosen = values[known], chosen[known]
    if len(values) == 0:
        return {"edges": [], "chosen": [], "rivals": []}
    limits = np.quantile(values, [0.005, 0.995])
    if low is not None:
        limits[0] = low
    if limits[1] <= limits[0]:
        limits[1] = limits[0] + 1.0
    edges = np.linspace(limits[0], limits[1], _BINS + 1)
    return {
        "edges": edges.tolist(),
        "chosen": np.histogram(values[chosen], edges)[0].tolist(),
        "rivals": np.histogram(values[~chosen], edges)[0].tolist(),
    }
