"""What MetaMorph and MetaXpress write into the description of a TIFF plane (``<MetaData>`` with ``<PlaneInfo>``)."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from typing import Any

from napari_marrow.ingest.ome_xml import as_utc_date, length_um
from napari_marrow.ingest.source import ImageFacts


def with_metaseries(facts: ImageFacts, said: Any) -> ImageFacts:
    """Return the facts of a plane with its calibration, wavelength, time and stage position.

    Parameters
    ----------
    facts : ImageFacts
    said : dict
        As tifffile reads it. Its local times name no zone and are taken as UTC, as all such times are.
    """
    plane = said.get("PlaneInfo") if isinstance(said, dict) else None
    if not isinstance(plane, dict):
        return facts
    unit = str(plane.get("spatial-calibration-units", ""))
    on = str(plane.get("spatial-calibration-state", "True")).lower() not in ("false", "off", "0")
    y, x = (_length(plane.get(f"spatial-calibration-{axis}"), unit) for axis in "yx")
    wave = plane.get("_IllumSetting_") or plane.get("image-name")
    stage = tuple(_coordinate(plane.get(f"stage-position-{axis}")) for axis in "yx")
    date = plane.get("acquisition-time-local")
    when = date.isoformat() if isinstance(date, datetime) else _iso(str(date or ""))
    n_frames = facts.size("T")
    return replace(
        facts,
        pixel_um=(y, x) if on and y is not None and x is not None else None,
        channels=(str(wave),) if wave and facts.size("C") == 1 else None,
        start_utc=as_utc_date(when, 0.0),
        stage_um=None if any(map(math.isnan, stage)) else ((math.nan, stage[0], stage[1]),) * n_frames,
    )


def _iso(text: str) -> str | None:
    """Return ``20260302 08:00:00.5`` as ISO 8601, None for anything else."""
    for form in ("%Y%m%d %H:%M:%S.%f", "%Y%m%d %H:%M:%S"):
        try:
            return datetime.strptime(text, form).isoformat()
        except ValueError:
            continue
    return None


def _length(value: Any, unit: str) -> float | None:
    try:
        return length_um(float(value), unit)
    except (TypeError, ValueError):
        return None


def _coordinate(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
