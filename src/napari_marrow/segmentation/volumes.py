"""Cells of a volume: plane by plane, and joined where sections of successive planes overlap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_marrow.segmentation.finding import CellFinder
from napari_marrow.segmentation.intensities import ScaledImage
from napari_marrow.segmentation.stitching import PlaneStitcher, keep_large

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]


def segment_planes(
    finder: CellFinder,
    volume: ScaledImage,
    diameter: float,
    *,
    threshold: float,
    out: Labels,
    logit: Floats | None = None,
) -> Labels:
    """Label a volume plane by plane.

    Parameters
    ----------
    finder : CellFinder
    volume : ScaledImage, shape (Z, Y, X)
    diameter : float
        Of a cell, px.
    threshold : float
        Intersection over union from which sections of successive planes are one cell.
    out : int32 array, shape (Z, Y, X)
        Where the labels are written; besides it one plane is held.
    logit : float32 array, shape (Z, Y, X), optional
        Where the network's logit is written.

    Returns
    -------
    int32 array
        `out`: labels 1..n in raster order, those below the finder's smallest size (voxels) dropped.
    """
    stitcher = PlaneStitcher(threshold)
    n_planes = len(out)
    for z in range(n_planes):
        finder.part = (z, n_planes)
        # Planes keep their small sections (holes are filled): size counts in the volume.
        plane = finder.plane(
            volume.view(z), diameter, min_size=1, out=out[z], logit=None if logit is None else logit[z],
            message=f"plane {z + 1} of {n_planes}",
        )  # fmt: skip
        stitcher.join(plane)
    finder.part = None
    return keep_large(out, finder.settings.min_size)
