"""Files that are written without zarr-python are what zarr-python reads, and as sound as its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

from napari_marrow.errors import CorruptDataError, SettingsError
from napari_marrow.study.arrays import TimeShards, create_image_array, create_label_array
from napari_marrow.study.pyramid import halve_mean
from napari_marrow.study.shard_encoding import encoding_of

SHAPES = [(3, 2, 100, 130), (1, 1, 1100, 1030), (2, 1, 9, 2050), (1, 1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_zarr_reads_what_is_written_and_writes_as_much(tmp_path, shape, dtype):
    create_image_array(tmp_path / "0", (2, *shape), dtype)
    shards = TimeShards(tmp_path / "0")
    frame = np.random.default_rng(0).poisson(60.0, shape).astype(dtype)
    shards.write(1, frame)
    own = shards.file(1).read_bytes()
    array = zarr.open_array(tmp_path / "0", mode="r+").with_config({"write_empty_chunks": True})
    assert np.array_equal(array[1], frame)
    assert np.array_equal(shards.read(1), frame)
    array[1] = frame
    theirs = shards.file(1).read_bytes()
    assert len(theirs) == len(own)
    assert np.array_equal(shards.read(1), frame)


def test_frames_of_other_memory_layouts_and_empty_ones(tmp_path):
    create_image_array(tmp_path / "0", (3, 1, 1, 20, 30), "uint16")
    shards = TimeShards(tmp_path / "0")
    frame = np.arange(600, dtype=np.uint16).reshape(1, 1, 30, 20).transpose(0, 1, 3, 2)
    shards.write(0, frame)
    shards.write(1, frame.astype(">u2"))
    shards.write(2, np.zeros_like(frame))
    assert np.array_equal(shards.read(0), frame)
    assert np.array_equal(shards.read(1), frame)
    assert not shards.read(2).any()
    with pytest.raises(SettingsError, match="not \\(1, 1, 30, 20\\)"):
        shards.write(0, frame.transpose(0, 1, 3, 2))


def test_every_flipped_byte_is_found(tmp_path):
    create_image_array(tmp_path / "0", (1, 2, 1, 40, 30), "uint16")
    shards = TimeShards(tmp_path / "0")
    shards.write(0, np.random.default_rng(0).poisson(5.0, (2, 1, 40, 30)).astype(np.uint16))
    good = shards.file(0).read_bytes()
    for at in range(0, len(good), 7):
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        shards.file(0).write_bytes(bad)
        with pytest.raises(CorruptDataError):
            shards.read(0)


def test_arrays_of_another_kind_are_left_to_zarr(tmp_path):
    create_label_array(tmp_path / "labels", (1, 1, 1, 20, 30))
    assert encoding_of(json.loads((tmp_path / "labels" / "zarr.json").read_text())) is None
    create_image_array(tmp_path / "0", (1, 1, 1, 20, 30), "uint16")
    document = json.loads((tmp_path / "0" / "zarr.json").read_text())
    assert encoding_of(document) is not None
    document["codecs"][0]["configuration"]["index_location"] = "start"
    assert encoding_of(document) is None
    plain = zarr.create_array(tmp_path / "plain", shape=(2, 2), dtype="uint8")
    assert encoding_of(plain.metadata.to_dict()) is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(4, 6), (5, 6), (4, 7), (1, 1), (3, 2, 5, 7)])
def test_half_size_is_the_rounded_mean_with_the_last_pixel_twice(dtype, shape):
    image = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    edges = [(0, 0)] * (image.ndim - 2) + [(0, n % 2) for n in shape[-2:]]
    padded = np.pad(image, edges, mode="edge").astype(np.float64)
    blocks = padded.reshape(*padded.shape[:-2], padded.shape[-2] // 2, 2, padded.shape[-1] // 2, 2)
    expected = np.floor(blocks.mean(axis=(-3, -1)) + 0.5)
    assert np.array_equal(halve_mean(image), expected.astype(dtype))
