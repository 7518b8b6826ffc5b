"""Colonies through sessions: who is who after days in the incubator, with merges, splits and the limit of knowing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.schemas import COLONY_EDGES
from napari_marrow.tracking.colony_gaps import links_over
from napari_marrow.tracking.colony_growth import known_growth
from napari_marrow.tracking.colony_identity import identities
from napari_marrow.tracking.colony_pairs import Pair, decide_again, pair_sessions
from napari_marrow.tracking.colony_tables import Colonies, contact, read_colonies
from napari_marrow.tracking.identity import identity_ceiling, pattern_ceiling
from napari_marrow.tracking.points import Floats

_FEW = 8  # colonies that can place each other
# Nats. Sessions that have nothing to do with each other reach 8 as they lie or by a shift, 14 by the best of many maps.
_EVIDENCE, _PLAIN_EVIDENCE = 20.0, 12.0
_MISREAD = 0.04  # of links into merged colonies are wrong however well they fit: a third one was missed, or ended there
_LISTED = 0.1  # edges that are less probable are not worth a row


@dataclass(frozen=True)
class SessionLink:
    """How two sessions were connected.

    Attributes
    ----------
    session_parent, session_child : int
    registration : str
        identity, shift, affine or smooth; "none" where a session has no colony.
    matrix : (2, 2) float64
    shift : (2,) float64
        µm, ``x_child = matrix @ x_parent + shift``, without the smooth residual field.
    sigma : float
        Residual per coordinate, µm.
    ceiling : float
        Chance that the nearest colony is the right one: of the later session's own pattern, of places at random where
        it has too few colonies to show one.
    evidence : float
        How much likelier the registered distances are than those of random places, nats: low where wells were swapped.
    accepted : bool
        Whether identity was carried over.
    reason : str
        Why it was not; empty where it was.
    moved : (n, 2) float64
        Registered places of the earlier session's colonies, the residual field included, each without its own link.
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
    reason: str = ""
    moved: Floats = field(default_factory=lambda: np.zeros((0, 2)))


@dataclass(frozen=True)
class ColonyLinks:
    """Identity of colonies over sessions; unpacks as ``identity, edges``.

    Attributes
    ----------
    identity : DataFrame
        ``session, colony, colony_id, founders``; a row per colony in the order of the input tables. Of a merged colony
        the largest parent's id goes on; `founders` keeps all.
    edges : DataFrame
        ``session_parent, colony_parent, session_child, colony_child, kind, probability, reason``; `reason` says why an
        edge was refused.
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


def link_colonies(
    tables: Sequence[pd.DataFrame],
    times_h: Sequence[float] | None = None,
    *,
    landmarks: Sequence[npt.ArrayLike | None] | None = None,
    placed: Sequence[bool] | None = None,
    min_probability: float = 0.5,
    min_ceiling: float = 0.5,
    seed: int = 0,
) -> ColonyLinks:
    """Carry the identity of colonies from session to session.

    Neighbouring sessions are registered on the constellation of their colonies, or on landmarks (identity, shift or
    affine, by evidence), then by a smooth residual field on the links found so far. What may have happened to every
    colony (it went on, merged, fell apart, or is unexplained) is weighed by place, growth, shape and composition, all
    colonies of a place together; probabilities are exact for these hypotheses, and what they are weighed by is learned
    from them in turns. Growth before and after a gap helps to judge the growth in it. A colony that one session missed
    is linked over it (kind ``gap``).

    Where the chance of the nearest colony being the right one stays below `min_ceiling`, where the constellation is no
    likelier than chance, or an edge's own probability below `min_probability`, nothing is carried over: the edge is of
    kind ``refused``, says why, and the colony begins anew.

    Parameters
    ----------
    tables : sequence of DataFrame
        Per session: ``colony``, ``y_reg, x_reg`` or ``y, x`` (µm), and ``radius`` (µm) or ``area`` (µm²); optionally
        ``fraction_<lineage>``, ``intensity_<channel>`` and shapes (``aspect, eccentricity, solidity, circularity``);
        ``session`` names the session (0, 1, ... without). A session may give several tables (its first and its last
        frame) if its colony numbers go on.
    times_h : sequence of float, optional
        Time of every table, hours, rising; only checked: growth over each gap is learned.
    landmarks : sequence of (k, 2) array, optional
        Per table, places (y, x) in µm in the coordinates of its colonies that stand still in the gel, such as scaffold.
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
    _check_settings(len(tables), times_h, placed, min_probability, min_ceiling)
    sessions = read_colonies(tables, landmarks)
    touch = contact(sessions)
    pairs: list[Pair | None] = [
        pair_sessions(a, b, contact=touch, seed=seed) if len(a) and len(b) else None for a, b in pairwise(sessions)
    ]
    pairs = _in_context(pairs)
    links = [
        _session_link(pair, sessions[s], sessions[s + 1], min_ceiling, placed is None or bool(placed[s + 1]))
        for s, pair in enumerate(pairs)
    ]
    edges = _edges(sessions, pairs, links, min_probability)
    identity = identities(sessions, edges)
    return ColonyLinks(identity, edges.drop(columns=["table_parent", "table_child"]), links)


def _in_context(pairs: list[Pair | None]) -> list[Pair | None]:
    """Decide every pair once more, knowing growth and life of its colonies in the sessions before and after."""
    out: list[Pair | None] = []
    for s, (pair, known) in enumerate(zip(pairs, known_growth(pairs), strict=True)):
        if pair is None:
            out.append(None)
            continue
        earlier = pairs[s - 1] if s else None
        later = pairs[s + 1] if s + 1 < len(pairs) else None
        out.append(
            decide_again(
                pair,
                known,
                None if earlier is None else earlier.decision.kin(len(pair.model.before)),
                None if later is None else later.decision.heirs(len(pair.model.after)),
            )
        )
    return out


def _check_settings(
    n: int,
    times_h: Sequence[float] | None,
    placed: Sequence[bool] | None,
    min_probability: float,
    min_ceiling: float,
) -> None:
    for name, value in (("min_probability", min_probability), ("min_ceiling", min_ceiling)):
        if not 0 <= value <= 1:
            raise SettingsError(f"{name} is {value}: give a chance between 0 and 1.")
    if times_h is not None:
        times = np.asarray(times_h, dtype=np.float64)
        if len(times) != n or not np.isfinite(times).all() or bool((np.diff(times) <= 0).any()):
            raise SettingsError(f"times_h {list(times_h)} must hold one rising time for each of the {n} sessions.")
    if placed is not None and len(placed) != n:
        raise SettingsError(f"placed has {len(placed)} entries for {n} sessions: give one for each.")


def _session_link(
    pair: Pair | None, before: Colonies, after: Colonies, min_ceiling: float, trusted: bool
) -> SessionLink:
    names = before.session, after.session
    if pair is None:
        reason = "A session without colonies has no identity to carry over."
        return SessionLink(*names, "none", np.eye(2), np.zeros(2), np.nan, 0.0, 0.0, False, reason)
    enough = len(after) >= _FEW
    ceiling = pattern_ceiling(after.x, pair.sigma) if enough else identity_ceiling(pair.model.density, pair.sigma, 2)
    # few colonies cannot place each other: then only the stage can, and places that it kept
    few = min(len(before), len(after)) < _FEW
    bar = _PLAIN_EVIDENCE if pair.fit.kind in ("identity", "shift") and not few else _EVIDENCE
    placed = pair.evidence >= bar or (trusted and pair.fit.kind == "identity" and few)
    reason = ""
    if not placed and few:
        reason = (
            f"{min(len(before), len(after))} colonies cannot place each other, and the stage did not keep its place."
        )
    elif not placed:
        reason = (
            f"The colonies of the two sessions fit no better than chance (evidence {pair.evidence:.0f} of "
            f"{bar:.0f} nats): was a well swapped, or another organoid imaged?"
        )
    elif ceiling < min_ceiling:
        reason = (
            f"The nearest colony would be the right one with a chance of {ceiling:.2f} only (bar {min_ceiling:.2f}): "
            f"{pair.model.density * 1e6:.2g} colonies per mm² moved by {pair.sigma:.0f} µm."
        )
    return SessionLink(
        *names, pair.registration, pair.fit.matrix, pair.fit.shift, pair.sigma, ceiling, pair.evidence, not reason,
        reason, pair.model.moved,
    )  # fmt: skip


def _edges(
    sessions: Sequence[Colonies], pairs: Sequence[Pair | None], links: Sequence[SessionLink], min_probability: float
) -> pd.DataFrame:
    parts = []
    for s, (pair, link) in enumerate(zip(pairs, links, strict=True)):
        if pair is None:
            continue
        d = pair.decision
        merged = np.array(_kinds(d.i, d.j, d.probability >= min_probability)) == "merge"
        chance = np.where(merged, (1 - _MISREAD) * d.probability, d.probability)
        firm = (chance >= min_probability) & link.accepted
        listed = firm | (d.likeliest & (chance >= _LISTED))
        firm, i, j = firm[listed], d.i[listed], d.j[listed]
        kind = _kinds(i, j, firm)
        low = f"Its probability is below {min_probability:g}."
        reason = ["" if ok else (link.reason or low) for ok in firm]
        parts.append(_rows(sessions, (s, s + 1), i, j, kind, chance[listed], reason))
        if s and pairs[s - 1] is not None and links[s - 1].accepted and link.accepted:
            first = pairs[s - 1]
            assert first is not None
            i, j, p = links_over(first, pair)
            sure = p >= max(min_probability, 0.5)
            gap = ["gap"] * int(sure.sum())
            parts.append(_rows(sessions, (s - 1, s + 1), i[sure], j[sure], gap, p[sure], [""] * len(gap)))
    filled = [part for part in parts if len(part)]
    if not filled:
        return COLONY_EDGES.empty().drop(columns="position").assign(
            reason=pd.Series([], dtype=object), table_parent=0, table_child=0
        )  # fmt: skip
    return pd.concat(filled, ignore_index=True)


def _kinds(i: npt.NDArray[np.int64], j: npt.NDArray[np.int64], firm: npt.NDArray[np.bool_]) -> list[str]:
    """Name every edge by how many firm ones share its ends."""
    parents = np.bincount(j[firm], minlength=int(j.max(initial=0)) + 1)
    children = np.bincount(i[firm], minlength=int(i.max(initial=0)) + 1)
    kind = np.where(parents[j] > 1, "merge", np.where(children[i] > 1, "split", "same"))
    return [str(k) if ok else "refused" for k, ok in zip(kind, firm, strict=True)]


def _rows(
    sessions: Sequence[Colonies],
    tables: tuple[int, int],
    i: npt.NDArray[np.int64],
    j: npt.NDArray[np.int64],
    kind: Sequence[str],
    chance: Floats,
    reason: Sequence[str],
) -> pd.DataFrame:
    before, after = sessions[tables[0]], sessions[tables[1]]
    table = pd.DataFrame(
        {
            "session_parent": np.full(len(i), before.session, np.int32),
            "colony_parent": before.number[i].astype(np.int32),
            "session_child": np.full(len(i), after.session, np.int32),
            "colony_child": after.number[j].astype(np.int32),
            "kind": np.asarray(kind, dtype=object),
            "probability": np.asarray(chance, dtype=np.float64),
            "reason": np.asarray(reason, dtype=object),
            "table_parent": tables[0],
            "table_child": tables[1],
        }
    )
    return table.sort_values(["colony_parent", "colony_child"], ignore_index=True)
