"""The window's import: choose files, see what would become what, give what is missing, import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_marrow.gui.import_request import FACTS, ImportRequest
from napari_marrow.gui.job import Job
from napari_marrow.gui.plot_style import shown_colour
from napari_marrow.gui.sentences import sentence
from napari_marrow.ingest import PlannedSession
from napari_marrow.ingest.plan_table import COLUMNS, plan_row, plan_summary
from napari_marrow.palette import ORANGE

_QUIET_MS = 400  # after the last key, before the files are looked at anew


class ImportDialog(QDialog):
    """Asks what to import, with the command's own preview beside it.

    The study is named after a single source, or after the folder of several, until another name is given.

    Parameters
    ----------
    parent : QWidget, optional

    Signals
    -------
    import_asked : ImportRequest
        *Import* was pressed; nothing is missing.
    """

    import_asked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Import images")
        self._looking: Job | None = None
        self._stale = False
        self._own_study = False
        self.sources = QListWidget()
        self.sources.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.sources.setToolTip("Images, folders of them, or a plate's folder; drop them here.")
        self.sources.setMaximumHeight(90)
        self.files_button = QPushButton("Files...")
        self.folder_button = QPushButton("Folder...")
        self.remove_button = QPushButton("Remove")
        self.study = QLineEdit()
        self.study.setToolTip("The *.marrow folder: a new one, or a study that the images are added to.")
        self.study_button = QPushButton("Choose...")
        self.layout_file = QLineEdit()
        self.layout_file.setPlaceholderText("CSV with a row per well; can be given later")
        self.layout_button = QPushButton("Choose...")
        self.facts = {fact.argument: QLineEdit() for fact in FACTS}
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.said = QLabel("Choose images.")
        self.said.setWordWrap(True)
        self.copy_button = QPushButton("Copy as command")
        self.buttons = QDialogButtonBox()
        self.import_button = self.buttons.addButton("Import", QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        self.import_button.setEnabled(False)
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(_QUIET_MS)
        self.setAcceptDrops(True)
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        side = QVBoxLayout()
        for button in (self.files_button, self.folder_button, self.remove_button):
            side.addWidget(button)
        side.addStretch(1)
        top = QHBoxLayout()
        top.addWidget(self.sources, 1)
        top.addLayout(side)
        form = QFormLayout()
        form.addRow("Study", _beside(self.study, self.study_button))
        form.addRow("Layout", _beside(self.layout_file, self.layout_button))
        columns = [QFormLayout(), QFormLayout()]
        for number, fact in enumerate(FACTS):
            field = self.facts[fact.argument]
            field.setPlaceholderText(f"from the files ({fact.unit})")
            field.setToolTip(fact.help)
            columns[number % 2].addRow(fact.label, field)
        pair = QHBoxLayout()
        for column in columns:
            pair.addLayout(column)
        bottom = QHBoxLayout()
        bottom.addWidget(self.copy_button)
        bottom.addWidget(self.buttons, 1)
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addLayout(form)
        layout.addLayout(pair)
        self.table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.said)
        layout.addLayout(bottom)
        self.resize(980, 620)

    def _connect(self) -> None:
        self.files_button.clicked.connect(self._ask_files)
        self.folder_button.clicked.connect(self._ask_folder)
        self.remove_button.clicked.connect(self._remove)
        self.study_button.clicked.connect(self._ask_study)
        self.layout_button.clicked.connect(self._ask_layout)
        self.study.textEdited.connect(self._on_study_typed)
        for field in (self.study, self.layout_file, *self.facts.values()):
            field.textChanged.connect(self._change)
        self._quiet.timeout.connect(self._look)
        self.copy_button.clicked.connect(self._copy)
        self.buttons.accepted.connect(self._on_import)
        self.buttons.rejected.connect(self.reject)

    @property
    def busy(self) -> bool:
        """Whether the preview is not yet of what stands in the fields."""
        return self._looking is not None or self._quiet.isActive()

    def add_sources(self, paths: Sequence[Path | str]) -> None:
        """Add files or folders."""
        there = {self.sources.item(row).text() for row in range(self.sources.count())}
        for path in paths:
            if str(path) not in there:
                self.sources.addItem(str(path))
        if self.sources.count() and not self._own_study:
            first = Path(self.sources.item(0).text())
            of = first if self.sources.count() == 1 else first.parent
            self.study.setText(str(first.parent / f"{of.name.split('.')[0]}.marrow"))
        self._change()

    def request(self) -> ImportRequest:
        """Return what is asked for."""
        layout = self.layout_file.text().strip()
        return ImportRequest(
            tuple(Path(self.sources.item(row).text()) for row in range(self.sources.count())),
            Path(self.study.text().strip()),
            Path(layout) if layout else None,
            {name: field.text() for name, field in self.facts.items()},
        )

    def dragEnterEvent(self, event: object) -> None:  # noqa: N802
        """Take files that are dragged here."""
        if event.mimeData().hasUrls():  # type: ignore[attr-defined]
            event.acceptProposedAction()  # type: ignore[attr-defined]

    def dropEvent(self, event: object) -> None:  # noqa: N802
        """Add files that are dropped."""
        urls = event.mimeData().urls()  # type: ignore[attr-defined]
        self.add_sources([url.toLocalFile() for url in urls if url.isLocalFile()])

    def _ask_files(self) -> None:
        self.add_sources(QFileDialog.getOpenFileNames(self, "Images to import")[0])

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of images, or of a plate")
        self.add_sources([path] if path else [])

    def _ask_study(self) -> None:
        path = QFileDialog.getSaveFileName(
            self, "Study", self.study.text(), "Studies (*.marrow)", options=QFileDialog.Option.DontConfirmOverwrite
        )[0]
        if path:
            self._own_study = True
            self.study.setText(path if path.endswith(".marrow") else f"{path}.marrow")

    def _ask_layout(self) -> None:
        path = QFileDialog.getOpenFileName(self, "Layout", "", "CSV (*.csv)")[0]
        if path:
            self.layout_file.setText(path)

    def _remove(self) -> None:
        for item in self.sources.selectedItems():
            self.sources.takeItem(self.sources.row(item))
        self._change()

    def _on_study_typed(self) -> None:
        self._own_study = True

    def _change(self) -> None:
        self.import_button.setEnabled(False)
        self._quiet.start()

    def _look(self) -> None:
        """Look at the files beside the window; what changes meanwhile is looked at afterwards."""
        if self._looking is not None:
            self._stale = True
            return
        request = self.request()
        if not request.sources:
            self._show([])
            self.said.setText("Choose images.")
            return
        job = Job(lambda progress, cancel: request.plan(), name="looking at the files")
        self._looking, self._stale = job, False
        self.said.setText("Looking at the files ...")
        job.succeeded.connect(self._on_plan)
        job.failed.connect(self._on_refused)
        job.ended.connect(self._on_looked)
        job.start()

    def _on_plan(self, planned: list[PlannedSession]) -> None:
        self._show(planned)
        asked = {m.option.split()[0]: m for plan in planned if not plan.present for m in plan.missing}
        marked = f"border: 1px solid {shown_colour(ORANGE)};"
        for fact in FACTS:
            self.facts[fact.argument].setStyleSheet(marked if fact.option in asked else "")
        new = [plan for plan in planned if not plan.present]
        if asked:
            names = ", ".join(fact.label for fact in FACTS if fact.option in asked)
            self.said.setText(f"{plan_summary(planned)}. The files do not say: {names}. Fill in the marked fields.")
        elif not new:
            self.said.setText("The study has all of this already.")
        else:
            self.said.setText(f"{plan_summary(planned)}.")
        self.import_button.setEnabled(bool(new) and not asked)

    def _on_refused(self, error: BaseException) -> None:
        self._show([])
        self.said.setText(sentence(error))

    def _on_looked(self) -> None:
        self._looking = None
        if self._stale:
            self._look()

    def _show(self, planned: Sequence[PlannedSession]) -> None:
        self.table.setRowCount(len(planned))
        for row, plan in enumerate(planned):
            for column, text in enumerate(plan_row(plan)):
                item = QTableWidgetItem(text)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                item.setToolTip(text)
                self.table.setItem(row, column, item)
        self.table.resizeColumnsToContents()
        channels = COLUMNS.index("channels")
        self.table.setColumnWidth(channels, min(self.table.columnWidth(channels), 180))

    def _copy(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.request().command())

    def _on_import(self) -> None:
        request = self.request()
        self.accept()
        self.import_asked.emit(request)


def _beside(field: QLineEdit, button: QPushButton) -> QHBoxLayout:
    row = QHBoxLayout()
    row.addWidget(field, 1)
    row.addWidget(button)
    return row
