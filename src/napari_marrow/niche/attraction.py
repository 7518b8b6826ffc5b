"""Cross L between classes of cells with its null band: re-labelling, or uniform placement for all cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.niche.envelopes import Kind, global_envelope
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_mask, as_points, as_spacing, inside
from napari_marrow.niche.null_models import permutations, uniform_positions
from napari_marrow.niche.point_patterns import SetCovariance, k_and_l, pair_correlation, pair_sums


@dataclass(frozen=True)
class Attraction:
    """Cross L and g of two classes against a null model.

    Attributes
    ----------
    r : ndarray (m,) float64
        µm.
    l, l_null, l_low, l_high : ndarray (m,) float64
        L_ij(r) in µm, null mean and global 95 % band.
    g, g_null, g_low, g_high : ndarray (m,) float64
        Pair correlation, null mean and global 95 % band.
    p_value : float
        Global p of L.
    g_p_value : float
        Global p of g.
    null : str
    note : str
        Why values are NaN, empty otherwise.
    """

    r: FloatArray
    l: FloatArray  # noqa: E741 - the function's name
    l_null: FloatArray
    l_low: FloatArray
    l_high: FloatArray
    g: FloatArray
    g_null: FloatArray
    g_low: FloatArray
    g_high: FloatArray
    p_value: float
    g_p_value: float
    null: str
    note: str


def relabelled_cross_l(
    points: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    covariance: SetCovariance,
    *,
    n_simulations: int = 999,
    seed: int = 0,
    n_r: int = 60,
    strata: npt.ArrayLike | None = None,
    envelope: Kind = "erl",
) -> Attraction:
    """Cross L of two classes against random labelling of all positions.

    Both labels of a cell move together, so cells of both classes stay so. All simulations share one pass over the
    pairs.

    Parameters
    ----------
    points : array (n, ndim)
        All segmented haematopoietic cells, inside the window, µm.
    first, second : array (n,) bool
        The classes; the same one twice for the class with itself.
    covariance : SetCovariance
        Of the window; its `r_max` is the longest distance.
    n_simulations, seed, n_r : int
    strata : array (n,) or None
        Shuffle within equal values only.
    envelope : {"erl", "mad", "studentised"}
    """
    where = as_points(points, covariance.ndim)
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    pairs = int(a.sum()) * int(b.sum()) - int((a & b).sum())
    if pairs == 0:
        return _nothing(covariance, n_r, "relabel", "no pair of cells of these classes in the tissue")
    if a.all() and b.all():
        return _nothing(covariance, n_r, "relabel", "every cell belongs to the classes, nothing to re-label")
    rng = np.random.default_rng(seed)
    blocks = []
    step = max(1, 20_000_000 // max(len(where), 1))
    identity = np.arange(len(where))
    for start in range(0, n_simulations + 1, step):
        size = min(step, n_simulations + 1 - start)
        order = permutations(len(where), size, rng, strata=strata)
        if start == 0:
            order[0] = identity
        blocks.append(
            pair_sums(
                where, where, covariance, n_bins=n_r, identity_x=identity, identity_y=identity,
                labels_x=a[order].T, labels_y=b[order].T,
            )
        )  # fmt: skip
    return _assemble(np.concatenate(blocks, axis=1), float(pairs), covariance, "relabel", envelope)


def uniform_cross_l(
    points: npt.ArrayLike,
    window: npt.ArrayLike,
    spacing: tuple[float, ...],
    covariance: SetCovariance,
    *,
    n_simulations: int = 99,
    seed: int = 0,
    n_r: int = 60,
    envelope: Kind = "erl",
) -> Attraction:
    """L of one pattern with itself against complete spatial randomness in the window.

    Parameters
    ----------
    points : array (n, ndim)
        µm; points outside the window are left out.
    window : array bool
    spacing : tuple of float
    covariance : SetCovariance
        Of the same window.
    n_simulations, seed, n_r : int
    envelope : {"erl", "mad", "studentised"}

    Notes
    -----
    Cells have a size: below one cell diameter L falls under this null whatever the biology.
    """
    mask = as_mask(window, "window")
    sampling = as_spacing(spacing, mask.ndim)
    where = as_points(points, mask.ndim)
    where = where[inside(where, mask, sampling)]
    n = len(where)
    if n < 2:
        return _nothing(covariance, n_r, "uniform", "fewer than two cells in the tissue")
    rng = np.random.default_rng(seed)
    identity = np.arange(n)
    columns = []
    for s in range(n_simulations + 1):
        pattern = where if s == 0 else uniform_positions(mask, sampling, n, rng)
        columns.append(pair_sums(pattern, pattern, covariance, n_bins=n_r, identity_x=identity, identity_y=identity))
    return _assemble(np.concatenate(columns, axis=1), float(n * (n - 1)), covariance, "uniform", envelope)


def _assemble(sums: FloatArray, pairs: float, covariance: SetCovariance, null: str, kind: Kind) -> Attraction:
    every = np.full(sums.shape[1], pairs)
    r, _, length = k_and_l(sums, every, covariance)
    band = global_envelope(length[:, 0], length[:, 1:].T, kind=kind)
    g = pair_correlation(sums, every, covariance)
    shape = global_envelope(g[:, 0], g[:, 1:].T, kind=kind)
    return Attraction(
        r=r, l=length[:, 0], l_null=length[:, 1:].mean(axis=1), l_low=band.low, l_high=band.high,
        g=g[:, 0], g_null=g[:, 1:].mean(axis=1), g_low=shape.low, g_high=shape.high,
        p_value=band.p_value, g_p_value=shape.p_value, null=null, note="",
    )  # fmt: skip


def _nothing(covariance: SetCovariance, n_r: int, null: str, note: str) -> Attraction:
    r = covariance.r_max * np.arange(1, n_r + 1) / n_r
    nan = np.full(n_r, np.nan)
    return Attraction(r, nan, nan, nan, nan, nan, nan, nan, nan, float("nan"), float("nan"), null, note)


def local_density(
    points: npt.ArrayLike, window: npt.ArrayLike, spacing: tuple[float, ...], *, radius: float
) -> FloatArray:
    """Cells around each cell per tissue around it: neighbours within `radius` / |W ∩ ball|.

    Parameters
    ----------
    points : array (n, ndim)
        µm.
    window : array bool
    spacing : tuple of float
    radius : float
        µm.

    Returns
    -------
    ndarray (n,) float64
        Cells per mm² (2D) or mm³ (3D), the cell itself not counted; NaN outside the window.
    """
    room = Neighbourhood(window, spacing, radius)
    return room.densities(as_points(points, np.asarray(window).ndim), {})["local_density"]


class Neighbourhood:
    """Tissue around every place, made once for any number of patterns in it.

    Parameters
    ----------
    window : array bool
    spacing : tuple of float
    radius : float
        µm.
    """

    def __init__(self, window: npt.ArrayLike, spacing: tuple[float, ...], radius: float) -> None:
        from scipy import signal

        self._mask = as_mask(window, "window")
        self._spacing = as_spacing(spacing, self._mask.ndim)
        self._radius = radius
        half = [int(np.ceil(radius / s)) for s in self._spacing]
        steps = [np.arange(-h, h + 1) * s for h, s in zip(half, self._spacing, strict=True)]
        ball = sum(a**2 for a in np.meshgrid(*steps, indexing="ij")) <= radius**2
        room = signal.fftconvolve(self._mask.astype(np.float32), ball.astype(np.float32), mode="same")
        # Scaled to the true ball so that the voxelised ball's volume does not enter.
        full = np.pi * radius**2 if self._mask.ndim == 2 else 4 / 3 * np.pi * radius**3
        self._room = (room / np.count_nonzero(ball) * full).astype(np.float32)

    def densities(self, points: FloatArray, classes: Mapping[str, npt.ArrayLike]) -> dict[str, FloatArray]:
        """Return the density of all points, and of each class, around each point.

        Parameters
        ----------
        points : ndarray (n, ndim)
            µm.
        classes : mapping of str to array (n,) bool

        Returns
        -------
        dict of str to ndarray (n,) float64
            ``local_density`` and ``local_density_<class>`` for each class but "all", cells per mm² or mm³; the cell
            itself is not counted, NaN outside the window.
        """
        from scipy.spatial import cKDTree

        from napari_marrow.niche.distances import read_at

        held: BoolArray = inside(points, self._mask, self._spacing)
        members = {"local_density": np.ones(len(points), dtype=bool)}
        members |= {f"local_density_{k}": np.asarray(v, dtype=bool) for k, v in classes.items() if k != "all"}
        result = {name: np.full(len(points), np.nan) for name in members}
        if not held.any():
            return result
        kept = points[held]
        around = np.maximum(read_at(self._room, kept, self._spacing), np.prod(self._spacing))
        per = (1e6 if self._mask.ndim == 2 else 1e9) / around
        for name, member in members.items():
            others = kept[member[held]]
            count = cKDTree(others).query_ball_point(kept, self._radius, return_length=True) if len(others) else 0
            result[name][held] = (count - member[held].astype(np.int64)) * per
        return result
