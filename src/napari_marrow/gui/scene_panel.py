"""The panel *3D and movie*: volume view, a slab of it, the view that is kept with the study, movies."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSlider,
    QWidget,
)

from napari_marrow.errors import MarrowError
from napari_marrow.gui.clipping import AXES, Slab, clip, extent_um
from napari_marrow.gui.job import Job
from napari_marrow.gui.movie import Movie
from napari_marrow.gui.movie_frames import FILMS, Frames, TimeFrames, flight, needs_animation, one_turn, open_writer
from napari_marrow.gui.napari_names import camera
from napari_marrow.gui.sentences import sentence
from napari_marrow.gui.volume_look import VolumeLook
from napari_marrow.gui.warm_up import warm_up_movies
from napari_marrow.study.saved_view import SavedView, read_view, save_view

if TYPE_CHECKING:
    import napari

    from napari_marrow.gui.session_view import SessionView

MOVIES = ("over time", "one turn", "from the saved view")
_STEPS = 200


class ScenePanel(QWidget):
    """What the image shows of a volume, and movies of it.

    Parameters
    ----------
    viewer : napari.Viewer
    view : SessionView

    Attributes
    ----------
    switch : QPushButton
        Shows and hides the panel; stands where the dock puts it.

    Signals
    -------
    said : str
        What was done.
    refused : str
        Why something was not.
    """

    said = Signal(str)
    refused = Signal(str)

    def __init__(self, viewer: napari.Viewer, view: SessionView) -> None:
        super().__init__()
        self._viewer, self._view = ref(viewer), view
        self._study: Path | None = None
        self._warm = False
        self._look = VolumeLook()
        self.movie = Movie(viewer, self)
        self._make_widgets()
        self._lay_out()
        self._connect()
        self.destroyed.connect(partial(_disconnect, viewer, ref(self)))
        self._show_state()
        self.setVisible(False)

    def _make_widgets(self) -> None:
        self.switch = QPushButton("3D and movie")
        self.switch.setCheckable(True)
        self.switch.setToolTip("Volume view with clipping, a view that is kept with the study, and movies.")
        self.volume = _button("3D", "Show the session as a volume that the mouse turns; press again for planes.")
        self.volume.setCheckable(True)
        self.save = _button("Save view", "Keep camera, zoom and clipping with the study. No result depends on it.")
        self.recall = _button("Go to view", "Show the study as it was when the view was saved.")
        self.clipped = QCheckBox("Clip along")
        self.clipped.setToolTip("Show only what lies between two depths; a click picks only cells in between.")
        self.axis = QComboBox()
        self.axis.addItems(AXES)
        self.axis.setToolTip("Axis along which is clipped.")
        self.range = QLabel("")
        self.low, self.high = QSlider(Qt.Orientation.Horizontal), QSlider(Qt.Orientation.Horizontal)
        for slider, at, tip in ((self.low, 0, "Where the slab begins."), (self.high, _STEPS, "Where the slab ends.")):
            slider.setRange(0, _STEPS)
            slider.setValue(at)
            slider.setToolTip(f"{tip} Arrow keys move it by a step, Page keys by ten.")
            slider.setPageStep(10)
        self.kind = QComboBox()
        self.kind.addItems(MOVIES)
        self.make = _button("Movie...", "Write the image as a movie: every frame, a turn, or a way of the camera.")
        self.stop = _button("Cancel", "Give the movie up; nothing is left of it.")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.axis.setAccessibleName("Axis of clipping")
        self.low.setAccessibleName("Begin of the slab")
        self.high.setAccessibleName("End of the slab")
        self.kind.setAccessibleName("Kind of movie")

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for column, widget in enumerate((self.volume, self.save, self.recall)):
            grid.addWidget(widget, 0, column)
        grid.addWidget(self.clipped, 1, 0)
        grid.addWidget(self.axis, 1, 1)
        grid.addWidget(self.range, 1, 2)
        sliders = QHBoxLayout()
        for widget in (QLabel("from"), self.low, QLabel("to"), self.high):
            sliders.addWidget(widget)
        grid.addLayout(sliders, 2, 0, 1, 3)
        grid.addWidget(self.kind, 3, 0)
        grid.addWidget(self.make, 3, 1)
        grid.addWidget(self.stop, 3, 2)
        grid.addWidget(self.bar, 4, 0, 1, 3)
        for column in range(3):
            grid.setColumnStretch(column, 1)

    def _connect(self) -> None:
        viewer = self._viewer()
        assert viewer is not None
        self.switch.toggled.connect(self.setVisible)
        self.switch.toggled.connect(self._warm_up)
        self.volume.clicked.connect(self.show_volume)
        self.save.clicked.connect(self.save_view)
        self.recall.clicked.connect(self.go_to_view)
        self.clipped.toggled.connect(self._clip)
        self.axis.currentIndexChanged.connect(self._clip)
        self.low.valueChanged.connect(self._on_low)
        self.high.valueChanged.connect(self._on_high)
        self.make.clicked.connect(self._ask_movie)
        self.stop.clicked.connect(self.movie.cancel)
        self.movie.progressed.connect(self._on_progress)
        self.movie.finished.connect(self.said)
        self.movie.refused.connect(self.refused)
        self.movie.stopped.connect(self._on_stopped)
        self.movie.ended.connect(self._show_state)
        viewer.dims.events.ndisplay.connect(self._on_display)
        viewer.layers.events.inserted.connect(self._on_inserted)

    def _warm_up(self, *_: Any) -> None:
        """Import what makes movies beside the window, before it is asked for."""
        if not self._warm:
            self._warm = True
            Job(lambda progress, cancel: warm_up_movies(), name="warming up").start()

    @property
    def busy(self) -> bool:
        """Whether a movie is being made."""
        return self.movie.busy

    def set_study(self, study: Path) -> None:
        """Take over that a session of a study is on display."""
        self._study = study
        if not self._is_volume():
            self.show_volume(False)
        viewer = self._viewer()
        if viewer is not None and viewer.dims.ndisplay == 3:
            self._look.wear(True, self._study_layers())
        self._show_state()
        self._clip()

    # --- the volume and its slab

    def show_volume(self, wanted: bool) -> None:
        """Show the session as a volume, or as planes.

        Parameters
        ----------
        wanted : bool
            A session of one plane stays flat, and a sentence says so.
        """
        viewer = self._viewer()
        if viewer is None:
            return
        if wanted and not self._is_volume():
            self.volume.setChecked(False)
            self.refused.emit("This session has one plane: the 3D view needs a session of several planes.")
            return
        if wanted != (viewer.dims.ndisplay == 3):
            self._display(3 if wanted else 2)
            if wanted:
                viewer.reset_view()

    def _display(self, ndisplay: int) -> None:
        viewer = self._viewer()
        if viewer is not None:
            if ndisplay == 3:  # before it is so: napari has no contours in 3D and says so
                self._look.wear(True, self._study_layers())
            viewer.dims.ndisplay = ndisplay

    def slab(self) -> Slab | None:
        """Return what is shown along the axis, None for all."""
        viewer = self._viewer()
        if viewer is None or viewer.dims.ndisplay != 3 or not self.clipped.isChecked():
            return None
        ends = extent_um(self._view.layers(), self.axis.currentText())
        if ends is None:
            return None
        low, high = (ends[0] + slider.value() / _STEPS * (ends[1] - ends[0]) for slider in (self.low, self.high))
        return Slab(self.axis.currentText(), low, high)

    def _is_volume(self) -> bool:
        return any(layer.ndim == 4 for layer in self._view.layers())

    def _clip(self, *_: Any) -> None:
        slab = self.slab()
        self.range.setText("" if slab is None else f"{slab.low:.0f} to {slab.high:.0f} µm")
        for layer in self._study_layers():
            clip(layer, slab)

    def _study_layers(self) -> list[Any]:
        viewer = self._viewer()
        return [x for x in (viewer.layers if viewer is not None else ()) if "role" in x.metadata.get("marrow", {})]

    def _on_low(self, value: int) -> None:
        self.high.setValue(max(self.high.value(), value))
        self._clip()

    def _on_high(self, value: int) -> None:
        self.low.setValue(min(self.low.value(), value))
        self._clip()

    def _on_display(self, *_: Any) -> None:
        """Follow napari's own switch between planes and volume, too."""
        viewer = self._viewer()
        in_3d = viewer is not None and viewer.dims.ndisplay == 3
        self._look.wear(in_3d, self._study_layers())
        self._show_state()
        self._clip()

    def _on_inserted(self, event: Any) -> None:
        if "role" in event.value.metadata.get("marrow", {}):
            clip(event.value, self.slab())

    # --- the view that is kept

    def save_view(self) -> None:
        """Keep the view on display with the study."""
        viewer = self._viewer()
        if viewer is None or self._study is None:
            return
        look = camera(viewer)
        depth = (0.0,) * (3 - len(look.center))
        view = SavedView(
            viewer.dims.ndisplay == 3, _three((*depth, *look.center)), float(look.zoom), _three(look.angles),
            float(look.perspective), self.axis.currentText(), self.low.value() / _STEPS, self.high.value() / _STEPS,
            self.clipped.isChecked(),
        )  # fmt: skip
        try:
            save_view(self._study, view)
        except MarrowError as error:
            self.refused.emit(sentence(error))
        else:
            self.said.emit("The view is saved with the study.")

    def go_to_view(self) -> None:
        """Show the study as it was when its view was saved."""
        viewer, view = self._viewer(), self._saved()
        if viewer is None or view is None:
            return
        if view.in_3d and not self._is_volume():
            self.refused.emit(
                "The saved view is that of a volume, and this session has one plane: choose another session."
            )
            return
        self._display(3 if view.in_3d else 2)
        self.axis.setCurrentText(view.clip_axis)
        self.high.setValue(round(view.clip_high * _STEPS))
        self.low.setValue(round(view.clip_low * _STEPS))
        self.clipped.setChecked(view.clipped)
        look = camera(viewer)
        look.center, look.zoom, look.perspective = view.centre, view.zoom, view.perspective
        look.angles = view.angles

    def _saved(self) -> SavedView | None:
        if self._study is None:
            return None
        try:
            found = read_view(self._study)
        except MarrowError as error:
            self.refused.emit(sentence(error))
            return None
        if found is None:
            self.refused.emit("No view is saved with this study: press Save view first.")
        return found

    # --- movies

    def make_movie(self, kind: str, path: Path | str) -> None:
        """Make a movie of the image beside the other work of the window.

        Parameters
        ----------
        kind : str
            One of `MOVIES`.
        path : path
            A file that ends in ``.mp4`` or ``.gif``, or a new folder for PNG pictures.
        """
        viewer = self._viewer()
        if viewer is None or self.busy:
            return
        try:
            frames = self._frames(viewer, kind)
            writer = open_writer(Path(path))
        except (MarrowError, OSError) as error:
            self.refused.emit(sentence(error))
            return
        self.movie.start(frames, writer)
        self._show_state()

    def _frames(self, viewer: napari.Viewer, kind: str) -> Frames:
        if kind == MOVIES[0]:
            times = next((layer.metadata["marrow"]["times_h"] for layer in self._view.layers()), [0.0])
            return TimeFrames(viewer, len(times))
        if kind == MOVIES[1]:
            return one_turn(viewer)
        return flight(viewer, None if self._study is None else read_view(self._study))

    def _ask_movie(self) -> None:
        kinds = "Movies (*.mp4 *.gif);;Folder of pictures (*)" if not needs_animation() else "Folder of pictures (*)"
        name = "movie" if needs_animation() else f"movie{FILMS[0]}"
        path, _ = QFileDialog.getSaveFileName(self, "Movie", name, kinds)
        if path:
            self.make_movie(self.kind.currentText(), path)

    def _on_progress(self, done: int, total: int) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)

    def _on_stopped(self) -> None:
        self.said.emit("Cancelled. Nothing is left of the movie.")

    def _show_state(self) -> None:
        viewer, opened = self._viewer(), self._study is not None
        volume, missing = opened and self._is_volume(), needs_animation()
        in_3d = viewer is not None and viewer.dims.ndisplay == 3
        self.volume.setChecked(in_3d)
        self.volume.setEnabled(volume or in_3d)
        _enable((self.clipped, self.axis, self.low, self.high), on=in_3d)
        _enable((self.save, self.recall), on=opened)
        self.make.setEnabled(opened and not self.busy)
        self.stop.setEnabled(self.busy)
        model = self.kind.model()
        for row in (1, 2):
            model.item(row).setEnabled(not missing)
            model.item(row).setToolTip(missing)
        self.make.setToolTip(missing or "Write the image as a movie: every frame, a turn, or a way of the camera.")


def _enable(widgets: Iterable[QWidget], *, on: bool) -> None:
    for widget in widgets:
        widget.setEnabled(on)


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    z, y, x = (float(v) for v in values)
    return z, y, x


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _disconnect(viewer: napari.Viewer, panel: ReferenceType[ScenePanel], *_: Any) -> None:
    """Hear of the viewer's events no longer."""
    alive = panel()
    if alive is not None:
        viewer.dims.events.ndisplay.disconnect(alive._on_display)
        viewer.layers.events.inserted.disconnect(alive._on_inserted)
