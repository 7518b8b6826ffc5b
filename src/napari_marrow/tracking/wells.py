"""Wells that were swapped between two sessions: a well that fits another well's past better than its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from napari_marrow.tracking.colony_pairs import registration_evidence
from napari_marrow.tracking.colony_tables import Colonies, contact, read_colonies

_EVIDENCE = 20.0  # nats; see `colonies`
_AHEAD = 10.0
_COLUMNS = ["position", "session", "evidence", "looks_like", "looks_like_evidence", "mutual", "sentence"]


def swapped_wells(series: Mapping[str, Sequence[pd.DataFrame]], *, seed: int = 0) -> pd.DataFrame:
    """Find wells whose colonies of a session fit the past of another well, and say so; nothing is re-assigned.

    Parameters
    ----------
    series : mapping of str to sequence of DataFrame
        Per well, its sessions in order, each as for `link_colonies`; sessions of the same place in the sequence were
        imaged together. A well may lack its last sessions.
    seed : int
        Of the search for constellations.

    Returns
    -------
    DataFrame
        ``position, session, evidence`` (nats for its own past), ``looks_like, looks_like_evidence`` (the other well and
        the nats for its past), ``mutual`` (whether that one looks like this one in turn), ``sentence``; a row per well
        and session that is suspect.

    Raises
    ------
    TableError
        See `link_colonies`.
    """
    wells = {name: read_colonies(list(tables)) for name, tables in series.items()}
    touch = contact([s for sessions in wells.values() for s in sessions])
    rows = []
    for step in range(1, max((len(s) for s in wells.values()), default=0)):
        here = {name: s for name, s in wells.items() if len(s) > step}
        suspects = {}
        for name, sessions in here.items():
            own = _fit(sessions[step - 1], sessions[step], touch, seed)
            if own is not None and own < _EVIDENCE:
                found = {
                    other: _fit(o[step - 1], sessions[step], touch, seed) for other, o in here.items() if other != name
                }
                known = {other: e for other, e in found.items() if e is not None}
                best = max(sorted(known), key=lambda other: known[other], default=None)
                if best is not None and known[best] >= max(_EVIDENCE, own + _AHEAD):
                    suspects[name] = (own, best, known[best])
        for name, (own, other, evidence) in suspects.items():
            mutual = other in suspects and suspects[other][1] == name
            session = here[name][step].session
            rows.append(
                (name, session, own, other, evidence, mutual, _sentence(name, session, own, other, evidence, mutual))
            )
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"session": "int32", "mutual": bool})


def _fit(before: Colonies, after: Colonies, touch: float, seed: int) -> float | None:
    """Evidence that two sessions show the same well; None where there are too few colonies to tell."""
    if min(len(before), len(after)) < 4:
        return None
    return registration_evidence(before, after, contact=touch, seed=seed)


def _sentence(name: str, session: int, own: float, other: str, evidence: float, mutual: bool) -> str:
    both = f", and {other} looks like {name} in turn: the two were probably swapped" if mutual else ""
    return (
        f"{name} in session {session} fits the past of {other} (evidence {evidence:.0f} nats), not its own "
        f"({own:.0f}){both}. Nothing was re-assigned: check the plate and the file names."
    )
