"""Taking results out of a study: damaged ones, so that they are made again, and those that nothing uses any more."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow.errors import StudyError
from napari_marrow.study import labels, sessions, tables
from napari_marrow.study.durable import storing, sync_folder
from napari_marrow.study.naming import image_path

if TYPE_CHECKING:
    from napari_marrow.study.results import StudyResults
    from napari_marrow.study.verify import Problem

REMOVED = ".removed"
"""Folder that results are moved to in one step before they are deleted file by file."""


@dataclass(frozen=True)
class UnusedResult:
    """Results of one key that no active step or table refers to.

    Attributes
    ----------
    key : str
    step : str
        Step that made them, empty where no run is on record.
    status : str
        How the last run of that key ended, empty where none is on record.
    utc : str
        When that was, ISO 8601.
    tables, labels : tuple of str
        Names.
    files, bytes : int
    """

    key: str
    step: str
    status: str
    utc: str
    tables: tuple[str, ...]
    labels: tuple[str, ...]
    files: int
    bytes: int


def discard(
    study: StudyResults, problem: Problem, *, commits: Sequence[str], with_it: Sequence[str] = ()
) -> list[Mapping[str, Any]]:
    """Remove what is left of a damaged or lost result, and the records that say that its units are done.

    Parameters
    ----------
    study : StudyResults
        Whoever calls holds the lock.
    problem : Problem
        One with a place.
    commits : sequence of str
        Tables whose parts are the commit records of the step: those of units that overlap with the place go.
    with_it : sequence of str
        Tables that are written together when the place is of the whole study.

    Returns
    -------
    list of unit
        What will be computed again.

    Raises
    ------
    StudyError
        If the problem has no place: images and records can only be restored.
    """
    place = problem.place
    if place is None:
        raise StudyError(f"'{problem.path}' holds no result that can be computed again: {problem.remedy}.")
    path, unit = study.path / problem.path, dict(place.unit)
    with storing(path):
        if place.kind == "labels" and not place.name:  # only the list of label images
            labels.list_labels(path.parent)
            return []
        if place.kind == "tables" and path.name == tables.MANIFEST:
            path.unlink(missing_ok=True)
            tables.write_manifest(study.path, place.name, place.key)
            return []
        again = _drop_parts(study.path, commits, place.key, unit) if unit else []
        if not unit:
            for table in with_it:
                (tables.table_folder(study.path, table, place.key) / tables.WHOLE).unlink(missing_ok=True)
            again = [{}]
        if place.kind == "labels" and "t" not in unit:  # the image as such cannot be read
            image = study.path / "images.ome.zarr" / image_path(str(unit["position"]), int(unit["session"]))
            shutil.rmtree(labels.labels_folder(image, place.name, place.key), ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)
    return again


def _drop_parts(root: Path, names: Sequence[str], key: str, unit: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Remove the parts of units that have nothing against the given one, and return these units."""
    dropped: list[Mapping[str, Any]] = []
    for table in names:
        for path, other in tables.parts(root, table, key):
            if other and all(unit[k] == other[k] for k in unit.keys() & other.keys()):
                path.unlink(missing_ok=True)
                sync_folder(path.parent)
                dropped.append(other)
    return dropped


def unused_results(study: StudyResults) -> list[UnusedResult]:
    """Return every key of tables and labels that is neither active nor read by default, largest first.

    Results of a run that did not end are among them: the same recipe would go on from them.
    """
    used = {*study.active.values(), *study.active_tables.values(), sessions.FRAMES_KEY}
    runs = {str(run["key"]): run for run in study.runs()}
    found: dict[str, dict[str, list[Path]]] = {}
    for table in tables.table_names(study.path):
        for key in tables.keys(study.path, table):
            if key not in used:
                folder = tables.table_folder(study.path, table, key)
                found.setdefault(key, {}).setdefault(f"table {table}", []).append(folder)
    for folder in _label_folders(study.path):
        name, _, key = folder.name.rpartition("_")
        if key not in used:
            found.setdefault(key, {}).setdefault(f"labels {name}", []).append(folder)
    results = [_unused(key, parts, runs.get(key, {})) for key, parts in found.items()]
    return sorted(results, key=lambda r: (-r.bytes, r.key))


def _unused(key: str, parts: Mapping[str, list[Path]], run: Mapping[str, Any]) -> UnusedResult:
    sizes = [size for folders in parts.values() for folder in folders for size in _sizes(folder)]
    names = {
        kind: tuple(sorted(n[len(kind) + 1 :] for n in parts if n.startswith(kind))) for kind in ("table", "labels")
    }
    status = str(run.get("info", {}).get("status", ""))
    return UnusedResult(
        key, str(run.get("step", "")), status, str(run.get("utc", "")), names["table"], names["labels"], len(sizes),
        sum(sizes),
    )  # fmt: skip


def remove_results(study: StudyResults, results: Sequence[UnusedResult], *, first: Sequence[str] = ()) -> int:
    """Delete results; a kill on the way leaves units that are done again, never half a result that counts.

    Parameters
    ----------
    study : StudyResults
        Whoever calls holds the lock.
    results : sequence of UnusedResult
    first : sequence of str
        Tables that hold the commit records of steps: they go before what they vouch for.

    Returns
    -------
    int
        Bytes that were freed.

    Raises
    ------
    StudyError
        If one of them has become active.
    """
    used = {*study.active.values(), *study.active_tables.values(), sessions.FRAMES_KEY}
    active = next((r for r in results if r.key in used), None)
    if active is not None:
        raise StudyError(f"The result {active.key} of '{study.path}' is in use: it cannot be removed.")
    trash = study.path / REMOVED
    freed = sum(_sizes(trash)) if trash.is_dir() else 0
    with storing(trash):
        for result in results:
            for table in sorted(result.tables, key=lambda name: (name not in first, name)):
                freed += _set_aside(tables.table_folder(study.path, table, result.key), trash)
            for folder in _label_folders(study.path):
                if folder.name in {f"{name}_{result.key}" for name in result.labels}:
                    freed += _set_aside(folder, trash)
                    _forget_labels(folder.parent)
    shutil.rmtree(trash, ignore_errors=True)
    return freed


def _set_aside(folder: Path, trash: Path) -> int:
    """Move a folder out of the study's sight in one step and return its size; empty parents go as well."""
    if not folder.is_dir():
        return 0
    size = sum(_sizes(folder))
    trash.mkdir(exist_ok=True)
    folder.rename(trash / secrets.token_hex(8))
    sync_folder(folder.parent)
    with suppress(OSError):
        folder.parent.rmdir()
    return size


def _forget_labels(parent: Path) -> None:
    """Write the list of an image's label images anew, or remove it with the last of them."""
    if any(entry.is_dir() for entry in parent.iterdir()):
        labels.list_labels(parent)
    else:
        shutil.rmtree(parent)


def _label_folders(root: Path) -> list[Path]:
    """Return the folder of every label image of every session."""
    parents = [root / "images.ome.zarr" / image_path(*place) / "labels" for place in sessions.listed(root)]
    return [entry for parent in parents if parent.is_dir() for entry in sorted(parent.iterdir()) if entry.is_dir()]


def _sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
