"""Studies of past schemas, kept as they were written: they open, read, go on and become current."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from napari_marrow.errors import StudyError
from napari_marrow.pipeline import parse_recipe, run
from napari_marrow.study import SCHEMA_VERSION, Study
from napari_marrow.study.durable import read_document, write_document
from napari_marrow.study.migration import STEPS

KEPT = sorted((Path(__file__).parents[1] / "data").glob("study_schema_*.zip"))


def test_a_study_of_every_past_schema_is_kept_and_small():
    assert [int(path.stem.rpartition("_")[2]) for path in KEPT] == list(range(1, SCHEMA_VERSION))
    assert sorted(STEPS) == list(range(1, SCHEMA_VERSION))
    assert all(path.stat().st_size < 300_000 for path in KEPT)


@pytest.fixture(params=KEPT, ids=lambda path: path.stem)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict]:
    """A study as a past version wrote it, and what that version read from it."""
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path)
    return next(tmp_path.glob("*.marrow")), json.loads((tmp_path / "expected.json").read_text())


def checksum_of(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def assert_reads_as_before(path: Path, expected: dict) -> None:
    study = Study.open(path)
    assert study.positions == expected["positions"]
    assert study.sessions() == expected["sessions"]
    assert study.active == expected["active"]
    assert {name: len(study.table(name)) for name in expected["tables"]} == expected["tables"]
    assert study.table("cells")["area"].sum() == pytest.approx(expected["cells_area_um2"], rel=1e-12)
    position = study.positions[0]
    for place, stored in expected["images"].items():
        session, t = map(int, place.split())
        assert checksum_of(study.image(position, session).read(t)) == stored
        labels = study.labels("cells", study.active["segment"], position, session).read(t)
        assert checksum_of(labels) == expected["labels"][place]
    assert [entry.author for entry in study.edits().standing()] == ["a person"]


def test_it_is_read_without_being_changed(kept):
    path, expected = kept
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    assert_reads_as_before(path, expected)
    assert Study.open(path).verify() == []
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    assert Study.open(path).schema_version < SCHEMA_VERSION


def test_it_becomes_current_when_it_is_written_to_and_goes_on(kept):
    path, expected = kept
    study = Study.open(path, mode="a")
    before = study.schema_version
    assert study.upgrade() == before
    assert study.upgrade() == SCHEMA_VERSION
    assert_reads_as_before(path, expected)
    position, session = study.positions[0], study.sessions()[0]
    image = study.image(position, session)
    frame = image.read(0)
    with study.add_session(
        "H12_f00", 0, channels=list(image.channels), spacing=image.spacing, shape=(1, *frame.shape),
        dtype=frame.dtype, start_h=0.0, time_s=[0.0],
    ) as writer:  # fmt: skip
        writer.write(0, frame)
    files = {p.name for p in (path / "images.ome.zarr" / "H" / "12" / "s00f00" / "0").iterdir()}
    assert files == {"zarr.json", "c.0.0.0.0.0"}, "new arrays have the new names"
    study.write_labels("vessels", "k1", position, session, 0, np.ones(frame.shape[1:], np.int32))
    assert [p for p in study.verify() if p.kind != "missing"] == []
    summary = run(path, parse_recipe(expected["recipe"]), until="segment")
    assert [step.name for step in summary.steps if step.computed] != []
    assert Study.open(path).verify() == []


def test_a_study_of_the_future_is_refused_and_one_of_no_known_past_too(kept):
    path, _ = kept
    document = read_document(path / "study.json")
    write_document(path / "study.json", {**document, "schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(StudyError, match="update napari-marrow"):
        Study.open(path)
    write_document(path / "study.json", {**document, "schema_version": 0})
    with (
        pytest.raises(StudyError, match="schema 0, which nothing is known of"),
        Study.open(path, mode="a").write_lock(),
    ):
        pass
    assert not (path / "write.lock").exists()
