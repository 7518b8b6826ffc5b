"""Label images to points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from napari_marrow.errors import TableError
from napari_marrow.progress import CancelToken
from napari_marrow.tracking.points import Floats, Ints

_SPRAWL = 3.0  # extent of an object, in sides of a square or cube of its size, from which its pieces are looked at
_APART = 2.0  # distance of two pieces, in sides of the larger one
_PIECE = 0.25  # least size of a piece, of the largest one: specks are left alone


def label_points(
    labels: npt.NDArray[Any] | Iterable[npt.NDArray[Any]],
    *,
    spacing: Sequence[float],
    images: Iterable[npt.NDArray[Any]] | None = None,
    times_h: Sequence[float] | None = None,
    cancel: CancelToken | None = None,
) -> pd.DataFrame:
    """Return a row per object and frame: ``t, label, (z,) y, x, area``, and ``intensity``, ``time_h`` where known.

    Parameters
    ----------
    labels : (T, (Z,) Y, X) array of whole numbers, or an iterable of frames
    spacing : sequence of float
        Size of a voxel (z, y, x) or pixel (y, x), µm.
    images : iterable of ((Z,) Y, X) arrays, optional
    times_h : sequence of float, optional
    cancel : CancelToken, optional

    Returns
    -------
    DataFrame

    Raises
    ------
    TableError
        If a frame holds no whole numbers, its shape does not fit spacing, image or times, or a label stands for two
        objects far apart.
    """
    steps = np.asarray(spacing, dtype=np.float64)
    if steps.ndim != 1 or len(steps) not in (2, 3) or not (np.isfinite(steps).all() and (steps > 0).all()):
        raise TableError(f"Spacing {tuple(spacing)} is none: give two (y, x) or three (z, y, x) lengths above 0.")
    axes = ["z", "y", "x"][-len(steps) :]
    sources = iter(images) if images is not None else None
    parts, t = [], -1
    for t, frame in enumerate(labels):
        if cancel is not None:
            cancel.raise_if_cancelled()
        image = next(sources, None) if sources is not None else None
        if sources is not None and image is None:
            raise TableError(f"There are fewer images than label frames: none for t = {t}.")
        parts.append(_frame_points(np.asarray(frame), None if image is None else np.asarray(image), steps, axes, t))
        if times_h is not None:
            if t >= len(times_h):
                raise TableError(f"There are {len(times_h)} times for more label frames: none for t = {t}.")
            parts[-1]["time_h"] = float(times_h[t])
    columns = ["t", "label", *axes, "area", *(["intensity"] if images is not None else [])]
    columns += ["time_h"] if times_h is not None else []
    kept = [part for part in parts if len(part)]
    if not kept:
        return pd.DataFrame({c: np.zeros(0, np.int64 if c in ("t", "label") else np.float64) for c in columns})
    return pd.concat(kept, ignore_index=True)[columns]


def _frame_points(
    frame: npt.NDArray[Any], image: npt.NDArray[Any] | None, steps: Floats, axes: list[str], t: int
) -> pd.DataFrame:
    if frame.dtype.kind not in "iub":
        raise TableError(f"Label frame t = {t} holds {frame.dtype}: labels are whole numbers.")
    if frame.ndim != len(steps):
        raise TableError(
            f"Label frame t = {t} has shape {frame.shape}, the spacing has {len(steps)} numbers: they must agree."
        )
    if image is not None and image.shape != frame.shape:
        raise TableError(f"Image t = {t} has shape {image.shape}, its labels have {frame.shape}: they must agree.")
    where = np.nonzero(frame)
    values = frame[where]
    if values.size and values.dtype.kind == "i" and values.min() < 0:
        raise TableError(f"Label frame t = {t} holds negative values: labels are positive, 0 is background.")
    names, index = np.unique(values, return_inverse=True)
    if len(names) and int(names[-1]) > np.iinfo(np.int64).max:
        raise TableError(f"Label frame t = {t} holds values beyond 2^63: relabel it.")
    _refuse_repeats(frame.shape, where, names, index, steps, t)
    count = np.bincount(index, minlength=len(names)).astype(np.float64)
    table: dict[str, Any] = {"t": np.full(len(names), t, np.int64), "label": names.astype(np.int64)}
    for axis, position, step in zip(axes, where, steps, strict=True):
        table[axis] = np.bincount(index, position, minlength=len(names)) / np.maximum(count, 1) * step
    table["area"] = count * float(np.prod(steps))
    if image is not None:
        table["intensity"] = np.bincount(index, image[where], minlength=len(names)) / np.maximum(count, 1)
    return pd.DataFrame(table)


def _refuse_repeats(
    shape: tuple[int, ...], where: tuple[Ints, ...], names: npt.NDArray[Any], index: Ints, steps: Floats, t: int
) -> None:
    """Raise if a label holds two objects that lie apart: their common middle would be the place of neither."""
    numbered = np.zeros(shape, np.int32)
    numbered[where] = index + 1
    voxel, d = float(np.prod(steps)), len(steps)
    size = np.bincount(index, minlength=len(names)) * voxel
    for k, box in enumerate(ndimage.find_objects(numbered)):
        extent = max((part.stop - part.start) * step for part, step in zip(box, steps, strict=True))
        if extent <= _SPRAWL * size[k] ** (1 / d):
            continue
        pieces, many = ndimage.label(numbered[box] == k + 1, np.ones((3,) * d))
        if many < 2:
            continue
        sizes = np.bincount(pieces.ravel())[1:] * voxel
        first, second = np.argsort(-sizes, kind="stable")[:2]
        middles = np.array(ndimage.center_of_mass(pieces > 0, pieces, [first + 1, second + 1])) * steps
        apart = float(np.linalg.norm(middles[1] - middles[0]))
        if sizes[second] >= _PIECE * sizes[first] and apart > _APART * sizes[first] ** (1 / d):
            raise TableError(
                f"Label {names[k]} of frame t = {t} stands for two objects {apart:.3g} µm apart: "
                "give each object of a frame a label of its own."
            )
