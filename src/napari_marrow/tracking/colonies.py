"""Colonies through sessions: who is who after days in the incubator, with merges, splits and the limit of knowing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.schemas import COLONY_EDGES
from napari_marrow.tracking.appearance import log_normal
from napari_marrow.tracking.constellation import ConstellationFit, register_constellation
from napari_marrow.tracking.identity import identity_ceiling
from napari_marrow.tracking.matching import assign_forward
from napari_marrow.tracking.points import Floats, Ints

_MERGE_RATE, _SPLIT_RATE = 0.08, 0.01
_UNMATCHED = 0.10
_FEW = 8  # colonies that can place each other
_EVIDENCE = 20.0  # nats; sessions that have nothing to do with each other reach 15
_NEAR = 3.2  # of a residual's sigma, and beyond the own radius


@dataclass(frozen=True)
class SessionLink:
    """How two sessions were connected.

    Attributes
    ----------
    session_parent, session_child : int
    registration : str
        identity, shift, affine or smooth; "none" where a session has too few colonies.
    matrix : (2, 2) float64
    shift : (2,) float64
        µm, ``x_child = matrix @ x_parent + shift``.
    sigma : float
        Residual per coordinate, µm.
    ceiling : float
        Chance that the nearest colony is the right one.
    evidence : float
        How much likelier the registered distances are than those of random places, nats: low where wells were swapped.
    accepted : bool
        Whether identity was carried over.
    """

    session_parent: int
    session_child: int
    registration: str
    matrix: Floats
    shift: Floats
    sigma: float
    ceiling: float
    evidence: float
    accepted: bool


@dataclass(frozen=True)
class ColonyLinks:
    """Identity of colonies over sessions; unpacks as ``identity, edges``.

    Attributes
    ----------
    identity : DataFrame
        ``session, colony, colony_id, founders``; a row per colony in the order of the input tables. Of a merged colony
        the largest parent's id goes on; `founders` keeps all.
    edges : DataFrame
        ``session_parent, colony_parent, session_child, colony_child, kind, probability``.
    sessions : list of SessionLink
    """

    identity: pd.DataFrame
    edges: pd.DataFrame
    sessions: list[SessionLink] = field(default_factory=list)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        return iter((self.identity, self.edges))

    @property
    def colony_id(self) -> npt.NDArray[np.int32]:
        """Identity of every colony, the tables one after the other."""
        return self.identity["colony_id"].to_numpy(dtype=np.int32)

    @property
    def founders(self) -> npt.NDArray[np.object_]:
        """Founder set of every colony, ids separated by ";", the tables one after the other."""
        return self.identity["founders"].to_numpy(dtype=object)


@dataclass(frozen=True)
class _Pair:
    """Colonies of two sessions, registered, with what was learned about the same ones."""

    x: Floats  # earlier, registered
    r: Floats
    y: Floats
    s: Floats
    fractions: tuple[Floats, Floats]
    sigma: float
    density: float
    growth: float = 0.0
    growth_width: float = 0.45


def link_colonies(
    tables: Sequence[pd.DataFrame],
    times_h: Sequence[float] | None = None,
    *,
    placed: Sequence[bool] | None = None,
    min_probability: float = 0.5,
    min_ceiling: float = 0.5,
    seed: int = 0,
) -> ColonyLinks:
    """Carry the identity of colonies from session to session.

    Neighbouring sessions are registered on the constellation of their colonies (identity, shift, affine or smooth, by
    evidence); then links and merges are decided together by exact assignment on likelihood ratios of distance, growth
    and marker composition, and splits after them. Where the chance of the nearest colony being the right one stays
    below `min_ceiling`, where the constellation is no likelier than chance, or an edge's own probability below
    `min_probability`, nothing is carried over: the edge is of kind ``refused`` and the colony begins anew.

    Parameters
    ----------
    tables : sequence of DataFrame
        Per session: ``colony``, ``y_reg, x_reg`` or ``y, x`` (µm), and ``radius`` (µm) or ``area`` (µm²); optionally
        ``fraction_<lineage>``; ``session`` names the session (0, 1, ... without). A session may give several tables
        (its first and its last frame) if its colony numbers go on.
    times_h : sequence of float, optional
        Time of every table, hours, rising.
    placed : sequence of bool, optional
        Whether the coordinates of each table are in the frame of the one before; where not, few colonies are not
        enough.
    min_probability, min_ceiling : float
        Between 0 and 1.
    seed : int
        Of the search for constellations.

    Returns
    -------
    ColonyLinks

    Raises
    ------
    TableError
        If a column is missing or holds NaN, or a colony number repeats within a session.
    SettingsError
        If times do not rise, or a bar is no chance.
    """
    for name, value in (("min_probability", min_probability), ("min_ceiling", min_ceiling)):
        if not 0 <= value <= 1:
            raise SettingsError(f"{name} is {value}: give a chance between 0 and 1.")
    if times_h is not None and (len(times_h) != len(tables) or bool((np.diff(np.asarray(times_h)) <= 0).any())):
        raise SettingsError(
            f"times_h {list(times_h)} must hold one rising time for each of the {len(tables)} sessions."
        )
    if placed is not None and len(placed) != len(tables):
        raise SettingsError(f"placed has {len(placed)} entries for {len(tables)} sessions: give one for each.")
    names = [_check(table, number) for number, table in enumerate(tables)]
    _check_unique(tables, names)
    edges, sessions = [], []
    for s in range(len(tables) - 1):
        trusted = placed is None or bool(placed[s + 1])
        bars = (min_probability, min_ceiling)
        link, part = _link_pair(tables[s], tables[s + 1], (names[s], names[s + 1]), bars, trusted=trusted, seed=seed)
        sessions.append(link)
        edges.append(part)
    filled = [part for part in edges if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else _no_edges()
    return ColonyLinks(_identities(tables, names, edges), table, sessions)


def _check(table: pd.DataFrame, number: int) -> int:
    """Check a session's table and return its session number."""
    y, x = _axes(table)
    missing = [c for c in ("colony", y, x) if c not in table.columns]
    if "area" not in table.columns and "radius" not in table.columns:
        missing.append("area")
    if missing:
        raise TableError(f"The colonies of session {number} lack the column(s) {', '.join(missing)}.")
    for column in (y, x, "radius" if "radius" in table.columns else "area"):
        if not np.isfinite(table[column].to_numpy(dtype=np.float64)).all():
            raise TableError(f"Column '{column}' of the colonies of session {number} holds NaN: remove these rows.")
    return int(table["session"].iloc[0]) if "session" in table.columns and len(table) else number


def _check_unique(tables: Sequence[pd.DataFrame], names: list[int]) -> None:
    seen: set[tuple[int, int]] = set()
    for table, name in zip(tables, names, strict=True):
        for colony in table["colony"]:
            if (name, int(colony)) in seen:
                raise TableError(f"Colony {colony} stands twice in session {name}: its number must be its own.")
            seen.add((name, int(colony)))


def _axes(table: pd.DataFrame) -> tuple[str, str]:
    return ("y_reg", "x_reg") if {"y_reg", "x_reg"} <= set(table.columns) else ("y", "x")


def _arrays(table: pd.DataFrame) -> tuple[Floats, Floats]:
    x = table[list(_axes(table))].to_numpy(dtype=np.float64)
    if "radius" in table.columns:
        return x, np.maximum(table["radius"].to_numpy(dtype=np.float64), 1e-6)
    return x, np.sqrt(np.maximum(table["area"].to_numpy(dtype=np.float64), 1e-12) / np.pi)


def _density(x: Floats) -> float:
    """Colonies per area of the box that holds them, widened by half a spacing."""
    side = np.ptp(x, axis=0)
    n = len(x)
    if n < 2 or side.max() == 0:
        return 1e-6
    side = np.maximum(side, 0.05 * side.max())
    return float(n / np.prod(side * (1 + 1 / np.sqrt(n))))


def _link_pair(
    before: pd.DataFrame,
    after: pd.DataFrame,
    names: tuple[int, int],
    bars: tuple[float, float],
    *,
    trusted: bool,
    seed: int,
) -> tuple[SessionLink, pd.DataFrame]:
    a, size_a = _arrays(before)
    b, size_b = _arrays(after)
    if len(a) < 1 or len(b) < 1:
        return SessionLink(*names, "none", np.eye(2), np.zeros(2), np.nan, 0.0, 0.0, False), _no_edges()
    density = _density(b)
    if len(b) < 2:
        # a lone organoid cannot be taken for another; what is near is judged by its own size
        density = 1 / (np.pi * (4 * float(size_b[0])) ** 2)
    fit = register_constellation(a, size_a, b, size_b, density=density, seed=seed)
    pair, i, j, kind, gain = _decide(fit, a, size_a, b, size_b, _fractions(before, after), density)
    ceiling = identity_ceiling(density, pair.sigma, 2)
    # few colonies cannot place each other: then only the stage can, and places that it kept
    placed = fit.mixture.evidence >= _EVIDENCE or (trusted and fit.kind == "identity" and min(len(a), len(b)) < _FEW)
    accepted = ceiling >= bars[1] and placed
    chance = _edge_chance(i, j, gain, pair)
    kinds = [k if accepted and p >= bars[0] else "refused" for k, p in zip(kind, chance, strict=True)]
    link = SessionLink(*names, fit.kind, fit.matrix, fit.shift, pair.sigma, ceiling, fit.mixture.evidence, accepted)
    return link, _edge_table(names, before, after, i, j, kinds, chance)


def _fractions(before: pd.DataFrame, after: pd.DataFrame) -> tuple[Floats, Floats]:
    """Variance-stabilised marker fractions that both sessions have, NaN as their mean."""
    shared = [c for c in before.columns if str(c).startswith("fraction_") and c in after.columns]
    out = []
    for table in (before, after):
        values = np.arcsin(np.sqrt(np.clip(table[shared].to_numpy(dtype=np.float64), 0, 1)))
        out.append(values)
    return out[0], out[1]


def _decide(
    fit: ConstellationFit,
    a: Floats,
    size_a: Floats,
    b: Floats,
    size_b: Floats,
    fractions: tuple[Floats, Floats],
    density: float,
) -> tuple[_Pair, Ints, Ints, list[str], Floats]:
    """Two rounds of assignment; the second knows growth and residual of the first."""
    pair = _Pair(fit.moved, size_a, b, size_b, fractions, fit.mixture.sigma, density)
    for _ in range(3):
        i, j, kind, gain = _assign(pair)
        same = np.array([k == "same" for k in kind], dtype=bool)
        if same.sum() < 5:
            break
        growth = 2 * np.log(size_b[j[same]] / size_a[i[same]])
        residual = b[j[same]] - pair.x[i[same]]
        middle = float(np.median(growth))
        pair = _Pair(
            pair.x, size_a, b, size_b, fractions,
            max(float(np.sqrt(np.mean(residual**2))), 0.02 / np.sqrt(density)), density,
            middle, max(1.4826 * float(np.median(np.abs(growth - middle))), 0.1),
        )  # fmt: skip
    return pair, i, j, kind, gain


def _log_place(squared: Floats, sigma: float | Floats, density: float) -> Floats:
    return np.asarray(-squared / (2 * np.asarray(sigma) ** 2) - np.log(2 * np.pi * np.asarray(sigma) ** 2 * density))


def _log_size(pair: _Pair, log_area: Floats, j: Ints) -> Floats:
    """Growth to child j from a log area, against the size of any child."""
    child = 2 * np.log(pair.s)
    width = max(float(child.std()), 0.2)
    growth = child[j] - log_area
    core = np.logaddexp(
        np.log(0.95) + log_normal(growth, pair.growth, pair.growth_width),
        np.log(0.05) + log_normal(growth, pair.growth, 3 * pair.growth_width),
    )
    return np.asarray(core - log_normal(child[j], float(child.mean()), width))


def _log_marker(pair: _Pair, i: Ints, j: Ints) -> Floats:
    """Composition: half as unlike as two random colonies are, or rather random."""
    a, b = pair.fractions
    out = np.zeros(len(i))
    for f in range(a.shape[1]):
        width = max(float(np.nanstd(b[:, f])), 0.02) if np.isfinite(b[:, f]).any() else 1.0
        change = b[j, f] - a[i, f]
        ratio = log_normal(change, 0.0, 0.5 * width) - log_normal(b[j, f], float(np.nanmean(b[:, f])), width)
        out += np.where(np.isnan(change) | np.isnan(b[j, f]), 0.0, np.clip(ratio, -3, 3))
    return out


def _assign(pair: _Pair) -> tuple[Ints, Ints, list[str], Floats]:
    """Links and merges together, then splits. Children are the rows of the assignment, parents its columns."""
    n, m = len(pair.x), len(pair.y)
    squared = ((pair.x[:, None] - pair.y[None]) ** 2).sum(2)
    i, j = np.nonzero(squared <= (5 * pair.sigma) ** 2)
    odds = np.log((1 - _UNMATCHED) / _UNMATCHED**2)
    log_area = 2 * np.log(pair.r)
    gain = (
        _log_place(squared[i, j], pair.sigma, pair.density)
        + _log_size(pair, log_area[i], j)
        + _log_marker(pair, i, j)
        + odds
    )
    p, q, child, merge = _merges(pair)
    block = np.zeros(len(i), np.int64)
    linked, merged = assign_forward(
        n + m, (n + j, i, gain, block), (n + child, p, q, merge, np.zeros(len(p), np.int64))
    )
    out_i = np.concatenate([i[linked], p[merged], q[merged]])
    out_j = np.concatenate([j[linked], child[merged], child[merged]])
    kind = ["same"] * int(linked.sum()) + ["merge"] * (2 * int(merged.sum()))
    worth = np.concatenate([gain[linked], merge[merged], merge[merged]])
    return _stragglers(pair, out_i, out_j, kind, worth)


def _merges(pair: _Pair) -> tuple[Ints, Ints, Ints, Floats]:
    """Candidate merges: two parents that touch once grown, and a child about their common centre."""
    n = len(pair.x)
    none = np.zeros(0, np.int64)
    grown = pair.r * np.exp(0.5 * max(pair.growth, 0.0))
    apart = np.sqrt(((pair.x[:, None] - pair.x[None]) ** 2).sum(2))
    p, q = np.nonzero(np.triu(apart < 1.15 * (grown[:, None] + grown[None]) + 2 * pair.sigma, 1))
    if len(p) == 0:
        return none, none, none, np.zeros(0)
    weight = (pair.r[p] ** 2 / (pair.r[p] ** 2 + pair.r[q] ** 2))[:, None]
    centre = weight * pair.x[p] + (1 - weight) * pair.x[q]
    squared = ((centre[:, None] - pair.y[None]) ** 2).sum(2)
    sigma = np.hypot(pair.sigma, 0.15 * apart[p, q])
    pairs, child = np.nonzero(squared <= (_NEAR * sigma[:, None]) ** 2)
    p, q = p[pairs], q[pairs]
    # the chance of touching falls smoothly with the free space between the grown discs
    slack = (apart[p, q] - 0.9 * (grown[p] + grown[q])) / np.hypot(pair.sigma, 0.15 * (grown[p] + grown[q]))
    touch = -0.5 * np.maximum(slack, 0.0) ** 2
    total = np.log(pair.r[p] ** 2 + pair.r[q] ** 2)
    gain = _log_place(squared[pairs, child], sigma[pairs], pair.density) + _log_size(pair, total, child) + touch
    gain += np.log(_merge_odds(n, len(p))) - 3 * np.log(_UNMATCHED)
    return p.astype(np.int64), q.astype(np.int64), child.astype(np.int64), np.asarray(gain)


def _merge_odds(n: int, candidates: int) -> float:
    """Prior of one candidate merge: the merges that are to be expected shared among the pairs that could."""
    return float(np.clip(_MERGE_RATE * n / max(candidates, 1), 0.02, 0.5))


def _stragglers(pair: _Pair, i: Ints, j: Ints, kind: list[str], gain: Floats) -> tuple[Ints, Ints, list[str], Floats]:
    """Third parents of a merge, parents swallowed by a colony that is linked already, fragments of a split one."""
    n, m = len(pair.x), len(pair.y)
    grown = pair.r * np.exp(0.5 * max(pair.growth, 0.0))
    distance = np.sqrt(((pair.x[:, None] - pair.y[None]) ** 2).sum(2))
    extra_i, extra_j, extra_kind, extra_gain = list(i), list(j), list(kind), list(gain)
    lost = np.setdiff1d(np.arange(n), i)
    for a in lost:
        depth = (distance[a] - pair.s) / np.hypot(pair.sigma, 0.3 * grown[a])
        depth[np.setdiff1d(np.arange(m), j)] = np.inf
        b = int(np.argmin(depth))
        taken = np.flatnonzero(j == b)
        if depth[b] >= 0 or len(taken) == 0:
            continue
        extra_i.append(a)
        extra_j.append(b)
        extra_kind.append("merge")
        extra_gain.append(float(np.log(9.0) - depth[b]))
        for t in taken:
            extra_kind[t] = "merge"
    new = np.setdiff1d(np.arange(m), j)
    for b in new:
        inside = (distance[:, b] - 1.3 * grown - 0.5 * pair.s[b]) / pair.sigma
        inside[np.setdiff1d(np.arange(n), i)] = np.inf
        a = int(np.argmin(inside))
        mine = np.flatnonzero(i == a)
        if len(mine) != 1 or inside[a] >= 0 or kind[mine[0]] != "same":
            continue
        sibling = int(j[mine[0]])
        total = np.log(pair.s[b] ** 2 + pair.s[sibling] ** 2)
        centre = (pair.s[b] ** 2 * pair.y[b] + pair.s[sibling] ** 2 * pair.y[sibling]) / np.exp(total)
        fits = _log_place(((centre - pair.x[a]) ** 2).sum(), pair.sigma, pair.density)
        alone = _log_place(distance[a, sibling] ** 2, pair.sigma, pair.density)
        growth = log_normal(total - 2 * np.log(pair.r[a]), pair.growth, pair.growth_width)
        growth -= log_normal(2 * np.log(pair.s[sibling] / pair.r[a]), pair.growth, pair.growth_width)
        worth = float(fits - alone + growth + np.log(_SPLIT_RATE / _UNMATCHED) + 2.0)
        if worth > 0:
            extra_i.append(a)
            extra_j.append(b)
            extra_kind.append("split")
            extra_gain.append(worth)
            extra_kind[mine[0]] = "split"
    return np.array(extra_i, np.int64), np.array(extra_j, np.int64), extra_kind, np.array(extra_gain, np.float64)


def _edge_chance(i: Ints, j: Ints, gain: Floats, pair: _Pair) -> Floats:
    """P(same colony): the edge's likelihood ratio against all rivals at both of its ends."""
    squared = ((pair.x[:, None] - pair.y[None]) ** 2).sum(2)
    rows, columns = np.nonzero(squared <= (5 * pair.sigma) ** 2)
    odds = np.log((1 - _UNMATCHED) / _UNMATCHED**2)
    all_gain = _log_place(squared[rows, columns], pair.sigma, pair.density) + odds
    all_gain += _log_size(pair, 2 * np.log(pair.r[rows]), columns) + _log_marker(pair, rows, columns)
    weight = np.exp(np.clip(all_gain, -30, 30))
    out = np.zeros(len(i))
    for e in range(len(i)):
        mine = np.exp(np.clip(gain[e], -30, 30))
        rival = ((rows == i[e]) != (columns == j[e])) & ~np.isin(rows * len(pair.y) + columns, i * len(pair.y) + j)
        out[e] = mine / (1 + mine + weight[rival].sum())
    return out


def _edge_table(
    names: tuple[int, int],
    before: pd.DataFrame,
    after: pd.DataFrame,
    i: Ints,
    j: Ints,
    kind: Sequence[str],
    chance: Floats,
) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "session_parent": np.full(len(i), names[0], np.int32),
            "colony_parent": before["colony"].to_numpy()[i].astype(np.int32),
            "session_child": np.full(len(i), names[1], np.int32),
            "colony_child": after["colony"].to_numpy()[j].astype(np.int32),
            "kind": np.asarray(kind, dtype=object),
            "probability": chance,
        }
    )
    return table.sort_values(["colony_parent", "colony_child"], ignore_index=True)


def _no_edges() -> pd.DataFrame:
    return COLONY_EDGES.empty().drop(columns="position")


def _identities(tables: Sequence[pd.DataFrame], names: list[int], edges: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Walk the edges session by session: ids go on to the largest heir of the largest parent, founder sets to all."""
    ids: dict[int, int] = {}
    founders: dict[int, frozenset[int]] = {}
    size: dict[int, float] = {}
    rows, fresh = [], 1
    first = next((s for s, table in enumerate(tables) if len(table)), 0)
    for s, (table, name) in enumerate(zip(tables, names, strict=True)):
        now = {int(c): float(r) for c, r in zip(table["colony"], _arrays(table)[1], strict=True)}
        parents = _parents(edges[s - 1]) if s else {}
        eldest = {child: max(found, key=lambda c: (size[c], -c)) for child, found in parents.items()}
        heir: dict[int, int] = {}
        for child, parent in eldest.items():
            if parent not in heir or (now[child], -child) > (now[heir[parent]], -heir[parent]):
                heir[parent] = child
        new_ids, new_founders = {}, {}
        for colony in now:
            parent = eldest.get(colony, -1)
            if parent >= 0 and heir[parent] == colony:
                new_ids[colony] = ids[parent]
            else:
                new_ids[colony] = fresh
                fresh += 1
            inherited: frozenset[int] = frozenset().union(*(founders[c] for c in parents.get(colony, [])))
            new_founders[colony] = inherited | ({new_ids[colony]} if s == first else set())
            rows.append((name, colony, new_ids[colony], ";".join(str(f) for f in sorted(new_founders[colony]))))
        ids, founders, size = new_ids, new_founders, now
    table = pd.DataFrame(rows, columns=["session", "colony", "colony_id", "founders"])
    return table.astype({"session": "int32", "colony": "int32", "colony_id": "int32", "founders": object})


def _parents(edges: pd.DataFrame) -> dict[int, list[int]]:
    """Parents of every child over edges that were not refused."""
    out: dict[int, list[int]] = {}
    firm = edges[edges["kind"] != "refused"]
    for child, parent in zip(firm["colony_child"].tolist(), firm["colony_parent"].tolist(), strict=True):
        out.setdefault(child, []).append(parent)
    return out
