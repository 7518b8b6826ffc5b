"""Edits of a study's tracks: checked against what is there, kept in its journal, applied when the recipe runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from napari_marrow.errors import EditError, PathMissingError, UserError
from napari_marrow.pipeline.step import Context, Unit
from napari_marrow.progress import CancelToken
from napari_marrow.study.process import user_name
from napari_marrow.tracking.curation import colony_edges_of, colony_graph, curated_tables, graph_of
from napari_marrow.tracking.edit_graph import Node, TrackGraph
from napari_marrow.tracking.edits import Confirm, Relabel, action_from

if TYPE_CHECKING:
    from napari_marrow.study import Study
    from napari_marrow.study.edits import Entry

_LARGEST_FILE = 20_000_000  # bytes


def edit_study(study_path: Path | str, edits: Sequence[Mapping[str, Any]], *, author: str | None = None) -> list[Entry]:
    """Check edits against the study's tracks with all standing edits in them, and put them into its journal.

    Parameters
    ----------
    study_path : path
    edits : sequence of mapping
        Each with ``position``, optionally ``target`` (cells, the default, or colonies), ``action`` and its nodes as
        ``[session, frame, label]``. They are undone together.
    author : str, optional
        By default the user's name on this machine.

    Returns
    -------
    list of Entry

    Raises
    ------
    EditError
        If one is impossible or conflicts with what is there; then none is kept.
    """
    from napari_marrow.study import Study

    study = Study.open(study_path, mode="a")
    with study.write_lock():
        journal = study.edits()
        graphs: dict[tuple[str, str], TrackGraph] = {}
        made = []
        for number, edit in enumerate(edits, 1):
            if not isinstance(edit, Mapping):
                raise EditError(f"Edit {number} is no mapping of position, action and nodes.")
            values = dict(edit)
            position, target = values.pop("position", None), values.pop("target", "cells")
            if position not in study.positions:
                raise EditError(
                    f"Edit {number} names the position '{position}': the study has {', '.join(study.positions)}."
                )
            if target not in ("cells", "colonies"):
                raise EditError(f"Edit {number} has the target '{target}': use cells or colonies.")
            action = action_from(values)
            place = str(position), str(target)
            if place not in graphs:
                graphs[place] = standing_graph(study, *place)
            try:
                action.apply(graphs[place])
            except EditError as error:
                raise EditError(f"Edit {number} ({action.kind}) of {position} is refused: {error}") from error
            made.append((*place, action.as_dict()))
        return journal.append(made, author or user_name())


def read_edits(path: Path | str) -> list[dict[str, Any]]:
    """Read edits from a YAML list or a JSON Lines file.

    Raises
    ------
    PathMissingError
        If there is no such file.
    EditError
        If it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise PathMissingError(f"There is no file '{path}'.")
    if path.stat().st_size > _LARGEST_FILE:
        raise EditError(f"'{path}' has more than {_LARGEST_FILE // 1_000_000} MB: split it.")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".jsonl":
            content: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            content = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise EditError(f"'{path}' is neither a YAML list nor JSON Lines: {reason}.") from error
    if not isinstance(content, list) or not content or not all(isinstance(item, dict) for item in content):
        raise EditError(f"'{path}' holds no edits: it needs a list of mappings with position, action and nodes.")
    return content


def turn_back(study_path: Path | str, *, redo: bool = False, author: str | None = None) -> list[Entry]:
    """Undo the last standing step of edits, or redo the last undone one; returns its edits, none if there is none."""
    from napari_marrow.study import Study

    study = Study.open(study_path, mode="a")
    with study.write_lock():
        journal = study.edits()
        return journal.redo(author or user_name()) if redo else journal.undo(author or user_name())


def standing_graph(study: Study, position: str, target: str) -> TrackGraph:
    """Return the tracked cells, or the linked colonies, of a position with every standing edit that fits."""
    table = "track_nodes" if target == "cells" else "colonies"
    step = "track" if target == "cells" else "colonies"
    key = study.active.get(step)
    if key is None or not study.has_table(table, key):
        raise EditError(f"There are no {target} to edit yet: run `marrow run` up to the step {step} first.")
    if target == "cells":
        graph = graph_of(*(_of(study.table(name, key), position) for name in ("track_nodes", "track_edges")))
    else:
        # the step's own table has the standing edits in it: it keeps what was found beside
        graph = colony_graph(
            _of(study.table("colonies", key), position), _of(study.table("found_colony_edges", key), position)
        )
    _replay(graph, study.edits().standing(position, target))
    return graph


def _of(table: pd.DataFrame, position: str) -> pd.DataFrame:
    return table[table["position"] == position]


def _replay(graph: TrackGraph, entries: Sequence[Entry]) -> tuple[set[Node], list[str]]:
    """Apply edits; return the nodes whose links they change, and a note for each that no longer fits."""
    edited: set[Node] = set()
    notes = []
    for entry in entries:
        try:
            action = action_from(entry.action)
            change = action.apply(graph)
        except UserError as error:
            notes.append(f"Edit {entry.number} of {entry.position} no longer fits and was left out: {error}")
            continue
        if not isinstance(action, Confirm | Relabel):
            edited |= change.touched()
    return edited, notes


@dataclass
class AppliedEdits:
    """A position's cells with its edits.

    Attributes
    ----------
    graph : TrackGraph
    applied : int
        Edits that fitted.
    notes : list of str
        One for each that did not.
    """

    graph: TrackGraph
    applied: int
    notes: list[str] = field(default_factory=list)

    def tables(
        self, nodes: pd.DataFrame, edges: pd.DataFrame, first_new_id: int
    ) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, str]]:
        """Return `TRACK_NODES`, `TRACK_EDGES` and the names of tracks."""
        return curated_tables(self.graph, nodes, edges, first_new_id)


def applied_cells(
    study: Study, position: str, nodes: pd.DataFrame, edges: pd.DataFrame, context: Context, cancel: CancelToken
) -> AppliedEdits:
    """Apply the standing edits of a position's cells, and decide the links around them again if the recipe says so."""
    graph = graph_of(_of(nodes, position), _of(edges, position))
    entries = study.edits().standing(position, "cells")
    edited, notes = _replay(graph, entries)
    if context.recipe.curate.resolve:
        for session in sorted({node.session for node in edited}):
            _resolve(study, Unit(position, session), graph, edited, context, cancel)
    return AppliedEdits(graph, len(entries) - len(notes), notes)


def _resolve(
    study: Study, unit: Unit, graph: TrackGraph, edited: set[Node], context: Context, cancel: CancelToken
) -> None:
    from napari_marrow.pipeline.steps.track import tracked_points, tracking_settings
    from napari_marrow.tracking.resolving import resolve

    cells, points = tracked_points(study, unit, context)
    names = [Node(unit.session, int(t), int(label)) for t, label in zip(cells["t"], cells["label"], strict=True)]
    here = [node for node in edited if node.session == unit.session]
    settings = tracking_settings(context.recipe.track)
    change = resolve(graph, points, names, here, settings=settings, window=context.recipe.curate.window, cancel=cancel)
    graph.apply(change)


def edited_colonies(
    study: Study, position: str, colonies: pd.DataFrame, edges: pd.DataFrame
) -> tuple[pd.DataFrame, dict[tuple[int, int], str], list[str]]:
    """Apply the standing edits of a position's colonies.

    Returns
    -------
    edges : DataFrame
    names : dict of (session, colony) to str
        Names that a person gave.
    notes : list of str
    """
    graph = colony_graph(colonies, edges)
    _, notes = _replay(graph, study.edits().standing(position, "colonies"))
    names = {(node.session, node.label): name for node, name in graph.names.items()}
    return colony_edges_of(graph, edges), names, notes
