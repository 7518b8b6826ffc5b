"""Cells are picked by a click in the image, and what is selected is ringed there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from napari_marrow.gui.clipping import label_on_ray
from napari_marrow.gui.selection import Selection
from napari_marrow.palette import SKY, VERMILLION
from napari_marrow.tracking.edit_graph import Node

if TYPE_CHECKING:
    import napari

    from napari_marrow.gui.curation import Curation
    from napari_marrow.gui.session_view import SessionView

_NAME = "Selection"
_RING = 1.7
_MOST_RINGS = 5000


class CanvasPicks:
    """Connects the image with what is selected.

    Parameters
    ----------
    viewer : napari.Viewer
    view : SessionView
    selection : Selection
    """

    def __init__(self, viewer: napari.Viewer, view: SessionView, selection: Selection) -> None:
        self._viewer = ref(viewer)
        self._view, self._selection = view, selection
        self.curation: Curation | None = None
        viewer.mouse_drag_callbacks.append(self._on_press)
        viewer.dims.events.current_step.connect(self._on_frame)
        selection.changed.connect(self._show)

    def disconnect(self) -> None:
        """Hear no longer of the viewer's mouse and frames."""
        viewer = self._viewer()
        if viewer is not None:
            viewer.dims.events.current_step.disconnect(self._on_frame)
        if viewer is not None and self._on_press in viewer.mouse_drag_callbacks:
            viewer.mouse_drag_callbacks.remove(self._on_press)

    def pick(self, position: tuple[float, ...], *, more: bool, view_direction: Any = None) -> None:
        """Select the cell at a place in the world; a place without one selects nothing.

        Parameters
        ----------
        position : tuple of float
            Frame and µm, as napari's events have it.
        more : bool
            Add it to what is selected, or take it out.
        view_direction : array-like, optional
            Of a click in a volume: the first cell on its way is picked, of those that are not clipped away.
        """
        viewer, layer = self._viewer(), self._view.layer("cells")
        if viewer is None or layer is None or not layer.visible:
            return
        displayed = list(viewer.dims.displayed)
        if view_direction is not None and layer.ndim == 4:
            value = label_on_ray(layer, position, view_direction, displayed, int(viewer.dims.current_step[0]))
        else:
            value = layer.get_value(position, world=True, dims_displayed=displayed, view_direction=None)
            value = value[1] if isinstance(value, tuple) else value
        if not value:
            if not more:
                self._selection.clear()
            return
        layer.selected_label = int(value)
        node = self.node_at(int(viewer.dims.current_step[0]), int(value))
        track = int(value) if layer.metadata["marrow"]["tracked"] else 0
        if node is None:
            self._selection.select(tracks=[track] if track else [])
        elif more:
            self._selection.toggle(node, track)
        else:
            self._selection.select([node], [track])

    def node_at(self, t: int, value: int) -> Node | None:
        """Return the cell that has a value of the labels layer in a frame."""
        return None if self.curation is None else self.curation.numbering.node_of(t, value)

    def _on_press(self, viewer: Any, event: Any) -> Iterator[None]:
        active = viewer.layers.selection.active
        if event.button != 1 or str(getattr(active, "mode", "pan_zoom")) not in ("pan_zoom", "PAN_ZOOM"):
            return
        start = np.asarray(event.pos, float)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.asarray(event.pos, float) - start).max() <= 3:
            more = "Shift" in [str(getattr(m, "name", m)) for m in event.modifiers]
            self.pick(tuple(event.position), more=more, view_direction=event.view_direction)

    def prepare(self) -> Any | None:
        """Return the layer of rings, made if there are cells and it is not there: napari takes its time for that."""
        viewer = self._viewer()
        cells = self._view.layer("cells")
        if viewer is None or cells is None:
            return None
        layer = self._rings()
        if layer is not None and layer.ndim != cells.ndim:
            viewer.layers.remove(layer)
            layer = None
        if layer is None:
            active = viewer.layers.selection.active
            layer = viewer.add_layer(_ring_layer(cells))
            viewer.layers.selection.active = active
        return layer

    def _on_frame(self, *_: Any) -> None:
        # no layer is made here: frames change, too, while napari takes the layers out one by one
        if len(self._selection.crowd) and self._rings() is not None:
            self._show()

    def _rings(self) -> Any | None:
        viewer = self._viewer()
        layers = () if viewer is None else viewer.layers
        return next((x for x in layers if x.metadata.get("marrow", {}).get("role") == "selection"), None)

    def _show(self) -> None:
        """Ring the picked cells in their frames; where they come from shows as a cross in the frame after."""
        data, sizes, symbols, colours = self._marks(self.curation)
        layer = self.prepare()
        if layer is None or not (len(data) or len(layer.data)):
            return
        cells = self._view.layer("cells")
        if cells is not None and not np.array_equal(layer.affine.affine_matrix, cells.affine.affine_matrix):
            layer.affine = cells.affine
        layer.selected_data = set()
        layer.data = data if len(data) else np.zeros((0, layer.ndim))
        if len(data):
            layer.size, layer.symbol, layer.border_color = sizes, symbols, colours

    def _crowd_marks(self, ndim: int) -> tuple[Any, Any, Any, Any]:
        """Ring those of many cells that are in the frame on display."""
        viewer, crowd = self._viewer(), self._selection.crowd
        t = 0 if viewer is None else int(viewer.dims.current_step[0])
        there = crowd.in_frame(t)
        place = crowd.place[there][:_MOST_RINGS, -(ndim - 1) :]
        size = 2 * _RING * _radius(np.maximum(np.nan_to_num(crowd.area[there][:_MOST_RINGS]), 1.0), ndim)
        return np.column_stack([np.full(len(place), float(t)), place]), size, "disc", SKY

    def _marks(self, curation: Curation | None) -> tuple[Any, Any, Any, Any]:
        cells = self._view.layer("cells")
        points, sizes, symbols, colours = [], [], [], []
        if cells is not None and len(self._selection.crowd):
            return self._crowd_marks(cells.ndim)
        if curation is None or cells is None:
            return np.zeros((0, 3)), np.zeros(0), [], []
        picked = list(self._selection.cells)
        frames = sorted({node.t for node in picked})
        for node in picked:
            row = curation.row_of(node)
            if row is None:
                continue
            place = [float(row[name]) for name in ("z", "y", "x")][-(cells.ndim - 1) :]
            size = 2 * _RING * float(_radius(max(float(row.get("area", 80.0)), 1.0), cells.ndim))
            points.append([float(node.t), *place])
            sizes.append(size)
            symbols.append("disc")
            colours.append(VERMILLION if node.t == frames[-1] else SKY)
            if node.t != frames[-1]:
                points.append([float(frames[-1]), *place])
                sizes.append(size / 2)
                symbols.append("cross")
                colours.append(SKY)
        return np.array(points), np.array(sizes), symbols, colours


def _radius(area: Any, ndim: int) -> Any:
    """Return the radius of a circle of an area, of a ball of a volume where the layer has four axes, µm."""
    return np.cbrt(3 * np.asarray(area) / (4 * np.pi)) if ndim == 4 else np.sqrt(np.asarray(area) / np.pi)


def _ring_layer(cells: Any) -> Any:
    from napari.layers import Points

    about = cells.metadata["marrow"]
    return Points(
        np.zeros((0, cells.ndim)),
        ndim=cells.ndim,
        name=_NAME,
        face_color="transparent",
        border_width=0.12,
        scale=(1.0,) * cells.ndim,
        affine=cells.affine,
        units=cells.units,
        axis_labels=cells.axis_labels,
        metadata={"marrow": {"role": "selection", "times_h": about["times_h"], "position": about["position"],
                             "session": about["session"]}},
    )  # fmt: skip
