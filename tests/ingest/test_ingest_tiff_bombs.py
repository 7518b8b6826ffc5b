"""TIFF files whose tags claim more than the file, the machine or anyone has; names that Windows cannot write."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile

from napari_marrow.errors import InputFileError, MarrowError
from napari_marrow.ingest import import_files


def write_tiff(path, width, height, strip, compression):
    """Write one 8-bit plane with these tags, whatever they claim."""
    tags = [(256, width), (257, height), (258, 8), (259, compression), (262, 1), (273, 8), (277, 1), (278, height),
            (279, len(strip))]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory + struct.pack("<I", 0))


@pytest.mark.parametrize("side", [10**6, 4 * 10**9])
def test_a_plane_of_a_billion_pixels_and_more_is_refused_before_it_is_made(tmp_path, side):
    write_tiff(tmp_path / "huge.tif", side, side, zlib.compress(bytes(1000)), 8)
    with pytest.raises(InputFileError, match=r"'huge\.tif' claims frames of .* GiB"):
        import_files(tmp_path / "s.marrow", [tmp_path / "huge.tif"], pixel_size=1.0)
    assert not (tmp_path / "s.marrow").exists()


def test_a_strip_that_unpacks_to_more_than_its_plane_is_refused(tmp_path):
    write_tiff(tmp_path / "bomb.tif", 512, 512, zlib.compress(bytes(1 << 28), 9), 8)
    with pytest.raises(InputFileError, match=r"'bomb\.tif' is truncated or damaged"):
        import_files(tmp_path / "s.marrow", [tmp_path / "bomb.tif"], pixel_size=1.0)


@pytest.mark.parametrize("name", ["CON", "nul.txt", "a:b", "end.", "B02_f00 ", "../up"])
def test_positions_are_names_that_every_system_can_write(tmp_path, name):
    tifffile.imwrite(tmp_path / "ok.tif", np.zeros((8, 8), np.uint16))
    with pytest.raises(MarrowError, match="is no position"):
        import_files(tmp_path / "s.marrow", [tmp_path / "ok.tif"], pixel_size=1.0, position=name)
    assert not (tmp_path / "s.marrow").exists()
