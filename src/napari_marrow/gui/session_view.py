"""Shows one session of a study in a viewer, and keeps what the user set from session to session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_marrow.gui.frame_follower import follow

if TYPE_CHECKING:
    import napari

    from napari_marrow.gui.session_layers import LayerData, SessionLayers

_UPDATED: dict[str, tuple[str, ...]] = {
    "image": ("scale", "affine"),
    "labels": ("scale", "affine", "features"),
    "tracks": ("scale", "affine", "features", "graph"),
    "points": ("scale", "affine", "features", "size"),
}
"""What changes on a layer besides its data when another session is shown; all else is the user's."""


class SessionView:
    """The layers of the session on display.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer

    def show(self, shown: SessionLayers) -> Iterator[None]:
        """Show a session in the layers that are there, add what is missing and remove what it does not have.

        Layers of the user's own stay, and so does what the user set on the study's: contrast, colour, visibility.
        The frame and the camera stay where they are when the place is the same as before.

        Parameters
        ----------
        shown : SessionLayers

        Yields
        ------
        None
            After each layer; the caller lets the window live in between.
        """
        before = self.place()
        for layer in self._of_other_axes(shown):
            self._viewer.layers.remove(layer)
            yield
        there = {_key(layer.metadata["marrow"]): layer for layer in self.layers()}
        for data, arguments, kind in shown.layers:
            layer = there.get(_key(arguments["metadata"]["marrow"]))
            if layer is not None and layer in self._viewer.layers and _takes(layer, arguments, kind):
                del there[_key(arguments["metadata"]["marrow"])]
                yield from _update(layer, data, arguments, kind)
            else:
                yield from self._add(data, arguments, kind)
            yield
        for layer in there.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
                yield
        if before != (shown.study, shown.position, shown.session) and self._viewer.layers:
            self._viewer.dims.set_current_step(0, 0)
            yield
            self._viewer.reset_view()
            yield
        follow(self._viewer).update()

    def update(self, layers: Sequence[LayerData]) -> Iterator[None]:
        """Show other data in layers of the session on display; the user's settings and the frame stay.

        Yields
        ------
        None
            After each layer; the caller lets the window live in between.
        """
        for data, arguments, kind in layers:
            layer = self.layer(arguments["metadata"]["marrow"]["role"])
            if layer is not None and _takes(layer, arguments, kind):
                arguments["metadata"]["marrow"]["shown_as"] = layer.metadata["marrow"].get("shown_as")
                yield from _update(layer, data, arguments, kind)
                yield
        follow(self._viewer).update()

    def rename(self, name: str) -> None:
        """Call the position on display by another name."""
        for layer in self.layers():
            layer.metadata["marrow"]["shown_as"] = name
        follow(self._viewer).update()

    def layers(self) -> list[Any]:
        """Return the layers that came from a study."""
        return [layer for layer in self._viewer.layers if study_of(layer) is not None]

    def layer(self, role: str) -> Any | None:
        """Return the layer of a role (cells, tracks, vessels, colony masks, ...), None where there is none."""
        return next((x for x in self.layers() if x.metadata["marrow"]["role"] == role), None)

    def place(self) -> tuple[str, str, int] | None:
        """Return (study, position, session) of what is shown."""
        for layer in self.layers():
            return _place(layer.metadata["marrow"])
        return None

    def _of_other_axes(self, shown: SessionLayers) -> list[Any]:
        """Return layers of ours that lie flat where volumes are to be shown, or the other way round.

        Beside each other napari would say of every one that its units do not fit.
        """
        axes = {len(arguments["scale"]) for _, arguments, _ in shown.layers}
        ours = [layer for layer in self._viewer.layers if "role" in layer.metadata.get("marrow", {})]
        return [layer for layer in ours if layer.ndim not in axes and layer.source.parent is None]

    def _add(self, data: Any, arguments: dict[str, Any], kind: str) -> Iterator[None]:
        from napari.layers import Layer

        layer = Layer.create(data, arguments, kind)
        # no argument of the layer's; in 3D napari has no contours and says so at every frame
        if "contour" in arguments["metadata"]["marrow"] and self._viewer.dims.ndisplay == 2:
            layer.contour = arguments["metadata"]["marrow"]["contour"]
        yield
        self._viewer.add_layer(layer)


def study_of(layer: Any) -> str | None:
    """Return the folder of the study that a layer came from, None for any other layer and for a copy of one."""
    if getattr(getattr(layer, "source", None), "parent", None) is not None:
        return None
    about = layer.metadata.get("marrow")
    return about["study"] if isinstance(about, dict) and "study" in about else None


def _key(about: dict[str, Any]) -> tuple[str, str]:
    return about["role"], about.get("channel", "")


def _place(about: dict[str, Any]) -> tuple[str, str, int]:
    return about["study"], about["position"], about["session"]


def _takes(layer: Any, arguments: dict[str, Any], kind: str) -> bool:
    return (
        layer._type_string == kind
        and layer.ndim == len(arguments["scale"])
        and bool(getattr(layer, "multiscale", False)) == arguments.get("multiscale", False)
    )


def _update(layer: Any, data: Any, arguments: dict[str, Any], kind: str) -> Iterator[None]:
    """Show other data in a layer, attribute by attribute: napari slices and draws every layer after each."""
    if kind != "image" or _place(layer.metadata["marrow"]) != _place(arguments["metadata"]["marrow"]):
        layer.data = data
        layer.metadata["marrow"] = arguments["metadata"]["marrow"]
        for name in _UPDATED[kind]:
            if name in arguments and not _has(layer, name, arguments[name]):
                yield
                setattr(layer, name, arguments[name])
    elif not _has(layer, "affine", arguments["affine"]):
        layer.affine = arguments["affine"]  # the recipe has registered it since
    layer.metadata["marrow"] = arguments["metadata"]["marrow"]


def _has(layer: Any, name: str, wanted: Any) -> bool:
    """Whether a layer lies like this already: napari slices and draws it anew whenever its place is set."""
    if name == "affine":
        return np.array_equal(layer.affine.affine_matrix, wanted)
    return name == "scale" and np.array_equal(layer.scale, wanted)
