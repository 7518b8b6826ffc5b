"""How fast an import is beside reading the source alone, and beside what it cannot do without.

    python benchmarks/study_import.py

Reading alone is tifffile on one thread. *Write alone* is zarr-python storing such pixels from memory with the study's
layout and codecs, on as many threads as the import has: an import that compresses cannot be faster. The import reads,
takes the source's SHA-256, makes the pyramid, compresses, syncs to the disk, and judges the frames, or not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from napari_marrow.ingest import import_files
from napari_marrow.pipeline.judging import ImportedFrames, judge_frames

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


def write_alone(folder: Path, planes: np.ndarray, workers: int) -> None:
    """Store the film with zarr-python from memory, a thread per time point."""
    array = zarr.create_array(
        folder, shape=(FRAMES, CHANNELS, 1, SIDE, SIDE), dtype=np.uint16, chunks=(1, 1, 1, 1024, 1024),
        shards=(1, CHANNELS, 1, SIDE, SIDE), overwrite=True,
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"), Crc32cCodec()],
    )  # fmt: skip
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda t: array.__setitem__(t, planes), range(FRAMES)))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall time and processor time of a call, seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def bring_in(study: Path, source: Path, workers: int, judge: bool) -> None:
    """Import the film into a new study, as `marrow import` does, with the frames judged or not."""
    shutil.rmtree(study, ignore_errors=True)
    measured = ImportedFrames() if judge else None
    import_files(study, [source], workers=workers, observe=measured)
    if judge:
        judge_frames(study, measured=measured)


def main(repeats: int = 3) -> None:
    """Print MB/s of pixels by the clock and per second of processor time, and the share of tifffile's rate."""
    print(
        f"{FRAMES} frames of {CHANNELS} x {SIDE} x {SIDE} px; MB/s by the clock, MB per CPU second, share of tifffile's"
    )
    planes = np.random.default_rng(0).poisson(160.0, (CHANNELS, 1, SIDE, SIDE)).astype(np.uint16)
    with tempfile.TemporaryDirectory() as scratch:
        for compression in COMPRESSIONS:
            source, study = Path(scratch) / "B02_f00.ome.tif", Path(scratch) / "study.marrow"
            megabytes = write_source(source, compression) / 1e6
            jobs: dict[str, Callable[[], object]] = {"tifffile alone": partial(read_alone, source)}
            for workers in (1, 2):
                jobs[f"write alone, {workers}"] = partial(write_alone, Path(scratch) / "alone", planes, workers)
                jobs[f"import, {workers}, not judged"] = partial(bring_in, study, source, workers, False)
                jobs[f"import, {workers}, judged"] = partial(bring_in, study, source, workers, True)
            for job in jobs.values():
                job()  # imports of libraries, compiling and first calls are not counted
            best: dict[str, tuple[float, float]] = {}
            for _ in range(repeats):
                for name, job in jobs.items():
                    forget(source)
                    wall, cpu = timed(job)
                    old = best.get(name, (wall, cpu))
                    best[name] = min(wall, old[0]), min(cpu, old[1])
            print(f"{compression or 'uncompressed'}, {source.stat().st_size / 1e6:.0f} MB of file")
            for name, (wall, cpu) in best.items():
                shares = [best["tifffile alone"][k] / spent for k, spent in enumerate((wall, cpu))]
                print(
                    f"  {name:24s} {megabytes / wall:6.0f} {megabytes / cpu:6.0f}   {shares[0]:5.2f} {shares[1]:5.2f}"
                )


if __name__ == "__main__":
    main()
