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
