"""Colonies as label images: from cells, from a bright channel, from bright field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation.background import fit_background
from napari_marrow.segmentation.gaps import close_gaps, distance_to, fill_groups
from napari_marrow.segmentation.resolution import block_mean, factors_for, repeat_blocks, smooth_coarse
from napari_marrow.segmentation.thresholds import (
    Floats,
    Mask,
    as_pixels,
    hysteresis,
    otsu_threshold,
    standardised_difference,
)

Labels = npt.NDArray[np.int32]

GAP = 18.0
"""Cells nearer to each other than this are in one colony, µm."""

_TEXTURE_SPREAD = 0.3
"""Share of a cell's diameter by which the texture of bright field reaches beyond the cells."""


@dataclass(frozen=True)
class ColonyMasks:
    """Colonies of one frame.

    Attributes
    ----------
    labels : int32 array of the image's shape
        Number of the colony, 0 for none.
    table : DataFrame
        A row per colony, in the order of the numbers: ``colony``, ``area`` (µm², in a volume µm³), ``contrast``,
        ``z, y, x`` (centroid, µm). The contrast is the difference of the means in the colony and within `GAP`
        around it, in pooled standard deviations (Cohen's d): below 1 hardly a colony, above 2 plain to see.
    """

    labels: Labels
    table: pd.DataFrame


def colonies_from_cells(
    cells: npt.ArrayLike,
    colony: npt.ArrayLike,
    *,
    spacing: Sequence[float],
    gap: float = GAP,
    image: npt.ArrayLike | None = None,
) -> ColonyMasks:
    """Return a mask for every colony of cells: the cells and the gaps between them.

    Parameters
    ----------
    cells : int array, shape (Y, X) or (Z, Y, X)
        Label image of cells.
    colony : int array, shape (largest label + 1,) or longer
        Number of the colony of each label, 0 for none; entry 0 is the background's and 0. See `cluster_colonies`.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    gap : float
        Gaps up to this width between the cells of a colony belong to it, µm: the distance that made the colonies.
    image : array, same shape, optional
        What the contrast is measured on; the cells themselves (1 in a cell, 0 elsewhere) when left out.

    Returns
    -------
    ColonyMasks
        Labels are the numbers in `colony`.

    Raises
    ------
    SettingsError
        If shapes, types or spacing do not fit.
    """
    labels = np.asarray(cells)
    number = np.asarray(colony)
    if labels.dtype.kind not in "iu" or number.dtype.kind not in "iu" or number.ndim != 1:
        raise SettingsError(
            f"Cells are a label image and colonies whole numbers, not {labels.dtype} and {number.dtype}."
        )
    light, size = as_pixels(labels > 0 if image is None else image, spacing)
    if light.shape != labels.shape:
        raise SettingsError(f"The label image has shape {labels.shape}, the image {light.shape}: they must be alike.")
    if int(labels.max(initial=0)) >= len(number) or (len(number) and number[0] != 0):
        raise SettingsError(
            f"There are labels up to {int(labels.max(initial=0))} and colonies for {len(number)} numbers: give one for "
            "each label, and 0 for the background."
        )
    _check_positive(gap=gap)
    own = number.astype(np.int32)[labels]
    return _measured(fill_groups(own, size, gap), light, size)


def colonies_from_channel(
    image: npt.ArrayLike,
    *,
    spacing: Sequence[float],
    within: npt.ArrayLike | None = None,
    smoothing: float = 2.0,
    gap: float = GAP,
    min_diameter: float = 28.0,
    max_diameter: float = 2000.0,
    min_contrast: float = 6.0,
    split: float = 0.6,
) -> ColonyMasks:
    """Return the colonies in a channel in which their cells are bright.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    within : bool array, same shape, optional
        Where colonies can be: the organoid without its scaffold.
    smoothing : float
        Sigma, µm.
    gap : float
        Bright parts nearer to each other than this are one colony, µm.
    min_diameter, max_diameter : float
        Of the circle (in a volume, the ball) of a colony's size, µm.
    min_contrast : float
        Least height over the background, in standard deviations of the smoothed background. Noise alone reaches 5.
    split : float
        Touching colonies are cut where the neck between them is thinner and dimmer than this share of the smaller one;
        0 cuts nowhere.

    Returns
    -------
    ColonyMasks
        Without rows where nothing stands out.

    Raises
    ------
    SettingsError
        If shapes or sizes do not fit, or the image holds values that are not finite.

    Notes
    -----
    A cubic polynomial fitted to what does not stand out is taken off. Colonies begin above the larger of
    `min_contrast` and Otsu's threshold and go on down to half of it.
    """
    pixels, size = as_pixels(image, spacing)
    allowed = _allowed(within, pixels.shape)
    _check_positive(smoothing=smoothing, gap=gap, min_diameter=min_diameter, min_contrast=min_contrast)
    factors = factors_for(smoothing, size, cells=1.0)
    coarse = _coarse_size(size, factors)
    smooth = smooth_coarse(pixels, smoothing, size, factors)
    valid = block_mean(allowed, factors) > 0.5
    background, noise = fit_background(smooth, valid)
    above = np.where(valid, smooth - background, np.float32(0))
    found = _standing_out(above, valid, noise, min_contrast)
    return _colonies(found, above, valid, pixels, (size, coarse), factors, (gap, min_diameter, max_diameter, split))


def colonies_from_brightfield(
    image: npt.ArrayLike,
    *,
    spacing: Sequence[float],
    within: npt.ArrayLike | None = None,
    cell_diameter: float = 11.0,
    gap: float = GAP,
    min_diameter: float = 28.0,
    max_diameter: float = 2000.0,
    min_contrast: float = 6.0,
    split: float = 0.6,
) -> ColonyMasks:
    """Return the colonies in a bright-field image, where round cells are textured and medium is not.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
        Transmitted light. Of a stack the plane with the strongest texture counts at each place, and every plane gets
        the same mask.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    within : bool array, same shape, optional
        Where colonies can be.
    cell_diameter : float
        µm; sets the scale of the texture.
    gap, min_diameter, max_diameter, min_contrast, split
        See `colonies_from_channel`; the contrast is that of the texture.

    Returns
    -------
    ColonyMasks
        Without rows where nothing stands out.

    Raises
    ------
    SettingsError
        If shapes or sizes do not fit, or the image holds values that are not finite.

    Notes
    -----
    See `brightfield_texture` for the texture, and for what is left out: scaffold, bubbles, the well's edge.
    """
    from napari_marrow.segmentation.brightfield import brightfield_texture

    pixels, size = as_pixels(image, spacing)
    allowed = _allowed(within, pixels.shape)
    _check_positive(cell_diameter=cell_diameter, gap=gap, min_diameter=min_diameter, min_contrast=min_contrast)
    texture = brightfield_texture(pixels, spacing=size, cell_diameter=cell_diameter)
    plane, sides = texture.energy, size[-2:]
    allowed = np.asarray(allowed if pixels.ndim == 2 else allowed.any(axis=0))
    factors = factors_for(cell_diameter / 4, sides, cells=1.0)
    coarse = _coarse_size(sides, factors)
    smooth, usable = block_mean(plane, factors), block_mean(texture.usable, factors) > 0.5
    # Medium outside of the organoid is as even as that inside, and there may be more of it.
    background, noise = fit_background(smooth, usable)
    valid = usable & (block_mean(allowed, factors) > 0.5)
    above = np.where(valid, smooth - background, np.float32(0))
    # The window of the texture draws colonies wider than they are, and gaps narrower.
    found = _standing_out(above, valid, noise, min_contrast, edge=1.0)
    found = distance_to(~found, coarse) > _TEXTURE_SPREAD * cell_diameter
    reach = max(gap - _TEXTURE_SPREAD * cell_diameter, 0.0)
    masks = _colonies(found, above, valid, plane, (sides, coarse), factors, (reach, min_diameter, max_diameter, split))
    if pixels.ndim == 2:
        return masks
    labels = np.broadcast_to(masks.labels, pixels.shape).copy()
    table = masks.table.assign(area=masks.table["area"] * size[0] * pixels.shape[0])
    return ColonyMasks(labels, table.assign(z=(pixels.shape[0] - 1) / 2 * size[0]))


def _standing_out(above: Floats, valid: Mask, noise: float, min_contrast: float, *, edge: float = 0.5) -> Mask:
    """Return where a background-corrected image stands out of its noise, down to the share `edge` of the threshold."""
    if noise <= 0 or not valid.any():
        return np.zeros(above.shape, dtype=np.bool_)
    values = above[valid]
    # Otsu's threshold is drawn up by the few brightest cells: they count as bright as the brighter ones.
    top = float(np.quantile(values, 0.99))
    high = max(min_contrast * noise, otsu_threshold(np.clip(values, -3 * noise, max(top, 0.0))) if top > 0 else 0.0)
    low = max(edge * high, min_contrast / 2 * noise)
    return hysteresis((above > low) & valid, (above > high) & valid)


def _colonies(
    found: Mask,
    above: Floats,
    valid: Mask,
    pixels: Floats,
    sizes: tuple[tuple[float, ...], tuple[float, ...]],
    factors: tuple[int, ...],
    limits: tuple[float, float, float, float],
) -> ColonyMasks:
    """Close the gaps of what stands out, number the parts, cut, drop by size, and bring them to the full grid."""
    size, coarse = sizes
    gap, smallest, largest, split = limits
    closed = close_gaps(found, coarse, gap) & valid
    labels, _ = ndimage.label(closed, structure=np.ones((3,) * closed.ndim))
    labels = labels.astype(np.int32)
    if split > 0 and labels.any():
        labels = _cut_necks(labels, np.maximum(above, 0), coarse, gap, split)
    labels = _keep_sizes(labels, coarse, smallest, largest)
    fine = repeat_blocks(labels, factors, pixels.shape).astype(np.int32)
    return _measured(fine, pixels, size)


def _cut_necks(labels: Labels, light: Floats, size: tuple[float, ...], gap: float, split: float) -> Labels:
    """Cut touching colonies by a watershed on depth and brightness; a saddle above `split` of the lower top stays."""
    from skimage.morphology import reconstruction
    from skimage.segmentation import watershed

    depth = distance_to(labels == 0, size)
    bright = ndimage.gaussian_filter(light, [gap / 2 / s for s in size], mode="reflect")
    height = np.where(labels > 0, depth * np.sqrt(bright), 0).astype(np.float32)
    height = ndimage.gaussian_filter(height, [gap / 4 / s for s in size], mode="reflect")
    with np.errstate(divide="ignore"):
        relief = np.where(labels > 0, np.log(np.maximum(height, 1e-6 * height.max() + 1e-30)), 0)
    relief = np.where(labels > 0, relief - relief[labels > 0].min() + 1, 0)
    # Tops that rise more than a factor of 1 / split over every way to a higher one.
    raised = reconstruction(np.maximum(relief + np.log(split), 0), relief, footprint=np.ones((3,) * labels.ndim))
    tops, _ = ndimage.label((relief - raised >= -np.log(split) - 1e-6) & (labels > 0), np.ones((3,) * labels.ndim))
    # A colony too low for any top of its own keeps one.
    lacking = np.setdiff1d(np.unique(labels[labels > 0]), np.unique(labels[tops > 0]))
    markers = tops + np.where(np.isin(labels, lacking), labels + tops.max(), 0)
    cut: Labels = watershed(-relief, markers, mask=labels > 0).astype(np.int32)
    return cut


def _keep_sizes(labels: Labels, size: tuple[float, ...], smallest: float, largest: float) -> Labels:
    """Drop parts by the diameter of the disc or ball of their size; number the rest in raster order."""
    amount = np.bincount(labels.ravel()) * float(np.prod(size))
    flat = labels.ndim == 2
    diameter = 2 * np.sqrt(amount / np.pi) if flat else 2 * np.cbrt(3 * amount / (4 * np.pi))
    good = (diameter >= smallest) & (diameter <= largest)
    good[0] = False
    names, first = np.unique(labels, return_index=True)
    order = names[np.argsort(first, kind="stable")]
    order = order[good[order]]
    lookup = np.zeros(len(amount), dtype=np.int32)
    lookup[order] = np.arange(1, len(order) + 1)
    return lookup[labels]


def _measured(labels: Labels, image: Floats, size: tuple[float, ...]) -> ColonyMasks:
    """Add the table to a label image."""
    margin = [int(np.ceil(GAP / s)) + 1 for s in size]
    rows = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        around = tuple(
            slice(max(b.start - m, 0), min(b.stop + m, n)) for b, m, n in zip(box, margin, labels.shape, strict=True)
        )
        inside = labels[around] == number
        ring = (labels[around] == 0) & (distance_to(inside, size) <= GAP)
        centre = [(float(p.mean()) + a.start) * s for p, a, s in zip(np.nonzero(inside), around, size, strict=True)]
        z, y, x = [0.0] * (3 - len(centre)) + centre
        contrast = standardised_difference(image[around], inside, ring)
        rows.append((number, float(inside.sum() * np.prod(size)), contrast, z, y, x))
    table = pd.DataFrame(rows, columns=["colony", "area", "contrast", "z", "y", "x"])
    return ColonyMasks(labels, table.astype({"colony": "int64"} | dict.fromkeys(table.columns[1:], "float64")))


def _allowed(within: npt.ArrayLike | None, shape: tuple[int, ...]) -> Mask:
    if within is None:
        return np.ones(shape, dtype=np.bool_)
    mask = np.asarray(within, dtype=np.bool_)
    if mask.shape != shape:
        raise SettingsError(f"The image has shape {shape}, where colonies can be {mask.shape}: they must be alike.")
    return mask


def _coarse_size(size: tuple[float, ...], factors: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(s * f for s, f in zip(size, factors, strict=True))


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < np.inf:
            raise SettingsError(f"{name} is {value}: give a positive number.")
