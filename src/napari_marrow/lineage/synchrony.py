"""Whether relatives switch on together, and by which generation a clade of one lineage was decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta, t

from napari_marrow.lineage.kinship import kin_pairs
from napari_marrow.lineage.onset import track_lineages
from napari_marrow.lineage.pedigree import Ints, Pedigree

Floats = npt.NDArray[np.float64]


def onset_synchrony(
    pedigree: Pedigree,
    onsets: pd.DataFrame,
    *,
    kinds: Sequence[str] = ("sister", "cousin"),
    permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare lineage and time of onset of relatives that switched on, each in its own time.

    Parameters
    ----------
    pedigree : Pedigree
    onsets : pandas.DataFrame
        ONSETS table; only tracks with an onset of their own take part.
    kinds : sequence of str
        Of ``sister``, ``cousin``.
    permutations : int
        Shuffles of the onsets among the cells of a clone (same place, same medium, same age of the clone).
    seed : int

    Returns
    -------
    pandas.DataFrame
        kind, measure (``same lineage``: share of pairs; ``time difference``: mean [h]), n_pairs, observed, shuffled
        (mean of the permutations), p_value (one-sided: more alike than shuffled), low, high (95 % limits of observed,
        from the scatter between clones), note. Synchronous onset of sisters is
        no proof of a decision at onset: what their mother decided shows in both.
    """
    mine = onsets[onsets["event"] == "onset"]
    rows = pedigree.rows_of(mine)
    mine, rows = mine[rows >= 0], rows[rows >= 0]
    code = np.full(len(pedigree), -1, dtype=np.int64)
    code[rows] = pd.factorize(mine["lineage"])[0]
    left = np.maximum(mine["left_h"].to_numpy(dtype=np.float64), mine["entry_h"].to_numpy(dtype=np.float64))
    right = mine["right_h"].to_numpy(dtype=np.float64)
    when = np.full(len(pedigree), np.nan)
    when[rows] = (np.minimum(left, right) + right) / 2
    rng = np.random.default_rng(seed)
    out = []
    for kind in kinds:
        pairs = kin_pairs(pedigree, kind)
        pairs = pairs[(code[pairs] >= 0).all(axis=1)]
        out += _concordance(kind, pairs, code, when, rows, pedigree.founder, permutations, rng)
    names = ["kind", "measure", "n_pairs", "observed", "shuffled", "p_value", "low", "high", "note"]
    return pd.DataFrame(out, columns=names)


def _concordance(
    kind: str,
    pairs: npt.NDArray[np.int64],
    code: Ints,
    when: Floats,
    cells: Ints,
    founder: Ints,
    permutations: int,
    rng: np.random.Generator,
) -> list[list[object]]:
    nan = float("nan")
    if len(pairs) < 3:
        why = f"{len(pairs)} pairs with two onsets: three are needed"
        return [[kind, m, len(pairs), *[nan] * 5, why] for m in ("same lineage", "time difference")]

    def measures(lineage: Ints, time: Floats) -> tuple[float, float]:
        same = lineage[pairs[:, 0]] == lineage[pairs[:, 1]]
        return float(same.mean()), float(np.abs(time[pairs[:, 0]] - time[pairs[:, 1]]).mean())

    observed = measures(code, when)
    order = np.argsort(founder[cells], kind="stable")
    cells = cells[order]
    clone, pair_clone = founder[cells], founder[pairs[:, 0]]
    drawn = np.empty((permutations, 2))
    for i in range(permutations):
        mixed = cells[np.lexsort((rng.random(len(cells)), clone))]
        lineage, time = code.copy(), when.copy()
        lineage[cells], time[cells] = code[mixed], when[mixed]
        drawn[i] = measures(lineage, time)
    more = (drawn[:, 0] >= observed[0] - 1e-12).sum(), (drawn[:, 1] <= observed[1] + 1e-9).sum()
    mean = drawn.mean(axis=0) if permutations else np.full(2, nan)
    p = [float((1 + n) / (permutations + 1)) if permutations else nan for n in more]
    each = (code[pairs[:, 0]] == code[pairs[:, 1]]).astype(np.float64), np.abs(when[pairs[:, 0]] - when[pairs[:, 1]])
    limits = [_clone_limits(values, pair_clone) for values in each]
    limits[0] = (limits[0][0], min(limits[0][1], 1.0))
    if observed[0] in (0.0, 1.0):
        # Clones without any scatter say no more than so many independent ones (Jeffreys' limits).
        n, k = len(np.unique(pair_clone)), len(np.unique(pair_clone)) * observed[0]
        low, high = float(beta.ppf(0.025, k + 0.5, n - k + 0.5)), float(beta.ppf(0.975, k + 0.5, n - k + 0.5))
        limits[0] = (low, 1.0) if k else (0.0, high)
    note = "" if len(np.unique(clone)) < len(clone) else "every clone has one onset only: nothing to shuffle"
    return [
        [kind, measure, len(pairs), observed[k], float(mean[k]), p[k], *limits[k], note]
        for k, measure in enumerate(("same lineage", "time difference"))
    ]


def _clone_limits(values: Floats, clone: Ints) -> tuple[float, float]:
    """Limits of the mean over pairs, whose clones are the units (linearised ratio of clone totals; Cochran 1977)."""
    names, index = np.unique(clone, return_inverse=True)
    m = len(names)
    if m < 2:
        return float("nan"), float("nan")
    mean = float(values.mean())
    away = np.bincount(index.ravel(), weights=values - mean, minlength=m)
    half = float(t.ppf(0.975, m - 1)) * float(np.sqrt(m / (m - 1) * (away**2).sum())) / len(values)
    return max(mean - half, 0.0), mean + half


def pure_clades(pedigree: Pedigree, onsets: pd.DataFrame) -> pd.DataFrame:
    """Find the largest clades that made one lineage only, and the depth of their most recent common ancestor.

    The decision for that lineage was taken in that ancestor or before, unless chance made the clade pure.

    Returns
    -------
    pandas.DataFrame
        position, session, founder_track_id, ancestor_track_id, generation (of the ancestor), lineage, n_tips (last
        cells of the clade), n_onsets (independent onsets in it), time_before_h (from the ancestor's first frame to
        the first onset).
    """
    lineage = track_lineages(pedigree, onsets)
    names, code = np.unique(lineage, return_inverse=True)
    tip = pedigree.n_daughters == 0
    # Dead, lost or young cells without marker leave the clade open, as they might still have become anything.
    mask = np.where(tip & (lineage != ""), 1 << np.minimum(code.ravel(), 62), 0)
    mask = np.where(tip & (lineage == ""), np.int64(1) << 62, mask).astype(np.int64)
    tips = tip.astype(np.int64)
    mine = onsets[onsets["event"] == "onset"]
    rows = pedigree.rows_of(mine)
    own = np.zeros(len(pedigree), dtype=np.int64)
    own[rows[rows >= 0]] = 1
    first = np.full(len(pedigree), np.inf)
    first[rows[rows >= 0]] = mine["right_h"].to_numpy(dtype=np.float64)[rows >= 0]
    for level in reversed(pedigree.levels()[1:]):
        mother = pedigree.mother[level]
        np.bitwise_or.at(mask, mother, mask[level])
        np.add.at(tips, mother, tips[level])
        np.add.at(own, mother, own[level])
        np.minimum.at(first, mother, first[level])
    pure = (mask > 0) & (mask & (mask - 1) == 0) & (mask != np.int64(1) << 62)
    top = pure & ((pedigree.mother < 0) | ~pure[pedigree.mother])
    at = np.flatnonzero(top)
    out = pedigree.tracks.loc[at, ["position", "session", "founder_track_id"]].reset_index(drop=True)
    out["ancestor_track_id"] = pedigree.tracks["track_id"].to_numpy()[at]
    out["generation"] = pedigree.generation[at]
    out["lineage"] = names[np.log2(mask[at].astype(np.float64)).astype(np.int64)] if len(at) else np.empty(0, object)
    out["n_tips"], out["n_onsets"] = tips[at], own[at]
    # A clade that was positive when first seen has no onset to date.
    out["time_before_h"] = (
        np.where(np.isfinite(first[at]), first[at], np.nan) - pedigree.tracks["start_h"].to_numpy(dtype=np.float64)[at]
    )
    return out
