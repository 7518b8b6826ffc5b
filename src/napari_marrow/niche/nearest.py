"""Nearest-neighbour statistics of points in arbitrary windows, in 2D and 3D: G, F and J and their cross versions.

References
----------
van Lieshout M. N. M., Baddeley A. J. (1999) Indices of dependence between types in multivariate point patterns. Scand.
J. Stat. 26:511. Baddeley A., Gill R. D. (1997) Ann. Stat. 25:263 (Kaplan-Meier).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.distances import distance_to_points, edge_distance, read_at
from napari_marrow.niche.edge_correction import hanisch_cdf, kaplan_meier_cdf, reduced_sample_cdf
from napari_marrow.niche.geometry import FloatArray, as_mask, as_points, as_spacing, inside
from napari_marrow.niche.null_models import uniform_positions

NearestCorrection = Literal["km", "rs", "hanisch", "none"]


@dataclass(frozen=True)
class NearestFunctions:
    """G, F and J: nearest-neighbour, empty-space and their ratio; each (m,) float64, NaN where not identified."""

    r: FloatArray
    g: FloatArray
    f: FloatArray
    j: FloatArray


def nearest_functions(
    x: npt.ArrayLike,
    y: npt.ArrayLike | None,
    window: npt.ArrayLike,
    spacing: Sequence[float],
    *,
    r: npt.ArrayLike,
    correction: NearestCorrection = "km",
    n_test_points: int = 20_000,
    seed: int = 0,
) -> NearestFunctions:
    """Cross G_ij, F_j and J_ij = (1 - G_ij) / (1 - F_j) in an arbitrary window.

    Parameters
    ----------
    x : array (n, ndim)
        Points i, µm.
    y : array (m, ndim) or None
        Points j; None for x with itself.
    window : array bool
    spacing : sequence of float
        µm per axis.
    r : array (m,)
        µm.
    correction : {"km", "rs", "hanisch", "none"}
        Hanisch applies to G; F then takes Kaplan-Meier.
    n_test_points : int
        Random places in the window from which F is measured.
    seed : int

    Notes
    -----
    Under complete spatial randomness F = G = 1 - exp(-λπr²) or 1 - exp(-4/3 π λ r³), and J = 1.
    """
    mask = as_mask(window, "window")
    sampling = as_spacing(spacing, mask.ndim)
    radii = np.asarray(r, dtype=np.float64)
    first = as_points(x, mask.ndim)
    first = first[inside(first, mask, sampling)]
    second = first if y is None else as_points(y, mask.ndim)
    second = second[inside(second, mask, sampling)]
    if len(first) == 0 or len(second) <= int(y is None):
        nothing = np.full(radii.shape, np.nan)
        return NearestFunctions(radii, nothing, nothing, nothing)
    depth = edge_distance(mask, sampling)
    near = distance_to_points(first, second, exclude_self=y is None)
    edge = np.nan_to_num(read_at(depth, first, sampling), nan=0.0)
    if correction == "hanisch":
        g = hanisch_cdf(near, edge, radii, depth[mask])
    else:
        g = _corrected(near, edge, radii, correction)
    tests = uniform_positions(mask, sampling, n_test_points, np.random.default_rng(seed))
    empty = distance_to_points(tests, second)
    f = _corrected(empty, read_at(depth, tests, sampling), radii, "km" if correction == "hanisch" else correction)
    with np.errstate(divide="ignore", invalid="ignore"):
        j = np.where(f < 1, (1 - g) / (1 - f), np.nan)
    return NearestFunctions(radii, g, f, j)


def _corrected(d: FloatArray, b: FloatArray, r: FloatArray, correction: str) -> FloatArray:
    if correction == "km":
        return kaplan_meier_cdf(d, b, r)
    if correction == "rs":
        return reduced_sample_cdf(d, b, r)
    if correction == "none":
        return kaplan_meier_cdf(d, None, r)
    raise SettingsError(f"Unknown edge correction '{correction}': use km, rs, hanisch or none.")
