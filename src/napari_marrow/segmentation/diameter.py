"""Estimate the cell diameter of an image from a first pass of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.segmentation.dynamics import compute_masks

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DiameterEstimate:
    """A diameter and how it came about.

    Attributes
    ----------
    diameter : float
        Median over cells of the diameter of the circle of a cell's area, px; the network's own where there are no cells.
    n_cells : int
        Cells that it was measured on.
    scales : tuple of float
        Scales at which the network was run.
    """

    diameter: float
    n_cells: int
    scales: tuple[float, ...]


def estimate_diameter(
    output: Callable[[Floats, float], Floats], planes: Sequence[Floats], diam_mean: float
) -> DiameterEstimate:
    """Return the median cell diameter of some planes."""
    scale, scales = 1.0, []
    best = np.zeros(0)
    for _ in range(3):
        scales.append(scale)
        areas = np.concatenate([label_areas(output(plane, scale)) for plane in planes])
        if areas.size == 0:
            break
        best = areas / scale**2
        ratio = 2 * np.sqrt(np.median(areas) / np.pi) / diam_mean
        if 1 / 1.25 < ratio < 1.25:
            break
        scale = scale / ratio
    if best.size == 0:
        return DiameterEstimate(diam_mean, 0, tuple(scales))
    return DiameterEstimate(float(2 * np.sqrt(np.median(best) / np.pi)), int(best.size), tuple(scales))


def label_areas(output: Floats) -> npt.NDArray[np.float64]:
    """Return the areas of the labels in a network's output, at the network's scale, px²."""
    labels = compute_masks(output[:2], output[2], n_steps=200, threads=1)
    return np.bincount(labels.ravel())[1:].astype(np.float64)
