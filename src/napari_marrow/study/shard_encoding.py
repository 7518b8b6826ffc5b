"""A time point's file, written without a detour: compressed chunks behind one another, and their index at the end.

zarr-python reads it (codec ``sharding_indexed``) and writes the same chunks in another order; here a frame is
compressed from where it lies in memory, in the thread that holds it, which takes half the time.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

_SHUFFLE = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
_INDEX = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]


@dataclass(frozen=True)
class ShardEncoding:
    """How the frames of an array are stored; see `encoding_of`.

    Attributes
    ----------
    chunk : (int, int, int, int)
        Length of a chunk along c, z, y, x.
    grid : (int, int, int, int)
        Chunks of a frame along them.
    dtype : dtype
        Little-endian.
    compressor, level, shuffle
        Of blosc.
    """

    chunk: tuple[int, ...]
    grid: tuple[int, ...]
    dtype: np.dtype[Any]
    compressor: str
    level: int
    shuffle: int

    def encode(self, frame: npt.NDArray[Any]) -> bytes:
        """Return the file of a time point.

        Parameters
        ----------
        frame : ndarray, shape (C, Z, Y, X)
            Chunks that reach beyond it are filled up with zeros.
        """
        import google_crc32c
        from numcodecs import blosc

        frame = np.asarray(frame, dtype=self.dtype)
        parts: list[bytes] = []
        index: list[int] = []
        at = 0
        for place in product(*map(range, self.grid)):
            cut = tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, self.chunk, strict=True))
            chunk = np.ascontiguousarray(frame[cut])
            if chunk.shape != self.chunk:
                whole = np.zeros(self.chunk, self.dtype)
                whole[tuple(map(slice, chunk.shape))] = chunk
                chunk = whole
            packed = blosc.compress(chunk, self.compressor.encode(), self.level, self.shuffle)
            index += [at, len(packed) + 4]
            parts += [packed, struct.pack("<I", google_crc32c.value(packed))]
            at += len(packed) + 4
        directory = struct.pack(f"<{len(index)}Q", *index)
        return b"".join([*parts, directory, struct.pack("<I", google_crc32c.value(directory))])


def encoding_of(document: Mapping[str, Any]) -> ShardEncoding | None:
    """Return how an array's frames are stored; None where it is in another way than images of a study are.

    Parameters
    ----------
    document : mapping
        The array's ``zarr.json``.
    """
    codecs = document["codecs"]
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
        return None
    sharding = codecs[0]["configuration"]
    inner = sharding["codecs"]
    names = [codec["name"] for codec in inner]
    at_end = sharding.get("index_location", "end") == "end"
    if names != ["bytes", "blosc", "crc32c"] or not at_end or _plain(sharding["index_codecs"]) != _INDEX:
        return None
    blosc = inner[1]["configuration"]
    if inner[0].get("configuration", {}).get("endian", "little") != "little" or blosc.get("blocksize", 0):
        return None
    shard = document["chunk_grid"]["configuration"]["chunk_shape"][1:]
    chunk = sharding["chunk_shape"][1:]
    return ShardEncoding(
        tuple(chunk),
        tuple(s // c for s, c in zip(shard, chunk, strict=True)),
        np.dtype(document["data_type"]).newbyteorder("<"),
        str(blosc["cname"]),
        int(blosc["clevel"]),
        _SHUFFLE[str(blosc["shuffle"])],
    )


def _plain(codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return codecs without empty configurations, which mean nothing."""
    return [{k: v for k, v in codec.items() if v} for codec in codecs]
