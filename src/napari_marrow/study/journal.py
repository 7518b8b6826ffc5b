"""What was run on a study, and which results are complete."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_marrow.errors import CorruptDataError
from napari_marrow.study import labels, sessions, tables
from napari_marrow.study.durable import read_document, write_document
from napari_marrow.study.naming import check_key, check_word, image_path
from napari_marrow.study.remote import is_remote


def complete_table(root: Path, table: str, key: str) -> None:
    """Write the manifest of a table that is about to become active; a table without any part is a result, too."""
    tables.write_manifest(root, table, key)


def complete_labels(root: Path, keys: Iterable[str]) -> None:
    """Write down the frames of the label images of steps that are about to become active."""
    images = [root / "images.ome.zarr" / image_path(*place) for place in sessions.listed(root)]
    labels.record_frames(images, set(keys))


def record_run(root: Path, step: str, key: str, info: Mapping[str, Any], part: str = "") -> Path:
    """Write ``runs/<utc>-<step>-<key>.json``; a second run within the same second gets a number.

    `part` is added to the name where several processes write records at once.
    """
    check_word(step, "name of a step")
    check_key(key)
    now = datetime.now(UTC)
    stem = f"{now:%Y%m%dT%H%M%SZ}-{step}-{key}" + (f"-{check_key(part)}" if part else "")
    path, again = root / "runs" / f"{stem}.json", 1
    while path.exists():
        again += 1
        path = root / "runs" / f"{stem}-{again}.json"
    plain = json.loads(json.dumps(dict(info), default=_plain))
    # The order of runs does not hang on the clock, which may be set back between two of them.
    number = 1 + sum(1 for _ in (root / "runs").glob("*.json"))
    document = {"step": step, "key": key, "number": number, "utc": now.isoformat(), "info": _without_nan(plain)}
    write_document(path, document)
    return path


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return value


def runs(root: Path) -> list[dict[str, Any]]:
    """Return every readable run record, oldest first: step, key, number, utc, info."""
    found = []
    try:
        files = sorted((root / "runs").glob("*.json"))
    except (OSError, NotImplementedError):
        if not is_remote(root):
            raise
        return []  # the server lists no folders
    for path in files:
        try:
            found.append(read_document(path))
        except CorruptDataError:
            continue
    return sorted(found, key=lambda r: (int(r.get("number", 0)), str(r["utc"])))
