"""Flows of a volume from planes in three orientations, as Cellpose's ``do_3D`` forms them, and labels from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation.finding import LARGEST_INPUT, CellFinder
from napari_marrow.segmentation.intensities import Channel, ScaledImage
from napari_marrow.segmentation.resizing import resize, resized_rows
from napari_marrow.segmentation.volume_dynamics import compute_volume_masks

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

_BYTES = 44
"""Per voxel of the volume at the network's size (or its own, if that is larger): flows, field, end points, seeds."""
_ORIENTATIONS = (("YX", 0, (1, 2)), ("ZX", 1, (0, 2)), ("ZY", 2, (0, 1)))
"""Name, axis along which the planes lie one after the other, axes of a plane."""


def segment_flows(
    finder: CellFinder,
    volume: ScaledImage,
    diameter: float,
    *,
    anisotropy: float,
    smoothing: float | Sequence[float] = 0.0,
    out: Labels,
    logit: Floats | None = None,
) -> Labels:
    """Label a volume by its flows in three dimensions.

    Parameters
    ----------
    finder : CellFinder
    volume : ScaledImage, shape (Z, Y, X)
    diameter : float
        Of a cell, px (along X).
    anisotropy : float
        Distance of planes over the pixel size along X.
    smoothing : float or three floats
        Standard deviation (z, y, x), px, of a Gaussian over the flows; helps where cells break up along Z.
    out : int32 array, shape (Z, Y, X)
        Where the labels are written.
    logit : float32 array, shape (Z, Y, X), optional
        Where the summed logit of the three orientations is written.

    Returns
    -------
    int32 array
        `out`.

    Raises
    ------
    SettingsError
        If the flows do not fit into this machine's memory.
    """
    scale = finder.card.diameter_px / diameter
    flows = volume_flows(finder, volume, scale, anisotropy=anisotropy)
    flows = resize_volume(flows, out.shape)
    if np.any(np.asarray(smoothing) > 0):
        from scipy.ndimage import gaussian_filter

        for axis in range(3):
            gaussian_filter(flows[axis], smoothing, output=flows[axis])
    compute_volume_masks(
        flows[:3], flows[3], n_steps=int(200 / scale), cellprob_threshold=finder.settings.cellprob_threshold,
        min_size=finder.settings.min_size, threads=finder.settings.threads, out=out,
    )  # fmt: skip
    if logit is not None:
        logit[...] = flows[3]
    return out


def volume_flows(finder: CellFinder, volume: ScaledImage, scale: float, *, anisotropy: float) -> Floats:
    """Return flow z, y, x and logit, (4, z, y, x), at the network's scale: sums over the orientations.

    Parameters
    ----------
    finder : CellFinder
    volume : ScaledImage, shape (Z, Y, X)
    scale : float
        By which pixels along X are enlarged; along Y times the pixel aspect, along Z times the anisotropy.
    anisotropy : float

    Raises
    ------
    SettingsError
        If it would not fit into this machine's memory.
    """
    factors = (scale * anisotropy, scale * finder.settings.aspect, scale)
    shape = tuple(max(1, int(side * factor)) for side, factor in zip(volume.shape, factors, strict=True))
    _check_size(shape, volume.shape)
    scaled = _scaled_volume(volume, shape, factors if finder.card.smooth_reduction else (1.0, 1.0, 1.0))
    flows = np.zeros((4, *shape), dtype=np.float32)
    n_planes, done = sum(shape), 0
    for name, axis, axes in _ORIENTATIONS:
        for n in range(shape[axis]):
            where = tuple(n if a == axis else slice(None) for a in range(3))
            finder.part = (done, n_planes)
            for rows, strip in _strips(finder, scaled.view(*where), f"{name} plane {n + 1} of {shape[axis]}"):
                for component, target in zip(strip, (*axes, 3), strict=True):
                    flows[target][where][rows] += component
            done += 1
    finder.part = None
    return flows


def _strips(finder: CellFinder, plane: ScaledImage, message: str) -> Iterator[tuple[slice, Floats]]:
    shape = (plane.shape[0], plane.shape[1])
    y = 0
    for strip in finder.network_strips(resized_rows(plane, shape), shape, message):
        yield slice(y, y + strip.shape[1]), strip
        y += strip.shape[1]


def _scaled_volume(volume: ScaledImage, shape: tuple[int, ...], smoothed_by: Sequence[float]) -> ScaledImage:
    """Return the volume in another size; one that has it already is not copied."""
    if volume.shape == shape:
        return volume
    channels = []
    for channel in volume.channels:
        values = channel.scaled(...)
        if any(factor < 0.8 for factor in smoothed_by):
            from scipy.ndimage import gaussian_filter

            sigmas = [0.35 / factor if factor < 0.8 else 0.0 for factor in smoothed_by]
            gaussian_filter(values, sigmas, mode="nearest", output=values)
        values = resize_volume(values[None], shape)[0]
        channels.append(Channel(values, np.float32(0), np.float32(1)))
    return ScaledImage(tuple(channels))


def resize_volume(volume: Floats, shape: tuple[int, ...]) -> Floats:
    """Return a volume (C, Z, Y, X) in another size: first its planes, then along Z, linearly, as Cellpose does."""
    if volume.shape[2:] != shape[1:]:
        flat = np.empty((*volume.shape[:2], *shape[1:]), dtype=np.float32)
        for z in range(volume.shape[1]):
            flat[:, z] = resize(volume[:, z], (shape[1], shape[2]))
        volume = flat
    if volume.shape[1] != shape[0]:
        deep = np.empty((len(volume), *shape), dtype=np.float32)
        for y in range(shape[1]):
            deep[:, :, y] = resize(volume[:, :, y], (shape[0], shape[2]))
        volume = deep
    return volume


def _check_size(shape: tuple[int, ...], own: tuple[int, ...]) -> None:
    if max(shape) > LARGEST_INPUT:
        raise SettingsError(f"The volume would be enlarged to {shape} px: give a larger diameter.")
    needed = _BYTES * max(float(np.prod(shape, dtype=float)), float(np.prod(own, dtype=float)))
    try:
        there = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return
    if needed > there:
        raise SettingsError(
            f"Flows in three orientations of a volume of {shape} px need about {needed / 1e9:.0f} GB of memory, this "
            f"machine has {there / 1e9:.0f}: segment it plane by plane (volume mode 'planes'), or cut it."
        )
