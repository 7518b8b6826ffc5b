"""Orientation of vessels or fibres: second-order orientation tensor and degree of anisotropy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.geometry import FloatArray


@dataclass(frozen=True)
class Orientation:
    """Orientation tensor of line segments.

    Attributes
    ----------
    tensor : ndarray (d, d) float64
        T = Σ l u uᵀ / Σ l, trace 1; NaN without segments.
    eigenvalues : ndarray (d,) float64
        Descending.
    axis : ndarray (d,) float64
        Main direction (unit vector, sign arbitrary).
    anisotropy : float
        DA = 1 - smallest/largest eigenvalue: 0 isotropic, 1 parallel (in a plane: planar).
    """

    tensor: FloatArray
    eigenvalues: FloatArray
    axis: FloatArray
    anisotropy: float


def orientation_tensor(vectors: npt.ArrayLike) -> Orientation:
    """Length-weighted orientation tensor of segments.

    Parameters
    ----------
    vectors : array (s, d)
        Segments as direction times length, µm; zero-length ones count nothing.

    Notes
    -----
    An axially elongated PSF looks like alignment along z, and few segments look aligned by chance: compare with
    `isotropic_band`.
    """
    v = np.asarray(vectors, dtype=np.float64)
    if v.ndim != 2:
        raise SettingsError(f"Segments have shape {v.shape}: give (segments, dimensions).")
    length = np.linalg.norm(v, axis=1)
    d = v.shape[1]
    if length.sum() == 0:
        return Orientation(np.full((d, d), np.nan), np.full(d, np.nan), np.full(d, np.nan), float("nan"))
    some = length > 0
    unit = v[some] / length[some, None]
    tensor = np.einsum("s,si,sj->ij", length[some], unit, unit) / length.sum()
    values, axes = np.linalg.eigh(tensor)
    values = np.maximum(values[::-1], 0.0)
    return Orientation(tensor, values, axes[:, -1], float(1.0 - values[-1] / values[0]))


def isotropic_band(
    lengths: npt.ArrayLike, ndim: int, *, n_simulations: int = 999, seed: int = 0
) -> tuple[float, float, float]:
    """Mean and central 95 % of `isotropic_anisotropies`; NaN without a piece."""
    values = isotropic_anisotropies(lengths, ndim, n_simulations=n_simulations, seed=seed)
    if len(values) == 0:
        return (float("nan"),) * 3
    low, high = np.quantile(values, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def isotropic_anisotropies(lengths: npt.ArrayLike, ndim: int, *, n_simulations: int = 999, seed: int = 0) -> FloatArray:
    """Anisotropy of straight pieces with independent isotropic directions.

    Parameters
    ----------
    lengths : array (s,)
        Lengths of pieces that may count as independent (branches, not voxel steps), µm.
    ndim : int
        2 or 3.
    n_simulations, seed : int

    Returns
    -------
    ndarray (n_simulations,) float64
        Empty without a piece.
    """
    weight = np.asarray(lengths, dtype=np.float64)
    if weight.size == 0 or weight.sum() == 0:
        return np.zeros(0)
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(n_simulations, len(weight), ndim))
    u /= np.linalg.norm(u, axis=2, keepdims=True)
    values = np.linalg.eigvalsh(np.einsum("ks,ksi,ksj->kij", np.broadcast_to(weight, u.shape[:2]), u, u))
    return np.asarray(1.0 - np.maximum(values[:, 0], 0.0) / values[:, -1])
