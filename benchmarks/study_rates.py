"""Writing, reading and opening: beside zarr-python with the same layout, and over the size of a study."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from napari_marrow.study import Study
from napari_marrow.study.arrays import TimeShards, create_image_array
from napari_marrow.study.shard_names import shard_file

SIDE = 2048
FRAMES = 12


def rates(rounds: int = 5) -> None:
    """Print MB/s of writing and reading a frame of a study and the same array by zarr-python alone."""
    rng = np.random.default_rng(0)
    # A camera's offset and noise, with dim structures: compresses as real images do
    light = np.kron(rng.gamma(1.0, 60.0, (SIDE // 32, SIDE // 32)), np.ones((32, 32)))
    frames = [(rng.poisson(light) + rng.normal(110, 2.5, (SIDE, SIDE))).astype(np.uint16)[None, None] for _ in range(3)]
    shape = (FRAMES, 1, 1, SIDE, SIDE)
    size = FRAMES * frames[0].nbytes / 1e6
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds + 1):  # the first is not counted
            ours, theirs = Path(scratch) / f"ours{number}", Path(scratch) / f"zarr{number}"
            create_image_array(ours, shape, np.uint16)
            array = zarr.create_array(
                theirs, shape=shape, dtype=np.uint16, chunks=(1, 1, 1, 1024, 1024), shards=(1, 1, 1, SIDE, SIDE),
                compressors=[BloscCodec(cname="lz4", clevel=9, shuffle="bitshuffle"), Crc32cCodec()],
                chunk_key_encoding={"name": "default", "separator": "."},
            )  # fmt: skip
            shards = TimeShards(ours)
            jobs: dict[str, Callable[[int], object]] = {
                "write, zarr": lambda t, a=array: a.__setitem__(t, frames[t % 3]),
                "write, study": lambda t, s=shards: s.write(t, frames[t % 3]),
                "read, zarr": lambda t, a=array: a[t],
                "read, study": lambda t, s=shards: s.read(t),
            }
            for name, job in jobs.items():
                start, cpu = time.perf_counter(), time.process_time()
                for t in range(FRAMES):
                    job(t)
                spent = time.perf_counter() - start, time.process_time() - cpu
                if number:
                    times.setdefault(name, []).append(spent)
            shutil.rmtree(ours)
            shutil.rmtree(theirs)
    print(f"{FRAMES} frames of {SIDE} x {SIDE} px, {size:.0f} MB; medians of {rounds} rounds, taken by turns")
    for name, spent in times.items():
        wall, cpu = (statistics.median(s[k] for s in spent) for k in (0, 1))
        print(f"{name:13s} {size / wall:6.0f} MB/s by the clock, {size / cpu:6.0f} MB/s of CPU time")
    for what in ("write", "read"):
        pairs = zip(times[f"{what}, study"], times[f"{what}, zarr"], strict=True)
        ratio = [(a[0] / b[0], a[1] / b[1]) for a, b in pairs]
        print(
            f"{what}: the study takes {statistics.median(r[0] for r in ratio):.2f} of zarr's time by the clock, "
            f"{statistics.median(r[1] for r in ratio):.2f} of its CPU time"
        )


def opening() -> None:
    """Print how long a random frame of 100 GB takes, and opening a study of 2 000 and of 200 000 frames."""
    with tempfile.TemporaryDirectory() as scratch:
        big = Path(scratch) / "big.marrow"
        frames = round(100e9 / (2 * SIDE * SIDE))
        _sparse(big, positions=6, sessions=2, frames=frames // 12, side=SIDE)
        stated = sum(p.stat().st_size for p in big.rglob("*") if p.is_file())
        held = Study.open(big).summary()["n_frames"]
        print(f"{held} frames of {SIDE} x {SIDE} px, {held * 2 * SIDE**2 / 1e9:.0f} GB of pixels in "
              f"{stated / 1e9:.0f} GB of files (hard links of one frame per session)")  # fmt: skip
        rng = random.Random(0)
        spent = [_a_frame(big, rng) for _ in range(60)]
        print(f"opening it and reading a random frame: median {1e3 * statistics.median(spent[10:]):.0f} ms, "
              f"most {1e3 * max(spent[10:]):.0f} ms")  # fmt: skip
        print("frames   opening  and a frame of 64 x 64 px")
        for frames in (20, 2000):
            path = Path(scratch) / f"{frames}.marrow"
            _sparse(path, positions=20, sessions=5, frames=frames, side=64)
            opened, read = _opened(path)
            print(f"{100 * frames:6d}  {1e3 * opened:5.2f} ms  {1e3 * read:5.2f} ms")


def _sparse(path: Path, *, positions: int, sessions: int, frames: int, side: int) -> None:
    """Write a study whose frames are all hard links of the first of its session."""
    rng = np.random.default_rng(0)
    frame = rng.poisson(150, (1, 1, side, side)).astype(np.uint16)
    study = Study.create(path)
    with study.write_lock():
        for position in range(positions):
            for session in range(sessions):
                with study.add_session(
                    f"B{position + 1:02d}_f00", session, channels=["nuclei"], spacing=(1, 0.65, 0.65),
                    shape=(frames, 1, 1, side, side), dtype="uint16", start_h=200.0 * session,
                    time_s=[300.0 * t for t in range(frames)],
                ) as writer:  # fmt: skip
                    writer.write(0, frame)
                    for level in range(writer.levels):
                        folder = writer.path / str(level)
                        first = shard_file(folder, 0, ".")
                        for t in range(1, frames):
                            os.link(first, shard_file(folder, t, "."))


def _a_frame(path: Path, rng: random.Random) -> float:
    started = time.perf_counter()
    study = Study.open(path)
    position = rng.choice(study.positions)
    image = study.image(position, rng.choice(study.sessions(position)))
    image.read(rng.randrange(image.shape[0]))
    return time.perf_counter() - started


def _opened(path: Path) -> tuple[float, float]:
    """Return the median seconds of opening a study with its positions and sessions, and of that and a frame."""
    rng = random.Random(1)
    opened, read = [], []
    for _ in range(60):
        started = time.perf_counter()
        study = Study.open(path)
        [study.sessions(position) for position in study.positions]
        opened.append(time.perf_counter() - started)
        read.append(_a_frame(path, rng))
    return statistics.median(opened), statistics.median(read)


FEW = 2
"""Frames of the study that tells what starting and loading takes."""


def workers(frames: int = 240) -> None:
    """Print the frames per second of segmentation by one process and by two, by the clock and by CPU time.

    As many frames as a session of two days has at one every twelve minutes; each process loads the network once, which
    takes the time of about ten frames.
    """
    code = (
        "import resource, sys; from napari_marrow.pipeline import executor_for, run\n"
        "if __name__ == '__main__':\n"
        "    executor = executor_for('processes', workers=int(sys.argv[2]))\n"
        "    done = run(sys.argv[1], until='segment', executor=executor)\n"
        "    used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "    print(next(s.seconds for s in done.steps if s.name == 'segment'), used.ru_utime + used.ru_stime)\n"
    )
    from memory import write_study

    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "run.py"
        script.write_text(code)
        write_study(Path(scratch) / "raw.marrow", frames)
        write_study(Path(scratch) / "few.marrow", FEW)
        clock: dict[int, float] = {}
        frames_only: dict[int, float] = {}
        work: dict[int, float] = {}
        for number in (1, 2):
            spent = {}
            for name in ("few", "raw"):  # few frames: what starting and loading takes
                path = Path(scratch) / f"{name}{number}.marrow"
                shutil.copytree(Path(scratch) / f"{name}.marrow", path)
                command = [sys.executable, str(script), str(path), str(number)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                spent[name] = [float(word) for word in done.stdout.split()[-2:]]
            clock[number] = spent["raw"][0]
            frames_only[number] = spent["raw"][0] - spent["few"][0]
            work[number] = spent["raw"][1] - spent["few"][1]
        print(f"{frames} frames of 512 x 512 px, seconds of the step, loading included")
        loading = clock[1] - frames_only[1] * frames / (frames - FEW)
        print(f"loading in one process: {loading:.1f} s, the time of {loading / clock[1] * frames:.0f} frames")
        for number in (1, 2):
            print(
                f"{number} worker(s): {clock[number]:6.1f} s by the clock, {work[number]:6.1f} s of CPU for the frames"
            )
        print(f"throughput of 2 workers over 1: {clock[1] / clock[2]:.2f} by the clock (wants a quiet machine), "
              f"{frames_only[1] / frames_only[2]:.2f} without the time of {FEW} frames, which is loading; "
              f"{2 * work[1] / work[2]:.2f} by CPU time, if both have a core")  # fmt: skip
