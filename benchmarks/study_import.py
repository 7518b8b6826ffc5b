"""How fast an import is beside reading the source alone: ``python benchmarks/study_import.py``."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from napari_marrow.ingest import import_files

FRAMES, CHANNELS, SIDE = 24, 2, 2048
COMPRESSIONS = (None, "zlib", "lzw")


def write_source(path: Path, compression: str | None) -> int:
    """Write a film as a camera of 2048 x 2048 pixels gives it (offset, photon noise), and return its size in memory."""
    rng = np.random.default_rng(0)
    planes = [(rng.poisson(60.0, (SIDE, SIDE)) + 100).astype(np.uint16) for _ in range(CHANNELS)]
    metadata = {
        "axes": "TCYX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.5,
        "TimeIncrement": 600.0,
        "TimeIncrementUnit": "s",
    }
    shape = (FRAMES, CHANNELS, SIDE, SIDE)
    frames = (np.roll(plane, 17 * t, axis=0) for t in range(FRAMES) for plane in planes)
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(
            frames,
            shape=shape,
            dtype=np.uint16,
            photometric="minisblack",
            compression=compression,
            predictor=compression is not None,
            metadata=metadata,
        )
    return int(np.prod(shape)) * 2


def forget(path: Path) -> None:
    """Let the system drop a file from its memory, so that it is read from the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_alone(path: Path) -> None:
    """Read every plane with tifffile."""
    with tifffile.TiffFile(path) as file:
        for page in file.series[0].pages:
            page.asarray(maxworkers=1)


def timed(work: object, *arguments: object) -> tuple[float, float]:
    """Return wall time and processor time of a call, seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)  # type: ignore[operator]
    return time.perf_counter() - wall, time.process_time() - cpu


def main(repeats: int = 3) -> None:
    """Print MB/s (of pixels) by wall time and by processor time: tifffile alone, import with one and two workers."""
    print("compression  file MB   tifffile alone   1 worker         2 workers        (MB/s by wall, by processor)")
    with tempfile.TemporaryDirectory() as scratch:
        for compression in COMPRESSIONS:
            source, study = Path(scratch) / "B02_f00.ome.tif", Path(scratch) / "study.marrow"
            megabytes = write_source(source, compression) / 1e6

            def bring_in(workers: int, source: Path = source, study: Path = study) -> None:
                shutil.rmtree(study, ignore_errors=True)
                import_files(study, [source], workers=workers)

            bring_in(1)  # imports of libraries and first calls are not counted
            best = {}
            for _ in range(repeats):
                for name, work, argument in (("alone", read_alone, source), ("1", bring_in, 1), ("2", bring_in, 2)):
                    forget(source)
                    found = timed(work, argument)
                    best[name] = tuple(map(min, found, best.get(name, found)))
            rates = "   ".join(f"{megabytes / wall:6.0f} {megabytes / cpu:6.0f}" for wall, cpu in best.values())
            print(f"{compression or 'none':11s}  {source.stat().st_size / 1e6:7.0f}   {rates}")


if __name__ == "__main__":
    main()
