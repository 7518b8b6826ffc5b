"""Tracking: cells through the frames of a session, colonies through sessions, each link with its probability."""

from napari_marrow.tracking.carry_over import CarryOver, carry_over
from napari_marrow.tracking.cells import track_labels, track_points
from napari_marrow.tracking.colonies import ColonyLinks, SessionLink, link_colonies
from napari_marrow.tracking.decisions import uncertain_decisions
from napari_marrow.tracking.found_tracks import Tracking
from napari_marrow.tracking.frames import label_points
from napari_marrow.tracking.identity import identity_ceiling, pattern_ceiling
from napari_marrow.tracking.pedigree import summarise_tracks, track_tables
from napari_marrow.tracking.scores import TrackScore, score_tracks
from napari_marrow.tracking.settings import TrackingSettings
from napari_marrow.tracking.wells import swapped_wells

__all__ = [
    "CarryOver",
    "ColonyLinks",
    "SessionLink",
    "TrackScore",
    "Tracking",
    "TrackingSettings",
    "carry_over",
    "identity_ceiling",
    "label_points",
    "link_colonies",
    "pattern_ceiling",
    "score_tracks",
    "summarise_tracks",
    "swapped_wells",
    "track_labels",
    "track_points",
    "track_tables",
    "uncertain_decisions",
]
