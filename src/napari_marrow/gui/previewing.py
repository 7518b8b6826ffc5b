"""Makes previews of the current view, beside the window, and shows them in the tab and in the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_marrow.errors import MarrowError
from napari_marrow.gui.job import Job, Work
from napari_marrow.gui.napari_names import camera
from napari_marrow.gui.preview_tab import NAMES, PreviewTab
from napari_marrow.gui.sentences import sentence
from napari_marrow.palette import ORANGE, SKY

if TYPE_CHECKING:
    from pathlib import Path

    import napari

    from napari_marrow.gui.recipe_form import RecipeForm
    from napari_marrow.gui.session_view import SessionView
    from napari_marrow.pipeline.preview import Preview

_COLOURS = (SKY, ORANGE)


class Previewing(QObject):
    """Connects the Preview tab with the view on display.

    Parameters
    ----------
    viewer : napari.Viewer
    view : SessionView
    form : RecipeForm
        Gives the settings, and shows them again.
    tab : PreviewTab

    Signals
    -------
    refused : str
        A preview could not be made; the sentence says why.
    """

    refused = Signal(str)

    def __init__(self, viewer: napari.Viewer, view: SessionView, form: RecipeForm, tab: PreviewTab) -> None:
        super().__init__(tab)
        self._viewer, self._view, self._form, self._tab = viewer, view, form, tab
        self._job: Job | None = None
        self._making = 0
        self._shown: tuple[str, str, int] | None = None
        tab.asked.connect(self.make)
        tab.use_asked.connect(form.set_recipe)

    @property
    def busy(self) -> bool:
        """Whether a preview is being made."""
        return self._job is not None

    def follow(self) -> None:
        """Allow previews of the session on display, and forget those of another study."""
        place = self._view.place()
        self._tab.allow(place is not None and self._job is None)
        if place is None or (self._shown is not None and self._shown[0] != place[0]):
            self._tab.clear()
        if place != self._shown:
            for name in NAMES:
                if (old := self._layer(name)) is not None:
                    self._viewer.layers.remove(old)
        self._shown = place

    def make(self, k: int) -> None:
        """Make preview 0 (A) or 1 (B) of the current view."""
        place = self._view.place()
        if place is None or self._job is not None:
            return
        try:
            recipe = self._form.recipe()
        except MarrowError as error:
            self.refused.emit(sentence(error))
            return
        where = self._where()
        self._job = job = Job(_work(place, recipe, where), name="preview")
        self._making = k
        job.succeeded.connect(self._show)
        job.failed.connect(self._on_failed)
        job.ended.connect(self._on_ended)
        self._tab.allow(False)
        self._tab.texts[k].setText("Segmenting ...")
        job.start()

    def _on_failed(self, error: BaseException) -> None:
        self._tab.texts[self._making].clear()
        self.refused.emit(sentence(error))

    def _on_ended(self) -> None:
        self._job = None
        self._tab.allow(self._view.place() is not None)

    def _where(self) -> tuple[int, int | None, tuple[float, float] | None]:
        """Return frame, plane and the pixel in the middle of the view."""
        step = self._viewer.dims.current_step
        image = next((x for x in self._view.layers() if x.metadata["marrow"]["role"] == "image"), None)
        if image is None:
            return int(step[0]), None, None
        middle = (*step[: image.ndim - 2], *camera(self._viewer).center[-2:])
        centre = np.asarray(image.world_to_data(middle), float)[-2:]
        plane = int(step[1]) if image.ndim == 4 else None
        return int(step[0]), plane, (float(centre[0]), float(centre[1]))

    def _show(self, preview: Preview) -> None:
        k = self._making
        self._tab.show_preview(k, preview)
        cells = next(iter(self._view.layers()))
        three = cells.ndim == 4
        data = preview.labels[(None,) * (2 if three else 1)]
        translate = [float(preview.t), *([float(preview.z)] if three else [])]
        translate += [o * s for o, s in zip(preview.origin, preview.spacing, strict=True)]
        if three:
            translate[1] *= float(cells.scale[1])
        layer = self._layer(NAMES[k])
        if layer is None:
            layer = self._viewer.add_layer(_labels(data, cells, translate, k))
            return
        layer.data = data
        layer.translate, layer.affine = translate, cells.affine

    def _layer(self, name: str) -> Any | None:
        role = f"preview {name}"
        return next((x for x in self._viewer.layers if x.metadata.get("marrow", {}).get("role") == role), None)


def _labels(data: Any, like: Any, translate: list[float], k: int) -> Any:
    from napari.layers import Labels
    from napari.utils.colormaps import CyclicLabelColormap

    red, green, blue = (int(_COLOURS[k][i : i + 2], 16) / 255 for i in (1, 3, 5))
    colours = np.array([[0.0, 0.0, 0.0, 0.0], [red, green, blue, 1.0], [red, green, blue, 1.0]])
    layer = Labels(
        data,
        name=f"Preview {NAMES[k]}",
        scale=like.scale,
        translate=translate,
        affine=like.affine,
        units=like.units,
        axis_labels=like.axis_labels,
        colormap=CyclicLabelColormap(colors=colours, background_value=0),
        opacity=1.0,
        metadata={"marrow": {"role": f"preview {NAMES[k]}"}},
    )
    layer.contour = 1
    return layer


def _work(place: tuple[str, str, int], recipe: Any, where: tuple[int, int | None, tuple[float, float] | None]) -> Work:
    path: Path | str = place[0]
    t, z, centre = where

    def work(progress: Any, cancel: Any) -> Any:
        from napari_marrow.gui.warm_up import warm_up_labels
        from napari_marrow.pipeline.preview import preview_segmentation

        warm_up_labels()
        return preview_segmentation(path, recipe, place[1], place[2], t, z=z, centre=centre, cancel=cancel)

    return work
