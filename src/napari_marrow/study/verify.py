"""Reading everything again: what is damaged, what is missing, what does not belong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow.errors import CorruptDataError, MarrowError
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.study import sessions, tables
from napari_marrow.study.durable import PLAIN, SEAL, ZARR, checksum, is_partial, read_document
from napari_marrow.study.edits import JOURNAL
from napari_marrow.study.naming import image_path, split_position, unit_of
from napari_marrow.study.saved_view import VIEW

if TYPE_CHECKING:
    from napari_marrow.study.results import StudyResults

_RUN = "`marrow verify --repair` takes it out, then `marrow run` makes it again"
AGAIN = {
    "images": "restore it from a copy, or import the session again",
    "labels": _RUN,
    "tables": _RUN,
    "frames": "restore it from a copy, or import the session again",
    "runs": "nothing depends on it: restore it from a copy, or delete it",
    "report": "run `marrow report`",
    "study": "restore it from a copy",
    "view": "no result depends on it: save the view again, or delete it",
}


@dataclass(frozen=True)
class Place:
    """Which result a file belongs to.

    Attributes
    ----------
    kind : str
        ``"labels"`` or ``"tables"``.
    name, key : str
        Name of the label image or table, and key of the step that made it.
    unit : tuple of (str, str or int)
        Position, session, frame, as far as the file is of one.
    """

    kind: str
    name: str
    key: str
    unit: tuple[tuple[str, str | int], ...] = ()


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a study's files.

    Attributes
    ----------
    path : str
        File or folder, relative to the study.
    kind : str
        ``"damaged"``, ``"missing"``, ``"orphan"`` (belongs to nothing) or ``"unfinished"`` (an interrupted import).
    what : str
        What is wrong.
    remedy : str
        What to do.
    place : Place, optional
        The result that is affected, where it can be computed again.
    """

    path: str
    kind: str
    what: str
    remedy: str
    place: Place | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.what}; {self.remedy}."


class _Check:
    """One pass over a study: a list of jobs, each of which explains one or more files."""

    def __init__(self, study: StudyResults) -> None:
        self.study = study
        self.root = study.path
        self.active: dict[str, Any] = {"active": {}, "active_tables": {}}
        self.images = self.root / "images.ome.zarr"
        self.problems: list[Problem] = []
        self.known: set[Path] = set()
        self.jobs: list[Callable[[], None]] = []

    def report(self, path: Path, kind: str, what: str, remedy: str, place: Place | None = None) -> None:
        # A document that was tampered with may name a place outside
        inside = path.is_relative_to(self.root)
        name = path.relative_to(self.root).as_posix() if inside else path.as_posix()
        self.problems.append(Problem(name, kind, what, remedy, place))

    # --- single files

    def document(
        self, path: Path, where: tuple[str, ...], area: str, place: Place | None = None
    ) -> dict[str, Any] | None:
        self.known.add(path)
        if not path.is_file():
            self.report(path, "missing", "the file is not there", AGAIN[area], place)
            return None
        try:
            return read_document(path, where=where)
        except CorruptDataError:
            self.report(path, "damaged", "it fails its checksum", AGAIN[area], place)
            return None

    def array(self, folder: Path, area: str, *, expected: set[int] | None = None, place: Place | None = None) -> None:
        """Plan the reading of every shard of an array; `expected` are the frames it must have, all by default."""
        from napari_marrow.study.arrays import TimeShards

        if self.document(folder / "zarr.json", ZARR, area, place) is None:
            self.known.update(p for p in folder.rglob("*") if not is_partial(p.name))
            return
        shards = TimeShards(folder)

        def of_frame(t: int) -> Place | None:
            return None if place is None else replace(place, unit=(*place.unit, ("t", t)))

        def read(t: int) -> None:
            try:
                shards.read(t)
            except (MarrowError, MemoryError) as error:
                cause = error.__cause__ or error
                what = f"frame {t} cannot be read ({type(cause).__name__})"
                self.report(shards.file(t), "damaged", what, AGAIN[area], of_frame(t))

        for t in range(shards.shape[0]):
            file = shards.file(t)
            if file.is_file():
                self.known.add(file)
                self.jobs.append(lambda t=t: read(t))  # type: ignore[misc]
            elif expected is None or t in expected:
                self.report(file, "missing", f"frame {t} is not there", AGAIN[area], of_frame(t))

    def part(self, path: Path, table: str, key: str) -> None:
        self.known.add(path)
        unit = unit_of(path.relative_to(tables.table_folder(self.root, table, key)).as_posix())
        area = "frames" if table == "frames" else "tables"
        place = None if table == "frames" else Place("tables", table, key, tuple((unit or {}).items()))

        def read() -> None:
            try:
                arrow, record = tables.read_part(path)
            except CorruptDataError:
                self.report(path, "damaged", "it fails its checksum", AGAIN[area], place)
                return
            said = (record.get("table"), record.get("key"), record.get("unit"), record.get("rows"))
            if said != (table, key, unit, arrow.num_rows):
                self.report(path, "damaged", "it is another unit's record in this place", AGAIN[area], place)

        self.jobs.append(read)

    # --- areas

    def plan(self) -> None:
        document = self.document(self.root / "study.json", PLAIN, "study")
        self.active = document or self.active
        if (self.root / "runs").is_dir():
            for path in sorted((self.root / "runs").glob("*.json")):
                self.document(path, PLAIN, "runs")
        try:
            self.study.edits()
        except CorruptDataError as error:
            self.report(self.root / JOURNAL, "damaged", str(error), "restore it from a copy")
        if (self.root / VIEW).is_file():
            self.document(self.root / VIEW, PLAIN, "view")
        self.plan_plate()
        self.plan_tables()
        self.plan_report()

    def plan_plate(self) -> None:
        listed = sessions.listed(self.root)
        folders = {self.images / image_path(*s): s for s in listed}
        if listed:
            self.document(self.images / "zarr.json", ZARR, "images")
        for row in {split_position(p)[0] for p, _ in listed}:
            self.document(self.images / row / "zarr.json", ZARR, "images")
        wells = {split_position(p)[:2] for p, _ in listed}
        for row, column in sorted(wells):
            self.plan_well(self.images / row / column, folders)
        for folder in sorted(folders):
            self.plan_image(folder, *folders[folder])
        for folder in _image_folders(self.images):
            if folder not in folders:
                self.known.update(folder.rglob("*"))
                self.report(
                    folder,
                    "unfinished",
                    "the import of this session did not end, or its record in tables/frames is lost",
                    "import it again, or delete the folder",
                )

    def plan_well(self, folder: Path, folders: dict[Path, tuple[str, int]]) -> None:
        document = self.document(folder / "zarr.json", ZARR, "images")
        if document is None:
            return
        for image in document["attributes"]["ome"]["well"]["images"]:
            if folder / str(image["path"]) not in folders:
                self.report(
                    tables.table_folder(self.root, "frames", sessions.FRAMES_KEY),
                    "missing",
                    f"the record of the session in {folder.parent.name}/{folder.name}/{image['path']} is not there",
                    "restore it from a copy, or import the session again",
                )

    def plan_image(self, folder: Path, position: str, session: int) -> None:
        document = self.document(folder / "zarr.json", ZARR, "images")
        if document is None:
            self.known.update(p for p in folder.rglob("*") if not is_partial(p.name))
            return
        for level in range(_n_levels(document)):
            self.array(folder / str(level), "images")
        if (folder / "labels").is_dir():
            self.plan_labels(folder / "labels", _n_levels(document), (("position", position), ("session", session)))

    def plan_labels(self, parent: Path, n_levels: int, unit: tuple[tuple[str, str | int], ...]) -> None:
        begun = [entry for entry in sorted(parent.iterdir()) if entry.is_dir() and _is_begun_only(entry)]
        if not (parent / "zarr.json").is_file() and len(begun) == sum(entry.is_dir() for entry in parent.iterdir()):
            self.unfinished_labels([parent])  # the first labels of the image
            return
        document = self.document(parent / "zarr.json", ZARR, "labels", Place("labels", "", "", unit))
        listed = set(document["attributes"]["ome"]["labels"]) if document else set()
        begun = [entry for entry in begun if entry.name not in listed]
        self.unfinished_labels(begun)
        present = {entry.name for entry in parent.iterdir() if entry.is_dir()} - {entry.name for entry in begun}
        places = {full: Place("labels", *_name_and_key(full), unit) for full in listed | present}
        for name in sorted(listed - present):
            self.report(parent / name, "missing", "these labels are not there", AGAIN["labels"], places[name])
        for name in sorted(present):
            about = self.document(parent / name / "zarr.json", ZARR, "labels", places[name])
            expected = set(about["attributes"]["marrow"].get("frames", [])) if about else set()
            for level in range(n_levels):
                self.array(parent / name / str(level), "labels", expected=expected, place=places[name])

    def unfinished_labels(self, folders: list[Path]) -> None:
        for folder in folders:
            self.known.update(p for p in folder.rglob("*") if not is_partial(p.name))
            what, remedy = "a label image was begun and holds nothing yet", "run the recipe again, or delete the folder"
            self.report(folder, "unfinished", what, remedy)

    def plan_tables(self) -> None:
        for table in tables.table_names(self.root):
            for key in tables.keys(self.root, table):
                found = [path for path, _ in tables.parts(self.root, table, key)]
                for path in found:
                    self.part(path, table, key)
                self.plan_manifest(table, key, set(found))

    def plan_manifest(self, table: str, key: str, found: set[Path]) -> None:
        folder = tables.table_folder(self.root, table, key)
        active = self.active["active_tables"].get(table) == key
        if not active and not (folder / tables.MANIFEST).is_file():
            return
        document = self.document(folder / tables.MANIFEST, PLAIN, "tables", Place("tables", table, key))
        for name in document["parts"] if document else []:
            if folder / name not in found:
                place = Place("tables", table, key, tuple((unit_of(name) or {}).items()))
                what = "a part of a finished table is not there"
                self.report(folder / name, "missing", what, AGAIN["tables"], place)

    def plan_report(self) -> None:
        """Compare the report's files with what was written down of them."""
        folder = self.root / "report"
        if not folder.is_dir():
            if "report" in self.active["active"]:
                self.report(folder, "missing", "the report is not there", AGAIN["report"])
            return
        document = self.document(folder / SEAL, PLAIN, "report")
        for name, stated in (document or {"files": {}})["files"].items():
            path = folder / name
            if ".." in Path(name).parts or not path.is_relative_to(folder):
                self.report(folder / SEAL, "damaged", f"it names '{name}' outside", AGAIN["report"])
                continue
            self.known.add(path)
            if not path.is_file():
                self.report(path, "missing", "the file is not there", AGAIN["report"])
            elif checksum(path.read_bytes()) != stated:
                self.report(path, "damaged", "it fails its checksum", AGAIN["report"])

    def orphans(self) -> None:
        for area in ("images.ome.zarr", "tables", "runs", "report"):
            for folder, _, names in os.walk(self.root / area):
                for name in names:
                    path = Path(folder, name)
                    if path not in self.known:
                        what = "a write that did not end" if is_partial(name) else "nothing in the study refers to it"
                        self.report(path, "orphan", what, "delete it")


def _is_begun_only(folder: Path) -> bool:
    """Whether a label image has neither its document nor a frame: its making was interrupted."""
    return not (folder / "zarr.json").is_file() and not any(folder.glob("*/c*"))


def _name_and_key(folder: str) -> tuple[str, str]:
    """Return name and key of a label image's folder."""
    name, _, key = folder.rpartition("_")
    return name, key


def _n_levels(document: dict[str, Any]) -> int:
    return len(document["attributes"]["ome"]["multiscales"][0]["datasets"])


def _image_folders(images: Path) -> Iterator[Path]:
    """Yield every folder that stands where an image would."""
    for row in sorted(images.iterdir()) if images.is_dir() else []:
        for column in sorted(row.iterdir()) if row.is_dir() else []:
            if column.is_dir():
                yield from sorted(entry for entry in column.iterdir() if entry.is_dir())


def verify(
    study: StudyResults, *, progress: Progress = no_progress, cancel: CancelToken | None = None
) -> list[Problem]:
    """Read every document, every chunk and every table of a study.

    Parameters
    ----------
    study : StudyResults
        Not written to; what a running writer adds meanwhile may be reported as an orphan.
    progress : callable, optional
    cancel : CancelToken, optional

    Returns
    -------
    list of Problem
        Empty when all is well.

    Raises
    ------
    Cancelled
        If it was cancelled.
    """
    check = _Check(study)
    check.plan()
    for done, job in enumerate(check.jobs):
        if cancel is not None:
            cancel.raise_if_cancelled()
        job()
        progress(done + 1, len(check.jobs), "verify")
    check.orphans()
    return sorted(check.problems, key=lambda p: (p.path, p.kind))
