"""Parts of a viewer by the name that they have in the installed version of napari (they moved in 0.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import napari


def text_overlay(viewer: napari.Viewer) -> Any:
    """Return the text over the canvas."""
    canvas = getattr(viewer, "canvas", None)
    return viewer.text_overlay if canvas is None else canvas.overlays.text


def camera(viewer: napari.Viewer) -> Any:
    """Return the camera."""
    scene = getattr(viewer, "scene", None)
    return viewer.camera if scene is None else scene.camera
