"""Masks that reach over the gaps between the cells of a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.segmentation.thresholds import Floats, Mask


def distance_to(mask: Mask, spacing: Sequence[float]) -> Floats:
    """Return the distance of every pixel's centre to the nearest pixel of a mask; infinite for an empty one."""
    import edt

    if not mask.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    away: Floats = edt.edt(np.ascontiguousarray(~mask), anisotropy=tuple(spacing), black_border=False)
    return away


def close_gaps(mask: Mask, spacing: Sequence[float], gap: float) -> Mask:
    """Return a mask and what no disc (in a volume, no ball) of diameter `gap` reaches without touching the mask.

    A morphological closing with an exact disc in µm. Outside of the image there is nothing of the mask.

    Parameters
    ----------
    mask : bool array, shape (Y, X) or (Z, Y, X)
    spacing : sequence of float
        Pixel size, µm.
    gap : float
        Width of the gaps that are closed, µm.
    """
    if not mask.any() or gap <= 0:
        return mask.copy()
    padded, core = _padded(mask, spacing, gap)
    near = distance_to(padded, spacing) <= gap / 2
    result: Mask = (distance_to(~near, spacing) > gap / 2)[core]
    return result | mask


def fill_groups(groups: npt.NDArray[np.int32], spacing: Sequence[float], gap: float) -> npt.NDArray[np.int32]:
    """Close the gaps within each group of a label image of cells.

    Parameters
    ----------
    groups : int32 array, shape (Y, X) or (Z, Y, X)
        The number of its group in every pixel of a cell, 0 elsewhere.
    spacing : sequence of float
        Pixel size, µm.
    gap : float
        See `close_gaps`.

    Returns
    -------
    int32 array
        A pixel that two groups reach over belongs to the one with the nearer cell; pixels of a cell stay its group's.
    """
    filled = groups.copy()
    nearest = np.where(groups > 0, np.float32(0), np.float32(np.inf))
    for number, box in enumerate(ndimage.find_objects(groups), start=1):
        if box is None:
            continue
        around = tuple(
            slice(max(b.start - m, 0), min(b.stop + m, n))
            for b, m, n in zip(box, _margin(groups.shape, spacing, gap), groups.shape, strict=True)
        )
        cells = groups[around] == number
        away = distance_to(cells, spacing)
        mine = close_gaps(cells, spacing, gap) & (away < nearest[around])
        filled[around][mine] = number
        nearest[around][mine] = away[mine]
    return filled


def _margin(shape: Sequence[int], spacing: Sequence[float], gap: float) -> list[int]:
    return [int(np.ceil(gap / s)) + 1 if n > 1 else 0 for s, n in zip(spacing, shape, strict=True)]


def _padded(mask: Mask, spacing: Sequence[float], gap: float) -> tuple[Mask, tuple[slice, ...]]:
    margin = _margin(mask.shape, spacing, gap)
    core = tuple(slice(m, m + n) for m, n in zip(margin, mask.shape, strict=True))
    return np.pad(mask, [(m, m) for m in margin]), core
