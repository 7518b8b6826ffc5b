"""The tracks of a position under a person's hands: every edit is kept in the study's journal before it is shown.

Knows no Qt. Nothing here is for two threads at once: the window makes one call after the other, beside itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow.errors import EditError, UserError
from napari_marrow.gui.numbering import Numbering, touched_by
from napari_marrow.schemas import TRACK_EDGES
from napari_marrow.study.edits import JOURNAL, TARGETS, EditJournal, Entry
from napari_marrow.tracking.curation import graph_of
from napari_marrow.tracking.edit_graph import Change, Node, TrackGraph
from napari_marrow.tracking.edits import Action, action_from

if TYPE_CHECKING:
    from napari_marrow.study import Study

Draft = Callable[[TrackGraph], list[Action]]
"""Says which edits are meant, once it is known how the tracks stand."""


@dataclass(frozen=True)
class Outcome:
    """What an edit, undo or redo did.

    Attributes
    ----------
    entries : list of Entry
        The journal's entries that were made or turned back; none if there was nothing to turn back.
    elsewhere : bool
        Whether they belong to another position.
    """

    entries: list[Entry]
    elsewhere: bool = False


class Curation:
    """One position of a study with every standing edit of its cells.

    Parameters
    ----------
    path : path
        The study.
    position : str
    session : int
        Session on display, whose tracks are numbered.

    Attributes
    ----------
    graph : TrackGraph
        The tracks of every session of the position.
    numbering : Numbering
        Tracks of the session.
    base_nodes, base_edges, cells : DataFrame
        `track_nodes` and `track_edges` as they were found, and `cells`, of the session.
    entries : list of Entry
        What stands in the journal, of the whole study.
    notes : list of str
        A sentence for each edit that no longer fits.

    Raises
    ------
    EditError
        If the position was not tracked yet.
    """

    def __init__(self, path: Path | str, position: str, session: int) -> None:
        self.path, self.position, self.session = Path(path), position, session
        self.graph = TrackGraph(set(), {})
        self.base_nodes = self.base_edges = self.cells = pd.DataFrame()
        self.numbering = Numbering(pd.DataFrame({n: [] for n in ("session", "t", "label", "track_id")}), self.graph)
        self.entries: list[Entry] = []
        self.notes: list[str] = []
        self._changes: dict[int, Change] = {}
        self._row: dict[tuple[int, int], int] = {}
        self._length = -1
        self._digest: tuple[str, ...] = ()
        self._fresh: tuple[str, ...] | None = None
        self._read(self._open("r"))

    # --- what a person does

    def act(self, draft: Draft, author: str) -> Outcome:
        """Make edits, all or none, and keep them in the journal.

        Raises
        ------
        EditError
            If one is impossible; then nothing was changed.
        StudyLockedError
            If a run or another program writes to the study.
        """
        study = self._open("a")
        with study.write_lock():
            self._catch_up(study)
            actions = draft(self.graph)
            made: list[Change] = []
            try:
                for action in actions:
                    made.append(action.apply(self.graph))
                said = [(self.position, "cells", action.as_dict()) for action in actions]
                journal = study.edits()
                entries = journal.append(said, author)
            except BaseException:
                for change in reversed(made):
                    self.graph.apply(change.inverse())
                raise
            self._changes.update(zip((e.number for e in entries), made, strict=True))
            self._took(journal, made)
            return Outcome(entries)

    def note(self, said: Sequence[Mapping[str, Any]], author: str) -> Outcome:
        """Keep what a person said of the tracks without changing them: an audit's verdict, an accepted onset."""
        study = self._open("a")
        with study.write_lock():
            self._catch_up(study)
            journal = study.edits()
            entries = journal.append([(self.position, "reviews", item) for item in said], author)
            self._took(journal, [])
            return Outcome(entries)

    def turn_back(self, author: str, *, redo: bool = False) -> Outcome:
        """Undo the last standing step of the study, or redo the last undone one, whenever and by whom it was made."""
        study = self._open("a")
        with study.write_lock():
            self._catch_up(study)
            journal = study.edits()
            entries = journal.redo(author) if redo else journal.undo(author)
            mine = [e for e in entries if e.position == self.position and e.target == "cells"]
            made = []
            for entry in mine if redo else reversed(mine):
                change = self._turn(entry, redo=redo)
                if change is not None:
                    made.append(change)
            self._took(journal, made)
            return Outcome(entries, bool(entries) and not any(e.position == self.position for e in entries))

    def reviews(self) -> list[Entry]:
        """Return the standing reviews of this position, oldest first."""
        return [e for e in self.entries if e.target == "reviews" and e.position == self.position]

    def renew(self) -> None:
        """Take in what was painted meanwhile; it changes no track before the recipe runs."""
        study = self._open("r")
        journal = study.edits()
        of_tracks = [[e for e in some if e.target != "labels"] for some in (self.entries, journal.standing())]
        if of_tracks[0] == of_tracks[1]:
            self._took(journal, [])

    # --- what is shown

    def row_of(self, node: Node) -> dict[str, Any] | None:
        """Return a cell of the session as the table `cells` has it."""
        k = self._row.get((node.t, node.label)) if node.session == self.session else None
        return None if k is None else {str(name): value for name, value in self.cells.iloc[k].items()}

    @property
    def edited(self) -> bool:
        """Whether an edit of this position's cells stands."""
        return any(e.position == self.position and e.target == "cells" for e in self.entries)

    @property
    def stale(self) -> bool:
        """Whether results were computed with other edits, or under another recipe, than those that stand now."""
        return self._digest != self._fresh

    def nodes(self) -> pd.DataFrame:
        """Return `track_nodes` of the session with the edits in it."""
        there = self.numbering.present
        return self.base_nodes[there].assign(track_id=self.numbering.track[there]).reset_index(drop=True)

    def tracks(self, extent: tuple[float, float]) -> pd.DataFrame:
        """Return `tracks` of the session with the edits in it.

        Parameters
        ----------
        extent : (height, width)
            Field of view, µm.
        """
        from napari_marrow.tracking import summarise_tracks

        nodes = self.nodes().merge(self.cells[["t", "label", "y", "x"]], on=["t", "label"], how="left")
        rows = [
            (self.position, p.session, p.t, p.label, c.t, c.label, e.kind, e.probability)
            for (p, c), e in self.graph.edges.items()
            if e.kind == "division" and p.session == self.session
        ]
        divisions = pd.DataFrame(rows, columns=list(TRACK_EDGES.names)) if rows else TRACK_EDGES.empty()
        frames = sorted(set(self.base_nodes["t"].tolist()))
        return summarise_tracks(nodes, divisions, extent=extent, frames=frames)

    # --- keeping up with the study

    def _open(self, mode: Any) -> Study:
        from napari_marrow.study import Study

        return Study.open(self.path, mode=mode)

    def _turn(self, entry: Entry, *, redo: bool) -> Change | None:
        if redo:
            return self._replayed(entry)
        change = self._changes.pop(entry.number, None)
        if change is None:  # it never fitted
            return None
        back = change.inverse()
        self.graph.apply(back)
        return back

    def _replayed(self, entry: Entry) -> Change | None:
        try:
            change = action_from(entry.action).apply(self.graph)
        except UserError as error:
            self.notes.append(f"Edit {entry.number} of {entry.position} no longer fits and was left out: {error}")
            return None
        self._changes[entry.number] = change
        return change

    def _catch_up(self, study: Study) -> None:
        """Read again if another window or program has edited the study since."""
        if _length(study.path / JOURNAL) != self._length:
            self._read(study)

    def _took(self, journal: EditJournal, made: list[Change]) -> None:
        self.numbering.update(self.graph, touched_by(made))
        self.entries = journal.standing()
        self._length = _length(journal.path)
        self._digest = _digest(journal)

    def _read(self, study: Study) -> None:
        key = study.active.get("track")
        if key is None or not study.has_table("track_nodes", key):
            raise EditError("There are no tracks to curate yet: run the recipe first.")
        nodes, edges = (_of(study.table(name, key), self.position) for name in ("track_nodes", "track_edges"))
        self.graph = graph_of(nodes, edges)
        self._changes, self.notes = {}, []
        self.base_nodes, self.base_edges = (
            table[table["session"] == self.session].reset_index(drop=True) for table in (nodes, edges)
        )
        self.numbering = Numbering(self.base_nodes, self.graph)
        self.cells = _cells(study, self.position, self.session)
        frames, labels = self.cells["t"].tolist(), self.cells["label"].tolist()
        self._row = {key: k for k, key in enumerate(zip(frames, labels, strict=True))}
        journal = study.edits()
        self._length, self.entries, self._digest = _length(journal.path), journal.standing(), _digest(journal)
        self._fresh = self._digest if _up_to_date(study) else None
        mine = [e for e in self.entries if e.position == self.position and e.target == "cells"]
        made = [change for entry in mine if (change := self._replayed(entry)) is not None]
        self.numbering.update(self.graph, touched_by(made))


def _of(table: pd.DataFrame, position: str) -> pd.DataFrame:
    return table[table["position"] == position]


def _cells(study: Study, position: str, session: int) -> pd.DataFrame:
    cells = study.table("cells", unit={"position": position, "session": session})
    return cells.sort_values(["t", "label"], ignore_index=True)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(journal: EditJournal) -> tuple[str, ...]:
    return tuple(journal.digest(target) for target in TARGETS)  # the report tells what an audit found


def _up_to_date(study: Study) -> bool:
    """Whether every active result is what the study's last recipe would give with the edits that stand."""
    from napari_marrow.pipeline.status import last_recipe
    from napari_marrow.pipeline.step import step_keys
    from napari_marrow.pipeline.steps import STEPS

    active = study.active
    keys = step_keys(STEPS, last_recipe(study.runs()), study)
    return all(active[step] == key for step, key in keys.items() if step in active)
