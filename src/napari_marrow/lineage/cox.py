"""Proportional hazards with time-varying covariates, strata and clustered errors.

Rows are spans (entry, stop] over which the covariates of a subject are constant; the baseline hazard of each stratum is
free. Sums over risk sets are differences of running sums, so that a fit costs a sort and a few passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from napari_marrow.errors import TableError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CoxFit:
    """A fitted proportional hazards model.

    Attributes
    ----------
    coefficient : (k,) float64
        Change of the log hazard per unit of each covariate.
    error : (k,) float64
        Standard error: of clusters where they were given, else from the information.
    naive_error : (k,) float64
        Standard error from the information, rows taken as independent.
    log_likelihood : float
        Partial log likelihood (Efron).
    n_events : int
    converged : bool
    """

    coefficient: Floats
    error: Floats
    naive_error: Floats
    log_likelihood: float
    n_events: int
    converged: bool

    def interval(self, *, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return the limits of the coefficients."""
        half = float(norm.ppf(0.5 + level / 2)) * self.error
        return self.coefficient - half, self.coefficient + half

    @property
    def p_value(self) -> Floats:
        """Two-sided p of each coefficient (Wald)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(2 * norm.sf(np.abs(self.coefficient / self.error)), dtype=np.float64)


def cox_regression(
    entry: npt.ArrayLike,
    stop: npt.ArrayLike,
    event: npt.ArrayLike,
    covariates: npt.ArrayLike,
    *,
    strata: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    iterations: int = 30,
) -> CoxFit:
    """Fit a Cox model to counting-process rows.

    Parameters
    ----------
    entry, stop : (n,) array-like
        The row is at risk at times in (entry, stop] [h].
    event : (n,) array-like of bool
        Whether the event happens at `stop`.
    covariates : (n, k) array-like
        Finite values, constant over the row.
    strata : (n,) array-like, optional
        Each has its own baseline hazard (organoids).
    clusters : (n,) array-like, optional
        Rows that belong together (clone, organoid) for the sandwich variance, with the correction m/(m-1) of m
        clusters.
    iterations : int
        Newton steps at most.

    Returns
    -------
    CoxFit
        NaN coefficients where there are no events, a covariate does not vary among those at risk, or the likelihood
        has no maximum within reach (events lie beyond all others).

    Raises
    ------
    TableError
        If lengths differ, a time runs backwards or a covariate is not finite.

    References
    ----------
    Cox 1972, JRSS B 34:187; ties: Efron 1977, JASA 72:557; clustered errors: Lin & Wei 1989, JASA 84:1074.
    """
    rows = _Rows.of(entry, stop, event, covariates, strata)
    k = rows.x.shape[1]
    blank = np.full(k, np.nan)
    if not rows.event.any():
        return CoxFit(blank, blank, blank, float("nan"), 0, False)
    beta = np.zeros(k)
    value, gradient, information = rows.likelihood(beta)
    if np.linalg.eigvalsh(information).min() <= 1e-10 * max(np.abs(information).max(), 1e-300):
        return CoxFit(blank, blank, blank, value, int(rows.event.sum()), False)
    converged = False
    for _ in range(iterations):
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:  # the likelihood is flat where it has come to
            break
        # A step that overshoots is halved until the likelihood grows.
        scale = 1.0
        while scale > 1e-6:
            new = rows.likelihood(beta + scale * step)
            if np.isfinite(new[0]) and new[0] >= value - 1e-12:
                break
            scale /= 2
        if not np.isfinite(new[0]):
            break
        beta = beta + scale * step
        value, gradient, information = new
        if np.abs(scale * step).max() < 1e-9:
            converged = True
            break
    if not converged:
        return CoxFit(blank, blank, blank, value, int(rows.event.sum()), False)
    covariance: Floats = np.asarray(np.linalg.inv(information), dtype=np.float64)
    naive = np.sqrt(np.diag(covariance))
    error = naive
    if clusters is not None:
        error = np.sqrt(np.diag(rows.sandwich(beta, covariance, np.asarray(clusters))))
    return CoxFit(beta / rows.scale, error / rows.scale, naive / rows.scale, value, int(rows.event.sum()), converged)


def cox_scores(
    entry: npt.ArrayLike,
    stop: npt.ArrayLike,
    event: npt.ArrayLike,
    covariates: npt.ArrayLike,
    *,
    clusters: npt.NDArray[np.int64],
    strata: npt.ArrayLike | None = None,
) -> Floats:
    """Return each cluster's part in the score of the first covariate, if that has no effect.

    Parameters
    ----------
    entry, stop, event, covariates, strata
        As for `cox_regression`; the effects of further covariates are fitted and their scores projected out.
    clusters : (n,) int64
        Cluster of each row, 0 to m - 1; each of them must occur.

    Returns
    -------
    (m,) float64
        In units of the standard deviation of the covariate; 0 where it does not vary among cells at risk.
    """
    x = np.asarray(covariates, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    rows = _Rows.of(entry, stop, event, x, strata)
    beta = np.zeros(x.shape[1])
    if x.shape[1] > 1:
        others = cox_regression(entry, stop, event, x[:, 1:], strata=strata)
        beta[1:] = np.nan_to_num(others.coefficient) * rows.scale[1:]
    scores, information = rows.scores(beta, clusters), rows.likelihood(beta)[2]
    own = scores[:, 0]
    if x.shape[1] > 1:
        own = own - scores[:, 1:] @ np.linalg.pinv(information[1:, 1:]) @ information[1:, 0]
    return np.asarray(own if information[0, 0] > 1e-12 else np.zeros(len(own)), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Rows:
    entry: Floats
    stop: Floats
    event: Bools
    x: Floats  # centred and scaled
    scale: Floats
    group: Ints  # the (stratum, event time) of each event row, -1 for others
    times: Floats  # of each group, made distinct between strata
    by_stop: Ints
    by_entry: Ints
    after_stop: Ints  # of each group: first place in by_stop with stop >= time
    after_entry: Ints

    @classmethod
    def of(
        cls,
        entry: npt.ArrayLike,
        stop: npt.ArrayLike,
        event: npt.ArrayLike,
        covariates: npt.ArrayLike,
        strata: npt.ArrayLike | None,
    ) -> _Rows:
        a, b = np.asarray(entry, dtype=np.float64), np.asarray(stop, dtype=np.float64)
        d, x = np.asarray(event, dtype=bool), np.asarray(covariates, dtype=np.float64)
        x = x[:, None] if x.ndim == 1 else x
        if not len(a) == len(b) == len(d) == len(x):
            raise TableError(f"Entries, stops, events and covariates differ in length: {len(a)}, {len(b)}, {len(d)}.")
        if not (np.isfinite(a).all() and np.isfinite(b).all() and np.isfinite(x).all()):
            raise TableError("Times and covariates must be finite: leave out spans in which a covariate is unknown.")
        if (b <= a).any():
            i = int(np.argmax(b <= a))
            raise TableError(f"A span runs from {a[i]} h to {b[i]} h: time goes forward.")
        layer = np.zeros(len(a)) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1].ravel()
        # Strata are laid one behind the other on one time line, so that no risk set reaches into another.
        width = (float(b.max() - a.min()) + 1.0) * 2 if len(a) else 1.0
        low = float(a.min()) if len(a) else 0.0
        a, b = a - low + layer * width, b - low + layer * width
        centre = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
        scale = x.std(axis=0) if len(x) else np.ones(x.shape[1])
        scale = np.where(scale > 0, scale, 1.0)
        times = np.unique(b[d])
        group = np.full(len(a), -1, dtype=np.int64)
        group[d] = np.searchsorted(times, b[d])
        by_stop, by_entry = np.argsort(b, kind="stable"), np.argsort(a, kind="stable")
        return cls(
            a, b, d, (x - centre) / scale, scale, group, times, by_stop.astype(np.int64), by_entry.astype(np.int64),
            np.searchsorted(b[by_stop], times, side="left"), np.searchsorted(a[by_entry], times, side="left"),
        )  # fmt: skip

    def _at_risk(self, values: Floats) -> Floats:
        """Return sums of values over the rows at risk at each event time: entry < t <= stop."""
        flat = values.reshape(len(values), -1)
        tail = np.zeros((len(flat) + 1, flat.shape[1]))
        tail[:-1] = np.cumsum(flat[self.by_stop][::-1], axis=0)[::-1]
        late = np.zeros_like(tail)
        late[:-1] = np.cumsum(flat[self.by_entry][::-1], axis=0)[::-1]
        out = tail[self.after_stop] - late[self.after_entry]
        return out.reshape(len(self.times), *values.shape[1:])

    def _moments(self, beta: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats, Ints, Floats]:
        """Return sums over risk sets less Efron's share of tied events, and that share."""
        eta = self.x @ beta
        risk = np.exp(np.clip(eta, -500, 500))
        weighted = risk[:, None] * self.x
        square = weighted[:, :, None] * self.x[:, None, :]
        s0, s1, s2 = self._at_risk(risk), self._at_risk(weighted), self._at_risk(square)
        events = np.flatnonzero(self.event)
        events = events[np.argsort(self.group[events], kind="stable")]
        group = self.group[events]
        m = len(self.times)
        d0 = np.bincount(group, weights=risk[events], minlength=m)
        d1 = np.zeros_like(s1)
        np.add.at(d1, group, weighted[events])
        d2 = np.zeros_like(s2)
        np.add.at(d2, group, square[events])
        count = np.bincount(group, minlength=m)
        first = np.cumsum(count) - count
        share = (np.arange(len(events)) - first[group]) / count[group]
        z0 = s0[group] - share * d0[group]
        z1 = s1[group] - share[:, None] * d1[group]
        z2 = s2[group] - share[:, None, None] * d2[group]
        return eta, risk, z0, z1, z2, events, share

    def likelihood(self, beta: Floats) -> tuple[float, Floats, Floats]:
        """Return the partial log likelihood, its gradient and the information; not finite where beta is out of reach.

        Where events lie beyond all others the likelihood grows for ever, and weights become so unlike that none is left
        of small ones in a sum with large ones.
        """
        eta, _, z0, z1, z2, events, _ = self._moments(beta)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            mean = z1 / z0[:, None]
            value = float(eta[events].sum() - np.log(z0).sum())
            gradient = (self.x[events] - mean).sum(axis=0)
            information = (z2 / z0[:, None, None] - mean[:, :, None] * mean[:, None, :]).sum(axis=0)
        return value, gradient, information

    def scores(self, beta: Floats, clusters: npt.NDArray[np.generic]) -> Floats:
        """Return the score residuals summed over clusters, in the order of their sorted names."""
        _, risk, z0, z1, _, events, share = self._moments(beta)
        group = self.group[events]
        m = len(self.times)
        mean = z1 / z0[:, None]
        residual = np.zeros_like(self.x)
        residual[events] = self.x[events] - mean
        # Each row's share in the compensator of every event time that it is at risk at.
        hazard = np.bincount(group, weights=1 / z0, minlength=m)
        drift = np.zeros((m, self.x.shape[1]))
        np.add.at(drift, group, mean / z0[:, None])
        upto0 = np.concatenate([[0.0], np.cumsum(hazard)])
        upto1 = np.concatenate([np.zeros((1, drift.shape[1])), np.cumsum(drift, axis=0)])
        last = np.searchsorted(self.times, self.stop, side="right")
        first = np.searchsorted(self.times, self.entry, side="right")
        residual -= risk[:, None] * (self.x * (upto0[last] - upto0[first])[:, None] - (upto1[last] - upto1[first]))
        # Efron's tied events count by parts only: what was taken too much of them is given back.
        back0 = np.bincount(group, weights=share / z0, minlength=m)[group]
        back1 = np.zeros((m, self.x.shape[1]))
        np.add.at(back1, group, share[:, None] * mean / z0[:, None])
        residual[events] += risk[events][:, None] * (self.x[events] * back0[:, None] - back1[group])
        names, index = np.unique(clusters, return_inverse=True)
        summed = np.zeros((len(names), self.x.shape[1]))
        np.add.at(summed, index.ravel(), residual)
        return summed

    def sandwich(self, beta: Floats, covariance: Floats, clusters: npt.NDArray[np.generic]) -> Floats:
        """Return the covariance from the scores of clusters."""
        summed = self.scores(beta, clusters)
        n = len(summed)
        correction = n / (n - 1) if n > 1 else np.nan
        return np.asarray(covariance @ (summed.T @ summed) @ covariance * correction, dtype=np.float64)
