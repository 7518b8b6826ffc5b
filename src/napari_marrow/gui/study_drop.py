"""What is dropped on the dock: a study is opened, microscope files are offered for import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QWidget


class StudyDrop(QObject):
    """Takes what is dropped on a widget or on anything in it.

    Parameters
    ----------
    widget : QWidget

    Signals
    -------
    study : Path
        A ``*.marrow`` folder was dropped.
    images : list of str
        Other files and folders were dropped.
    refused : str
        What was dropped cannot be taken; the sentence says why.
    """

    study = Signal(object)
    images = Signal(list)
    refused = Signal(str)

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._busy = False
        widget.setAcceptDrops(True)
        widget.installEventFilter(self)

    def set_busy(self, busy: bool) -> None:
        """Take nothing while a job works on the open study."""
        self._busy = busy

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        """Take files of this computer; leave everything else to Qt."""
        if event.type() in (QEvent.Type.DragEnter, QEvent.Type.DragMove) and event.mimeData().hasUrls():
            event.acceptProposedAction()
            return True
        if event.type() == QEvent.Type.Drop and event.mimeData().hasUrls():
            event.acceptProposedAction()
            self._take([url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()])
            return True
        return bool(super().eventFilter(watched, event))

    def _take(self, paths: list[str]) -> None:
        studies = [Path(path) for path in paths if path.rstrip("/\\").endswith(".marrow") and Path(path).is_dir()]
        if self._busy:
            self.refused.emit("Something is running: drop it again when it has ended, or press Cancel first.")
        elif len(studies) == 1 == len(paths):
            self.study.emit(studies[0])
        elif studies:
            self.refused.emit("One study is shown at a time: drop one *.marrow folder.")
        elif paths:
            self.images.emit(paths)
        else:
            self.refused.emit("Only files and folders of this computer can be dropped here.")
