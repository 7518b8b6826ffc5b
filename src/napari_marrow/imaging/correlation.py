"""Rotation and translation by exhaustive search: normalised correlation over the overlap, by FFT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """A rotation and displacement that correlates well.

    Attributes
    ----------
    angle : float, radians
        Rotation about the moving image's centre.
    shift : (float, float), pixels
        Displacement of that centre.
    correlation : float
        Normalised correlation over the overlap.
    score : float
        Correlation times the root of the overlap's share: its significance.
    """

    angle: float
    shift: tuple[float, float]
    correlation: float
    score: float


def rotation(angle: float) -> npt.NDArray[np.float64]:
    """Return the (y, x) matrix that turns y towards x by `angle` radians: column y is (cos, sin)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def search(
    fixed: Float,
    moving: Float,
    angles: npt.NDArray[np.float64],
    *,
    max_shift: float,
    min_overlap: float = 0.25,
    keep: int = 3,
) -> tuple[list[Candidate], float]:
    """Find the best rotations and displacements of `moving` on `fixed`.

    Normalised cross-correlation of masked images (Padfield 2012), so that the part of the field that left the image
    does not count, for every angle and every displacement at once.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        Textures of about zero mean.
    angles : ndarray of float64, radians
    max_shift : float, pixels
        Longest displacement of the image's centre.
    min_overlap : float
        Smallest share of the smaller image that must overlap.
    keep : int
        Number of candidates, one per angle at most.

    Returns
    -------
    candidates : list of Candidate
        Best first.
    distinctness : float
        Height of the best score over the mean of all scores, in their standard deviations. Unrelated images give
        about 3.5 to 5.

    References
    ----------
    Padfield D (2012) IEEE Trans Image Process 21, 2706-2718.
    """
    size = [fft.next_fast_len(a + b - 1, real=True) for a, b in zip(fixed.shape, moving.shape, strict=True)]
    lags = [np.fft.fftfreq(n, 1 / n) for n in size]
    distance = np.hypot(lags[0][:, None], lags[1][None, :])
    transforms = tuple(fft.rfft2(a, size) for a in (fixed, fixed * fixed, np.ones_like(fixed)))
    least = min_overlap * min(fixed.size, moving.size)
    found: list[Candidate] = []
    total, squares, count = 0.0, 0.0, 0
    for angle in angles:
        correlation, overlap = _masked_correlation(transforms, *_rotated(moving, float(angle)), size)
        allowed = (overlap >= least) & (distance <= max_shift)
        if not allowed.any():
            continue
        score = np.where(allowed, correlation * np.sqrt(overlap / fixed.size), -1.0)
        values = score[allowed]
        total, squares, count = total + values.sum(), squares + np.square(values).sum(), count + values.size
        peak = np.unravel_index(int(np.argmax(score)), score.shape)
        shift = (float(lags[0][peak[0]]), float(lags[1][peak[1]]))
        found.append(Candidate(float(angle), shift, float(correlation[peak]), float(score[peak])))
    if not found:
        return [], 0.0
    found.sort(key=lambda c: -c.score)
    mean = total / count
    spread = float(np.sqrt(max(squares / count - mean**2, 1e-12)))
    return found[:keep], (found[0].score - mean) / spread


def _rotated(moving: Float, angle: float) -> tuple[Float, Float]:
    """Return the image turned about its centre, and where it is defined."""
    mask = np.ones_like(moving)
    if angle == 0.0:
        return moving, mask
    centre = (np.asarray(moving.shape) - 1) / 2
    back = rotation(-angle)
    offset = centre - back @ centre
    turned = ndimage.affine_transform(moving, back, offset, order=1)
    inside = (ndimage.affine_transform(mask, back, offset, order=1) > 0.999).astype(np.float32)
    return turned * inside, inside


def _masked_correlation(
    fixed: tuple[npt.NDArray[np.complex64], ...], moving: Float, mask: Float, size: list[int]
) -> tuple[Float, Float]:
    """Return normalised correlation and overlap in pixels at every lag (position in fixed less position in moving)."""
    f, f2, fm = fixed
    g, g2, gm = (np.conj(fft.rfft2(a, size)) for a in (moving, moving * moving, mask))
    overlap = np.maximum(fft.irfft2(fm * gm, size), 0.5)
    sum_f, sum_g = fft.irfft2(f * gm, size), fft.irfft2(fm * g, size)
    covariance = fft.irfft2(f * g, size) - sum_f * sum_g / overlap
    var_f = fft.irfft2(f2 * gm, size) - sum_f**2 / overlap
    var_g = fft.irfft2(fm * g2, size) - sum_g**2 / overlap
    product = var_f * var_g
    # Where one side has hardly any texture the quotient of two roundings would look like a perfect match.
    floor = 1e-3 * float(np.max(product, initial=0.0))
    correlation = np.where(product > floor, covariance / np.sqrt(np.maximum(product, floor + 1e-12)), 0.0)
    return correlation, overlap
