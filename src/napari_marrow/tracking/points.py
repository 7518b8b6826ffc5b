"""Detections as arrays: a point table is checked once and brought into one canonical order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree

from napari_marrow.errors import TableError
from napari_marrow.tracking.settings import TrackingSettings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LARGEST = 1e15
"""Beyond it, neighbouring whole numbers and pixels can no longer be told apart, and squares overflow."""
_SIZES = ("area", "volume")
_NOT_FEATURES = {
    "t", "z", "y", "x", "time_h", "time_s", "z_reg", "y_reg", "x_reg", "frame", "position", "session", "label", "id",
    "index", "cell", "cell_id", "track", "track_id", "parent", "parent_id", "parent_track_id", "founder_track_id",
    "link_probability", "generation", "lineage", "colony", "colony_id", "touches_border", "object",
}  # fmt: skip
_MEASUREMENT_PREFIXES = ("intensity", "mean", "sd", "std", "max", "min", "feature", "fraction", "perimeter", "radius")


@dataclass(frozen=True)
class Detections:
    """Detections sorted by frame, then by position, so that the order of the input rows leaves no trace.

    Attributes
    ----------
    xyz : (n, d) float64
        Coordinates, (y, x) or (z, y, x), in the unit of the input.
    frame : (n,) int64
        Rank of the detection's frame among the frames that hold any.
    t : (n,) int64
        Frame number of the input.
    time : (frames,) float64
        Time of every frame in units of the median interval.
    start : (frames + 1,) int64
        First row of every frame.
    features : (n, k) float64
        Transformed measurements, NaN where missing.
    names : tuple of str
        Their columns.
    size_column : int
        Column of `features` that holds the log of area or volume, -1 without.
    order : (n,) int64
        Input row of every detection.
    """

    xyz: Floats
    frame: Ints
    t: Ints
    time: Floats
    start: Ints
    features: Floats
    names: tuple[str, ...]
    size_column: int
    order: Ints

    @property
    def n(self) -> int:
        """Number of detections."""
        return len(self.xyz)

    @property
    def ndim(self) -> int:
        """Number of coordinates, 2 or 3."""
        return int(self.xyz.shape[1])

    @property
    def n_frames(self) -> int:
        """Number of frames that hold a detection."""
        return len(self.time)

    def moved(self, xyz: Floats) -> Detections:
        """Return the same detections at other coordinates (drift removed, axes rescaled)."""
        return replace(self, xyz=xyz)


def feature_columns(points: pd.DataFrame) -> tuple[str, ...]:
    """Return the measurement columns that tracking uses when none are named.

    Every floating-point column that is no coordinate, time or identity counts; of the whole-number columns only those
    whose name says that they measure (``area``, ``volume``, ``intensity_...``, ``mean_...``), because others are ids or
    counters.

    Parameters
    ----------
    points : DataFrame

    Returns
    -------
    tuple of str
    """
    names = []
    for name in points.columns:
        if not isinstance(name, str) or name.lower() in _NOT_FEATURES:
            continue
        kind = points[name].dtype.kind if hasattr(points[name].dtype, "kind") else "O"
        measured = name.lower() in _SIZES or name.lower().startswith(_MEASUREMENT_PREFIXES)
        if kind == "f" or (kind in "iu" and measured):
            names.append(name)
    return tuple(names)


def read_points(points: pd.DataFrame, settings: TrackingSettings) -> Detections:
    """Check a point table and bring it into canonical order.

    Parameters
    ----------
    points : DataFrame
        Columns ``t`` (whole numbers), ``y``, ``x``, optionally ``z``, ``time_h`` (hours, one value per frame) and
        measurements.
    settings : TrackingSettings

    Returns
    -------
    Detections

    Raises
    ------
    TableError
        If a column is missing, is no number, holds NaN or infinity, or ``time_h`` goes back or differs within a frame.
    """
    missing = [c for c in ("t", "y", "x") if c not in points.columns]
    if missing:
        raise TableError(
            f"The point table lacks the column(s) {', '.join(missing)}: it has {[str(c) for c in points.columns]}, "
            "tracking needs t, y and x (z, time_h and measurements are optional)."
        )
    axes = ["z", "y", "x"] if "z" in points.columns else ["y", "x"]
    t_value = _numbers(points, "t")
    if not np.array_equal(t_value, np.round(t_value)):
        raise TableError(
            "Column 't' of the point table holds fractions: give whole frame numbers, times go to 'time_h'."
        )
    t = t_value.astype(np.int64)
    xyz = np.column_stack([_numbers(points, c) for c in axes]) if len(points) else np.zeros((0, len(axes)))
    if axes[0] == "z" and len(xyz) and np.ptp(xyz[:, 0]) == 0:
        xyz = xyz[:, 1:]  # a z that never changes is a plane: volumes would be zero
    names = settings.features if settings.features is not None else feature_columns(points)
    if not settings.appearance:
        names = ()
    columns, used, size = _features(points, names)
    order = np.lexsort([*columns.T[::-1], *xyz.T[::-1], t]).astype(np.int64)
    frames, frame, counts = np.unique(t[order], return_inverse=True, return_counts=True)
    time = _frame_times(points, t, frames)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Detections(xyz[order], frame.astype(np.int64), t[order], time, start, columns[order], used, size, order)


def _numbers(points: pd.DataFrame, column: str) -> Floats:
    try:
        values = points[column].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TableError(f"Column '{column}' of the point table holds something that is no number: {error}.") from error
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise TableError(
            f"Column '{column}' of the point table holds NaN or infinity in {len(bad)} row(s), the first is row "
            f"{bad[0]}: remove these rows."
        )
    if len(values) and float(np.abs(values).max()) > _LARGEST:
        raise TableError(
            f"Column '{column}' of the point table holds {values[np.abs(values).argmax()]:g}: numbers beyond "
            f"{_LARGEST:g} cannot be places or times."
        )
    return values


def _frame_times(points: pd.DataFrame, t: Ints, frames: Ints) -> Floats:
    """Time per frame in units of the median interval: `time_h` where given, else the frame number."""
    if len(frames) == 0:
        return np.zeros(0)
    time = frames.astype(np.float64)
    if "time_h" in points.columns:
        hours = _numbers(points, "time_h")
        spread = pd.Series(hours).groupby(t).agg(["min", "max"])
        if (spread["max"] - spread["min"] > 1e-9).any():
            frame = spread.index[(spread["max"] - spread["min"]).to_numpy() > 1e-9][0]
            raise TableError(f"Column 'time_h' holds several times for frame t = {frame}: one frame has one time.")
        time = spread["min"].to_numpy(dtype=np.float64)
        back = np.flatnonzero(np.diff(time) <= 0)
        if len(back):
            raise TableError(
                f"Column 'time_h' does not increase from frame t = {frames[back[0]]} to t = {frames[back[0] + 1]}: "
                "frames have to be numbered in the order of their times."
            )
    interval = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
    return (time - time[0]) / interval


def _features(points: pd.DataFrame, names: tuple[str, ...]) -> tuple[Floats, tuple[str, ...], int]:
    columns: list[Floats] = []
    used: list[str] = []
    size = -1
    for name in names:
        if name not in points.columns:
            raise TableError(
                f"The point table has no feature column '{name}': it has {[str(c) for c in points.columns]}."
            )
        try:
            values = points[name].to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TableError(f"Feature column '{name}' holds something that is no number: {error}.") from error
        column = _transform(values, is_size=name.lower() in _SIZES)
        if column is None:
            continue
        if name.lower() in _SIZES and size < 0:
            size = len(columns)
        columns.append(column)
        used.append(name)
    table = np.column_stack(columns) if columns else np.zeros((len(points), 0))
    return table, tuple(used), size


def _transform(values: Floats, *, is_size: bool) -> Floats | None:
    """Log of positive spread-out values, an inverse hyperbolic sine of signed ones; None if a column says nothing."""
    values = np.where(np.isfinite(values), values, np.nan)
    if is_size:
        values = np.where(values > 0, values, np.nan)
    known = values[~np.isnan(values)]
    if len(known) < 2 or len(known) < 0.5 * len(values):
        return None
    if np.unique(known, return_counts=True)[1].max() > 0.5 * len(known):
        return None  # a placeholder (a marker of fixed size, a flag), no measurement
    low, high = float(known.min()), float(known.max())
    if is_size or (low > 0 and high > 2 * low):
        return np.log(values)
    middle = float(np.median(known))
    scale = 1.4826 * float(np.median(np.abs(known - middle)))
    return np.arcsinh((values - middle) / scale) if scale > 0 else None


def local_spacing(detections: Detections, k: int = 3) -> tuple[Floats, Floats]:
    """Distance to the k-th neighbour of the same frame, and the density of detections around each.

    Parameters
    ----------
    detections : Detections
    k : int

    Returns
    -------
    distance : (n,) float64
    density : (n,) float64
        Detections per unit area or volume, never below one per field.
    """
    n, d = detections.n, detections.ndim
    extent = np.ptp(detections.xyz, axis=0) if n else np.ones(d)
    widest = float(extent.max()) if n and extent.max() > 0 else 1.0
    field = float(np.prod(np.maximum(extent, 0.05 * widest)))
    unit = np.pi if d == 2 else 4 / 3 * np.pi
    distance = np.full(n, widest)
    density = np.full(n, 1 / field)
    sizes = np.diff(detections.start)[detections.frame]
    found = _neighbour_distances(detections, k, widest)
    for wanted in range(k, 0, -1):
        rows = np.flatnonzero((np.minimum(sizes - 1, k) == wanted) & np.isfinite(found[:, wanted - 1]))
        # duplicates: a floor keeps the density finite
        r = np.maximum(found[rows, wanted - 1], 1e-6 * widest)
        distance[rows] = r
        density[rows] = np.maximum(density[rows], wanted / (unit * r**d))
    return distance, density


def _neighbour_distances(detections: Detections, k: int, widest: float) -> Floats:
    """Distances to the 1st..k-th neighbour of the same frame, infinite where there are fewer."""
    if detections.n == 0:
        return np.full((0, k), np.inf)
    reach = 2 * widest * np.sqrt(detections.ndim)
    lifted = np.column_stack([detections.xyz, detections.frame * (2 * reach)])
    found, _ = cKDTree(lifted).query(lifted, k=k + 1, distance_upper_bound=reach, workers=-1)
    return np.asarray(found, dtype=np.float64)[:, 1:]


def nearest_neighbour(detections: Detections) -> Floats:
    """Distance to the nearest other detection of the same frame, infinite for a lone one."""
    extent = np.ptp(detections.xyz, axis=0) if detections.n else np.ones(1)
    return _neighbour_distances(detections, 1, max(float(extent.max()), 1e-12))[:, 0]
