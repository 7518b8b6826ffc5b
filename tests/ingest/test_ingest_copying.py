"""Copying: the same bytes whatever the number of workers, checksums of the sources, kills in the middle."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_marrow.errors import InputFileError
from napari_marrow.ingest import import_files
from napari_marrow.ingest.checksum import source_sha256
from napari_marrow.study import Study

RNG = np.random.default_rng(9)


def films(folder: Path, *, frames: int = 6, side: int = 70) -> list[np.ndarray]:
    """Write a film for each of three wells."""
    folder.mkdir()
    made = []
    for well in "BCD":
        stack = RNG.integers(0, 4096, (frames, side, side)).astype(np.uint16)
        metadata = {"axes": "TYX", "PhysicalSizeX": 1, "PhysicalSizeY": 1, "TimeIncrement": 60.0}
        tifffile.imwrite(
            folder / f"{well}02_f00_session00.ome.tif", stack, ome=True, photometric="minisblack", metadata=metadata
        )
        made.append(stack)
    return made


def content(study: Path) -> dict[str, bytes]:
    """Return every file of the images by name."""
    files = [p for p in (study / "images.ome.zarr").rglob("*") if p.is_file()]
    return {p.relative_to(study).as_posix(): p.read_bytes() for p in files}


def test_any_number_of_workers_writes_the_same_bytes(tmp_path):
    made = films(tmp_path / "raw")
    written = []
    for workers in (1, 4):
        summary = import_files(tmp_path / f"{workers}.marrow", [tmp_path / "raw"], workers=workers, name="n")
        assert (summary.frames, len(summary.sessions)) == (18, 3)
        written.append(content(tmp_path / f"{workers}.marrow"))
    assert written[0] == written[1]
    image = Study.open(tmp_path / "4.marrow").image("D02_f00", 0)
    np.testing.assert_array_equal(np.stack([image.read(t)[0, 0] for t in range(6)]), made[2])


def test_the_commit_record_holds_the_checksum_of_the_source(tmp_path):
    films(tmp_path / "raw")
    import_files(tmp_path / "s.marrow", [tmp_path / "raw"])
    record = Study.open(tmp_path / "s.marrow").commit_record("frames", "raw", {"position": "C02_f00", "session": 0})
    expected = hashlib.sha256((tmp_path / "raw" / "C02_f00_session00.ome.tif").read_bytes()).hexdigest()
    assert record["extra"]["source_sha256"] == expected


def test_the_checksum_of_a_series_is_that_of_the_list_of_sha256sum(tmp_path):
    folder = tmp_path / "a plate"
    for name in ("x_B02_t0.tif", "x_B02_t1.tif", "x_C02_t0.tif", "x_C02_t1.tif"):
        folder.mkdir(exist_ok=True)
        tifffile.imwrite(folder / name, RNG.integers(0, 99, (9, 9)).astype(np.uint16), photometric="minisblack")
    import_files(tmp_path / "s.marrow", [folder], pattern="x_{well}_t{time}.tif", pixel_size=1.0, frame_interval_h=1.0)
    record = Study.open(tmp_path / "s.marrow").commit_record("frames", "raw", {"position": "C02_f00", "session": 0})
    names = ["x_C02_t0.tif", "x_C02_t1.tif"]
    listing = "".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    assert record["extra"]["source_sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    (folder / "sub").mkdir()
    (folder / "sub" / "b").write_bytes(b"b")
    whole = source_sha256(folder)
    (folder / "sub" / "b").write_bytes(b"c")
    assert source_sha256(folder) != whole


def test_a_bad_frame_in_the_last_film_takes_all_films_back(tmp_path):
    films(tmp_path / "raw")
    import_files(tmp_path / "old.marrow", [tmp_path / "raw" / "B02_f00_session00.ome.tif"])
    before = content(tmp_path / "old.marrow")
    stack = np.ones((5, 70, 70), np.float32)
    stack[4, 3, 3] = np.nan
    metadata = {"axes": "TYX", "PhysicalSizeX": 1, "PhysicalSizeY": 1, "TimeIncrement": 60.0}
    tifffile.imwrite(
        tmp_path / "raw" / "D02_f00_session00.ome.tif", stack, ome=True, photometric="minisblack", metadata=metadata
    )
    with pytest.raises(InputFileError, match="NaN or infinite values in frame 4"):
        import_files(tmp_path / "old.marrow", [tmp_path / "raw"], workers=3)
    assert content(tmp_path / "old.marrow") == before
    assert Study.open(tmp_path / "old.marrow").positions == ["B02_f00"]


_IMPORT = (
    "import sys; from napari_marrow.ingest import import_files; import_files(sys.argv[1], [sys.argv[2]], name='n')"
)


def test_kill_9_in_the_middle_and_the_same_command_again(tmp_path):
    films(tmp_path / "raw", frames=40, side=400)
    import_files(tmp_path / "whole.marrow", [tmp_path / "raw"], name="n")
    cut = tmp_path / "cut.marrow"
    process = subprocess.Popen([sys.executable, "-c", _IMPORT, str(cut), str(tmp_path / "raw")])
    deadline = time.monotonic() + 120
    while len(list(cut.rglob("0/c.*.0.0.0.0"))) < 50 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait(60)
    kept = {p: p.stat().st_mtime_ns for p in cut.rglob("0/c.*.0.0.0.0")}
    assert 50 <= len(kept) < 120
    import_files(cut, [tmp_path / "raw"])
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert content(cut) == content(tmp_path / "whole.marrow")
    assert Study.open(cut).verify() == []
