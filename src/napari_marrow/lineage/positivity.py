"""How likely a marker is on in each cell, with the uncertainty of the threshold itself.

`marker_thresholds` gives a value; here the cells behind that value are drawn again, by organoid where it is known, so
that a cell near a threshold which the data do not fix well is neither on nor off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from napari_marrow.errors import SettingsError
from napari_marrow.lineage.thresholds import Mixture, fit_mixture

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Positivity:
    """P(marker on) of each cell.

    Attributes
    ----------
    probability : ndarray (n,) float64
        NaN where the intensity is, and everywhere if there is no threshold.
    threshold, low, high : float
        Intensity [counts] at which it is .5, with its 95 % interval over draws; NaN with a `note` if there is none.
    method : {"mixture", "control", "given", "none"}
    note : str
        Why there is no threshold, or what to beware of; empty otherwise.
    """

    probability: Floats
    threshold: float
    low: float
    high: float
    method: Literal["mixture", "control", "given", "none"]
    note: str


def mixture_positivity(
    intensity: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None, n_draws: int = 20, seed: int = 0
) -> Positivity:
    """P(on) from a mixture of negatives and positives, averaged over mixtures of cells drawn again.

    Parameters
    ----------
    intensity : (n,) array-like
        Background-corrected mean intensities [counts]; NaN where not imaged.
    clusters : (n,) array-like, optional
        Organoid of each cell, drawn as a whole; cells are drawn singly when left out or when there is one only.
    n_draws : int
        Mixtures fitted to drawn cells.
    seed : int

    Returns
    -------
    Positivity
        Method "none" where there is one population only, or where it is so in more than a fifth of the draws.
    """
    values = np.asarray(intensity, dtype=np.float64)
    known = np.isfinite(values)
    first = fit_mixture(values[known])
    nothing = np.full(values.shape, np.nan)
    if first.reason:
        return Positivity(nothing, np.nan, np.nan, np.nan, "none", first.reason)
    pool = values[known]
    draws = _Draws(clusters, known, seed)
    total, thresholds = np.zeros(len(pool)), []
    for _ in range(n_draws):
        mixture = fit_mixture(pool[draws.next()])
        if not mixture.reason:
            total += positive_posterior(pool, mixture)
            thresholds.append(mixture.threshold)
    if len(thresholds) < 0.8 * n_draws:
        note = f"two populations in {len(thresholds)} of {n_draws} draws only: give a threshold from a negative control"
        return Positivity(nothing, np.nan, np.nan, np.nan, "none", note)
    nothing[known] = total / len(thresholds)
    low, high = np.quantile(thresholds, [0.025, 0.975])
    return Positivity(nothing, first.threshold, float(low), float(high), "mixture", "")


def control_positivity(
    intensity: npt.ArrayLike,
    control: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    quantile: float = 0.99,
    n_draws: int = 199,
    seed: int = 0,
) -> Positivity:
    """P(on) from cells of a negative control: above its quantile, as sure as the quantile is.

    Parameters
    ----------
    intensity : (n,) array-like
        Of the stained cells [counts].
    control : (m,) array-like
        Of cells without the marker (isotype, fluorescence minus one, a known negative line) [counts].
    clusters : (m,) array-like, optional
        Well or organoid of each control cell, drawn as a whole.
    quantile : float
        Share of the control that counts as off.
    n_draws, seed : int
    """
    values, negatives = np.asarray(intensity, dtype=np.float64), np.asarray(control, dtype=np.float64)
    kept = np.isfinite(negatives)
    if not 0.5 <= quantile < 1:
        raise SettingsError(f"The control's quantile is {quantile}: give a number from .5 to below 1.")
    nothing = np.full(values.shape, np.nan)
    fewest = int(np.ceil(2 / (1 - quantile)))
    if kept.sum() < fewest:
        note = f"{int(kept.sum())} control cells, {fewest} are needed for their quantile {quantile:g}"
        return Positivity(nothing, np.nan, np.nan, np.nan, "none", note)
    pool = negatives[kept]
    again = _Draws(clusters, kept, seed)
    draws = np.sort([np.quantile(pool[again.next()], quantile) for _ in range(n_draws)])
    known = np.isfinite(values)
    nothing[known] = np.searchsorted(draws, values[known], side="right") / n_draws
    low, high = np.quantile(draws, [0.025, 0.975])
    return Positivity(nothing, float(np.quantile(pool, quantile)), float(low), float(high), "control", "")


def given_positivity(intensity: npt.ArrayLike, threshold: float) -> Positivity:
    """On or off by a number that someone else decided on; nothing is known of its uncertainty."""
    if not np.isfinite(threshold):
        raise SettingsError(f"The threshold given is {threshold}: it must be a number.")
    values = np.asarray(intensity, dtype=np.float64)
    probability = np.where(np.isfinite(values), (values >= threshold).astype(np.float64), np.nan)
    note = "a given threshold has no uncertainty: no cell is ambiguous by it"
    return Positivity(probability, float(threshold), float(threshold), float(threshold), "given", note)


def positive_posterior(intensity: npt.ArrayLike, mixture: Mixture) -> Floats:
    """P(upper component | intensity) of a mixture.

    Beyond the two means it keeps their values, for a wide component would otherwise take the far tail of the other.

    Parameters
    ----------
    intensity : (n,) array-like
        [counts]
    mixture : Mixture
    """
    x = np.arcsinh(np.asarray(intensity, dtype=np.float64) / mixture.scale)
    x = np.clip(x, mixture.means[0], mixture.means[1])
    low, high = (
        np.log(w) + norm.logpdf(x, m, s) for w, m, s in zip(mixture.weights, mixture.means, mixture.sds, strict=True)
    )
    return np.asarray(np.exp(high - np.logaddexp(low, high)))


class _Draws:
    """Cells drawn again: by cluster where there are several, else singly."""

    def __init__(self, clusters: npt.ArrayLike | None, kept: npt.NDArray[np.bool_], seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._n = int(kept.sum())
        self._parts: list[npt.NDArray[np.intp]] = []
        if clusters is not None:
            _, index = np.unique(np.asarray(clusters)[kept], return_inverse=True)
            order = np.argsort(index, kind="stable")
            self._parts = list(np.split(order, np.cumsum(np.bincount(index))[:-1]))

    def next(self) -> npt.NDArray[np.integer]:
        """Return the rows of one draw."""
        if len(self._parts) < 2:
            return self._rng.integers(self._n, size=self._n)
        chosen = self._rng.integers(len(self._parts), size=len(self._parts))
        return np.concatenate([self._parts[k] for k in chosen])
