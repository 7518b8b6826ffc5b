"""Remodelling of vessels between two sessions: which length stayed, went and came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.niche.geometry import BoolArray, FloatArray
from napari_marrow.niche.intervals import ratio_interval

_AXES = ("z", "y", "x")
_STEP = 1.0  # µm between the places at which two networks are compared


@dataclass(frozen=True)
class Remodelling:
    """Length of vessels that two sessions share or do not; µm of centreline where both sessions looked.

    Attributes
    ----------
    before, after : float
        Length in the earlier and the later session.
    stable, lost, gained : float
        Of the earlier: found again, not found again. Of the later: not there before.
    lost_share, gained_share : float
        lost / before and gained / after; NaN without length.
    lost_low, lost_high, gained_low, gained_high : float
        95 % intervals of the shares over branches, which come and go as wholes; NaN with fewer than five.
    tolerance : float
        µm within which a vessel is the same one.
    before_pieces, after_pieces : DataFrame
        branch, (z,) y, x (middle, µm), length (µm), kept (bool): the compared pieces, for maps.
    note : str
        Why something is NaN, empty otherwise.
    """

    before: float
    after: float
    stable: float
    lost: float
    gained: float
    lost_share: float
    gained_share: float
    lost_low: float
    lost_high: float
    gained_low: float
    gained_high: float
    tolerance: float
    before_pieces: pd.DataFrame
    after_pieces: pd.DataFrame
    note: str


def vessel_remodelling(
    before: pd.DataFrame, after: pd.DataFrame, *, tolerance: float, max_angle: float = 50.0
) -> Remodelling:
    """Compare the centrelines of two sessions.

    A piece is found again if the other session has a centreline within `tolerance` that runs in a similar direction, so
    that the stump of a lost branch at its parent does not count as kept.

    Parameters
    ----------
    before, after : DataFrame
        Centrelines as `VesselGraph.vertices` gives them: branch, (z,) y, x in µm in one registered frame, in order
        along each branch; optionally `compared` (bool): whether the vertex lies where the other session looked too.
    tolerance : float
        µm; about the registration's residual and a vessel's radius together.
    max_angle : float
        Largest angle between the directions, degrees.

    Raises
    ------
    SettingsError
        If `tolerance` is not positive or `max_angle` not within 0..90.
    TableError
        If a coordinate is missing or the two tables have different axes.
    """
    if not tolerance > 0 or not 0 < max_angle <= 90:
        raise SettingsError(f"tolerance {tolerance} µm must be positive and max_angle {max_angle}° within 0..90.")
    axes = _axes(before, after)
    first, second = _pieces(before, axes), _pieces(after, axes)
    kept_first = _found(first, second, axes, tolerance, max_angle)
    kept_second = _found(second, first, axes, tolerance, max_angle)
    lengths = [part["length"].to_numpy(dtype=np.float64) for part in (first, second)]
    totals = [float(part.sum()) for part in lengths]
    lost, gained = float(lengths[0][~kept_first].sum()), float(lengths[1][~kept_second].sum())
    lost_limits, gained_limits = _limits(first, kept_first), _limits(second, kept_second)
    missing = [w for w, total in zip(("earlier", "later"), totals, strict=True) if total == 0]
    return Remodelling(
        before=totals[0], after=totals[1], stable=totals[0] - lost, lost=lost, gained=gained,
        lost_share=lost / totals[0] if totals[0] else float("nan"),
        gained_share=gained / totals[1] if totals[1] else float("nan"),
        lost_low=lost_limits[0], lost_high=lost_limits[1], gained_low=gained_limits[0], gained_high=gained_limits[1],
        tolerance=tolerance,
        before_pieces=first.drop(columns=_directions(axes)).assign(kept=kept_first),
        after_pieces=second.drop(columns=_directions(axes)).assign(kept=kept_second),
        note=f"the {' and the '.join(missing)} session has no vessel where both looked" if missing else "",
    )  # fmt: skip


def _axes(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    found = [[a for a in _AXES if a in table.columns] for table in (before, after)]
    for table in (before, after):
        missing = {"branch", "y", "x"} - set(table.columns)
        if missing:
            raise TableError(f"The table of vessels lacks the column(s) {', '.join(sorted(missing))}.")
    if found[0] != found[1]:
        raise TableError(f"The tables of vessels have the axes {found[0]} and {found[1]}: give the same ones.")
    return found[0]


def _directions(axes: list[str]) -> list[str]:
    return [f"u{a}" for a in axes]


def _pieces(vertices: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """Cut centrelines into straight pieces of about a µm, each with its middle, direction and length."""
    points = vertices[axes].to_numpy(dtype=np.float64)
    branch = vertices["branch"].to_numpy()
    held = np.ones(len(points), dtype=bool)
    if "compared" in vertices.columns:
        held = vertices["compared"].to_numpy(dtype=bool)
    step = np.diff(points, axis=0)
    length = np.linalg.norm(step, axis=1)
    use = (branch[1:] == branch[:-1]) & held[1:] & held[:-1] & (length > 0)
    start, step, length, name = points[:-1][use], step[use], length[use], branch[:-1][use]
    parts = np.maximum(np.ceil(length / _STEP), 1).astype(np.int64)
    of = np.repeat(np.arange(len(parts)), parts)
    number = np.arange(len(of)) - np.repeat(np.cumsum(parts) - parts, parts)
    middle = start[of] + ((number + 0.5) / parts[of])[:, None] * step[of]
    unit = step / np.maximum(length, 1e-300)[:, None]
    table: dict[str, npt.NDArray[np.generic]] = {"branch": name[of]}
    table |= {a: middle[:, k] for k, a in enumerate(axes)}
    table |= {f"u{a}": unit[of, k] for k, a in enumerate(axes)}
    table["length"] = (length / parts)[of]
    return pd.DataFrame(table)


def _found(
    pieces: pd.DataFrame, others: pd.DataFrame, axes: list[str], tolerance: float, max_angle: float
) -> BoolArray:
    from scipy.spatial import cKDTree

    if pieces.empty or others.empty:
        return np.zeros(len(pieces), dtype=bool)
    here, there = (table[axes].to_numpy(dtype=np.float64) for table in (pieces, others))
    along, across = (table[_directions(axes)].to_numpy(dtype=np.float64) for table in (pieces, others))
    near = cKDTree(there).query_ball_point(here, tolerance)
    size = np.asarray([len(hits) for hits in near], dtype=np.int64)
    index = np.concatenate([np.asarray(hits, dtype=np.int64) for hits in near]) if size.sum() else np.zeros(0, np.int64)
    of = np.repeat(np.arange(len(here)), size)
    aligned = np.abs(np.einsum("ij,ij->i", along[of], across[index])) >= np.cos(np.deg2rad(max_angle))
    found: BoolArray = np.bincount(of[aligned], minlength=len(here)) > 0
    return found


def _limits(pieces: pd.DataFrame, kept: BoolArray) -> tuple[float, float]:
    """Interval of the share that is not kept, over branches."""
    if pieces.empty:
        return float("nan"), float("nan")
    _, branch = np.unique(pieces["branch"].to_numpy(), return_inverse=True)
    length: FloatArray = pieces["length"].to_numpy(dtype=np.float64)
    low, high = ratio_interval(np.bincount(branch, length * ~kept), np.bincount(branch, length))
    return low, min(high, 1.0) if np.isfinite(high) else high
