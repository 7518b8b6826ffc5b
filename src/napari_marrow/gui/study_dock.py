"""The dock "Marrow study": open a study, run a recipe on it, look at what came out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import napari
from qtpy.QtCore import QSize, Qt, QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QSplitter, QTabWidget, QVBoxLayout, QWidget

from napari_marrow.gui.board_tab import BoardTab
from napari_marrow.gui.canvas_picks import CanvasPicks
from napari_marrow.gui.cells_tab import CellsTab
from napari_marrow.gui.chart_panel import lineage_panel, niche_panel
from napari_marrow.gui.chart_selection import ChartSelection
from napari_marrow.gui.curate_keys import bind_keys, free_keys
from napari_marrow.gui.curate_tab import CurateTab
from napari_marrow.gui.navigation import Navigation
from napari_marrow.gui.opening import Opening
from napari_marrow.gui.outlook import Outlook
from napari_marrow.gui.painting import Painting
from napari_marrow.gui.pedigree_plot import PedigreePlot
from napari_marrow.gui.place_picker import PlacePicker
from napari_marrow.gui.preview_tab import PreviewTab
from napari_marrow.gui.previewing import Previewing
from napari_marrow.gui.recipe_form import RecipeForm
from napari_marrow.gui.run_panel import RunPanel
from napari_marrow.gui.scene_panel import ScenePanel
from napari_marrow.gui.selection import Selection
from napari_marrow.gui.session_view import SessionView, study_of
from napari_marrow.gui.set_aside import bring_back, set_aside
from napari_marrow.gui.study_drop import StudyDrop
from napari_marrow.gui.study_reader import Contents, Loaded, Results
from napari_marrow.gui.study_runs import StudyRuns
from napari_marrow.gui.subset_bar import SharedSubset
from napari_marrow.gui.tour import dock_tour
from napari_marrow.gui.track_table import TrackTable
from napari_marrow.gui.turns import Turns
from napari_marrow.pipeline.preferences import preferences

if TYPE_CHECKING:
    import pandas as pd

    from napari_marrow.gui.curated_layers import CuratedSession
    from napari_marrow.gui.estimate import Estimate
    from napari_marrow.gui.import_dialog import ImportDialog
    from napari_marrow.gui.import_request import ImportRequest
    from napari_marrow.gui.job import Job
    from napari_marrow.gui.preferences_dialog import PreferencesDialog
    from napari_marrow.pipeline.preferences import Preferences
    from napari_marrow.pipeline.status import Board
    from napari_marrow.segmentation.fine_tuning import FineTuningSettings


class StudyDock(QWidget):
    """One study in one viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Signals
    -------
    loaded
        A session is on display with what the study holds of it.
    """

    loaded = Signal()

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.view = SessionView(napari_viewer)
        self.contents: Contents | None = None
        self.results = Results()
        self.importing: ImportDialog | None = None
        self.preferring: PreferencesDialog | None = None
        self._turns, self._updating = Turns(self), Turns(self)
        self._opening = Opening(self)
        self.picker = PlacePicker()
        self.form = RecipeForm()
        self.runner = RunPanel()
        self.board = BoardTab()
        self.outlook = Outlook(self.form)
        self.preview = PreviewTab()
        self.previewing = Previewing(napari_viewer, self.view, self.form, self.preview)
        self.subset = SharedSubset()
        self.lineage, self.niche = lineage_panel(self.subset), niche_panel(self.subset)
        self.pedigree = PedigreePlot()
        self.track_table = TrackTable()
        self.selection = Selection()
        self.cells = CellsTab(self.selection)
        self.curate = CurateTab(self.selection)
        self.linked = ChartSelection(
            self.selection, self.view, lambda: self.curate.curation, (self.lineage, self.niche)
        )
        self.painting = Painting(self.view, self.curate.author_name)
        self.picks = CanvasPicks(napari_viewer, self.view, self.selection)
        self.navigation = Navigation(self, napari_viewer, self.view, self.selection, self.picks)
        self.runs = StudyRuns(self.runner, self.form, self.painting)
        self.scene = ScenePanel(napari_viewer, self.view)
        self.report_button = QPushButton("Open report")
        self.report_button.setToolTip("Open the report's page in the web browser.")
        self.report_button.setEnabled(False)
        self.preferences_button = QPushButton("Preferences...")
        self.preferences_button.setToolTip("Device, cores and cache folder of this machine.")
        self.drop = StudyDrop(self)
        self.tour = dock_tour(self)
        self._lay_out()
        self._connect()
        self.runner.say(preferences()[1])
        self._adopt_open_study()
        _docks[napari_viewer] = ref(self)
        set_aside()

    def _lay_out(self) -> None:
        self.tabs = QTabWidget()
        self.tabs.setStyleSheet("QTabBar::tab { padding: 4px 1px; }")  # eight fit beside an image on a small screen
        self.tabs.addTab(self.form, "Recipe")
        self.tabs.addTab(self.preview, "Preview")
        self.tabs.addTab(self.board, "Board")
        self.tabs.addTab(self.curate, "Curate")
        self.tabs.addTab(self.cells, "Cells")
        self.tabs.addTab(self.lineage, "Lineage")
        self.tabs.addTab(self.niche, "Niche")
        trees = QSplitter(Qt.Orientation.Vertical)
        trees.addWidget(self.pedigree)
        trees.addWidget(self.track_table)
        trees.setStretchFactor(0, 3)
        trees.setStretchFactor(1, 1)
        self.tabs.addTab(trees, "Pedigree")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(6)
        layout.addWidget(self.picker)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.scene)
        layout.addWidget(self.runner)
        buttons = QHBoxLayout()
        for button in (self.report_button, self.scene.switch, self.tour.button, self.preferences_button):
            buttons.addWidget(button)
        layout.addLayout(buttons)
        self.setMinimumWidth(350)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a width that leaves the image its place on a small screen."""
        return QSize(380, 560)

    def _connect(self) -> None:
        self.picker.sample_asked.connect(self.open_sample)
        self.picker.study_asked.connect(self._ask_study)
        self.picker.import_asked.connect(self.ask_import)
        self.picker.picked.connect(self.show_place)
        self._opening.read.connect(self._on_read)
        self._opening.refused.connect(self._complain)
        self.runs.made.connect(self.open_study)
        self.runs.changed.connect(self._refresh)
        self.runs.reported.connect(self._on_reported)
        self.runs.refused.connect(self._complain)
        self.runner.run_asked.connect(lambda: self.run_recipe())
        self.board.run_asked.connect(self.run_recipe)
        self.board.picked.connect(self.show_place)
        self.outlook.read.connect(self._on_outlook)
        self.previewing.refused.connect(self._complain)
        self.runner.failed.connect(self._complain)
        self.runner.busy_changed.connect(self.picker.set_busy)
        self.form.refused.connect(self._complain)
        self.pedigree.picked.connect(self.navigation.to_track)
        self.track_table.picked.connect(self._on_rows)
        self.selection.changed.connect(self._on_selection)
        self.curate.go_asked.connect(self.navigation.to_cell)
        self.curate.read.connect(self._on_curation)
        self.curate.edited.connect(self._on_edited)
        self.curate.refused.connect(self._complain)
        for panel in (self.lineage, self.niche, self.cells):
            panel.refused.connect(self._complain)
            panel.exported.connect(self.runner.say)
        for panel in (self.lineage, self.niche):
            panel.picked.connect(self.navigation.to_colony)
        self.cells.picked.connect(self.navigation.to_point)
        self.navigation.place_asked.connect(self.show_place)
        self.navigation.said.connect(self.runner.say)
        self.linked.picked.connect(self.navigation.to_point)
        self.linked.said.connect(self.runner.say)
        self.drop.study.connect(self.open_study)
        self.drop.images.connect(lambda paths: self.ask_import().add_sources(paths))
        self.drop.refused.connect(self._complain)
        self.runner.busy_changed.connect(self.drop.set_busy)
        self.scene.refused.connect(self._complain)
        self.scene.said.connect(self.runner.say)
        self.curate.update_asked.connect(lambda: self.run_recipe())
        self.curate.blinded_changed.connect(self._on_blinded)
        self.runner.busy_changed.connect(self.curate.set_locked)
        self.runner.busy_changed.connect(self.painting.set_locked)
        self.painting.refused.connect(self._complain)
        self.painting.kept.connect(self._on_painted)
        self.curate.train_button.clicked.connect(lambda: self.fine_tune())
        self.report_button.clicked.connect(self.open_report)
        self.preferences_button.clicked.connect(self.ask_preferences)
        self._viewer.dims.events.current_step.connect(self._on_frame)
        self._viewer.layers.events.inserted.connect(self._on_inserted)
        bind_keys(self._viewer, self.curate)
        # the dock may be closed, or the window with it, during a run: the run ends at its next tile
        self.destroyed.connect(partial(_let_go, self._viewer, self.runner, self.painting, self.picks, ref(self)))

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Offer the tour to who sees the dock for the first time, when it is laid out."""
        super().showEvent(event)
        QTimer.singleShot(0, self.tour.offer)

    @property
    def idle(self) -> bool:
        """Whether nothing runs, nothing is read and everything that was read is shown."""
        tabs = (self.curate, self.previewing, self.outlook, self.cells, self.lineage, self.niche, self.scene)
        parts = (self.runner, self._opening, self._turns, self._updating, self.painting, *tabs)
        return not any(part.busy for part in parts)

    # --- opening

    def open_sample(self) -> Job:
        """Open the tutorial study, after making it if this is the first time."""
        return self.runs.make_sample()

    def open_study(self, path: Path | str, place: tuple[str, int] | None = None) -> None:
        """Read a study beside the window and show a session of it; what is no study is refused with a sentence.

        Parameters
        ----------
        path : path
            The ``*.marrow`` folder.
        place : (str, int), optional
            Position and session; by default the first position's longest session.
        """
        self._opening.ask(Path(path), place)

    def show_place(self, position: str, session: int) -> None:
        """Show another session of the open study; of several asked for in a row the last one wins."""
        if self.contents is not None:
            self.open_study(self.contents.path, (position, session))

    def _on_read(self, loaded: Loaded) -> None:
        if self.contents is None or self.contents.path != loaded.contents.path:
            told = f"{len(loaded.contents.places)} sessions of {len(loaded.contents.positions())} positions."
            if loaded.contents.recipe is not None:
                self.form.set_recipe(loaded.contents.recipe)
                told += " The recipe is that of the last run."
            self.runner.say(told)
        self._updating.stop()
        self._turns.start(self._present(loaded))

    def _present(self, loaded: Loaded) -> Iterator[None]:
        """Show what was read, piece by piece."""
        shown = loaded.layers
        self.contents, self.results = loaded.contents, loaded.results
        self.runs.study = loaded.contents.path
        self.picker.set_contents(loaded.contents, shown.position, shown.session)
        self.runner.allow_run(True)
        self.report_button.setEnabled(loaded.contents.report is not None)
        for _, arguments, _ in shown.layers:
            arguments["metadata"]["marrow"]["shown_as"] = self.picker.name_of(shown.position)
        self.picks.curation = None
        yield from self.view.show(shown)
        if self.view.layer("tracks") is not None:
            self.picks.prepare()
            yield
        recipe = "" if loaded.contents.recipe is None else loaded.contents.recipe.digest
        for panel in (self.lineage, self.niche, self.cells):
            panel.set_study(loaded.contents.path, loaded.contents.name, recipe, shown.position, shown.session)
        yield
        place = (shown.position, shown.session)
        tracks = _of_session(loaded.results.tracks, *place)
        self.pedigree.set_tables(tracks, _of_session(loaded.results.onsets, *place))
        yield
        self.track_table.set_tracks(tracks)
        self.linked.set_tracks(tracks)
        yield
        if any(arguments["metadata"]["marrow"]["role"] == "tracks" for _, arguments, _ in shown.layers):
            self.curate.set_session(loaded.contents.path, *place)
        else:
            self.curate.clear()
        yield
        self._on_frame()
        self.previewing.follow()
        self.painting.follow()
        self.scene.set_study(loaded.contents.path)
        self.outlook.watch(loaded.contents.path)
        self.form.study = loaded.contents.path
        self.navigation.go_on()
        self.loaded.emit()

    def _adopt_open_study(self) -> None:
        for layer in self._viewer.layers:
            about = layer.metadata.get("marrow")
            if study_of(layer) is not None:
                self.open_study(about["study"], (about["position"], about["session"]))
                return

    def _on_inserted(self, event: Any) -> None:
        """Take over a study that came in through napari's own Open or Sample menu."""
        study = study_of(event.value)
        if study is not None and not self.runner.busy and (self.contents is None or str(self.contents.path) != study):
            about = event.value.metadata["marrow"]
            self.open_study(study, (about["position"], about["session"]))

    def _ask_study(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a study (a *.marrow folder)")
        if path:
            self.open_study(path)

    def ask_import(self) -> ImportDialog:
        """Ask for microscope files, with a preview of what they would become."""
        from napari_marrow.gui.import_dialog import ImportDialog

        dialog = self.importing = ImportDialog(self)
        dialog.import_asked.connect(self.import_images)
        dialog.show()
        return dialog

    def ask_preferences(self, *_: Any) -> PreferencesDialog:
        """Show the preferences of this machine."""
        from napari_marrow.gui.preferences_dialog import PreferencesDialog

        dialog = self.preferring = PreferencesDialog(self)
        dialog.kept.connect(self._on_preferences)
        dialog.show()
        return dialog

    def _on_preferences(self, wanted: Preferences) -> None:
        self.form.editor("segment", "device").set_value(wanted.device)
        cores = "all cores" if wanted.threads is None else f"{wanted.threads} core{'s' * (wanted.threads > 1)}"
        self.runner.say(f"Preferences kept: networks on {wanted.device}, runs on {cores}.")

    def import_images(self, request: ImportRequest) -> Job | None:
        """Import beside the window, then open the study.

        Parameters
        ----------
        request : ImportRequest
        """
        return self.runs.import_images(request)

    # --- running

    def run_recipe(self, until: str = "") -> Job | None:
        """Run the shown recipe on the study, beside the window.

        Parameters
        ----------
        until : str
            Last step; every step by default.
        """
        return self.runs.run_recipe(until)

    def fine_tune(self, settings: FineTuningSettings | None = None) -> Job | None:
        """Train the recipe's model on with the painted frames, beside the window; it becomes one of the user's models.

        Parameters
        ----------
        settings : FineTuningSettings, optional
            Five minutes by default.
        """
        return self.runs.fine_tune(settings)

    def _on_painted(self, said: str) -> None:
        self.runner.say(said)
        self.curate.renew()
        self.outlook.renew()

    def _on_reported(self) -> None:
        self.tabs.setCurrentWidget(self.lineage)

    def _refresh(self, *_: Any) -> None:
        """Show what the study holds now."""
        place = self.picker.place()
        if place is not None:
            self.show_place(*place)

    def _on_outlook(self, board: Board, found: Estimate) -> None:
        if self.contents is not None:
            blinded = self.picker.blinded
            names = {p: self.picker.name_of(p) for p in self.contents.positions()}
            if not blinded:
                names = {p: f"{name}, {self.contents.organoids.get(p, '')}".rstrip(", ") for p, name in names.items()}
            self.board.set_board(board, self.contents, names)
            self.runner.estimate.setText(str(found))

    # --- looking

    def _on_selection(self) -> None:
        self.pedigree.select(self.selection.tracks)
        self.track_table.select(self.selection.tracks)

    def _on_rows(self, tracks: list[int]) -> None:
        """Go to the track of the row that was picked; several rows are only marked."""
        rows = self.track_table.tracks.rows
        if len(tracks) == 1:
            self.navigation.to_track(tracks[0], float(rows.loc[rows["track_id"] == tracks[0], "start_h"].iloc[0]))
        else:
            self.selection.select(tracks=tracks)

    # --- editing

    def _on_curation(self) -> None:
        self.picks.curation = self.curate.curation

    def _on_edited(self, shown: CuratedSession) -> None:
        self._updating.start(self._show_edited(shown))

    def _show_edited(self, shown: CuratedSession) -> Iterator[None]:
        """Show what an edit changed, piece by piece; a further edit takes its place."""
        place = self.picker.place()
        for _ in self.view.update(shown.layers):
            self.painting.follow()
            yield
        self.track_table.set_tracks(shown.tracks)
        self.linked.set_tracks(shown.tracks)
        yield
        if self.curate.curation is not None:
            self.cells.set_nodes(self.curate.curation.nodes())
        yield
        self.pedigree.set_tables(shown.tracks, None if place is None else _of_session(self.results.onsets, *place))
        yield
        self._on_frame()
        self._on_selection()

    def _on_blinded(self, blinded: bool) -> None:
        """Hide what tells conditions and positions, or show it again."""
        self.picker.set_blinded(blinded)
        for panel in (self.lineage, self.niche, self.cells):
            self.tabs.setTabVisible(self.tabs.indexOf(panel), not blinded)
        self.report_button.setVisible(not blinded)
        place = self.picker.place()
        if place is not None:
            self.view.rename(self.picker.name_of(place[0]))
        self.outlook.renew()

    def open_report(self) -> None:
        """Open the report in the web browser."""
        if self.contents is not None and self.contents.report is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.contents.report.resolve())))

    def _on_frame(self, *_: Any) -> None:
        for layer in self.view.layers():
            times = layer.metadata["marrow"]["times_h"]
            t = min(int(self._viewer.dims.current_step[0]), len(times) - 1)
            self.pedigree.set_time(float(times[t]))
            return

    def _complain(self, text: str) -> None:
        from napari.utils.notifications import show_error

        self.runner.say(text)
        show_error(text)


_docks: WeakKeyDictionary[napari.Viewer, ReferenceType[StudyDock]] = WeakKeyDictionary()


def dock_of(viewer: napari.Viewer) -> StudyDock | None:
    """Return the last opened dock of a viewer, None where it was closed or never opened.

    Parameters
    ----------
    viewer : napari.Viewer
    """
    found = _docks.get(viewer)
    return None if found is None else found()


def _of_session(table: pd.DataFrame | None, position: str, session: int) -> pd.DataFrame | None:
    return None if table is None else table[(table["position"] == position) & (table["session"] == session)]


def _let_go(
    viewer: napari.Viewer, runner: RunPanel, painting: Painting, picks: CanvasPicks, dock: ReferenceType[StudyDock]
) -> None:
    """Cancel a run, and hear of the viewer's events no longer."""
    if runner.job is not None:
        runner.job.cancel()
    painting.flush()
    picks.disconnect()
    free_keys(viewer)
    bring_back()
    alive = dock()
    if alive is not None:
        viewer.dims.events.current_step.disconnect(alive._on_frame)
        viewer.layers.events.inserted.disconnect(alive._on_inserted)
