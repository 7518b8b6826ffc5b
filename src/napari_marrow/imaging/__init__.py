"""Quality control, shading and bleaching correction, drift and registration between sessions.

Arrays and tables in and out; coordinates are µm in (y, x) order, times hours or seconds as the names say.
"""

from napari_marrow.imaging.bleaching import Bleaching, estimate_bleaching, signal_level
from napari_marrow.imaging.drift import DriftTracker, register_drift, register_translation
from napari_marrow.imaging.quality import (
    FLAGS,
    FrameStatistics,
    QualitySettings,
    frame_statistics,
    quality_flags,
    statistics_table,
)
from napari_marrow.imaging.sessions import register_sessions
from napari_marrow.imaging.shading import Shading, correct, estimate_background, estimate_shading
from napari_marrow.imaging.transform import Transform

__all__ = [
    "FLAGS",
    "Bleaching",
    "DriftTracker",
    "FrameStatistics",
    "QualitySettings",
    "Shading",
    "Transform",
    "correct",
    "estimate_background",
    "estimate_bleaching",
    "estimate_shading",
    "frame_statistics",
    "quality_flags",
    "register_drift",
    "register_sessions",
    "register_translation",
    "signal_level",
    "statistics_table",
]
