"""Identity of a study's colonies: linked over sessions, edited by hand, and what there is to say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.pipeline.step import Context

if TYPE_CHECKING:
    from napari_marrow.study import Study
    from napari_marrow.tracking.colonies import SessionLink

_LINK_COLUMNS = (
    "position", "session_parent", "session_child", "registration", "sigma", "ceiling", "evidence", "accepted", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class LinkedColonies:
    """Colonies of a position with their identity.

    Attributes
    ----------
    colonies : DataFrame
        The rows of all frames with ``colony_id, founders, name``.
    found_edges, edges : DataFrame
        Before and after edits.
    session_links : DataFrame
        How neighbouring frames were connected, the chance of a right identity, and why it was refused.
    notes : list of str
        Edits that no longer fit.
    """

    colonies: pd.DataFrame
    found_edges: pd.DataFrame
    edges: pd.DataFrame
    session_links: pd.DataFrame
    notes: list[str]


def linked_colonies(study: Study, position: str, tables: Sequence[pd.DataFrame], context: Context) -> LinkedColonies:
    """Link the colonies of a position's frames and apply the standing edits.

    Parameters
    ----------
    study : Study
    position : str
    tables : sequence of DataFrame
        A row per colony, in order of time; ``attrs`` hold ``session`` and ``time_h``.
    context : Context
    """
    from napari_marrow.pipeline.edits import edited_colonies
    from napari_marrow.tracking import link_colonies
    from napari_marrow.tracking.colony_identity import edited_identities

    section = context.recipe.colonies
    # every chosen frame is a node of its own: a dense session's first and last frame are linked, too
    linked = link_colonies(
        [table.assign(session=i, y=table["y_reg"], x=table["x_reg"]) for i, table in enumerate(tables)],
        [table.attrs["time_h"] for table in tables],
        min_ceiling=section.min_ceiling,
        seed=context.recipe.seed,
    )
    session_of = np.array([table.attrs["session"] for table in tables], dtype=np.int64)
    found = linked.edges.assign(
        position=position,
        session_parent=session_of[linked.edges["session_parent"].to_numpy(np.int64)],
        session_child=session_of[linked.edges["session_child"].to_numpy(np.int64)],
    )
    filled = [table for table in tables if len(table)]
    colonies = pd.concat(filled, ignore_index=True) if filled else tables[0]
    identity, edges = linked.identity, found
    names: dict[tuple[int, int], str] = {}
    notes: list[str] = []
    if study.edits().standing(position, "colonies"):
        edges, names, notes = edited_colonies(study, position, colonies, found)
        edges = edges.assign(position=position)
        identity = edited_identities(list(tables), edges)
    colonies = colonies.assign(colony_id=identity["colony_id"].to_numpy(), founders=identity["founders"].to_numpy())
    keys = list(zip(colonies["session"].astype(int), colonies["colony"].astype(int), strict=True))
    named = {int(k): names[key] for k, key in zip(colonies["colony_id"], keys, strict=True) if key in names}
    colonies["name"] = np.array([named.get(int(k), "") for k in colonies["colony_id"]], dtype=object)
    return LinkedColonies(colonies, found, edges, _session_links(linked.sessions, session_of, position), notes)


def _session_links(links: Sequence[SessionLink], session_of: np.ndarray, position: str) -> pd.DataFrame:
    rows = [
        (position, int(session_of[k]), int(session_of[k + 1]), link.registration, link.sigma, link.ceiling,
         link.evidence, link.accepted, link.reason)
        for k, link in enumerate(links)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(_LINK_COLUMNS))


def colony_notes(study: Study, key: str, seed: int) -> list[str]:
    """Return what was refused and why, which wells look swapped, and which edits no longer fit."""
    from napari_marrow.tracking import swapped_wells

    if not study.has_table("colony_edges", key):
        return []
    edges = study.table("colony_edges", key)
    refused = int((edges["kind"] == "refused").sum())
    notes = [f"{refused} links between colonies were refused as too uncertain."] if refused else []
    links = study.table("session_links", key)
    for row in links[~links["accepted"].astype(bool) & (links["registration"] != "none")].itertuples():
        notes.append(f"{row.position}, session {row.session_parent} to {row.session_child}: {row.reason}")
    colonies = study.table("colonies", key)
    if len(colonies) and not links["accepted"].astype(bool).all():
        numbers = sorted(colonies["session"].unique())
        series = {str(p): _sessions(own, numbers) for p, own in colonies.groupby("position", sort=True)}
        notes += list(swapped_wells(series, seed=seed)["sentence"])
    for unit in study.committed("colonies", key):
        notes += study.commit_record("colonies", key, unit)["extra"].get("notes", [])
    return notes


def _sessions(colonies: pd.DataFrame, numbers: Sequence[int]) -> list[pd.DataFrame]:
    """Return the colonies of each session's first frame; none where the position was not imaged in it."""
    first = colonies[colonies["t"] == colonies.groupby("session")["t"].transform("min")]
    return [first[first["session"] == number] for number in numbers]
