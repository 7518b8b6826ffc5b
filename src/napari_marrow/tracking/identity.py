"""When identity can be carried over a gap, and how sure a match is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.spatial import cKDTree

from napari_marrow.errors import SettingsError
from napari_marrow.tracking.points import Floats


def identity_ceiling(density: float, sigma: float, ndim: int) -> float:
    """Chance that the nearest neighbour after a gap is the same object: no method without further evidence does better.

    Objects lie at random (Poisson) with the given density; each is displaced by a normal distribution with standard
    deviation `sigma` per coordinate. The nearest is the right one if no other lies nearer:

    * in the plane ``E[exp(-π λ |d|²)] = 1 / (1 + 2 π λ σ²)``,
    * in space ``E[exp(-4/3 π λ |d|³)]``, a closed integral over the Maxwell distribution of ``|d|``.

    Parameters
    ----------
    density : float
        Objects per µm² (ndim 2) or µm³ (ndim 3).
    sigma : float
        Displacement or registration residual per coordinate, µm.
    ndim : int
        2 or 3.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    SettingsError
        If density or sigma is negative or no number, or ndim is neither 2 nor 3.

    Examples
    --------
    >>> round(identity_ceiling(1e-3, 5.0, 2), 3)
    0.864
    >>> round(identity_ceiling(1.0, 0.2, 3), 2)
    0.83
    """
    if ndim not in (2, 3):
        raise SettingsError(f"The identity ceiling is known in 2 and 3 dimensions, not {ndim}.")
    for name, value in (("density", density), ("sigma", sigma)):
        if not (np.isfinite(value) and value >= 0):
            raise SettingsError(f"The identity ceiling needs a {name} of 0 or more, not {value}.")
    if ndim == 2:
        return float(1 / (1 + 2 * np.pi * density * sigma**2))
    volume = 4 / 3 * np.pi * density * sigma**3

    def integrand(r: float) -> float:
        return float(np.sqrt(2 / np.pi) * r * r * np.exp(-0.5 * r * r - volume * r**3))

    return float(quad(integrand, 0, 12, epsabs=1e-10, points=[min(1.0, (volume + 1e-12) ** (-1 / 3))])[0])


_MOST_PLACES = 2000
_RADII, _ANGLES = 16, 12


def pattern_ceiling(places: Floats, sigma: float) -> float:
    """Chance that the nearest neighbour after a gap is the same object, for objects that lie as these do.

    `identity_ceiling` takes places at random. Objects that keep room between them (colonies that touch are one) are
    mistaken less often, clustered ones more often. Here each place in turn is displaced by the normal distribution, and
    the share of displacements counts from which it is still the nearest: the plug-in estimate of the same chance, with
    room, clusters and the edge of the field as they are.

    Parameters
    ----------
    places : (n, 2) float64
        Of all objects after the gap, µm. Of many, 2000 are displaced.
    sigma : float
        Displacement or registration residual per coordinate, µm.

    Returns
    -------
    float
        Between 0 and 1; 1 for a lone object.

    Raises
    ------
    SettingsError
        If sigma is negative or no number, or there is no place.

    Examples
    --------
    >>> grid = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), -1).reshape(-1, 2)
    >>> round(pattern_ceiling(grid, 0.2), 2)  # 1 / (1 + 2 π 0.2²) = .80 for places at random
    0.98
    """
    if not (np.isfinite(sigma) and sigma >= 0):
        raise SettingsError(f"The identity ceiling needs a sigma of 0 or more, not {sigma}.")
    n = len(places)
    if n == 0:
        raise SettingsError("The identity ceiling of a pattern needs a place.")
    tree = cKDTree(places)
    asked = np.unique(np.linspace(0, n - 1, min(n, _MOST_PLACES)).astype(np.int64))
    # |d|² / 2σ² is exponential: radii of equal shares, and angles that turn from one to the next
    radius = sigma * np.sqrt(-2 * np.log(1 - (np.arange(_RADII) + 0.5) / _RADII))
    right = 0
    for k, r in enumerate(radius):
        angle = 2 * np.pi * (np.arange(_ANGLES) + 0.618 * k) / _ANGLES
        moved = places[asked, None] + r * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        right += int((tree.query(moved.reshape(-1, 2))[1].reshape(len(asked), -1) == asked[:, None]).sum())
    return right / (len(asked) * _RADII * _ANGLES)


_WIDEST = 0.28  # of the mean spacing: beyond, the nearest is more often wrong than right


@dataclass(frozen=True)
class DistanceMixture:
    """Distances to the nearest neighbour after registration: of the same object, or of a random other one.

    Attributes
    ----------
    sigma : float
        Residual per coordinate of the same object.
    same : float
        Share of objects that are found again.
    density : float
        Density of the other objects.
    log_likelihood : float
        Of all distances.
    evidence : float
        How much likelier (nats) the mixture makes them than random places do: chance reaches about 10.
    """

    sigma: float
    same: float
    density: float
    log_likelihood: float
    evidence: float = 0.0

    def posterior(self, distance: Floats) -> Floats:
        """P(same) from the distance alone."""
        same = np.log(max(self.same, 1e-9)) + _log_same(distance, self.sigma)
        other = np.log(max(1 - self.same, 1e-9)) + _log_other(distance, self.density)
        return np.asarray(1 / (1 + np.exp(np.clip(other - same, -50, 50))))


def _log_same(distance: Floats, sigma: float) -> Floats:
    return np.asarray(np.log(np.maximum(distance, 1e-12) / sigma**2) - distance**2 / (2 * sigma**2))


def _log_other(distance: Floats, density: float) -> Floats:
    """Nearest neighbour of a random place (Clark and Evans 1954)."""
    return np.asarray(np.log(2 * np.pi * density * np.maximum(distance, 1e-12)) - np.pi * density * distance**2)


def fit_distances(distance: Floats, density: float, growth: Floats | None = None) -> DistanceMixture:
    """Fit the two-component mixture to nearest-neighbour distances in the plane by expectation-maximisation.

    Parameters
    ----------
    distance : (n,) float64
    density : float
        Objects per unit area among which the nearest was looked for.
    growth : (n,) float64, optional
        Log size of the nearest over the own size: the same object's growth scatters less than that of random pairs.

    Returns
    -------
    DistanceMixture
    """
    widest = _WIDEST / np.sqrt(density)
    floor = 1e-3 / np.sqrt(density)
    best: DistanceMixture | None = None
    for start in (0.08 / np.sqrt(density), float(np.clip(np.median(distance), floor, widest))):
        fit = _climb(distance, density, growth, float(np.clip(start, floor, widest)), floor, widest)
        if best is None or fit.log_likelihood > best.log_likelihood:
            best = fit
    assert best is not None
    return best


def _climb(
    distance: Floats, density: float, growth: Floats | None, sigma: float, floor: float, widest: float
) -> DistanceMixture:
    """Expectation-maximisation from one starting width."""
    same, middle, width = 0.6, 0.0, 0.3
    other = _log_other(distance, density)
    alike = np.zeros(len(distance))
    if growth is not None and len(growth) > 3:
        middle = float(np.median(growth))
        other = other + _log_normal(growth, float(growth.mean()), max(float(growth.std()), 0.15))
    for step in range(50):
        if growth is not None and len(growth) > 3:
            alike = _log_normal(growth, middle, width)
        same_likelihood = np.log(same) + _log_same(distance, sigma) + alike
        p = 1 / (1 + np.exp(np.clip(np.log(1 - same) + other - same_likelihood, -50, 50)))
        if step == 49:
            break
        sigma = float(np.clip(np.sqrt((p * distance**2).sum() / max(2 * p.sum(), 1e-9)), floor, widest))
        same = float(np.clip(p.mean(), 0.02, 0.98))
        if growth is not None and len(growth) > 3:
            middle = float((p * growth).sum() / max(p.sum(), 1e-9))
            width = float(np.clip(np.sqrt((p * (growth - middle) ** 2).sum() / max(p.sum(), 1e-9)), 0.08, 0.5))
    total = float(np.logaddexp(same_likelihood, np.log(1 - same) + other).sum())
    return DistanceMixture(sigma, same, density, total, total - float(other.sum()))


def _log_normal(x: Floats, mean: float, sd: float) -> Floats:
    return np.asarray(-0.5 * ((x - mean) / sd) ** 2 - np.log(sd) - 0.9189385332046727)
