"""How fast an import is beside reading the source alone, and beside what it cannot do without.

    python benchmarks/study_import.py            # imports beside tifffile
    python benchmarks/study_import.py codecs     # what compressors cost and save

Reading alone is tifffile on one thread. An import cannot be faster than *checksum and compressing*: the SHA-256 of the
source, and the study's codec on the pixels from memory, on as many threads as the import has. The import reads, does
both, makes the pyramid, syncs to the disk, and judges the frames, or not.
"""

from __future__ import annotations

import argparse
import hashlib
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
from numcodecs import blosc

from napari_marrow.ingest import import_files
from napari_marrow.pipeline.judging import ImportedFrames, judge_frames
from napari_marrow.study.arrays import TimeShards, create_image_array

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


def checksum_alone(path: Path) -> None:
    """Take the SHA-256 of a file."""
    with path.open("rb") as handle:
        hashlib.file_digest(handle, "sha256")


def compress_alone(shards: TimeShards, planes: np.ndarray, workers: int) -> None:
    """Compress the film from memory with the study's codec, a thread per time point, and throw the result away."""
    encoding = shards._encoding
    assert encoding is not None
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda t: len(encoding.encode(planes)), range(FRAMES)):
            pass


def ceiling(path: Path, shards: TimeShards, planes: np.ndarray, workers: int) -> None:
    """Take the checksum in one thread while others compress."""
    with ThreadPoolExecutor(1) as pool:
        sum_of = pool.submit(checksum_alone, path)
        compress_alone(shards, planes, workers)
        sum_of.result()


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


def imports(sources: list[str], repeats: int) -> None:
    """Print MB/s of pixels by the clock and per second of processor time, and the share of tifffile's rate."""
    print(
        f"{FRAMES} frames of {CHANNELS} x {SIDE} x {SIDE} px; MB/s by the clock, MB per CPU second, share of tifffile's"
    )
    planes = np.random.default_rng(0).poisson(160.0, (CHANNELS, 1, SIDE, SIDE)).astype(np.uint16)
    with tempfile.TemporaryDirectory() as scratch:
        create_image_array(Path(scratch) / "alone", (FRAMES, *planes.shape), planes.dtype)
        shards = TimeShards(Path(scratch) / "alone")
        for compression in (c for c in COMPRESSIONS if (c or "uncompressed") in sources):
            source, study = Path(scratch) / "B02_f00.ome.tif", Path(scratch) / "study.marrow"
            megabytes = write_source(source, compression) / 1e6
            jobs: dict[str, Callable[[], object]] = {
                "tifffile alone": partial(read_alone, source),
                "checksum alone": partial(checksum_alone, source),
            }
            for workers in (1, 2):
                jobs[f"compressing alone, {workers}"] = partial(compress_alone, shards, planes, workers)
                jobs[f"checksum and compressing, {workers}"] = partial(ceiling, source, shards, planes, workers)
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
            held = sum(p.stat().st_size for p in study.rglob("*") if p.is_file()) / 1e6
            print(f"{compression or 'uncompressed'}, {source.stat().st_size / 1e6:.0f} MB of file, study {held:.0f} MB")
            for name, (wall, cpu) in best.items():
                shares = [best["tifffile alone"][k] / spent for k, spent in enumerate((wall, cpu))]
                print(
                    f"  {name:28s} {megabytes / wall:6.0f} {megabytes / cpu:6.0f}   {shares[0]:5.2f} {shares[1]:5.2f}",
                    flush=True,
                )


def codecs() -> None:
    """Print what blosc's compressors cost and save on camera noise alone and on dim structures in it, one thread."""
    rng = np.random.default_rng(0)
    light = np.kron(rng.gamma(1.0, 60.0, (SIDE // 32, SIDE // 32)), np.ones((32, 32)))
    images = {
        "noise": (rng.poisson(60.0, (SIDE, SIDE)) + 100).astype(np.uint16),
        "structures": (rng.poisson(light) + rng.normal(110, 2.5, (SIDE, SIDE))).astype(np.uint16),
    }
    blosc.use_threads = False
    print("image, compressor, level: MB per CPU second of writing and of reading, bytes over bytes in memory")
    for name, image in images.items():
        size = image.nbytes / 1e6
        for compressor, level in (("zstd", 1), ("lz4", 1), ("lz4", 5), ("lz4", 9)):
            packed = blosc.compress(image, compressor.encode(), level, blosc.BITSHUFFLE)
            spent = [
                min(timed(job)[1] for _ in range(5))
                for job in (
                    partial(blosc.compress, image, compressor.encode(), level, blosc.BITSHUFFLE),
                    partial(blosc.decompress, packed),
                )
            ]
            rates = " ".join(f"{size / s:6.0f}" for s in spent)
            print(f"{name:12s} {compressor:5s} {level} {rates}  {len(packed) / image.nbytes:.3f}")


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["imports", "codecs"], default="imports")
    names = [compression or "uncompressed" for compression in COMPRESSIONS]
    parser.add_argument("--sources", nargs="+", choices=names, default=names)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.part == "codecs":
        codecs()
    else:
        imports(options.sources, options.repeats)


if __name__ == "__main__":
    main()
