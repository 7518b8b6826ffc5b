"""A cell that was born of late does not divide: divisions per cell and frame tell how long a cycle takes."""

from __future__ import annotations

import numpy as np

from napari_marrow.tracking.chains import Chains
from napari_marrow.tracking.divisions import Triples
from napari_marrow.tracking.points import Detections, Floats

_POWER = 3.0
_LEAST = float(np.log(0.02))  # a wrong birth is always possible


def ages(detections: Detections, chains: Chains, divisions: Triples) -> Floats:
    """Time since birth of every detection whose chain begins with one of these divisions, infinite for the others.

    Parameters
    ----------
    detections : Detections
    chains : Chains
    divisions : Triples

    Returns
    -------
    (n,) float64
        Frame intervals.
    """
    root = np.where(chains.previous >= 0, chains.previous, np.arange(detections.n))
    while True:  # pointer doubling
        further = root[root]
        if np.array_equal(further, root):
            break
        root = further
    born = np.zeros(detections.n, bool)
    born[divisions.first] = born[divisions.second] = True
    time = detections.time[detections.frame]
    return np.where(born[root], time - time[root], np.inf)


def log_readiness(age: Floats, rate: float) -> Floats:
    """Log of how likely a cell of this age divides, against one of unknown age.

    Where all cells cycle and none is lost, a rate of divisions per cell and frame belongs to a cycle of ``log(2) /
    rate`` frames. Below half of it a division becomes unlikely with the third power of the age: about what a gamma
    distribution of cycle times with a coefficient of variation of a half does.

    Parameters
    ----------
    age : (m,) float64
        Frame intervals; infinite where unknown.
    rate : float
        Divisions per cell and frame.

    Returns
    -------
    (m,) float64
        Never positive.
    """
    half = 0.5 * np.log(2.0) / rate
    share = np.clip(np.where(np.isfinite(age), age, half) / half, 1e-3, 1.0)
    return np.asarray(np.maximum(_POWER * np.log(share), _LEAST))
