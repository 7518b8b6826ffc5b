"""What is written comes back: pixels, times, places, labels; and OME-Zarr's own models accept every store."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_marrow.errors import PathExistsError, PathMissingError, SettingsError, StudyError
from napari_marrow.study import Channel, Study


def assert_valid_ome(study: Study) -> None:
    """Validate plate, wells, images and labels with ome-zarr-models."""
    from ome_zarr_models.v05 import HCS, Image, ImageLabel, Well

    root = zarr.open_group(str(study.path / "images.ome.zarr"), mode="r")
    plate = HCS.from_zarr(root)
    assert plate.ome_attributes.plate.acquisitions is not None
    images = 0
    for well in plate.ome_attributes.plate.wells:
        for entry in Well.from_zarr(root[well.path]).ome_attributes.well.images:
            image = Image.from_zarr(root[f"{well.path}/{entry.path}"])
            images += 1
            labels = image.labels
            for name in labels.label_paths if labels is not None else []:
                ImageLabel.from_zarr(root[f"{well.path}/{entry.path}/labels/{name}"])
    assert images == sum(len(study.sessions(p)) for p in study.positions)


def test_pixels_come_back_by_frame_channel_name_role_and_number(study, fill):
    frames = fill(study, channels=[Channel("DAPI", role="nuclei"), Channel("CD31")])
    image = study.image("B02_f00", 0)
    for t in range(3):
        np.testing.assert_array_equal(image.read(t), frames[t])
    for channel in ("CD31", 1, -1):
        np.testing.assert_array_equal(image.read(2, channel), frames[2, 1])
    np.testing.assert_array_equal(image.read(1, "nuclei"), frames[1, 0])
    assert [c.role for c in image.channels] == ["nuclei", "CD31"]
    assert image.shape == (3, 2, 1, 40, 52)
    assert image.spacing == (2.5, 0.65, 0.6)
    assert image.dtype == np.uint16
    assert_valid_ome(study)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int8", "int16", "int32", "float32"])
def test_every_pixel_type_and_an_odd_plane_that_needs_several_chunks(study, dtype):
    rng = np.random.default_rng(1)
    frame = (rng.normal(40, 20, (1, 3, 35, 1031))).astype(dtype)
    with study.add_session(
        "C11_f03", 7, channels=["x"], spacing=(3, 1, 1), shape=(1, 1, 3, 35, 1031), dtype=dtype, start_h=2, time_s=[0]
    ) as writer:
        writer.write(0, frame)
    np.testing.assert_array_equal(study.image("C11_f03", 7).read(0), frame)
    assert study.image("C11_f03", 7).levels == 3
    assert_valid_ome(study)


def test_an_empty_frame_is_stored_and_read(study):
    black = np.zeros((1, 1, 30, 30), np.uint16)
    with study.add_session(
        "B02_f00", 0, channels=["nuclei"], spacing=(1, 1, 1), shape=(2, 1, 1, 30, 30), dtype="uint16", start_h=0,
        time_s=[0, 60],
    ) as writer:  # fmt: skip
        writer.write(0, black)
        writer.write(1, black + 7)
    image = study.image("B02_f00", 0)
    assert (image.path / "0" / "c.0.0.0.0.0").is_file()
    assert not image.read(0).any()
    assert study.verify() == []


def test_lower_levels_are_means_of_two_by_two_and_lie_in_the_right_place(study):
    y, x = np.mgrid[0:601, 0:700]
    plane = (3 * y + 2 * x).astype(np.uint16)  # linear, so a mean is the value at the mean position
    with study.add_session(
        "B02_f00", 0, channels=["nuclei"], spacing=(1, 0.5, 0.25), shape=(1, 1, 1, 601, 700), dtype="uint16", start_h=0,
        time_s=[0],
    ) as writer:  # fmt: skip
        writer.write(0, plane[np.newaxis, np.newaxis])
    image = study.image("B02_f00", 0)
    half = image.read(0, 0, level=1)[0]
    assert half.shape == (301, 350)
    document = json.loads((image.path / "zarr.json").read_text())
    scale, shift = document["attributes"]["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    assert scale["scale"][-2:] == [1.0, 0.5]
    assert shift["translation"][-2:] == [0.25, 0.125]
    # Physical position -> pixel of level 0 -> linear value; rounding moves it by at most half a count.
    py = (np.arange(300) * 1.0 + 0.25) / 0.5
    px = (np.arange(350) * 0.5 + 0.125) / 0.25
    expected = 3 * py[:, None] + 2 * px[None, :]
    assert np.abs(half[:300].astype(float) - expected).max() <= 0.5


def test_times_are_true_and_not_evenly_spaced(study, fill):
    times = [0.0, 300.0, 1000.5, 90000.0]
    fill(study, session=2, shape=(4, 1, 1, 20, 20), start_h=168.25, time_s=times, utc="2026-01-12T08:15:00+00:00")
    image = study.image("B02_f00", 2)
    np.testing.assert_array_equal(image.time_s, times)
    np.testing.assert_allclose(image.times_h, [168.25, 168.25 + 1 / 12, 168.25 + 1000.5 / 3600, 193.25], rtol=1e-15)
    frames = study.frames()
    np.testing.assert_array_equal(frames["time_s"], times)
    np.testing.assert_allclose(frames["time_h"], image.times_h)
    assert list(frames["utc"])[-1] == "2026-01-13T09:15:00+00:00"
    assert study.t0 == "2026-01-05T08:00:00+00:00"
    document = json.loads((image.path / "zarr.json").read_text())
    dataset = document["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert dataset[0]["scale"][0] == pytest.approx(90000 / 3 / 3600)
    assert dataset[1]["translation"][0] == 168.25
    plate = json.loads((study.path / "images.ome.zarr" / "zarr.json").read_text())["attributes"]["ome"]["plate"]
    assert plate["acquisitions"] == [{"starttime": 1768205700, "endtime": 1768295700, "id": 2, "name": "session 2"}]


def test_sessions_append_and_others_stay_byte_for_byte(study, fill):
    fill(study, "B02_f00", 0)
    before = {p: p.read_bytes() for p in study.image("B02_f00", 0).path.rglob("*") if p.is_file()}
    fill(study, "B02_f00", 3, start_h=100)
    fill(study, "B02_f01", 3, start_h=100)
    fill(study, "AA12_f00", 3, start_h=100)
    assert all(p.read_bytes() == content for p, content in before.items())
    assert study.positions == ["AA12_f00", "B02_f00", "B02_f01"]
    assert study.sessions() == [0, 3]
    assert study.sessions("B02_f01") == [3]
    assert len(study.frames()) == 12
    assert_valid_ome(study)
    assert study.verify() == []


def test_stage_flags_and_sources_are_kept(study, fill):
    fill(
        study, stage=(5.0, 100.0, 200.0), source_file="../../etc/C:\\x\\week1.tif", source_indices=[4, 5, 6],
        flags=["", "blank", "defocus,gap"],
    )  # fmt: skip
    frames = study.frames()
    assert list(frames["source_file"]) == ["week1.tif"] * 3
    assert list(frames["source_index"]) == [4, 5, 6]
    assert list(frames["flags"]) == ["", "blank", "defocus,gap"]
    assert list(frames["stage_x"]) == [200.0] * 3
    study.set_flags("B02_f00", 0, ["saturation", "", ""])
    assert list(study.frames()["flags"]) == ["saturation", "", ""]
    assert study.verify() == []


def test_labels_come_back_and_are_valid(study, fill):
    fill(study, shape=(3, 1, 2, 530, 600))
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2**31 - 1, (3, 2, 530, 600)).astype(np.int64)
    assert not study.has_labels("cells", "a1", "B02_f00", 0)
    for t in (2, 0):
        study.write_labels("cells", "a1", "B02_f00", 0, t, truth[t])
    study.write_labels("vessels", "b2", "B02_f00", 0, 1, truth[1] > 2**30)
    assert study.has_labels("cells", "a1", "B02_f00", 0)
    labels = study.labels("cells", "a1", "B02_f00", 0)
    assert labels.shape == (3, 2, 530, 600)
    assert labels.times == [0, 2]
    assert labels.read(2).dtype == np.int32
    np.testing.assert_array_equal(labels.read(2), truth[2])
    np.testing.assert_array_equal(study.labels("vessels", "b2", "B02_f00", 0).read(1), truth[1] > 2**30)
    assert_valid_ome(study)
    assert study.verify() == []


def test_flat_labels_may_lack_the_z_axis_and_bad_ones_are_refused(study, fill):
    fill(study)
    flat = np.arange(40 * 52).reshape(40, 52)
    study.write_labels("cells", "k", "B02_f00", 0, 0, flat)
    np.testing.assert_array_equal(study.labels("cells", "k", "B02_f00", 0).read(0)[0], flat)
    for bad, word in ((flat[:5], "shape"), (flat * 1.0, "integers"), (flat - 1, "outside"), (flat + 2**31, "outside")):
        with pytest.raises(SettingsError, match=word):
            study.write_labels("cells", "k", "B02_f00", 0, 1, bad)
    with pytest.raises(PathMissingError, match="segment"):
        study.labels("cells", "other", "B02_f00", 0)
    for name, key in (("../x", "k"), ("cells", "../k"), ("cells", ""), ("a/b", "k")):
        with pytest.raises(SettingsError):
            study.write_labels(name, key, "B02_f00", 0, 0, flat)


def test_dask_arrays_equal_the_frames_and_travel_to_other_processes(study, fill):
    frames = fill(study, shape=(3, 2, 2, 30, 41))
    study.write_labels("cells", "k", "B02_f00", 0, 1, frames[1, 0])
    lazy = study.image("B02_f00", 0).dask()
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), frames)
    assert lazy.chunks[-1] == (41,)
    lazy = pickle.loads(pickle.dumps(study.labels("cells", "k", "B02_f00", 0).dask()))
    np.testing.assert_array_equal(lazy[1].compute(scheduler="synchronous"), frames[1, 0])
    again = pickle.loads(pickle.dumps(study))
    np.testing.assert_array_equal(again.image("B02_f00", 0).read(0), frames[0])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"position": "../../x"}, "no position"),
        ({"position": "B2"}, "no position"),
        ({"session": -1}, "session number"),
        ({"session": 10**9}, "session number"),
        ({"shape": (10**12, 1, 1, 4, 4), "time_s": [0]}, "at most"),
        ({"shape": (1, 1, 1, 10**7, 10**7), "time_s": [0]}, "at most"),
        ({"shape": (0, 1, 1, 4, 4), "time_s": []}, "at least one"),
        ({"shape": (2, 1, 1, 4)}, "shape"),
        ({"dtype": "float64"}, "float64"),
        ({"dtype": "complex64"}, "complex64"),
        ({"spacing": (1, 0, 1)}, "positive"),
        ({"spacing": (1, math.nan, 1)}, "positive"),
        ({"channels": ["a", "b"]}, "channels"),
        ({"channels": [""]}, "empty name"),
        ({"time_s": [60, 0]}, "backwards"),
        ({"time_s": [0]}, "time_s"),
        ({"start_h": math.inf}, "finite"),
        ({"utc": "yesterday"}, "no time"),
        ({"flags": [""]}, "flags"),
    ],
)  # fmt: skip
def test_impossible_sessions_are_refused_before_anything_is_written(study, change, word):
    before = sorted(study.path.rglob("*"))
    options = {
        "position": "B02_f00", "session": 0, "channels": ["a"], "spacing": (1, 1, 1), "shape": (2, 1, 1, 4, 4),
        "dtype": "uint16", "start_h": 0, "time_s": [0, 60],
    } | change  # fmt: skip
    with pytest.raises(SettingsError, match=word):
        study.add_session(**options)
    assert sorted(study.path.rglob("*")) == before


def test_a_frame_of_another_kind_is_refused(study):
    with study.add_session(
        "B02_f00", 0, channels=["a"], spacing=(1, 1, 1), shape=(1, 1, 1, 4, 4), dtype="float32", start_h=0, time_s=[0]
    ) as writer:
        for bad in (np.zeros((1, 1, 4, 5), "float32"), np.zeros((1, 1, 4, 4)), np.full((1, 1, 4, 4), np.nan, "f4")):
            with pytest.raises(SettingsError):
                writer.write(0, bad)
        with pytest.raises(SettingsError, match="no frame 1"):
            writer.write(1, np.zeros((1, 1, 4, 4), "float32"))
        writer.write(0, np.zeros((1, 1, 4, 4), "float32"))


def test_asking_for_what_is_not_there_says_what_is(study, fill):
    fill(study)
    with pytest.raises(StudyError, match="B02_f00 session 0"):
        study.image("B02_f00", 1)
    image = study.image("B02_f00", 0)
    for call in (
        lambda: image.read(3),
        lambda: image.read(0, "CD34"),
        lambda: image.read(0, 0, 1),
        lambda: image.read(-1),
    ):
        with pytest.raises(SettingsError):
            call()
    with pytest.raises(PathExistsError, match="session 0 already"):
        fill(study)


def test_import_is_light():
    code = (
        "import sys, napari_marrow.study;"
        "print([m for m in ('zarr', 'pyarrow', 'dask', 'pandas', 'torch', 'qtpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_layout_on_disk_is_the_documented_one(study, fill):
    fill(study, shape=(2, 2, 1, 600, 520))
    study.write_labels("cells", "k1", "B02_f00", 0, 1, np.zeros((600, 520), int))
    image = study.path / "images.ome.zarr" / "B" / "02" / "s00f00"
    array = json.loads((image / "0" / "zarr.json").read_text())
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [1, 2, 1, 600, 520]
    sharding = array["codecs"][0]["configuration"]
    assert sharding["chunk_shape"] == [1, 1, 1, 600, 520]
    assert [c["name"] for c in sharding["codecs"]] == ["bytes", "blosc", "crc32c"]
    blosc = sharding["codecs"][1]["configuration"]
    assert (blosc["cname"], blosc["clevel"], blosc["shuffle"]) == ("lz4", 9, "bitshuffle")
    labels = json.loads((image / "labels" / "cells_k1" / "0" / "zarr.json").read_text())
    assert labels["data_type"] == "int32"
    codecs = labels["codecs"][0]["configuration"]["codecs"]
    assert codecs[1]["configuration"] == {"level": 1, "checksum": True}
    assert sorted(p.name for p in (image / "0").glob("c.*")) == ["c.0.0.0.0.0", "c.1.0.0.0.0"]
    assert (image / "labels" / "cells_k1" / "1" / "c.1.0.0.0.0").is_file()
    assert Path(study.path, "tables", "frames", "raw", "position=B02_f00", "part-s00.parquet").is_file()
