"""Robust widths."""

import numpy as np

from napari_marrow.tracking.points import Floats


def median_deviation(values: Floats) -> float:
    """Return the standard deviation of a normal distribution with the median absolute deviation of the values."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
