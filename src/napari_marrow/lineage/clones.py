"""Clones: how large they grow, whether they die out, and what they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from napari_marrow.errors import SettingsError
from napari_marrow.lineage.onset import track_lineages
from napari_marrow.lineage.pedigree import Pedigree

Floats = npt.NDArray[np.float64]


def clone_table(
    pedigree: Pedigree, onsets: pd.DataFrame | None = None, *, lineages: Sequence[str] = ()
) -> pd.DataFrame:
    """Return one row per founder with the size and output of its clone.

    Parameters
    ----------
    pedigree : Pedigree
    onsets : pandas.DataFrame, optional
        ONSETS table; gives the lineages of the clone's last cells.
    lineages : sequence of str
        Lineages that get a column even where no cell entered them.

    Returns
    -------
    pandas.DataFrame
        position, session, founder_track_id, birth (how the founder came into sight), n_tracks, n_divisions, depth (last
        generation), n_end (cells alive in the last frame), n_dead, n_escaped (left or lost: the clone's size is then a
        lower bound), extinct (all cells seen to die), and with onsets ``n_<lineage>`` and `n_negative` over the clone's
        last cells (dead ones left out).
    """
    tracks = pedigree.tracks
    fate = tracks["fate"].astype(str)
    frame = pd.DataFrame(
        {
            "founder": pedigree.founder,
            "n_tracks": 1,
            "n_divisions": (fate == "division").to_numpy(),
            "depth": pedigree.generation,
            "n_end": (fate == "end").to_numpy(),
            "n_dead": (fate == "death").to_numpy(),
            "n_escaped": fate.isin(["exit", "loss"]).to_numpy(),
        }
    )
    how = dict.fromkeys(frame.columns[1:], "sum") | {"depth": "max"}
    if onsets is not None:
        lineage = track_lineages(pedigree, onsets)
        tip = ~fate.isin(["division", "death"]).to_numpy()
        names = [*dict.fromkeys([*lineages, *sorted(set(lineage) - {""})])]
        for name in [*names, ""]:
            column = f"n_{name or 'negative'}"
            frame[column] = tip & (lineage == name)
            how[column] = "sum"
    out = frame.groupby("founder", sort=True).agg(how)
    place = tracks.loc[out.index, ["position", "session", "track_id", "birth"]].reset_index(drop=True)
    out = pd.concat([place.rename(columns={"track_id": "founder_track_id"}), out.reset_index(drop=True)], axis=1)
    out["extinct"] = (out["n_end"] == 0) & (out["n_escaped"] == 0) & (out["n_dead"] > 0)
    # A division whose daughters are missing from the table leaves a clone whose end nobody saw.
    unseen = (fate == "division").to_numpy() & (pedigree.n_daughters < 2)
    lost = np.bincount(pedigree.founder[unseen], minlength=len(pedigree))[pedigree.mother < 0] > 0
    out["extinct"] &= ~lost
    return out


def yule_pmf(n: npt.ArrayLike, *, rate: float, time: float) -> Floats:
    """P(clone size = n) after `time` [h] of pure birth at `rate` [1/h] from one cell.

    ``P(n) = e^{-βt} (1 - e^{-βt})^{n-1}`` (Yule 1925, Phil Trans R Soc B 213:21).
    """
    size = np.asarray(n, dtype=np.float64)
    p = np.exp(-rate * time)
    return np.where(size >= 1, p * (1 - p) ** (np.maximum(size, 1) - 1), 0.0)


def birth_death_pmf(n: npt.ArrayLike, *, birth: float, death: float, time: float) -> Floats:
    """P(clone size = n) after `time` [h] of birth and death at constant rates [1/h] from one cell, extinction at n = 0.

    ``P(0) = α = δ(E-1)/(βE-δ)``, ``P(n) = (1-α)(1-κ) κ^{n-1}`` with ``κ = αβ/δ``, ``E = e^{(β-δ)t}``; in the critical
    case ``α = κ = βt/(1+βt)`` (Kendall 1948, Ann Math Stat 19:1).

    Raises
    ------
    SettingsError
        If a rate or the time is negative.
    """
    if birth < 0 or death < 0 or time < 0:
        raise SettingsError("Birth rate, death rate and time must be 0 or more.")
    size = np.asarray(n, dtype=np.float64)
    if np.isclose(birth, death, rtol=1e-10):
        alpha = kappa = birth * time / (1 + birth * time)
    else:
        # The form with e^{-|β-δ|t} does not overflow.
        growth = np.exp(-abs(birth - death) * time)
        denominator = birth - death * growth if birth > death else death - birth * growth
        alpha = death * (1 - growth) / denominator
        kappa = birth * (1 - growth) / denominator
    alive = (1 - alpha) * (1 - kappa) * kappa ** (np.maximum(size, 1) - 1)
    return np.where(size >= 1, alive, np.where(size == 0, alpha, 0.0))


def output_bias(counts: npt.ArrayLike, *, pseudo_count: float = 0.5, reference: npt.ArrayLike | None = None) -> Floats:
    """Bias of each clone towards each lineage, as a log2 ratio to the population.

    ``log2[((n_ik + α)/(n_i + Kα)) / p_k]``: small clones are pulled to 0 by the pseudo-count α, but still scatter more
    than large ones; compare with `bias_null`.

    Parameters
    ----------
    counts : (n, K) array-like
        Cells of each clone in each lineage.
    pseudo_count : float
        α > 0.
    reference : (K,) array-like, optional
        The population's fractions p; the pooled fractions (with the pseudo-count) by default.

    Returns
    -------
    (n, K) float64
        NaN for clones without a cell.
    """
    n = _counts(counts)
    if pseudo_count <= 0:
        raise SettingsError(f"pseudo_count is {pseudo_count}: it must be above 0.")
    k = n.shape[1]
    total = n.sum(axis=1, keepdims=True)
    if reference is None:
        pooled = n.sum(axis=0) + pseudo_count
        p = pooled / pooled.sum()
    else:
        p = np.asarray(reference, dtype=np.float64)
        p = p / p.sum()
    with np.errstate(divide="ignore"):
        bias = np.log2((n + pseudo_count) / (total + k * pseudo_count) / p)
    return np.where(total > 0, bias, np.nan)


def bias_null(counts: npt.ArrayLike, *, pseudo_count: float = 0.5, n_draws: int = 999, seed: int = 0) -> Floats:
    """Two-sided Monte-Carlo p of each clone's largest bias if all clones drew from the pooled fractions (multinomial).

    Returns
    -------
    (n,) float64
        ``(1 + #{draw >= observed}) / (n_draws + 1)`` of max_k |bias|; NaN for clones without a cell.
    """
    n = _counts(counts)
    total = n.sum(axis=1).astype(np.int64)
    pooled = (n.sum(axis=0) + pseudo_count) / (n.sum() + n.shape[1] * pseudo_count)
    observed = np.abs(output_bias(n, pseudo_count=pseudo_count, reference=pooled)).max(axis=1)
    rng = np.random.default_rng(seed)
    larger = np.zeros(len(n))
    for _ in range(n_draws):
        draw = rng.multinomial(total, pooled)
        larger += (
            np.nan_to_num(np.abs(output_bias(draw, pseudo_count=pseudo_count, reference=pooled)).max(axis=1))
            >= observed - 1e-12
        )
    return np.where(total > 0, (1 + larger) / (n_draws + 1), np.nan)


def entropy(counts: npt.ArrayLike) -> Floats:
    """Shannon entropy [bit] of each clone's output: 0 for one lineage, log2 K for K equal ones; NaN without a cell.

    This is the plug-in value, which is too low in small clones by about (K-1)/(2 n ln 2).
    """
    n = _counts(counts)
    total = n.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = n / total
        terms = np.where(p > 0, p * np.log2(p), 0.0)
    return np.where(total[:, 0] > 0, -terms.sum(axis=1), np.nan)


def dirichlet_multinomial_rho(counts: npt.ArrayLike) -> float:
    """Correlation ρ of two cells' lineages within a clone: 0 for clones that differ by chance, 1 for one lineage each.

    Maximum likelihood of the Dirichlet-multinomial with the pooled fractions, ρ = 1/(1 + θ), θ the sum of its
    parameters (Mosimann 1962, Biometrika 49:65). NaN without two clones of two cells, or with a single lineage.
    """
    from scipy.optimize import minimize_scalar

    n = _counts(counts)
    total = n.sum(axis=1)
    n = n[total >= 2]
    pooled = n.sum(axis=0)
    if len(n) < 2 or (pooled > 0).sum() < 2:
        return float("nan")
    n = n[:, pooled > 0]
    p = n.sum(axis=0) / n.sum()
    size = n.sum(axis=1)

    def negative(log_theta: float) -> float:
        theta = np.exp(log_theta)
        clones = gammaln(theta) - gammaln(size + theta)
        cells = (gammaln(n + theta * p) - gammaln(theta * p)).sum(axis=1)
        return -float((clones + cells).sum())

    best = minimize_scalar(negative, bounds=(-12.0, 12.0), method="bounded")
    return float(1 / (1 + np.exp(best.x)))


def _counts(counts: npt.ArrayLike) -> Floats:
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 2 or n.shape[1] < 1:
        raise SettingsError("Counts must be a table: one row per clone, one column per lineage.")
    if (n < 0).any() or not np.isfinite(n).all():
        raise SettingsError("Counts must be numbers of 0 or more.")
    return n
