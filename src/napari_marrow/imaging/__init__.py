"""Quality control, shading and bleaching correction, drift and registration between sessions.

Arrays and tables in and out; coordinates are µm in (y, x) order, times hours or seconds as the names say.
"""

from napari_marrow.imaging.bleaching import Bleaching, estimate_bleaching, signal_level
from napari_marrow.imaging.channel_correction import ChannelCorrection, correction_from_row
from napari_marrow.imaging.drift import DriftTracker, register_drift, register_translation
from napari_marrow.imaging.field import FieldTracker, small_pictures
from napari_marrow.imaging.frame_statistics import FrameStatistics, frame_statistics, statistics_table
from napari_marrow.imaging.gain import GainJumps, estimate_gain_jumps, gain_levels
from napari_marrow.imaging.quality import FLAGS, QualitySettings, quality_flags
from napari_marrow.imaging.session_quality import SessionQuality
from napari_marrow.imaging.sessions import register_sessions
from napari_marrow.imaging.shading import (
    Shading,
    correct,
    estimate_background,
    estimate_shading,
    shading_from_nodes,
    shading_nodes,
)
from napari_marrow.imaging.transform import Transform
from napari_marrow.imaging.wells import WellMatch, match_wells, small_plane

__all__ = [
    "FLAGS",
    "Bleaching",
    "ChannelCorrection",
    "DriftTracker",
    "FieldTracker",
    "FrameStatistics",
    "GainJumps",
    "QualitySettings",
    "SessionQuality",
    "Shading",
    "Transform",
    "WellMatch",
    "correct",
    "correction_from_row",
    "estimate_background",
    "estimate_bleaching",
    "estimate_gain_jumps",
    "estimate_shading",
    "frame_statistics",
    "gain_levels",
    "match_wells",
    "quality_flags",
    "register_drift",
    "register_sessions",
    "register_translation",
    "shading_from_nodes",
    "shading_nodes",
    "signal_level",
    "small_pictures",
    "small_plane",
    "statistics_table",
]
