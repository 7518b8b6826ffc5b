"""Hidden commitment before a marker shows: rates on trees where nothing flows back.

States are uncommitted, committed to lineage k but not showing it, and showing it. Only the last is seen. A cell that
commits before it divides passes the decision to both daughters, so that relatives' onsets tell the waiting time before
the decision from the one after it; single cells cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logsumexp

from napari_marrow.errors import SettingsError
from napari_marrow.lineage.emergence_curves import risk_ends
from napari_marrow.lineage.pedigree import Ints, Pedigree

Floats = npt.NDArray[np.float64]
_LOWEST, _HIGHEST = -14.0, 4.0  # bounds of the log rates [log 1/h]


@dataclass(frozen=True, eq=False)
class HiddenCommitment:
    """Rates of a latent decision and of the marker that shows it.

    Attributes
    ----------
    rates : pandas.DataFrame
        transition, rate, low, high [1/h; 95 %, from the curvature of the log likelihood, clones independent], note.
    log_likelihood : float
    log_likelihood_visible : float
        Of the model in which the marker shows at once (no hidden state).
    latent_at_start : float
        Probability that a founder had decided before it was first seen.
    commitment_probability : dict
        Lineage to the probability that an uncommitted line of descent decides for it, death left aside.
    converged : bool
    """

    rates: pd.DataFrame
    log_likelihood: float
    log_likelihood_visible: float
    latent_at_start: float
    commitment_probability: dict[str, float]
    converged: bool


def hidden_commitment(
    pedigree: Pedigree,
    onsets: pd.DataFrame,
    *,
    lineages: Sequence[str] | None = None,
    latent_at_start: float | None = 0.0,
    start: pd.DataFrame | None = None,
) -> HiddenCommitment:
    """Estimate the rates uncommitted -> committed (by lineage) and committed -> marker from division trees.

    Parameters
    ----------
    pedigree : Pedigree
    onsets : pandas.DataFrame
        ONSETS table of the same tracks.
    lineages : sequence of str, optional
        Those that occur by default.
    latent_at_start : float or None
        Probability that a founder had decided already when it was first seen; None estimates it.
    start : pandas.DataFrame, optional
        `rates` of a fit to nearly the same trees. Only the estimates are computed, from there: no intervals, and no
        likelihood of the model without a hidden state (NaN).

    Returns
    -------
    HiddenCommitment

    Raises
    ------
    SettingsError
        If there is no onset, or the probability is not one.

    Notes
    -----
    Likelihood by pruning (Felsenstein 1981, J Mol Evol 17:368) over cells instead of species: a cell observed negative
    over a time t contributes exp(-Λt), decision and no marker, or onset within its interval, times its daughters'
    likelihoods given its state at division. The process only moves forward; methods that assume reversibility invent
    de-differentiation (.17 and .12 per unit where none was simulated). Death and loss are taken as independent of the
    hidden state.
    """
    if latent_at_start is not None and not 0 <= latent_at_start < 1:
        raise SettingsError(f"latent_at_start is {latent_at_start}: give a probability from 0 to below 1, or None.")
    names = list(lineages) if lineages is not None else sorted(set(onsets["lineage"]) - {""})
    if not names:
        raise SettingsError("No marker came on: there is nothing to learn about what precedes it.")
    data = _Data.of(pedigree, onsets, names)
    k = len(names)
    hours = max(float(data.duration.sum()), 1e-9)
    counts = np.array([max((data.lineage == i).sum(), 0.5) for i in range(k)])
    rate = counts / hours
    first = np.concatenate([np.log(rate * 2), [np.log(max(rate.sum() * 4, 1e-4))]])
    if latent_at_start is None:
        first = np.append(first, -2.0)

    def negative(theta: Floats) -> float:
        pi = 1 / (1 + np.exp(-theta[-1])) if latent_at_start is None else latent_at_start
        return -data.log_likelihood(np.exp(theta[:k]), float(np.exp(theta[k])), float(pi))

    bounds = [(_LOWEST, _HIGHEST)] * (k + 1) + [(-9.0, 5.0)] * (len(first) - k - 1)
    # Where decision and marker swap their rates single cells look the same: both starts are tried.
    swapped = first.copy()
    swapped[:k] += first[k] - np.log(np.exp(first[:k]).sum())
    swapped[k] = np.log(np.exp(first[:k]).sum())
    begins = [first, swapped] if start is None else [_beginning(start, names, first)]
    fits = [minimize(negative, s, bounds=bounds, method="L-BFGS-B") for s in begins]
    best = min(fits, key=lambda f: float(f.fun))
    visible, error = np.nan, np.full(len(first), np.nan)
    if start is None:
        at_once = minimize(
            lambda v: -data.log_likelihood(np.exp(v), np.exp(_HIGHEST), 0.0), np.log(rate), bounds=bounds[:k],
            method="L-BFGS-B",
        )  # fmt: skip
        visible, error = -float(at_once.fun), _errors(negative, np.asarray(best.x, dtype=np.float64))
    theta = np.asarray(best.x, dtype=np.float64)
    pi = float(1 / (1 + np.exp(-theta[-1]))) if latent_at_start is None else latent_at_start
    shares = np.exp(theta[:k]) / np.exp(theta[:k]).sum()
    return HiddenCommitment(
        _rates(names, theta, error), -float(best.fun), visible, pi,
        dict(zip(names, (float(s) for s in shares), strict=True)), bool(best.success),
    )  # fmt: skip


def _beginning(rates: pd.DataFrame, names: list[str], otherwise: Floats) -> Floats:
    """Logarithms of the rates of a former fit, within bounds; another beginning for what it does not have."""
    known = rates.set_index("transition")["rate"]
    out = otherwise.copy()
    for i, label in enumerate(_labels(names)):
        if known.get(label, 0.0) > 0:
            out[i] = np.clip(np.log(float(known[label])), _LOWEST + 1, _HIGHEST - 1)
    return out


def _labels(names: list[str]) -> list[str]:
    return [*(f"uncommitted -> committed {n}" for n in names), "committed -> marker"]


def _rates(names: list[str], theta: Floats, error: Floats) -> pd.DataFrame:
    rows = []
    for label, value, e in zip(_labels(names), theta, error, strict=False):
        at_end = not _LOWEST + 0.5 < value < _HIGHEST - 0.5
        note = (
            "at the edge of what can be told" if at_end else ("" if np.isfinite(e) else "no interval: flat likelihood")
        )
        low, high = (np.nan, np.nan) if at_end else np.exp([value - 1.96 * e, value + 1.96 * e])
        rows.append([label, float(np.exp(value)), float(low), float(high), note])
    return pd.DataFrame(rows, columns=["transition", "rate", "low", "high", "note"])


def _errors(negative: Callable[[Floats], float], theta: Floats) -> Floats:
    """Return standard errors from the second differences of the negative log likelihood."""
    n, h = len(theta), 1e-3
    hessian = np.zeros((n, n))
    for i in range(n):
        for j in range(i, n):
            steps = []
            for a in (1, -1):
                for b in (1, -1):
                    moved = theta.copy()
                    moved[i] += a * h
                    moved[j] += b * h
                    steps.append(a * b * negative(moved))
            hessian[i, j] = hessian[j, i] = sum(steps) / (4 * h * h)
    try:
        variance = np.diag(np.linalg.inv(hessian))
    except np.linalg.LinAlgError:
        return np.full(n, np.nan)
    # A rate known to no better than a factor of e^5 is not known.
    return np.sqrt(np.where((variance > 0) & (variance < 6.25), variance, np.nan))


@dataclass(frozen=True, eq=False)
class _Data:
    """What is seen of each track that is not positive by inheritance."""

    duration: Floats  # hours seen negative, to division, end or the last negative frame
    gap: Floats  # width of the onset interval, NaN without onset
    lineage: Ints  # index of the own onset, -1 for none
    used: npt.NDArray[np.bool_]
    levels: list[Ints]
    mother: Ints
    n_lineages: int

    @classmethod
    def of(cls, pedigree: Pedigree, onsets: pd.DataFrame, names: list[str]) -> _Data:
        n = len(pedigree)
        mine = onsets[onsets["event"] != "prevalent"]
        rows = pedigree.rows_of(mine)
        mine, rows = mine[rows >= 0], rows[rows >= 0]
        event = (mine["event"] == "onset").to_numpy()
        code = {name: i for i, name in enumerate(names)}
        lineage = np.full(n, -1, dtype=np.int64)
        lineage[rows[event]] = [code.get(str(x), -1) for x in mine["lineage"].to_numpy()[event]]
        entry = mine["entry_h"].to_numpy(dtype=np.float64)
        left = np.maximum(mine["left_h"].to_numpy(dtype=np.float64), entry)
        right = mine["right_h"].to_numpy(dtype=np.float64)
        duration, gap = np.zeros(n), np.full(n, np.nan)
        duration[rows] = np.where(event, np.minimum(left, right), risk_ends(mine)[0]) - entry
        gap[rows[event]] = np.maximum(right - left, 0.0)[event]
        used = np.zeros(n, dtype=bool)
        used[rows] = True
        return cls(duration, gap, lineage, used, pedigree.levels(), pedigree.mother, len(names))

    def log_likelihood(self, decide: Floats, show: float, latent: float) -> float:
        """Log likelihood of all clones at rates of decision (by lineage) and of the marker [1/h]."""
        k, total = self.n_lineages, float(decide.sum())
        share = decide / total
        t = self.duration
        stay, wait = -total * t, -show * t
        # P(decided in t, not shown at t): hypoexponential; equal rates are met by moving one a little.
        mu = show if abs(show - total) > 1e-6 * total else show * (1 + 1e-5)
        with np.errstate(divide="ignore"):
            decided = np.log(total / (mu - total) * (np.exp(stay) - np.exp(-mu * t)))
            seen = np.log(-np.expm1(-show * np.where(np.isfinite(self.gap), self.gap, 0.0)))
            shown_from_none = np.log(self._onset_from_none(total, mu))
        onset = self.lineage >= 0
        after = np.zeros((len(t), k + 1))  # log likelihood of the daughters by the state at division, last: uncommitted
        result = np.full((len(t), k + 1), 0.0)
        log_share = np.log(share)
        for level in reversed(self.levels):
            at = level[self.used[level]]
            lost = onset[at]
            quiet, loud = at[~lost], at[lost]
            result[quiet, :k] = wait[quiet, None] + after[quiet, :k]
            routes = decided[quiet, None] + log_share + after[quiet, :k]
            result[quiet, k] = logsumexp(np.column_stack([stay[quiet] + after[quiet, k], routes]), axis=1)
            result[loud] = -np.inf
            which = self.lineage[loud]
            instant = ~np.isfinite(self.gap[loud]) | (self.gap[loud] <= 0)
            density = np.where(instant, np.log(show), seen[loud])
            result[loud, which] = wait[loud] + density
            result[loud, k] = log_share[which] + shown_from_none[loud]
            has = at[self.mother[at] >= 0]
            np.add.at(after, self.mother[has], result[has])
        founders = np.flatnonzero(self.used & (self.mother < 0))
        if latent == 0:
            return float(result[founders, k].sum())
        mixed = np.column_stack(
            [np.log1p(-latent) + result[founders, k], np.log(latent) + log_share + result[founders, :k]]
        )
        return float(logsumexp(mixed, axis=1).sum())

    def _onset_from_none(self, total: float, mu: float) -> Floats:
        """P(marker in (t, t + gap] | uncommitted at 0), the density where the gap is 0."""

        def survival(x: Floats) -> Floats:
            return np.asarray((mu * np.exp(-total * x) - total * np.exp(-mu * x)) / (mu - total), dtype=np.float64)

        gap = np.where(np.isfinite(self.gap), self.gap, 0.0)
        t = self.duration
        interval = survival(t) - survival(t + gap)
        density = total * mu / (mu - total) * (np.exp(-total * t) - np.exp(-mu * t))
        return np.maximum(np.where(gap > 0, interval, density), 1e-300)
