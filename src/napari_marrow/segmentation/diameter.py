"""Estimate the cell diameter of an image from a first pass of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from napari_marrow.segmentation.dynamics import compute_masks

Floats = npt.NDArray[np.float32]
Plane = TypeVar("Plane")


TOLERANCE = 1.1
"""The network is run again if the measured diameter is off the assumed one by more than this factor."""
_MOST_PASSES = 3


@dataclass(frozen=True)
class DiameterEstimate:
    """A diameter and how it came about.

    Attributes
    ----------
    diameter : float
        Median over cells of the diameter of the circle of a cell's area, px; the network's own where there are no
        cells.
    n_cells : int
        Cells that it was measured on.
    scale : float
        Scale of the last pass.
    outputs : tuple of float32 arrays
        The network's output (3, y, x) of the planes in the last pass.
    fits : bool
        Whether the last pass was at a scale that suits the diameter, so that its output can be used.
    """

    diameter: float
    n_cells: int
    scale: float
    outputs: tuple[Floats, ...]
    fits: bool


def median_diameter(labels: npt.NDArray[np.integer]) -> float:
    """Return the median over labels of the diameter of the circle of the label's area, px; 0 without labels."""
    counts = np.bincount(labels.ravel())[1:]
    counts = counts[counts > 0]
    return float(2 * np.sqrt(np.median(counts) / np.pi)) if counts.size else 0.0


def estimate_diameter(
    output: Callable[[Plane, float], Floats],
    planes: Sequence[Plane],
    diam_mean: float,
    *,
    usual: float | None = None,
) -> DiameterEstimate:
    """Return the median cell diameter of some planes.

    Parameters
    ----------
    output : callable
        Takes a plane and a scale, returns the network's output (3, y, x) at that scale.
    planes : sequence
        Whatever `output` takes.
    diam_mean : float
        Diameter that cells should have in the network's input, px.
    usual : float or None
        Diameter of the cells that the network was trained on, px, which the first pass assumes. None: `diam_mean`.

    Notes
    -----
    The image goes through the network such that cells of the usual diameter fit (as it is, where that is the network's
    own); the median area of the labels gives a scale for the next pass, until it suits. Where the first pass finds no
    cell, one at a third of the size looks for large ones.
    """
    first = 1.0 if usual is None else diam_mean / usual
    scale, diameter, n_cells = first, diam_mean / first, 0
    for n_pass in range(_MOST_PASSES):
        outputs = tuple(output(plane, scale) for plane in planes)
        areas = np.concatenate([label_areas(o) for o in outputs])
        if areas.size == 0:
            if n_pass > 0:
                return DiameterEstimate(diameter, n_cells, scale, outputs, n_cells == 0)
            scale = first / 3
            continue
        measured = float(2 * np.sqrt(np.median(areas) / np.pi))
        diameter, n_cells = measured / scale, int(areas.size)
        fits = diam_mean / TOLERANCE <= measured <= diam_mean * TOLERANCE
        if fits or n_pass == _MOST_PASSES - 1:
            break
        scale = diam_mean / diameter
    return DiameterEstimate(diameter, n_cells, scale, outputs, fits)


def label_areas(output: Floats) -> npt.NDArray[np.float64]:
    """Return the areas of the labels in a network's output, at the network's scale, px²."""
    labels = compute_masks(output[:2], output[2], n_steps=200, threads=1)
    return np.bincount(labels.ravel())[1:].astype(np.float64)
