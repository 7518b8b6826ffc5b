"""The slowly varying background of an image, fitted to what does not stand out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from napari_marrow.segmentation.thresholds import Floats, Mask

Doubles = npt.NDArray[np.float64]

_SAMPLE = 40_000
_ROUNDS = 6


def fit_background(pixels: Floats, valid: Mask, *, degree: int = 3, bright_only: bool = True) -> tuple[Floats, float]:
    """Fit a polynomial to the background of a smoothed image and return it with the noise around it.

    The fit begins with a constant and is repeated with rising degree; each time what lies more than 2.5 standard
    deviations above it (and below it, unless `bright_only`) is left out. The standard deviation is that of the dark
    side, which bright structures do not reach.

    Parameters
    ----------
    pixels : float32 array, shape (Y, X) or (Z, Y, X)
    valid : bool array, same shape
        Pixels that may be background.
    degree : int
        Largest total degree in y and x; across planes the fit is linear.
    bright_only : bool
        Whether only what is brighter than the background is left out.

    Returns
    -------
    background : float32 array
    noise : float
        Standard deviation of the background around the fit; 0 where nothing is valid or nothing varies.
    """
    at = np.flatnonzero(valid)
    if not at.size:
        return np.zeros_like(pixels), 0.0
    at = at[:: max(1, at.size // _SAMPLE)]
    axes = [np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in pixels.shape]
    place = [axis[p] for axis, p in zip(axes, np.unravel_index(at, pixels.shape), strict=True)]
    values = pixels.ravel()[at].astype(np.float64)
    fit = np.full(len(values), float(np.median(values)))
    kept = np.ones(len(values), dtype=bool)
    noise = 0.0
    for d in range(degree + 1):
        terms = _terms(pixels.ndim, d)
        matrix = np.stack([_term(term, place) for term in terms], axis=1)
        for _ in range(_ROUNDS):
            residual = values - fit
            noise = _dark_scale(residual[kept])
            kept = _kept(residual, noise, bright_only)
            if kept.sum() < 4 * len(terms):
                kept = np.ones(len(values), dtype=bool)
            solution = np.asarray(np.linalg.lstsq(matrix[kept], values[kept], rcond=None)[0], dtype=np.float64)
            fit = matrix @ solution
    residual = values - fit
    return _evaluate(terms, solution, axes), _dark_scale(residual[_kept(residual, noise, bright_only)])


def _kept(residual: Doubles, noise: float, bright_only: bool) -> npt.NDArray[np.bool_]:
    kept: npt.NDArray[np.bool_] = residual <= 2.5 * noise
    return kept if bright_only else kept & (residual >= -2.5 * noise)


def _dark_scale(residual: Doubles) -> float:
    """Return the standard deviation of a symmetric distribution from its dark half."""
    if not residual.size:
        return 0.0
    middle = float(np.median(residual))
    dark = residual[residual < middle]
    return 1.4826 * float(np.median(middle - dark)) if dark.size else 0.0


def _terms(ndim: int, degree: int) -> list[tuple[int, ...]]:
    plane: list[tuple[int, ...]] = [(i, j) for i, j in product(range(degree + 1), repeat=2) if i + j <= degree]
    if ndim == 2:
        return plane
    return [(0, *t) for t in plane] + ([(1, 0, 0)] if degree > 0 else [])


def _term(term: tuple[int, ...], place: Sequence[Doubles]) -> Doubles:
    result = np.ones(1)
    for coordinate, power in zip(place, term, strict=True):
        result = result * coordinate**power
    return result


def _evaluate(terms: Sequence[tuple[int, ...]], solution: Doubles, axes: Sequence[Doubles]) -> Floats:
    total = np.zeros([len(axis) for axis in axes], dtype=np.float32)
    for term, factor in zip(terms, solution, strict=True):
        grid = [axis.reshape([-1 if a == k else 1 for a in range(len(axes))]) for k, axis in enumerate(axes)]
        total += (factor * _term(term, grid)).astype(np.float32)
    return total
