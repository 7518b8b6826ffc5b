"""The arrays of a study: sharded zarr v3 with checksums, one shard for one time point.

This module imports zarr; the others import it when they first need an array.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore

from napari_marrow.errors import CorruptDataError, FetchError, SettingsError, StorageError
from napari_marrow.study import remote
from napari_marrow.study.durable import ZARR, read_document, storing, write_bytes, write_document
from napari_marrow.study.shard_encoding import encoding_of
from napari_marrow.study.shard_names import FLAT, separator, shard_file

AXES = ("t", "c", "z", "y", "x")
IMAGE_CHUNK = 1024
LABEL_CHUNK = 512


class DurableStore(LocalStore):
    """A folder of zarr files whose writes are synced to the disk before they are renamed into place."""

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        import asyncio

        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write one file durably."""
        self._check_writable()
        write_bytes(self.root / key, value.as_buffer_like())


def even_chunk(length: int, largest: int) -> int:
    """Return the chunk length that cuts an axis into equal parts of at most `largest`, with the least padding.

    Examples
    --------
    >>> even_chunk(2048, 1024), even_chunk(1100, 1024), even_chunk(300, 1024)
    (1024, 550, 300)
    """
    return -(-length // -(-length // largest))


def create_image_array(folder: Path, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
    """Write the metadata of an image array (t, c, z, y, x): blosc lz4 with bitshuffle, then CRC-32C.

    Camera images hold mostly noise, which no compressor shortens: zstd-1 saves up to a tenth more and takes twice the
    time to write and three times to read (`benchmarks/study_import.py codecs`).
    """
    codecs = [BloscCodec(cname="lz4", clevel=9, shuffle="bitshuffle"), Crc32cCodec()]
    _create(folder, shape, np.dtype(dtype), codecs, IMAGE_CHUNK)


def create_label_array(folder: Path, shape: Sequence[int]) -> None:
    """Write the metadata of an int32 label array (t, c = 1, z, y, x): zstd-1 with checksum, then CRC-32C.

    The outer CRC is tested before anything is decompressed, so a damaged header cannot ask for absurd memory.
    """
    _create(folder, shape, np.dtype(np.int32), [ZstdCodec(level=1, checksum=True), Crc32cCodec()], LABEL_CHUNK)


def _create(folder: Path, shape: Sequence[int], dtype: np.dtype[Any], codecs: list[Any], largest: int) -> None:
    _, n_channels, n_planes, height, width = shape
    chunk_y, chunk_x = even_chunk(height, largest), even_chunk(width, largest)
    shard = (1, n_channels, n_planes, -(-height // chunk_y) * chunk_y, -(-width // chunk_x) * chunk_x)
    array = zarr.create_array(
        MemoryStore(),
        shape=tuple(shape),
        dtype=dtype,
        chunks=(1, 1, 1, chunk_y, chunk_x),
        shards=shard,
        compressors=codecs,
        dimension_names=AXES,
        fill_value=0,
        chunk_key_encoding={"name": "default", "separator": FLAT},
    )
    metadata = array.metadata.to_buffer_dict(default_buffer_prototype())["zarr.json"].to_bytes()
    write_document(folder / "zarr.json", json.loads(metadata), where=ZARR)


class TimeShards:
    """An array of which every time point is one file.

    Parameters
    ----------
    folder : Path
        Folder of the zarr array.

    Raises
    ------
    CorruptDataError
        If its metadata are missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        document = read_document(folder / "zarr.json", where=ZARR)
        try:
            self.shape: tuple[int, ...] = tuple(int(n) for n in document["shape"])
            self._between = separator(document)
            self._encoding = encoding_of(document)
            self._array = self._open()
            shards = self._array.shards or self._array.chunks
            self._n_chunks = math.prod(s // c for s, c in zip(shards, self._array.chunks, strict=True))
        except Exception as error:
            raise CorruptDataError(f"'{folder / 'zarr.json'}' describes no array: {error}.") from error

    def _open(self) -> zarr.Array[Any]:
        if remote.is_remote(self.folder):
            return remote.open_array(self.folder)
        # Without write_empty_chunks an all-zero frame would leave no file and look like a missing one.
        array = zarr.open_array(DurableStore(self.folder), mode="r+")
        return array.with_config({"write_empty_chunks": True})

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type."""
        return np.dtype(self._array.dtype)

    def file(self, t: int) -> Path:
        """Return the path of the time point's shard."""
        return shard_file(self.folder, t, self._between)

    def has(self, t: int) -> bool:
        """Whether the time point was written."""
        return bool(self.file(t).is_file())

    def write(self, t: int, frame: npt.NDArray[Any]) -> None:
        """Write a time point (c, z, y, x) as one file, at once or not at all."""
        with storing(self.file(t)):
            if self._encoding is None:
                self._array[t] = frame
            else:
                if frame.shape != self.shape[1:]:
                    raise SettingsError(f"A time point of '{self.folder}' is {self.shape[1:]}, not {frame.shape}.")
                write_bytes(self.file(t), self._encoding.encode(frame))

    def read(self, t: int, selection: tuple[Any, ...] = ()) -> npt.NDArray[Any]:
        """Read a time point, or `selection` of its (c, z, y, x).

        Raises
        ------
        CorruptDataError
            If the file is missing or fails its checksum.
        """
        file = self.file(t)
        if not self.has(t):
            raise CorruptDataError(f"'{file}' is missing: run `marrow verify` to see what else is.")
        try:
            self._check_length(file)
            return np.asarray(self._array[(t, *selection)])
        except FetchError:
            raise
        except PermissionError as error:
            raise StorageError(f"'{file}' cannot be read: {error.strerror}.") from error
        except Exception as error:  # codecs raise whatever they like on damaged bytes
            raise CorruptDataError(
                f"'{file}' is damaged ({type(error).__name__}: {_brief(error)}): run `marrow verify`, then restore it "
                "from a copy or make it again."
            ) from error

    def _check_length(self, file: Path) -> None:
        """Compare a shard's length with its index: zarr reads chunks that lie behind the end of a file as zeros."""
        index_bytes = 16 * self._n_chunks + 4
        size, index = self._size_and_index(file, index_bytes)
        entries = np.frombuffer(index[: 16 * self._n_chunks], "<u8").reshape(-1, 2)
        if int(entries[:, 0].max()) + int(entries[entries[:, 0].argmax(), 1]) + index_bytes != size:
            raise ValueError("the file has not the length that its index says")

    def _size_and_index(self, file: Path, index_bytes: int) -> tuple[int, bytes]:
        """Return a shard's length and the bytes of its index, which lies at its end."""
        if remote.is_remote(file):
            place: Any = file
            size = remote.size(place) or 0
            if size < index_bytes:
                raise ValueError("the file is too short")
            return size, place.fs.cat_file(place.path, start=size - index_bytes, end=size)
        with file.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            if size < index_bytes:
                raise ValueError("the file is too short")
            handle.seek(size - index_bytes)
            return size, handle.read(index_bytes)


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:120].rstrip(".")
