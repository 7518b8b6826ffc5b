"""Write label frames as TIFF files, and what was mended in them as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from napari_marrow.pipeline.image_files import ImageFile
from napari_marrow.pipeline.label_folder import write_atomically
from napari_marrow.segmentation.temporal_repair import Repair

_TILE = 512  # side of the tiles of a large plane


def write_label_file(
    target: Path,
    image: ImageFile,
    dtype: type[np.unsignedinteger[Any]],
    frames: Iterator[npt.NDArray[np.int32]],
    beside: Callable[[], object],
) -> None:
    """Write the label frames of an image as a TIFF, page by page, whole or not at all.

    `beside` is called when all frames are written, before the file gets its name: what it writes is there before the
    labels are.
    """
    axes, shape = label_axes(image)
    planes = (
        np.ascontiguousarray(plane, dtype=dtype)
        for frame in frames
        for plane in (frame if frame.ndim == 3 else frame[None])
    )

    def write(partial: Path) -> None:
        big = int(np.prod(shape)) * np.dtype(dtype).itemsize > 3_000_000_000
        ome = image.path.name.lower().endswith((".ome.tif", ".ome.tiff"))
        with tifffile.TiffWriter(partial, bigtiff=big, ome=ome) as writer:
            writer.write(
                planes, shape=shape, dtype=dtype, compression="zlib", compressionargs={"level": 1},
                photometric="minisblack", metadata={"axes": axes},
            )  # fmt: skip
        beside()

    write_atomically(target, write)


def label_axes(image: ImageFile) -> tuple[str, tuple[int, ...]]:
    """Return axes and shape of an image's labels."""
    axes = ("T" if image.n_frames > 1 else "") + ("ZYX" if len(image.frame_shape) == 3 else "YX")
    shape = ((image.n_frames,) if image.n_frames > 1 else ()) + image.frame_shape
    return axes, shape


def repair_table(repairs: Sequence[Repair], ndim: int) -> pd.DataFrame:
    """Return a row per repair: t, kind, labels, place in px, mean probability, overlap with the neighbouring frames."""
    rows = [
        {
            "t": r.t,
            "kind": r.kind,
            "labels": " ".join(map(str, r.labels)),
            **{axis: round(c, 1) for axis, c in zip("zyx"[-ndim:], r.place, strict=True)},
            "probability": round(r.probability, 3),
            "overlap": round(r.overlap, 3),
        }
        for r in repairs
    ]
    return pd.DataFrame(rows, columns=["t", "kind", "labels", *"zyx"[-ndim:], "probability", "overlap"])


def write_strips(target: Path, strips: Iterator[npt.NDArray[np.int32]], shape: tuple[int, ...]) -> int:
    """Write a plane of labels that comes in strips from the top as a tiled TIFF of uint32; return the highest label.

    Parameters
    ----------
    target : Path
    strips : iterator of int32 arrays, shape (n, X)
    shape : (int, int)
        Of the plane.

    Raises
    ------
    StorageError
        If the disk does not take it. Nothing is left then.
    """
    highest = 0

    def tiles() -> Iterator[npt.NDArray[np.uint32]]:
        nonlocal highest
        columns = -(-shape[1] // _TILE)
        row = np.zeros((_TILE, columns * _TILE), dtype=np.uint32)
        filled = 0
        for strip in strips:
            highest = max(highest, int(strip.max(initial=0)))
            while len(strip):
                n = min(_TILE - filled, len(strip))
                row[filled : filled + n, : shape[1]] = strip[:n]
                strip, filled = strip[n:], filled + n
                if filled == _TILE:
                    yield from np.split(row, columns, axis=1)
                    row, filled = np.zeros_like(row), 0  # the tiles before may still be waiting to be compressed
        if filled:
            yield from np.split(row, columns, axis=1)

    def write(partial: Path) -> None:
        big, ome = 4 * shape[0] * shape[1] > 3_000_000_000, target.name.lower().endswith((".ome.tif", ".ome.tiff"))
        with tifffile.TiffWriter(partial, bigtiff=big, ome=ome) as writer:
            writer.write(
                tiles(), shape=shape, dtype=np.uint32, tile=(_TILE, _TILE), compression="zlib",
                compressionargs={"level": 1}, photometric="minisblack", metadata={"axes": "YX"},
            )  # fmt: skip

    write_atomically(target, write)
    return highest
