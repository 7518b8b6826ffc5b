"""Files that are not what they should be: one sentence, and the study is as it was."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_marrow.errors import InputFileError, MarrowError, StorageError, TableError, UserError
from napari_marrow.ingest import import_files
from napari_marrow.study import Study

PLAIN = {"axes": "TYX", "pixel_size": 0.5, "frame_interval_h": 1.0, "start_h": 0.0}
RNG = np.random.default_rng(2)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 4096, shape).astype(np.uint16)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study that has a session already."""
    tifffile.imwrite(tmp_path / "good.tif", pixels(2, 30, 30), photometric="minisblack")
    import_files(tmp_path / "old.marrow", [tmp_path / "good.tif"], **PLAIN)
    return Study.open(tmp_path / "old.marrow")


def assert_refused(study: Study, source: Path, word: str, **options: object) -> None:
    """The import fails with one sentence, for a study that is there and for one that is not."""
    before = files_of(study.path)
    for target in (study.path, source.parent / "new.marrow"):
        with pytest.raises(UserError, match=word) as raised:
            import_files(target, [source], **(PLAIN | {"session": 5} | options))
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 400
    assert files_of(study.path) == before
    assert not list(source.parent.glob("*new.marrow*"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.tif", b""),
        ("text.tif", b"this is no image\n" * 40),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 200),
        ("header.tif", b"II*\0"),
        ("loop.tif", b"II*\0\x08\0\0\0\x00\x00\x08\0\0\0"),
        ("endless.tif", b"II+\0\x08\0\0\0" + b"\xff" * 64),
    ],
)
def test_what_is_no_image(study, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert_refused(study, tmp_path / name, name)


@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped", "plain", "deflate"])
def test_a_truncated_tiff_is_never_half_imported(study, tmp_path, kind):
    """Cut anywhere, a file is refused or, if only a trailer is gone, imported whole."""
    frames = pixels(6, 30, 30)
    options = {
        "ome": {"ome": True, "metadata": {"axes": "TYX"}, "photometric": "minisblack"},
        "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
        "shaped": {"photometric": "minisblack"},
        "plain": {"photometric": "minisblack", "metadata": None},
        "deflate": {"photometric": "minisblack", "metadata": None, "compression": "zlib"},
    }[kind]
    source = tmp_path / "cut.tif"
    tifffile.imwrite(source, frames, **options)
    data, before = source.read_bytes(), files_of(study.path)
    rng = random.Random(1)
    refused = 0
    for cut in [*(rng.randrange(len(data)) for _ in range(20)), len(data) - 1]:
        source.write_bytes(data[:cut])
        try:
            import_files(tmp_path / "new.marrow", [source], **PLAIN)
        except InputFileError:
            assert not (tmp_path / "new.marrow").exists()
            refused += 1
            continue
        image = Study.open(tmp_path / "new.marrow").image("A01_f00", 0)
        np.testing.assert_array_equal(np.stack([image.read(t)[0, 0] for t in range(6)]), frames)
        shutil.rmtree(tmp_path / "new.marrow")
    assert refused >= 15
    source.write_bytes(data[: len(data) // 2])
    assert_refused(study, source, "cut.tif")
    assert files_of(study.path) == before


def test_a_file_that_fails_in_its_last_frame_takes_all_of_the_call_back(study, tmp_path):
    frames = pixels(5, 30, 30).astype(np.float32)
    frames[4, 3, 3] = np.nan
    tifffile.imwrite(tmp_path / "b_bad.tif", frames, photometric="minisblack")
    tifffile.imwrite(tmp_path / "a_good.tif", pixels(2, 30, 30), photometric="minisblack")
    (tmp_path / "layout.csv").write_text("well,organoid,condition\nA01,o1,drug\n")
    before = files_of(study.path)
    for target in (study.path, tmp_path / "new.marrow"):
        with pytest.raises(InputFileError, match=r"b_bad\.tif' holds NaN or infinite values in frame 4"):
            import_files(
                target, [tmp_path / "a_good.tif", tmp_path / "b_bad.tif"], layout=tmp_path / "layout.csv", **PLAIN
            )
    assert files_of(study.path) == before
    assert not (tmp_path / "new.marrow").exists()


def test_floats_that_are_not_finite_or_too_large(study, tmp_path):
    for name, value, word in (
        ("nan.tif", np.nan, "only NaN"),
        ("inf.tif", np.inf, "infinite"),
        ("big.tif", 1e300, "large"),
    ):
        tifffile.imwrite(tmp_path / name, np.full((2, 8, 8), value), photometric="minisblack")
        assert_refused(study, tmp_path / name, word)


def test_colour_pictures_and_wrong_axes(study, tmp_path):
    tifffile.imwrite(tmp_path / "rgb.tif", RNG.integers(0, 255, (20, 20, 3)).astype(np.uint8), photometric="rgb")
    assert_refused(study, tmp_path / "rgb.tif", "colour", axes=None)
    assert_refused(study, tmp_path / "rgb.tif", "colour", axes="TYX")
    tifffile.imwrite(tmp_path / "x.tif", pixels(3, 20, 20), photometric="minisblack")
    assert_refused(study, tmp_path / "x.tif", "--axes names 4", axes="TCYX")
    assert_refused(study, tmp_path / "x.tif", "--axes is 'TXY'", axes="TXY")
    tifffile.imwrite(tmp_path / "c.tif", pixels(3, 20, 20).astype(np.complex64), photometric="minisblack")
    assert_refused(study, tmp_path / "c.tif", "complex64")
    tifffile.imwrite(tmp_path / "i.tif", pixels(3, 20, 20).astype(np.int64), photometric="minisblack")
    assert_refused(study, tmp_path / "i.tif", "int64")


def test_images_of_different_kinds_in_one_file(study, tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        writer.write(pixels(3, 20, 20), photometric="minisblack")
        writer.write(pixels(3, 24, 20), photometric="minisblack")
    assert_refused(study, tmp_path / "two.tif", "2 images of different kinds")


def test_sizes_that_cannot_be_are_refused_before_memory_is_taken(study, tmp_path):
    """A header that claims 10^6 x 10^6 pixels over a few bytes."""
    source = tmp_path / "huge.tif"
    tifffile.imwrite(source, pixels(1, 16, 16), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(source, mode="r+") as tif:
        tif.pages[0].tags["ImageWidth"].overwrite(10**6)
        tif.pages[0].tags["ImageLength"].overwrite(10**6)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    assert_refused(study, source, "GiB")


def ome_xml(**change: object) -> str:
    sizes = {"SizeX": 20, "SizeY": 20, "SizeZ": 1, "SizeC": 1, "SizeT": 1} | change
    pixels_ = " ".join(f'{k}="{v}"' for k, v in sizes.items())
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" {pixels_}><TiffData IFD="0" PlaneCount="1"/>'
        "</Pixels></Image></OME>"
    )


@pytest.mark.parametrize(
    ("xml", "word"),
    [
        (ome_xml(SizeT=10**9), "claims|SizeT"),
        (ome_xml(SizeT=10**6, SizeZ=10**6), "claims"),
        (ome_xml(SizeT=50), "claims 50|50"),
        (ome_xml(SizeT=-1), "SizeT"),
        (ome_xml(SizeC="x"), "SizeC"),
        (
            ome_xml().replace('PlaneCount="1"/>', '><UUID FileName="../../secret.tif">urn:uuid:1</UUID></TiffData>'),
            "outside its folder",
        ),
        (
            ome_xml().replace('PlaneCount="1"/>', '><UUID FileName="C:\\x\\y.tif">urn:uuid:1</UUID></TiffData>'),
            "outside its folder",
        ),
        (
            ome_xml().replace("<OME", '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><OME'),
            "declares entities",
        ),
        (ome_xml().replace("</Pixels>", ""), "OME-XML"),
    ],
)
def test_hostile_ome_xml(study, tmp_path, xml, word):
    source = tmp_path / "bad.ome.tif"
    tifffile.imwrite(source, pixels(20, 20), photometric="minisblack", metadata=None, description=xml)
    assert_refused(study, source, word, axes=None)


def test_names_from_metadata_stay_names(tmp_path):
    """Channel names and file names with separators and control characters never become paths."""
    metadata = {
        "axes": "CYX", "PhysicalSizeX": 1, "PhysicalSizeY": 1, "Channel": {"Name": ["../../../etc/x", "a\u202e\tb"]},
        "Name": "/etc/passwd",
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "x.ome.tif", pixels(2, 20, 20), ome=True, photometric="minisblack", metadata=metadata)
    import_files(tmp_path / "in" / "s.marrow", [tmp_path / "x.ome.tif"])
    study = Study.open(tmp_path / "in" / "s.marrow")
    assert study.image("A01_f00", 0).channel_names[0] == "../../../etc/x"
    assert all(c.isprintable() for name in study.image("A01_f00", 0).channel_names for c in name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "x.ome.tif"]
    assert study.verify() == []


def write_ome_zarr(path: Path, dataset: str = "0", **change: object) -> dict[str, object]:
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", shape=(2, 20, 20), dtype="uint16", chunks=(1, 20, 20))[:] = pixels(2, 20, 20)
    scales = {
        "version": "0.4",
        "axes": [
            {"name": "t", "type": "time", "unit": "second"},
            {"name": "y", "type": "space", "unit": "micrometer"},
            {"name": "x", "type": "space", "unit": "micrometer"},
        ],
        "datasets": [{"path": dataset, "coordinateTransformations": [{"type": "scale", "scale": [60.0, 0.5, 0.5]}]}],
        **change,
    }
    group.attrs["multiscales"] = [scales]
    return scales


@pytest.mark.parametrize("dataset", ["../other.zarr/0", "/etc", "0/../../x", "", "C:\\x"])
def test_an_ome_zarr_that_points_out_of_its_folder(study, tmp_path, dataset):
    write_ome_zarr(tmp_path / "other.zarr")
    write_ome_zarr(tmp_path / "x.zarr", dataset)
    assert_refused(study, tmp_path / "x.zarr", "no path inside it", axes=None)


def test_an_ome_zarr_with_a_link_out_of_its_folder(study, tmp_path):
    write_ome_zarr(tmp_path / "other.zarr")
    write_ome_zarr(tmp_path / "x.zarr")
    shutil.rmtree(tmp_path / "x.zarr" / "0")
    (tmp_path / "x.zarr" / "0").symlink_to(tmp_path / "other.zarr" / "0")
    assert_refused(study, tmp_path / "x.zarr", "no path inside it", axes=None)


def test_an_ome_zarr_that_would_run_code(study, tmp_path):
    write_ome_zarr(tmp_path / "x.zarr")
    file = tmp_path / "x.zarr" / "0" / ".zarray"
    array = json.loads(file.read_text())
    file.write_text(json.dumps(array | {"filters": [{"id": "pickle", "protocol": 5}]}))
    assert_refused(study, tmp_path / "x.zarr", "can run code", axes=None)


def test_broken_ome_zarrs(study, tmp_path):
    write_ome_zarr(tmp_path / "axes.zarr", axes=[{"name": n} for n in "xyt"])
    assert_refused(study, tmp_path / "axes.zarr", "axes", axes=None)
    write_ome_zarr(tmp_path / "none.zarr", datasets=[])
    assert_refused(study, tmp_path / "none.zarr", "metadata that cannot be read", axes=None)
    write_ome_zarr(tmp_path / "huge.zarr")
    file = tmp_path / "huge.zarr" / "0" / ".zarray"
    array = json.loads(file.read_text())
    file.write_text(json.dumps(array | {"shape": [2, 10**6, 10**6]}))
    assert_refused(study, tmp_path / "huge.zarr", "GiB", axes=None)
    file.write_text(json.dumps(array | {"dtype": "|O"}))
    assert_refused(study, tmp_path / "huge.zarr", "huge.zarr", axes=None)
    file.write_text("{")
    assert_refused(study, tmp_path / "huge.zarr", "huge.zarr", axes=None)
    (tmp_path / "bare.zarr").mkdir()
    (tmp_path / "bare.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    assert_refused(study, tmp_path / "bare.zarr", "without OME-Zarr images", axes=None)
    write_ome_zarr(tmp_path / "chunk.zarr")
    chunk = next(p for p in (tmp_path / "chunk.zarr" / "0").rglob("*") if p.is_file() and p.name[0].isdigit())
    whole = chunk.read_bytes()
    for damaged in (whole[:-1], whole[:20], b""):
        chunk.write_bytes(damaged)
        assert_refused(study, tmp_path / "chunk.zarr", r"chunk.zarr/0/.* is truncated or damaged", axes=None)


def test_an_empty_folder_and_a_bad_layout(study, tmp_path):
    (tmp_path / "folder").mkdir()
    assert_refused(study, tmp_path / "folder", "holds no TIFF")
    (tmp_path / "layout.csv").write_text("well,organoid\nB02,o1\n")
    with pytest.raises(TableError, match="condition"):
        import_files(tmp_path / "n.marrow", [tmp_path / "good.tif"], layout=tmp_path / "layout.csv", **PLAIN)
    assert not (tmp_path / "n.marrow").exists()


def test_a_target_that_is_something_else(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", pixels(2, 20, 20), photometric="minisblack")
    (tmp_path / "file.marrow").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious.txt").write_text("mine")
    for target in ("file.marrow", "folder"):
        with pytest.raises(MarrowError, match="no study"):
            import_files(tmp_path / target, [tmp_path / "x.tif"], **PLAIN)
    assert (tmp_path / "file.marrow").read_text() == "mine"
    assert (tmp_path / "folder" / "precious.txt").read_text() == "mine"


def test_a_full_disk_leaves_the_study_as_it_was(tmp_path):
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this machine does not let us mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        tifffile.imwrite(tmp_path / "small.tif", pixels(2, 100, 100), photometric="minisblack")
        tifffile.imwrite(tmp_path / "large.tif", pixels(20, 400, 400) * 13, photometric="minisblack")
        with pytest.raises(StorageError, match="disk is full"):
            import_files(disk / "new.marrow", [tmp_path / "large.tif"], **PLAIN)
        assert not any(disk.iterdir())
        import_files(disk / "old.marrow", [tmp_path / "small.tif"], **PLAIN)
        before = files_of(disk)
        with pytest.raises(StorageError, match="disk is full"):
            import_files(disk / "old.marrow", [tmp_path / "large.tif"], **PLAIN)
        assert files_of(disk) == before
        assert Study.open(disk / "old.marrow").verify() == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_memory_is_flat_in_the_number_of_frames(tmp_path):
    """Ten times the frames, the same peak of what Python and numpy allocate."""
    peaks = {}
    for n in (2, 20, 200):
        source = tmp_path / f"{n}.tif"
        tifffile.imwrite(source, pixels(n, 200, 200), photometric="minisblack", metadata=None)
        if n > 2:  # the first import loads modules
            tracemalloc.start()
        import_files(tmp_path / f"{n}.marrow", [source], **PLAIN)
        if n > 2:
            peaks[n] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    # A plain TIFF has a directory entry for every frame, which tifffile keeps: about 2 kB, not 80 kB.
    assert peaks[200] - peaks[20] < 180 * 4096, peaks
    assert peaks[200] < 40 * 200 * 200 * 2, peaks
