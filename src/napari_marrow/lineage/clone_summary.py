"""What the clones of a condition are like: how large, how many died out, what they made, and whether they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta, t

from napari_marrow.lineage.clones import dirichlet_multinomial_rho
from napari_marrow.lineage.places import with_organoid

Floats = npt.NDArray[np.float64]
COLUMNS = ("condition", "quantity", "n_clones", "value", "low", "high", "note")
_GROUPS = 20  # of clones, for the jackknife of the preference
_PLAIN = {"cells alive at the end": "n_end", "divisions": "n_divisions", "generations": "depth"}


def clone_summary(clones: pd.DataFrame, layout: pd.DataFrame | None = None) -> pd.DataFrame:
    """Summarise clones by condition: of founders that were there from the start or came in from outside.

    A cell that appears inside the field descends from one that was not followed; what descends from it is a piece of a
    clone. Pieces are taken only where there is nothing else, and the note says so.

    Parameters
    ----------
    clones : pandas.DataFrame
        As returned by `clone_table`, with onsets.
    layout : pandas.DataFrame, optional
        LAYOUT table.

    Returns
    -------
    pandas.DataFrame
        condition, quantity, n_clones, value, low, high (95 %), note. Quantities: ``cells alive at the end``,
        ``divisions`` and ``generations`` (means), ``died out`` (share of clones), ``share <lineage>`` and
        ``share negative`` (of all last cells), ``preference`` (Dirichlet-multinomial ρ of the lineages of marked cells:
        0 where every clone makes them in the same proportions, 1 where each makes one only).

    Notes
    -----
    Clones are the units: organoids that differ make these limits too narrow for statements on other organoids. Means
    by Student's t, died out by Jeffreys' limits, shares by the linearised ratio of clone totals (Cochran 1977), the
    preference by a jackknife over groups of clones.
    """
    placed = with_organoid(clones, layout)
    lineages = [c[2:] for c in clones.columns if c.startswith("n_") and c not in _COUNTS]
    rows: list[list[Any]] = []
    for condition, mine in placed.groupby("condition", sort=True):
        whole = mine[mine["birth"].isin(["start", "entry"])]
        note = "" if len(whole) else "pieces of clones: no founder was there from the start"
        mine = whole if len(whole) else mine
        begin = len(rows)
        for quantity, column in _PLAIN.items():
            rows.append([condition, quantity, len(mine), *_mean(mine[column].to_numpy(dtype=np.float64))])
        rows.append([condition, "died out", len(mine), *_share(int(mine["extinct"].sum()), len(mine))])
        counts = mine[[f"n_{name}" for name in lineages]].to_numpy(dtype=np.float64)
        total = counts.sum(axis=1)
        for i, name in enumerate(lineages):
            rows.append([condition, f"share {name}", int((total > 0).sum()), *_ratio(counts[:, i], total)])
        marked = counts[:, [i for i, name in enumerate(lineages) if name != "negative"]]
        marked = marked[marked.sum(axis=1) > 0]
        rows.append([condition, "preference", len(marked), *_preference(marked)])
        for row in rows[begin:]:
            row[-1] = row[-1] or note
    return pd.DataFrame(rows, columns=list(COLUMNS))


_COUNTS = ("n_tracks", "n_divisions", "n_end", "n_dead", "n_escaped")
Limits = tuple[float, float, float, str]
_NAN = float("nan")


def _mean(x: Floats) -> Limits:
    if len(x) < 2:
        return (float(x.mean()) if len(x) else _NAN), _NAN, _NAN, "fewer than two clones: no interval"
    half = float(t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return float(x.mean()), max(float(x.mean()) - half, 0.0), float(x.mean()) + half, ""


def _share(k: int, n: int) -> Limits:
    if n == 0:
        return _NAN, _NAN, _NAN, "no clone"
    low = float(beta.ppf(0.025, k + 0.5, n - k + 0.5)) if k else 0.0
    high = float(beta.ppf(0.975, k + 0.5, n - k + 0.5)) if k < n else 1.0
    return k / n, low, high, ""


def _ratio(part: Floats, total: Floats) -> Limits:
    part, total = part[total > 0], total[total > 0]
    n = len(total)
    if n == 0:
        return _NAN, _NAN, _NAN, "no cell at the end"
    value = float(part.sum() / total.sum())
    if n < 2:
        return value, _NAN, _NAN, "fewer than two clones: no interval"
    if value in (0.0, 1.0):
        # Without any scatter clones say no more than so many independent ones.
        return _share(int(n * value), n)
    away = part - value * total
    error = float(np.sqrt(n / (n - 1) * (away**2).sum())) / float(total.sum())
    half = float(t.ppf(0.975, n - 1)) * error
    return value, max(value - half, 0.0), min(value + half, 1.0), ""


def _preference(counts: Floats) -> Limits:
    several = counts[counts.sum(axis=1) >= 2]  # a clone of one cell says nothing on whether its cells are alike
    if len(several) < 5 or (counts.sum(axis=0) > 0).sum() < 2:
        return _NAN, _NAN, _NAN, "needs five clones of two marked cells and two lineages"
    value, error, groups = _jackknife(lambda keep: dirichlet_multinomial_rho(counts[keep]), len(counts))
    if not np.isfinite(error):
        return value, _NAN, _NAN, "no interval: one lineage only without some of the clones"
    if error < 1e-6:
        return value, _NAN, _NAN, "no interval: every clone makes one lineage"
    half = float(t.ppf(0.975, groups - 1)) * error
    return value, max(value - half, 0.0), min(value + half, 1.0), ""


def _jackknife(estimate: Callable[[npt.NDArray[np.bool_]], float], n: int) -> tuple[float, float, int]:
    """Estimate from all, its error from leaving out groups in turn, and the number of groups."""
    groups = min(_GROUPS, n)
    group = np.arange(n) % groups
    left_out = np.array([estimate(group != g) for g in range(groups)])
    error = float(np.sqrt((groups - 1) / groups * ((left_out - left_out.mean()) ** 2).sum()))
    return float(estimate(np.ones(n, dtype=bool))), error, groups
