"""Shows one session of a study in a viewer, and keeps what the user set from session to session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_marrow.gui.frame_follower import follow

if TYPE_CHECKING:
    import napari

    from napari_marrow.gui.session_layers import SessionLayers

_KEPT = {
    "image": ("visible", "contrast_limits", "colormap", "gamma", "opacity", "blending"),
    "labels": ("visible", "opacity", "contour"),
    "tracks": ("visible", "opacity", "tail_length", "tail_width", "head_length", "blending"),
    "points": ("visible", "opacity"),
}


class SessionView:
    """The layers of the session on display.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self._kept: dict[str, dict[str, Any]] = {}

    def show(self, shown: SessionLayers) -> None:
        """Replace the study layers in the viewer by those of a session.

        Layers of the user's own stay. What the user set on a layer (contrast, colour, visibility) is given to the
        layer of the same name; the camera and the frame stay where they are when the place is the same as before.

        Parameters
        ----------
        shown : SessionLayers
        """
        before = self.place()
        step = tuple(self._viewer.dims.current_step)
        self._keep_settings()
        self.clear()
        for data, arguments, kind in shown.layers:
            self._add(data, arguments, kind)
        follow(self._viewer)
        same_place = before == (shown.study, shown.position, shown.session)
        if same_place and len(step) == len(self._viewer.dims.current_step):
            self._viewer.dims.current_step = step
        elif self._viewer.layers:
            self._viewer.dims.set_current_step(0, 0)
            self._viewer.reset_view()

    def clear(self) -> None:
        """Remove the layers that came from a study."""
        for layer in self.layers():
            self._viewer.layers.remove(layer)

    def layers(self) -> list[Any]:
        """Return the layers that came from a study."""
        return [layer for layer in self._viewer.layers if study_of(layer) is not None]

    def layer(self, role: str) -> Any | None:
        """Return the layer of a role (cells, tracks, colonies, vessels), None where there is none."""
        return next((x for x in self.layers() if x.metadata["marrow"]["role"] == role), None)

    def place(self) -> tuple[str, str, int] | None:
        """Return (study, position, session) of what is shown."""
        for layer in self.layers():
            about = layer.metadata["marrow"]
            return about["study"], about["position"], about["session"]
        return None

    def _keep_settings(self) -> None:
        for layer in self.layers():
            kept = _KEPT.get(layer._type_string, ())
            self._kept[layer.name] = {name: getattr(layer, name) for name in kept}

    def _add(self, data: Any, arguments: dict[str, Any], kind: str) -> None:
        from napari.layers import Layer

        layer = Layer.create(data, arguments, kind)
        self._viewer.add_layer(layer)
        for name, value in self._kept.get(layer.name, {}).items():
            setattr(layer, name, value)


def study_of(layer: Any) -> str | None:
    """Return the folder of the study that a layer came from, None for any other layer."""
    about = layer.metadata.get("marrow")
    return about["study"] if isinstance(about, dict) and "study" in about else None
