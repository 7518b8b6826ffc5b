"""Several tests at once: adjusted p values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError

Floats = npt.NDArray[np.float64]


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Adjust p values for the false discovery rate; NaN stays NaN and does not count as a test.

    Parameters
    ----------
    p : (n,) array-like
        p values in [0, 1] or NaN.

    Returns
    -------
    (n,) float64

    References
    ----------
    Benjamini & Hochberg 1995, JRSS B 57:289.
    """
    values, known = _checked(p)
    ranked = values[known]
    n = len(ranked)
    order = np.argsort(ranked, kind="stable")
    scaled = ranked[order] * n / np.arange(1, n + 1)
    values[np.flatnonzero(known)[order]] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return values


def holm(p: npt.ArrayLike) -> Floats:
    """Adjust p values for the family-wise error rate (Holm 1979, Scand J Stat 6:65); NaN stays NaN."""
    values, known = _checked(p)
    ranked = values[known]
    n = len(ranked)
    order = np.argsort(ranked, kind="stable")
    scaled = ranked[order] * (n - np.arange(n))
    values[np.flatnonzero(known)[order]] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return values


def _checked(p: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    values = np.array(p, dtype=np.float64).ravel()
    known = np.isfinite(values)
    if (values[known] < 0).any() or (values[known] > 1).any():
        raise SettingsError("p values must lie between 0 and 1.")
    return values, known
