"""What a study holds, as plain values for display."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow.study import sessions, tables
from napari_marrow.study.journal import runs
from napari_marrow.study.remote import is_remote

if TYPE_CHECKING:
    from napari_marrow.study.results import StudyResults


def summary(study: StudyResults) -> dict[str, Any]:
    """Return what a study holds, as plain values.

    Returns
    -------
    dict
        name, path, id, t0, schema_version, positions, n_frames, sessions (a list of dicts), tables (rows of each active
        table), active, runs, bytes (0 at a URL).
    """
    listing = []
    for position, session in sessions.listed(study.path):
        image = study.image(position, session)
        hours = image.times_h
        listing.append(
            {
                "position": position,
                "session": session,
                "name": image.name,
                "frames": image.shape[0],
                "shape": list(image.shape),
                "channels": image.channel_names,
                "spacing_um": list(image.spacing),
                "dtype": image.dtype.name,
                "start_h": float(hours[0]),
                "end_h": float(hours[-1]),
                "source_file": image.metadata["source_file"],
            }
        )
    document = study._document()
    return {
        "name": study.name,
        "path": str(study.path),
        "id": study.id,
        "t0": study.t0,
        "schema_version": document["schema_version"],
        "positions": study.positions,
        "n_frames": sum(s["frames"] for s in listing),
        "sessions": listing,
        "tables": {table: _n_rows(study.path, table, key) for table, key in sorted(study.active_tables.items())},
        "active": study.active,
        "runs": len(runs(study.path)),
        "bytes": 0 if is_remote(study.path) else _size_of(study.path),
    }


def _n_rows(root: Path, table: str, key: str) -> int:
    records = [tables.read_record(path) for path, _ in tables.parts(root, table, key)]
    return sum(int(r["rows"]) for r in records if r is not None)


def _size_of(root: Path) -> int:
    return sum(_size(Path(folder, name)) for folder, _, names in os.walk(root) for name in names)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
