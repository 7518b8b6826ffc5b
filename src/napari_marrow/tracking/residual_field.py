"""What a mounting leaves after rotation and shift: a smooth field of residuals, by Gaussian-process regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from napari_marrow.tracking.points import Floats

_TILT = (0.02, 0.3, 5.0)  # prior width of the affine correction, in spacings
_AMPLITUDE = (0.04, 0.08, 0.16)  # of the field, in spacings
_LENGTH = (1.2, 1.8, 2.7, 4.5)  # over which it changes, in spacings
_MOST = 700


@dataclass(frozen=True)
class ResidualField:
    """Where places lie after registration.

    Attributes
    ----------
    bends : bool
        Whether the evidence asks for more than an affine correction.
    left_out : (n, 2) float64
        Registered places of the observed objects, each predicted from the others only.
    left_out_variance : (n,) float64
        Variance of that prediction per coordinate.
    """

    bends: bool
    left_out: Floats
    left_out_variance: Floats
    _anchors: Floats
    _alpha: Floats
    _factor: tuple[Floats, bool]
    _prior: tuple[float, float, float, Floats, float]

    def __call__(self, places: Floats) -> tuple[Floats, Floats]:
        """Return registered places and the variance of each per coordinate."""
        cross = _kernel(places, self._anchors, *self._prior)
        own = _kernel_diagonal(places, *self._prior)
        variance = own - np.einsum("ij,ji->i", cross, cho_solve(self._factor, cross.T))
        return places + cross @ self._alpha, np.maximum(variance, 0.0)


def fit_field(places: Floats, targets: Floats, noise: Floats, spacing: float) -> ResidualField:
    """Fit the residual ``targets - places`` as an affine correction and a smooth field.

    Width of the correction, amplitude and length of the field (none among them) are those of the largest marginal
    likelihood (Rasmussen and Williams 2006, chapter 5); the left-out predictions are theirs in closed form.

    Parameters
    ----------
    places, targets : (n, 2) float64
    noise : (n,) float64
        Variance of each observation per coordinate; large where it is doubtful.
    spacing : float
        Mean distance of neighbours, in which lengths are measured.

    Returns
    -------
    ResidualField
    """
    use = np.argsort(noise, kind="stable")[:_MOST]
    x, z, var = places[use], (targets - places)[use], noise[use]
    centre = x.mean(0)
    extent = float(max(np.ptp(x, axis=0).max() / 2, spacing))
    best: tuple[float, tuple[float, float, float, Floats, float]] | None = None
    for tilt in _TILT:
        options = (
            [(0.0, 1.0), *((a, length) for a in _AMPLITUDE for length in _LENGTH)] if len(x) >= 12 else [(0.0, 1.0)]
        )
        for amplitude, length in options:
            prior = (tilt * spacing, amplitude * spacing, length * spacing, centre, extent)
            evidence = _evidence(_kernel(x, x, *prior), z, var) - (2.0 if amplitude else 0.0)
            if best is None or evidence > best[0]:
                best = evidence, prior
    assert best is not None
    prior = best[1]
    factor = cho_factor(_kernel(x, x, *prior) + np.diag(var), lower=True)
    alpha = cho_solve(factor, z)
    inverse = np.diag(cho_solve(factor, np.eye(len(x))))
    left_out, variance = np.zeros_like(places), np.zeros(len(places))
    left_out[use] = targets[use] - alpha / inverse[:, None]
    variance[use] = np.maximum(1 / inverse - var, 0.0)
    field = ResidualField(prior[1] > 0, left_out, variance, x, alpha, factor, prior)
    if len(use) < len(places):
        rest = np.setdiff1d(np.arange(len(places)), use)
        left_out[rest], variance[rest] = field(places[rest])
    return field


def _evidence(kernel: Floats, z: Floats, var: Floats) -> float:
    factor, lower = cho_factor(kernel + np.diag(var), lower=True)
    return float(-0.5 * (z * cho_solve((factor, lower), z)).sum() - 2 * np.log(np.diag(factor)).sum())


def _kernel(
    a: Floats, b: Floats, tilt: float, amplitude: float, length: float, centre: Floats, extent: float
) -> Floats:
    out = tilt**2 * (1 + (a - centre) @ (b - centre).T / extent**2)
    if amplitude:
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        out = out + amplitude**2 * np.exp(-np.maximum(squared, 0.0) / (2 * length**2))
    return np.asarray(out)


def _kernel_diagonal(a: Floats, tilt: float, amplitude: float, length: float, centre: Floats, extent: float) -> Floats:
    del length
    return np.asarray(tilt**2 * (1 + ((a - centre) ** 2).sum(1) / extent**2) + amplitude**2)
