"""Keeps what is painted on the cells in the study: shortly after each stroke, beside the window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_marrow.gui.job import Job
from napari_marrow.gui.kept_labels import FramePlace, keep_frame
from napari_marrow.gui.paintable_labels import Labels, PaintableLabels
from napari_marrow.gui.sentences import sentence

if TYPE_CHECKING:
    from napari_marrow.gui.session_view import SessionView
    from napari_marrow.progress import CancelToken, Progress
    from napari_marrow.study.edits import Entry

_REST_MS = 400


@dataclass(frozen=True, eq=False)
class _Keeping:
    """What is being kept: labels, frame, and how often it was painted in until then."""

    data: PaintableLabels
    t: int
    change: int


class Painting(QObject):
    """Follows the labels of the session on display.

    Parameters
    ----------
    view : SessionView
    author : callable
        Returns who paints.

    Signals
    -------
    kept : str
        Something that was painted is in the study; the sentence says what.
    refused : str
        It could not be kept; it stays on display and is tried again after the next stroke or run.
    settled
        Nothing is under way any longer.
    """

    kept = Signal(str)
    refused = Signal(str)
    settled = Signal()

    def __init__(self, view: SessionView, author: Callable[[], str]) -> None:
        super().__init__()
        self._view, self._author = view, author
        self._waiting: list[tuple[PaintableLabels, tuple[Path, str, int]]] = []
        self._job: Job | None = None
        self._keeping: _Keeping | None = None
        self._failed = self._locked = False
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self.flush)

    @property
    def busy(self) -> bool:
        """Whether something is about to be kept."""
        return self._job is not None or self._rest.isActive()

    def follow(self) -> None:
        """Hear of strokes on the labels that are on display now."""
        layer = self._view.layer("cells")
        place = self._view.place()
        if layer is None or place is None or not isinstance(layer.data, PaintableLabels):
            return
        layer.editable = not self._locked
        data, where = layer.data, (Path(place[0]), place[1], place[2])
        self._waiting = [(d, w) for d, w in self._waiting if d.touched and d is not data]
        self._waiting.append((data, where))
        data.on_change = self._on_change

    def set_locked(self, locked: bool) -> None:
        """Keep from painting while a run writes to the study."""
        self._locked = locked
        layer = self._view.layer("cells")
        if layer is not None:
            layer.editable = not locked
        if not locked:
            self.flush()

    def flush(self) -> None:
        """Keep now what was painted."""
        self._rest.stop()
        if self._job is not None or self._locked:
            return
        found = next(self._drafts(), None)
        if found is None:
            self.settled.emit()
            return
        data, place = found
        change, shown = data.draft(place.t)
        self._keeping = _Keeping(data, place.t, change)
        self._job = job = Job(partial(_keep, place, data, shown, self._author()), name="painting")
        # methods, no lambdas: Qt forgets them when the dock is closed
        job.succeeded.connect(self._on_kept)
        job.failed.connect(self._on_failed)
        job.ended.connect(self._on_ended)
        job.start()

    def _drafts(self) -> Iterator[tuple[PaintableLabels, FramePlace]]:
        for data, where in self._waiting:
            for t in data.touched:
                yield data, FramePlace(*where, t)

    def _on_change(self) -> None:
        self._rest.start()

    def _on_kept(self, done: tuple[list[Entry], list[Entry]]) -> None:
        made, strokes = done
        kept = self._keeping
        assert kept is not None
        kept.data.settle(kept.t, kept.change, strokes)
        if made:
            undone = made[-1] not in strokes
            said = "taken back" if undone else f"kept, {made[-1].action['pixels']} pixels"
            self.kept.emit(f"Painted labels of frame {kept.t + 1} {said}.")

    def _on_failed(self, error: BaseException) -> None:
        self._failed = True
        self.refused.emit(f"What was painted is not kept yet. {sentence(error)}")

    def _on_ended(self) -> None:
        self._job = self._keeping = None
        failed, self._failed = self._failed, False
        if not failed and not self._rest.isActive():
            self.flush()
        elif failed:
            self.settled.emit()


def _keep(
    place: FramePlace, data: PaintableLabels, shown: Labels, author: str, progress: Progress, cancel: CancelToken
) -> tuple[list[Entry], list[Entry]]:
    """Return what was made of it in the journal, and what stands on the frame now."""
    return keep_frame(place, data.to_keep(place.t, shown), author)
