"""Giving a session of a position another number or start, in steps that can be finished after a kill."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_marrow.study import sessions, tables
from napari_marrow.study.durable import ZARR, read_document, storing, sync_folder, write_document
from napari_marrow.study.naming import image_path


def move_session(root: Path, images: Path, name: str, intent: Mapping[str, Any]) -> None:
    """Do what an intent says, or what is left of it; the same intent again changes nothing.

    The session's own results are dropped first: they speak of its old number.

    Parameters
    ----------
    root, images : Path
        The study's folder and that of its images.
    name : str
        The study's name.
    intent : mapping
        ``position``, ``old`` and ``new`` (a free number, or the old one), ``start_h`` (None to leave it).
    """
    position, old, new, start_h = intent["position"], int(intent["old"]), int(intent["new"]), intent["start_h"]
    source, target = images / image_path(position, old), images / image_path(position, new)
    tables.drop_session(root, position, old)
    with storing(target):
        if source.is_dir() and source != target and not target.exists():
            shutil.rmtree(source / "labels", ignore_errors=True)
            source.rename(target)
            sync_folder(target.parent)
        _restate_image(target, new, start_h)
        record = sessions.record_file(root, position, old)
        if record.is_file():
            rows, found = tables.read_part(record)
            table, extra = rows.to_pandas(), dict(found["extra"])
            table["session"] = new
            if start_h is not None:
                table["time_h"] = float(start_h) + table["time_s"] / 3600.0
            unit = {"position": position, "session": new}
            tables.commit(
                root, "frames", sessions.FRAMES_KEY, unit, table, {**extra, "image": image_path(position, new)}
            )
            if new != old:
                record.unlink()
        sessions.withdraw(images, name, sessions.listed(root), position)


def _restate_image(image: Path, number: int, start_h: float | None) -> None:
    document = read_document(image / "zarr.json", where=ZARR)
    marrow = document["attributes"]["marrow"]
    marrow["session"] = number
    if start_h is not None:
        shift = float(start_h) - float(marrow["start_h"])
        marrow["start_h"] = float(start_h)
        for scale in document["attributes"]["ome"]["multiscales"]:
            _shift_time(scale, shift)
    write_document(image / "zarr.json", document, where=ZARR)


def _shift_time(multiscale: dict[str, Any], hours: float) -> None:
    """Move the first frame's time, which stands in the translations of the time axis (t comes first)."""
    for dataset in multiscale["datasets"]:
        for transformation in dataset["coordinateTransformations"]:
            if transformation["type"] == "translation":
                transformation["translation"][0] += hours
