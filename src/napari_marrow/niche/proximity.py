"""Proximity effect: how much nearer to a structure the subjects are than a null model says.

ΔF(r) = F_observed(r) - F_null(r) of edge-corrected distance distributions; the effect is its mean over 0..r_max, so
+0.1 says that on average over that range 10 % more of the cells lie within r than by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.edge_correction import censor, quantiles, step_at, survival
from napari_marrow.niche.envelopes import Kind, global_envelope
from napari_marrow.niche.geometry import BoolArray, FloatArray
from napari_marrow.niche.null_models import Alternative, Null, monte_carlo_p, relabel

_CHUNK = 4_000_000  # cells x simulations held at once, about 100 MB of temporaries


@dataclass(frozen=True)
class ProximityEffect:
    """Distances of one class of cells to one structure against a null model.

    Attributes
    ----------
    r : ndarray (m,) float64
        µm.
    observed, null_mean, low, high : ndarray (m,) float64
        Edge-corrected P(D <= r), its mean under the null, and the global 95 % band of the null.
    effect : float
        Mean of observed - null_mean over 0..`reach`; NaN with a `note` when it cannot be computed.
    effect_low, effect_high : float
        Central 95 % of the effect under the null.
    p_value : float
        Monte-Carlo p of the effect.
    p_global : float
        p of the whole curve by the global envelope.
    median, median_null, median_low, median_high : float
        Edge-corrected median distance, its mean and central 95 % under the null; µm.
    n_subjects, n_simulations : int
    null : str
    reach : float
        Longest distance that enters the effect, µm: r_max, or less where too few cells lie farther from the window's
        edge; the curves are NaN beyond.
    note : str
        Why something is NaN; empty otherwise.
    """

    r: FloatArray
    observed: FloatArray
    null_mean: FloatArray
    low: FloatArray
    high: FloatArray
    effect: float
    effect_low: float
    effect_high: float
    p_value: float
    p_global: float
    median: float
    median_null: float
    median_low: float
    median_high: float
    n_subjects: int
    n_simulations: int
    null: str
    reach: float
    note: str


def proximity_effect(
    distances_all: npt.ArrayLike,
    subject_mask: npt.ArrayLike,
    *,
    null: Null = "relabel",
    n_simulations: int = 999,
    seed: int = 0,
    edge_distances: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    space_distances: npt.ArrayLike | None = None,
    space_edge_distances: npt.ArrayLike | None = None,
    r_max: float = 100.0,
    n_r: int = 101,
    alternative: Alternative = "two-sided",
    envelope: Kind = "erl",
) -> ProximityEffect:
    """Compare the subjects' distances to a structure with a null model.

    Parameters
    ----------
    distances_all : array (n,)
        Distance of every segmented haematopoietic cell to the structure, µm; negative (inside) counts as 0; NaN is left
        out.
    subject_mask : array (n,) bool
        The cells asked about.
    null : {"relabel", "strata", "uniform"}
        See `null_models`; "strata" needs `strata`, "uniform" needs `space_distances`.
    n_simulations : int
        N >= 999 for publication; the smallest p is 1 / (N + 1).
    seed : int
    edge_distances : array (n,) or None
        Distance to the edge of the window, µm, for Kaplan-Meier correction; None for none.
    strata : array (n,) or None
        Stratum of each cell.
    space_distances, space_edge_distances : array (v,) or None
        Distances to the structure and to the edge at places drawn uniformly in the window outside the structure (all
        voxels, or a dense sample): the population of null (b).
    r_max : float
        Longest distance of the curve, µm.
    n_r : int
        Number of arguments from 0 to `r_max`.
    alternative : {"two-sided", "greater", "less"}
        Greater: nearer than by chance.
    envelope : {"erl", "mad", "studentised"}

    Returns
    -------
    ProximityEffect

    Raises
    ------
    SettingsError
        If arrays do not fit or the null lacks its data.

    Notes
    -----
    p = (1 + #{T_sim >= T_obs}) / (N + 1). The cells of one organoid are not replicates of each other: a small p says
    that this organoid's cells are not placed by chance, a statement about organoids needs one effect per organoid.
    """
    distance, subject, edge, groups = _clean(distances_all, subject_mask, edge_distances, strata)
    if r_max <= 0 or n_r < 2 or n_simulations < 1:
        raise SettingsError(
            f"r_max {r_max}, n_r {n_r}, n_simulations {n_simulations}: all must be positive, n_r at least 2."
        )
    r = np.linspace(0.0, r_max, n_r)
    problem = _cannot(distance, subject, null, groups, space_distances)
    if problem:
        return _nothing(r, int(subject.sum()), null, problem)
    rng = np.random.default_rng(seed)
    if null == "uniform":
        space = np.asarray(space_distances, dtype=np.float64)
        space_edge = None if space_edge_distances is None else np.asarray(space_edge_distances, dtype=np.float64)
        observed, middle = _curves(distance, edge, subject[None, :], r)
        null_curves, null_medians = _uniform_curves(space, space_edge, int(subject.sum()), n_simulations, r, rng)
        curves, medians = np.concatenate([observed, null_curves]), np.concatenate([middle, null_medians])
    else:
        space, space_edge = distance, edge
        curves, medians = _relabelled_curves(
            distance, edge, subject, n_simulations, r, rng, groups if null == "strata" else None
        )
    reach = _reach(space, space_edge, int(subject.sum()))
    curves[:, r > reach] = np.nan
    return _assemble(r, curves, medians, int(subject.sum()), null, alternative, envelope)


def _reach(distance: FloatArray, edge: FloatArray | None, n_subjects: int) -> float:
    """Distance up to which enough cells are still at risk for Kaplan-Meier: a tenth of them, and five of the subjects.

    It depends on all positions and the number of subjects only, so it is the same for data and simulations.
    """
    if edge is None or not np.isfinite(edge).any():
        return float("inf")
    fraction = min(max(0.1, 5.0 / n_subjects), 0.5)
    return float(np.quantile(np.minimum(np.maximum(distance, 0.0), edge), 1.0 - fraction))


def _clean(
    distances: npt.ArrayLike, subject: npt.ArrayLike, edges: npt.ArrayLike | None, strata: npt.ArrayLike | None
) -> tuple[FloatArray, BoolArray, FloatArray, npt.NDArray[np.generic] | None]:
    d = np.asarray(distances, dtype=np.float64)
    s = np.asarray(subject, dtype=bool)
    b = np.full(d.shape, np.inf) if edges is None else np.asarray(edges, dtype=np.float64)
    g = None if strata is None else np.asarray(strata)
    if d.ndim != 1 or s.shape != d.shape or b.shape != d.shape or (g is not None and g.shape != d.shape):
        raise SettingsError(f"Distances {d.shape}, subjects {s.shape}, edges {b.shape}: give one value per cell.")
    known = ~np.isnan(d) & ~np.isnan(b)
    return d[known], s[known], b[known], None if g is None else g[known]


def _cannot(
    d: FloatArray, s: BoolArray, null: str, groups: npt.NDArray[np.generic] | None, space: npt.ArrayLike | None
) -> str:
    if null not in ("relabel", "strata", "uniform"):
        raise SettingsError(f"Unknown null model '{null}': use relabel, strata or uniform.")
    if null == "strata" and groups is None:
        raise SettingsError("The null model 'strata' needs the stratum of each cell.")
    if null == "uniform" and space is None:
        raise SettingsError("The null model 'uniform' needs the distances of the space outside the structure.")
    if not s.any():
        return "no cell of this class in the tissue"
    if np.isinf(d).all():
        return "the structure is absent or fills the image"
    if null == "uniform":
        return "" if np.asarray(space).size else "no space outside the structure"
    return "every cell belongs to the class, nothing to re-label" if s.all() else ""


def _relabelled_curves(
    d: FloatArray,
    b: FloatArray,
    subject: BoolArray,
    n: int,
    r: FloatArray,
    rng: np.random.Generator,
    strata: npt.NDArray[np.generic] | None,
) -> tuple[FloatArray, FloatArray]:
    curves, medians = _curves(d, b, subject[None, :], r)
    parts, middles = [curves], [medians]
    step = max(1, _CHUNK // len(d))
    for start in range(0, n, step):
        samples = relabel(subject, min(step, n - start), rng, strata=strata)
        curves, medians = _curves(d, b, samples, r)
        parts.append(curves)
        middles.append(medians)
    return np.concatenate(parts), np.concatenate(middles)


def _curves(d: FloatArray, b: FloatArray, samples: BoolArray, r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Kaplan-Meier P(D <= r) and median for samples (S, n) of the same points."""
    censored = censor(d, b)
    s = survival(censored, samples)
    return 1.0 - step_at(censored.time, s, r, 1.0), quantiles(censored.time, s, 0.5)


def _uniform_curves(
    space: FloatArray, edge: FloatArray | None, size: int, n: int, r: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    curves, medians = np.empty((n, len(r))), np.empty(n)
    one = np.ones((1, size), dtype=bool)
    for i in range(n):
        draw = rng.integers(len(space), size=size)
        b = np.full(size, np.inf) if edge is None else edge[draw]
        curve, median = _curves(space[draw], b, one, r)
        curves[i], medians[i] = curve[0], median[0]
    return curves, medians


def _assemble(
    r: FloatArray,
    curves: FloatArray,
    medians: FloatArray,
    n_subjects: int,
    null: str,
    alternative: Alternative,
    kind: Kind,
) -> ProximityEffect:
    band = global_envelope(curves[0], curves[1:], kind=kind)
    null_mean = curves[1:].mean(axis=0)
    known = np.isfinite(curves).all(axis=0)
    span = r[known]
    if len(span) < 2:
        return _nothing(r, n_subjects, null, "the window shows distances up to less than one step of r only")
    areas = np.trapezoid((curves - null_mean)[:, known], span, axis=1) / span[-1]
    low, high = np.quantile(areas[1:], [0.025, 0.975])
    seen = medians[1:][np.isfinite(medians[1:])]
    # A null band of the median from the draws that reached it would be too low: state it only when nearly all did.
    complete = len(seen) >= 0.99 * (len(medians) - 1)
    m_low, m_high = np.quantile(seen, [0.025, 0.975]) if complete else (np.nan, np.nan)
    return ProximityEffect(
        r=r, observed=curves[0], null_mean=null_mean, low=band.low, high=band.high,
        effect=float(areas[0]), effect_low=float(low), effect_high=float(high),
        p_value=monte_carlo_p(float(areas[0]), areas[1:], alternative=alternative), p_global=band.p_value,
        median=float(medians[0]), median_null=float(seen.mean()) if complete else float("nan"),
        median_low=float(m_low), median_high=float(m_high),
        n_subjects=n_subjects, n_simulations=len(curves) - 1, null=null,
        reach=float(span[-1]), note="fewer than 10 cells" if n_subjects < 10 else "",
    )  # fmt: skip


def _nothing(r: FloatArray, n_subjects: int, null: str, note: str) -> ProximityEffect:
    empty, nan = np.full(r.shape, np.nan), float("nan")
    return ProximityEffect(
        r=r, observed=empty, null_mean=empty, low=empty, high=empty, effect=nan, effect_low=nan, effect_high=nan,
        p_value=nan, p_global=nan, median=nan, median_null=nan, median_low=nan, median_high=nan,
        n_subjects=n_subjects, n_simulations=0, null=null, reach=float("nan"), note=note,
    )  # fmt: skip
