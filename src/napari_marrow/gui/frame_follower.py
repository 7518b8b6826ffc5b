"""What follows the time slider: the features of the current frame's cells, and the true time over the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari_marrow.gui.napari_names import text_overlay

if TYPE_CHECKING:
    import napari

_REST_MS = 120


class FrameFollower:
    """Keeps features and clock of a viewer at the current frame, for every layer that came from a study.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._waiting = False
        self._viewer = ref(viewer)  # the viewer's events do not keep this object, nor this object the viewer
        viewer.dims.events.current_step.connect(self.update)
        viewer.layers.events.inserted.connect(self.update)
        viewer.layers.events.removed.connect(self.update)
        self.update()

    def update(self, event: Any = None) -> None:
        """Swap in what belongs to the current frame."""
        viewer = self._viewer()
        if viewer is None:
            return
        step = viewer.dims.current_step
        t = int(step[0]) if len(step) else 0
        text = ""
        for layer in viewer.layers:
            about = layer.metadata.get("marrow")
            if not isinstance(about, dict):
                continue
            if about["role"] == "cells" and about["features"] is not None:
                layer.features = about["features"].at(t)
            window = about.get("window")
            if window is not None and not window.covers(t):
                self._renew_later()
            if not text and "times_h" in about and layer.ndim == viewer.dims.ndim:
                text = clock(about, t)
        overlay = text_overlay(viewer)
        overlay.text = text
        overlay.visible = bool(text)

    def _renew_later(self) -> None:
        """Renew windows of tracks when the time slider has come to rest."""
        from qtpy.QtCore import QTimer

        if not self._waiting:
            self._waiting = True
            QTimer.singleShot(_REST_MS, self._renew)

    def _renew(self) -> None:
        self._waiting = False
        viewer = self._viewer()
        if viewer is not None:
            _renewed(viewer)


def _renewed(viewer: napari.Viewer) -> None:
    """Give tracks layers the vertices around the frame on display."""
    step = viewer.dims.current_step
    t = int(step[0]) if len(step) else 0
    for layer in viewer.layers:
        about = layer.metadata.get("marrow")
        window = about.get("window") if isinstance(about, dict) else None
        if window is not None and not window.covers(t):
            shown = window.around(t)
            layer.data = shown["data"]
            layer.features, layer.graph = shown["features"], shown["graph"]


def clock(about: dict[str, Any], t: int) -> str:
    """Return the place and time of a frame: position, session, frame, hours, day of culture and date.

    Parameters
    ----------
    about : dict
        A layer's ``metadata["marrow"]``.
    t : int
        Frame; outside of the session the nearest one is told.
    """
    times = about["times_h"]
    t = min(max(t, 0), len(times) - 1)
    hours = float(times[t])
    date = _date(about.get("t0"), hours)
    return (
        f"{about.get('shown_as') or about['position']}, session {about['session']}\n"
        f"frame {t + 1} of {len(times)}: {hours:.1f} h, day {hours / 24:.1f}{date}"
    )


def _date(t0: str | None, hours: float) -> str:
    """Return date and time of a frame, nothing where the study does not know its start."""
    if not t0:
        return ""
    from datetime import datetime, timedelta

    return f"\n{datetime.fromisoformat(t0) + timedelta(hours=hours):%Y-%m-%d %H:%M} UTC"


_followers: WeakKeyDictionary[Any, FrameFollower] = WeakKeyDictionary()


def follow(viewer: napari.Viewer) -> FrameFollower:
    """Return the follower of a viewer, made where there is none."""
    if viewer not in _followers:
        _followers[viewer] = FrameFollower(viewer)
    return _followers[viewer]
