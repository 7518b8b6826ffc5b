"""How the layers of a study look in 3D, and how they looked before. Knows no Qt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_SHOWN = ("vessels", "colony masks")
"""Structures that are hidden over a flat image and shown in a volume."""
_OVER_CELLS = ("tracks", "selection")
"""Lines that run through the surfaces of cells and are drawn over them."""


class VolumeLook:
    """Changes layers for the 3D view, and back."""

    def __init__(self) -> None:
        self._shown: list[Any] = []
        self._contours: dict[Any, int] = {}
        self._blending: dict[Any, str] = {}

    def wear(self, in_3d: bool, layers: Iterable[Any]) -> None:
        """Let layers look as a volume wants it: structures, lines on top, no contours (napari has none in 3D).

        Parameters
        ----------
        in_3d : bool
            Else all is as before.
        layers : iterable of napari.layers.Layer
            With a role in ``metadata["marrow"]``. A second call with the same `in_3d` changes what came meanwhile.
        """
        for layer in layers:
            role = layer.metadata["marrow"]["role"]
            self._draw_contour(layer, in_3d)
            if role in _OVER_CELLS:
                self._blend(layer, in_3d)
            if role in _SHOWN and in_3d and not layer.visible and layer not in self._shown:
                layer.visible = True
                self._shown.append(layer)
        if not in_3d:
            for layer in self._shown:
                layer.visible = False
            self._shown, self._contours, self._blending = [], {}, {}

    def _draw_contour(self, layer: Any, in_3d: bool) -> None:
        if not hasattr(layer, "contour"):
            return
        if in_3d and layer.contour:
            self._contours[layer] = layer.contour
            layer.contour = 0
        elif not in_3d and not layer.contour:
            layer.contour = self._contours.pop(layer, layer.metadata["marrow"].get("contour", 0))

    def _blend(self, layer: Any, in_3d: bool) -> None:
        if in_3d and layer not in self._blending:
            self._blending[layer] = str(layer.blending)
            layer.blending = "translucent_no_depth"
        elif not in_3d and layer in self._blending:
            layer.blending = self._blending.pop(layer)
