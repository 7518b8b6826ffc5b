"""Tracking: cells through the frames of a session, colonies through sessions, each link with its probability."""

from napari_marrow.tracking.cells import Tracking, track_labels, track_points
from napari_marrow.tracking.settings import TrackingSettings

__all__ = ["Tracking", "TrackingSettings", "track_labels", "track_points"]
