"""Curation by exception: go from one uncertain decision to the next, accept it or correct it, and undo at any time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from qtpy.QtCore import Signal

from napari_marrow.errors import MarrowError
from napari_marrow.gui.curate_form import CurateForm
from napari_marrow.gui.curated_layers import CuratedSession, curated_session
from napari_marrow.gui.curation import Curation, Outcome
from napari_marrow.gui.job import Job, Work
from napari_marrow.gui.picked_edits import bulk_accept, edits_of
from napari_marrow.gui.queue_view import describe
from napari_marrow.gui.review_queue import COLUMNS, link_queue, nodes_of, onset_queue, pairs_of, state_of
from napari_marrow.gui.selection import Selection
from napari_marrow.gui.sentences import sentence
from napari_marrow.study.audit import Audit, audit_of, draw_sample, drawing, judgement
from napari_marrow.tracking.edit_graph import Pair

if TYPE_CHECKING:
    from napari_marrow.tracking.edits import Action


@dataclass(frozen=True, eq=False)
class _Found:
    """What is read when a session is curated: its tracks, its queues, and what edits that stand already change."""

    curation: Curation
    queues: dict[str, pd.DataFrame]
    shown: CuratedSession | None


class CurateTab(CurateForm):
    """Curates the session on display.

    Parameters
    ----------
    selection : Selection

    Signals
    -------
    go_asked : Node
        The window should go to this cell.
    read
        Another session's tracks can be curated now, or none.
    edited : CuratedSession
        Tracks were changed: show them.
    refused : str
        Something could not be done; the sentence says why.
    update_asked
        The recipe should be run.
    blinded_changed : bool

    Attributes
    ----------
    curation : Curation or None
    """

    go_asked = Signal(object)
    read = Signal()
    edited = Signal(object)
    refused = Signal(str)
    update_asked = Signal()
    blinded_changed = Signal(bool)

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self.curation: Curation | None = None
        self._queues: dict[str, pd.DataFrame] = {}
        self._audit = Audit()
        self._job: Job | None = None
        self._place: tuple[Path, str, int] | None = None
        self._locked = False
        self.queue_choice.currentIndexChanged.connect(self._show_queue)
        self.queue.chosen.connect(self._on_chosen)
        self.next_button.clicked.connect(self.next)
        self.previous_button.clicked.connect(self.previous)
        for kind, button in self.edit_buttons.items():
            button.clicked.connect(partial(self.edit, kind))
        self.undo_button.clicked.connect(self.undo)
        self.redo_button.clicked.connect(self.redo)
        self.bulk_button.clicked.connect(self.accept_all)
        self.draw_button.clicked.connect(self.draw)
        self.right_button.clicked.connect(lambda: self.judge(right=True))
        self.wrong_button.clicked.connect(lambda: self.judge(right=False))
        self.update_button.clicked.connect(self.update_asked)
        self.blinded.toggled.connect(self.blinded_changed)
        selection.changed.connect(self._show_picked)
        self._show_state()

    def author_name(self) -> str:
        """Return who edits."""
        return self.author.text().strip() or "unknown"

    @property
    def busy(self) -> bool:
        """Whether something is being read or kept."""
        return self._job is not None

    # --- which session

    def set_session(self, path: Path, position: str, session: int) -> None:
        """Read the tracks of a session beside the window and offer its queue."""
        self.curation, self._queues, self._place = None, {}, (path, position, session)
        self.selection.clear()
        self._show_queue()
        self._start(lambda: _read(path, position, session), self._on_read, quiet=True)

    def clear(self) -> None:
        """Offer nothing: no study is open, or its cells are not tracked."""
        self.curation, self._queues, self._place = None, {}, None
        self.selection.clear()
        self._show_queue()

    def set_locked(self, locked: bool) -> None:
        """Keep from editing while a run writes to the study."""
        self._locked = locked
        self._show_state()

    # --- going through the queue

    def next(self) -> None:
        """Go to the next entry of which nothing was said; from the last one start again at the top."""
        self._step(1)

    def previous(self) -> None:
        """Go to the entry before."""
        if self.queue.current > 0:
            self.queue.choose(self.queue.current - 1)

    def edit(self, kind: str, *_: Any) -> None:
        """Make the edit that the picked cells mean; of an onset in the queue, accepting is noted.

        Parameters
        ----------
        kind : str
            A key of `picked_edits.NEEDS`.
        """
        row = self._row()
        if kind == "accept" and row is not None and row["kind"] == "onset":
            self._note([{"action": "accept onset", "session": self._session, **_onset(row)}], go_on=True)
            return
        picked = self.selection.cells
        self._act(lambda graph: edits_of(kind, picked, graph), go_on=kind == "accept")

    def accept_all(self) -> None:
        """Accept every open link from the chosen chance up."""
        probability = self.bulk_from.value()
        self._act(lambda graph: bulk_accept(graph, self._session, probability))

    def undo(self) -> None:
        """Take the last edit of the study back."""
        self._turn(redo=False)

    def redo(self) -> None:
        """Make the edit again that was taken back last."""
        self._turn(redo=True)

    # --- audit

    def draw(self) -> None:
        """Draw a new random sample of this session's links."""
        curation = self.curation
        if curation is None:
            return
        seed = int(datetime.now(UTC).timestamp())
        try:
            pairs = draw_sample(curation.graph, curation.session, self.sample_size.value(), seed)
        except MarrowError as error:
            self.refused.emit(str(error))
            return
        self.queue_choice.setCurrentIndex(self.queue_choice.findData("audit"))
        self._note([drawing(curation.session, pairs, seed)], go_on=True)

    def judge(self, *, right: bool) -> None:
        """Say whether the link of the sample that is on display is right, and go to the next."""
        row = self._row()
        if row is not None and self.queue_choice.currentData() == "audit":
            pair = pairs_of(row, self._session)[0]
            self._note([judgement(self._session, pair, right=right)], go_on=True)

    def renew(self) -> None:
        """Take in what was painted."""
        curation = self.curation
        if curation is not None:
            self._start(curation.renew, lambda _: self._show_state(), quiet=True)

    # --- doing it beside the window

    @property
    def _session(self) -> int:
        return -1 if self.curation is None else self.curation.session

    def _act(self, draft: Callable[[Any], list[Action]], *, go_on: bool = False) -> None:
        curation, author = self.curation, self.author.text().strip() or "unknown"
        if curation is not None:
            self._start(lambda: (curation.act(draft, author), curated_session(curation), go_on), self._on_done)

    def _note(self, said: list[dict[str, Any]], *, go_on: bool) -> None:
        curation, author = self.curation, self.author.text().strip() or "unknown"
        if curation is not None:
            self._start(lambda: (curation.note(said, author), None, go_on), self._on_done)

    def _turn(self, *, redo: bool) -> None:
        curation, author = self.curation, self.author.text().strip() or "unknown"
        if curation is not None:
            self._start(
                lambda: (curation.turn_back(author, redo=redo), curated_session(curation), False), self._on_done
            )

    def _start(self, work: Callable[[], Any], then: Callable[[Any], None], *, quiet: bool = False) -> None:
        if self._job is not None or (self._locked and not quiet):
            return
        task: Work = lambda progress, cancel: work()  # noqa: E731
        self._job = job = Job(task, name="curation")
        job.succeeded.connect(then)
        if not quiet:
            job.failed.connect(self._on_failed)
        job.ended.connect(self._on_ended)
        job.start()
        self._show_state()

    def _on_failed(self, error: BaseException) -> None:
        self.refused.emit(sentence(error))

    def _on_ended(self) -> None:
        self._job = None
        wanted, have = self._place, self.curation
        if wanted is not None and have is not None and wanted != (have.path, have.position, have.session):
            self.set_session(*wanted)
        self._show_state()

    def _on_read(self, found: _Found) -> None:
        if self._place != (found.curation.path, found.curation.position, found.curation.session):
            return
        self.curation, self._queues = found.curation, found.queues
        self._audit = audit_of(found.curation.reviews(), found.curation.position, found.curation.session)
        self._show_queue()
        self.read.emit()
        if found.shown is not None:
            self.edited.emit(found.shown)
        if found.curation.notes:
            self.refused.emit(" ".join(found.curation.notes[:3]))

    def _on_done(self, done: tuple[Outcome, CuratedSession | None, bool]) -> None:
        outcome, shown, go_on = done
        curation = self.curation
        if curation is None:
            return
        before = self._audit.pairs
        self._audit = audit_of(curation.reviews(), curation.position, curation.session)
        if self._audit.pairs != before:
            self._show_queue()
        self.queue.queue.set_states(self._states(self.queue.queue.rows))
        if shown is not None and outcome.entries:
            self.edited.emit(shown)
        gone = [cell for cell in self.selection.cells if cell not in curation.graph.nodes]
        if gone:
            kept = [cell for cell in self.selection.cells if cell not in gone]
            self.selection.select(kept, [curation.numbering.track_of(cell) for cell in kept])
        self._show_state(outcome)
        if go_on:
            self.next()

    # --- showing it

    def _row(self) -> Any | None:
        k = self.queue.current
        return self.queue.queue.rows.iloc[k] if 0 <= k < len(self.queue.queue.rows) else None

    def _step(self, by: int) -> None:
        states = self.queue.queue.states
        start = self.queue.current
        order = [*range(start + 1, len(states)), *range(start + 1)]
        for row in order[::by]:
            if states[row] == "open":
                self.queue.choose(row)
                return
        if states:
            self.state.setText("Everything in this queue was looked at.")

    def _show_queue(self, *_: Any) -> None:
        rows = self._queues.get(self.queue_choice.currentData(), pd.DataFrame(columns=COLUMNS))
        if self.queue_choice.currentData() == "audit" and self.curation is not None:
            rows = _audit_rows(self._audit.pairs, self.curation)
        self.queue.queue.set_rows(rows, self._states(rows))
        self._show_state()

    def _states(self, rows: pd.DataFrame) -> list[str]:
        curation = self.curation
        if curation is None:
            return ["open"] * len(rows)
        if self.queue_choice.currentData() == "audit":
            said = {True: "right", False: "wrong"}
            verdicts = self._audit.verdicts
            return [said[verdicts[pair]] if pair in verdicts else "open" for pair in self._audit.pairs]
        accepted = {tuple(e.action["cell"]) for e in curation.reviews() if e.action["action"] == "accept onset"}
        return [
            ("accepted" if tuple(_onset(row)["cell"]) in accepted else "open")
            if row["kind"] == "onset"
            else state_of(pairs_of(row, curation.session), curation.graph)
            for row in rows.to_dict("records")
        ]

    def _on_chosen(self, k: int) -> None:
        if self.curation is None or not 0 <= k < len(self.queue.queue.rows):
            return
        row = self.queue.queue.rows.iloc[k]
        cells = nodes_of(row, self._session)
        self.selection.select(cells, [self.curation.numbering.track_of(cell) for cell in cells])
        self.state.setText(describe(row))
        target = next((cell for cell in cells if cell.t == int(row["t"])), cells[0])
        self.go_asked.emit(target)
        self._enable()

    def _show_picked(self) -> None:
        cells = [f"{cell.label} in frame {cell.t + 1}" for cell in self.selection.cells]
        self.picked.setText(f"Picked: {', '.join(cells)}" if cells else "Picked: none (click a cell in the image)")
        self._enable()

    def _show_state(self, outcome: Outcome | None = None) -> None:
        self._enable()
        if self.curation is None:
            self.state.setText("" if self._place is None or self.busy else "Track the cells first: run the recipe.")
            return
        edits = [e for e in self.curation.entries if e.target != "reviews"]
        said = f"{len(edits)} edit{'s' * (len(edits) != 1)} stand{'s' * (len(edits) == 1)}."
        if outcome is not None and not outcome.entries:
            said = f"There is nothing to turn back. {said}"
        elif outcome is not None and outcome.elsewhere:
            said = f"Turned back in {outcome.entries[0].position}. {said}"
        if self.stale:
            said += " Results that rest on the tracks are older than that: update them."
        self.state.setText(said)
        self.rate.setText(str(self._audit.rate) if self._audit.pairs else "")

    @property
    def stale(self) -> bool:
        """Whether the study's results were computed with other edits than those that stand."""
        return self.curation is not None and self.curation.stale

    def _enable(self) -> None:
        ready = self.curation is not None and not self.busy
        for button in (self.previous_button, self.next_button, self.draw_button):
            button.setEnabled(ready)
        free = ready and not self._locked
        onset = (row := self._row()) is not None and row["kind"] == "onset"
        for kind, button in self.edit_buttons.items():
            button.setEnabled(free and (bool(self.selection.cells) or (kind == "accept" and onset)))
        for button in (self.undo_button, self.redo_button, self.bulk_button, self.draw_button):
            button.setEnabled(free)
        for button in (self.right_button, self.wrong_button):
            button.setEnabled(free and self.queue_choice.currentData() == "audit" and self._row() is not None)
        self.update_button.setEnabled(free and self.stale)


def _read(path: Path, position: str, session: int) -> _Found:
    from napari_marrow.study import Study

    curation = Curation(path, position, session)
    links = link_queue(curation.base_edges, curation.cells, curation.base_nodes)
    queues = {"uncertain": links, "division": links[links["kind"] == "division"].reset_index(drop=True)}
    study = Study.open(path)
    if study.has_table("onsets") and study.has_table("marker_thresholds"):
        onsets, thresholds = study.table("onsets"), study.table("marker_thresholds")
        mine = onsets[(onsets["position"] == position) & (onsets["session"] == session)]
        markers = dict(zip(thresholds["lineage"].astype(str), thresholds["channel"].astype(str), strict=True))
        queues["onset"] = onset_queue(mine, curation.cells, curation.base_nodes, markers)
    return _Found(curation, queues, curated_session(curation) if curation.edited else None)


def _onset(row: Any) -> dict[str, Any]:
    return {"cell": [int(row["t"]), int(row["label"])], "lineage": str(row["lineage"])}


def _audit_rows(pairs: list[Pair], curation: Curation) -> pd.DataFrame:
    """Return a sample as a queue: without probabilities, which would tell what to think."""
    unknown, why = float("nan"), "drawn at random"
    rows = []
    for p, c in pairs:
        kind, track = "gap" if c.t - p.t > 1 else "link", curation.numbering.track_of(c)
        rows.append((kind, unknown, why, p.t, p.label, c.t, c.label, 0, 0, track, ""))
    return pd.DataFrame(rows, columns=COLUMNS)
