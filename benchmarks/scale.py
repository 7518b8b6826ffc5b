"""A study of any size on a cluster: time, scheduler load, files, bytes and cost, from rates measured on this machine.

python benchmarks/scale.py                                       # 1 000 positions x 2 000 frames on 200 workers
python benchmarks/scale.py --positions 96 --frames 500 --workers 40

What a unit costs is measured on a small study and scaled by pixels and cells; what a task costs the scheduler, on a
real one. The run itself is simulated event by event: one scheduler that serves one message after the other, workers
that die, a file system with a limit. docs/explanation/scale.md explains the model.
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memory import CELLS, SIDE, write_study
from napari_marrow.pipeline import DaskExecutor, run
from napari_marrow.pipeline.dask_executor import MOST_CHAINS, TASK_S
from napari_marrow.progress import CancelToken
from napari_marrow.study import Study
from napari_marrow.study.pyramid import n_levels
from napari_marrow.study.tables import read_record

SAMPLE_FRAMES = 8
BY_FRAME = ("segment", "measure")
BY_SESSION = ("quality", "register", "track")


@dataclass(frozen=True)
class Measured:
    """Rates of this machine.

    Attributes
    ----------
    cpu_s : dict of str to float
        CPU seconds per frame of 512 x 512 px with 150 cells, per step.
    image_bytes, label_bytes, part_bytes : float
        On disk per pixel of one channel (all levels), per pixel of labels (all levels), per part of `cells` and cell.
    scheduler_s : float
        CPU seconds of scheduler and client per task.
    record_s : float
        Seconds to read a commit record.
    """

    cpu_s: dict[str, float]
    image_bytes: float
    label_bytes: float
    part_bytes: float
    scheduler_s: float
    record_s: float


def measured() -> Measured:
    """Run the steps on a small study and count their CPU seconds and bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        warm, path = Path(scratch) / "warm.marrow", Path(scratch) / "small.marrow"
        write_study(warm, 4)
        run(warm, until="track")  # numba compiles, the network loads
        write_study(path, SAMPLE_FRAMES)
        cpu = {}
        for step in ("quality", "correct", "register", "structures", "segment", "measure", "classify", "track"):
            began = time.process_time()
            run(path, until=step)
            cpu[step] = (time.process_time() - began) / SAMPLE_FRAMES
        images = path / "images.ome.zarr" / "A" / "01" / "s00f00"
        labels = Study.open(path).labels("cells", Study.open(path).active["segment"], "A01_f00", 0).path
        parts = list(path.glob("tables/cells/*/*/*.parquet"))
        began = time.perf_counter()
        for part in parts * 20:
            read_record(part)
        record_s = (time.perf_counter() - began) / (20 * len(parts))
        pixels = SAMPLE_FRAMES * SIDE * SIDE
        return Measured(
            cpu,
            _bytes(images / "0") / pixels,
            _bytes(labels) / pixels,
            sum(p.stat().st_size for p in parts) / SAMPLE_FRAMES / CELLS,
            _scheduler_seconds(),
            record_s,
        )


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _nothing(task: int) -> int:
    return task


def _scheduler_seconds(tasks: int = 3000) -> float:
    """Return the CPU seconds of this process, which holds client and scheduler, per task of a real cluster."""
    executor = DaskExecutor(workers=2)
    try:
        list(executor.run(_nothing, [[0]], CancelToken()))
        executor_tasks = [[k] for k in range(tasks)]
        began = time.process_time()
        import napari_marrow.pipeline.dask_executor as module

        most, module.MOST_CHAINS = module.MOST_CHAINS, 1
        try:
            done = sum(1 for _ in executor.run(_nothing, executor_tasks, CancelToken()))
        finally:
            module.MOST_CHAINS = most
        return (time.process_time() - began) / done
    finally:
        executor.close()


@dataclass(frozen=True)
class Outcome:
    """What a simulated step took.

    Attributes
    ----------
    hours : float
    tasks : int
    scheduler_load : float
        Share of the time that the scheduler was busy.
    workers_busy : float
        Share of the workers' time spent on units that were committed.
    repeated : int
        Units that were computed by a worker that died before it committed them.
    """

    hours: float
    tasks: int
    scheduler_load: float
    workers_busy: float
    repeated: int


def simulate(
    units: int, unit_s: float, *, workers: int, scheduler_s: float, mtbf_h: float, restart_s: float, seed: int = 0
) -> Outcome:
    """Simulate a step of equal units (log-normal, 25 % spread) on workers that die now and then.

    A worker asks the scheduler when it has finished; the scheduler answers one after the other. A worker that dies
    loses the unit at hand, and comes back after `restart_s`.
    """
    rng = random.Random(seed)
    batch = max(1, min(round(TASK_S / unit_s), MOST_CHAINS, units // (4 * workers)))
    sigma = float(np.sqrt(np.log1p(0.25**2)))
    left, tasks, repeated, busy, served, end = units, 0, 0, 0.0, 0.0, 0.0
    free = [(0.0, worker) for worker in range(workers)]
    heapq.heapify(free)
    while left > 0:
        at, worker = heapq.heappop(free)
        n = min(batch, left)
        served = max(served, at) + scheduler_s
        spent = n * unit_s * rng.lognormvariate(-(sigma**2) / 2, sigma / np.sqrt(n))
        tasks += 1
        dies = rng.expovariate(1 / (mtbf_h * 3600))
        if dies < spent:
            kept = int(n * dies / spent)
            left -= kept
            repeated += 1
            busy += kept * spent / n
            heapq.heappush(free, (served + dies + restart_s, worker))
            continue
        left -= n
        busy += spent
        end = max(end, served + spent)
        heapq.heappush(free, (served + spent, worker))
    return Outcome(end / 3600, tasks, tasks * scheduler_s / end, busy / (end * workers), repeated)


def main() -> None:
    """Print the plan of a study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=2000, help="per position, over all sessions")
    parser.add_argument("--sessions", type=int, default=5, help="per position")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--side", type=int, default=2048, help="pixels")
    parser.add_argument("--cells", type=int, default=1000, help="per frame")
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--mtbf", type=float, default=48.0, help="hours until a worker dies, on average")
    parser.add_argument("--restart", type=float, default=120.0, help="seconds until a dead worker is replaced")
    parser.add_argument("--storage", type=float, default=5.0, help="GB/s of the file system, all clients together")
    parser.add_argument("--price", type=float, default=0.04, help="of a core hour, in your currency")
    args = parser.parse_args()
    found = measured()
    area, cells = (args.side / SIDE) ** 2, args.cells / CELLS
    frames = args.positions * args.frames
    levels = n_levels(args.side, args.side)
    _print_measured(found)
    _print_storage(found, args, frames, levels)
    hours = 0.0
    core_hours = 0.0
    names = ("step", "units", "s/unit", "tasks", "hours", "scheduler", "workers")
    print("\n{:9s} {:>9s} {:>7s} {:>9s} {:>6s} {:>9s} {:>8s} repeated".format(*names))
    for step in (*BY_FRAME, *BY_SESSION):
        by_frame = step in BY_FRAME
        per_frame = found.cpu_s[step] * (cells if step == "track" else area)
        reading = args.channels * args.side**2 * found.image_bytes * args.workers / (args.storage * 1e9)
        unit = max(per_frame, 0.0 if step == "track" else reading)
        units, unit_s = (
            (frames, unit) if by_frame else (args.positions * args.sessions, unit * args.frames / args.sessions)
        )
        outcome = simulate(
            units, unit_s, workers=args.workers, scheduler_s=found.scheduler_s, mtbf_h=args.mtbf, restart_s=args.restart
        )
        hours += outcome.hours
        core_hours += outcome.hours * args.workers
        print(
            f"{step:9s} {units:9d} {unit_s:7.2f} {outcome.tasks:9d} {outcome.hours:6.2f} {outcome.scheduler_load:9.1%} "
            f"{outcome.workers_busy:8.1%} {outcome.repeated:8d}"
        )
    print(f"\n{hours:.1f} h on {args.workers} workers, {core_hours:.0f} core hours, {core_hours * args.price:.0f} at "
          f"{args.price} each; steps that look at the whole study come on top")  # fmt: skip
    print(f"to find out what is finished after a stop: {frames * found.record_s / 60:.0f} min per step of frames that "
          f"did not end, one process ({1e3 * found.record_s:.2f} ms a record here)")  # fmt: skip


def _print_measured(found: Measured) -> None:
    print(f"measured here, per frame of {SIDE} x {SIDE} px with {CELLS} cells, one thread:")
    print("  CPU s: " + ", ".join(f"{step} {seconds:.3f}" for step, seconds in found.cpu_s.items()))
    print(
        f"  bytes per pixel: images {found.image_bytes:.2f}, labels {found.label_bytes:.4f}; "
        f"{found.part_bytes:.0f} bytes per row of cells; scheduler {1e3 * found.scheduler_s:.2f} ms of CPU per task"
    )


def _print_storage(found: Measured, args: argparse.Namespace, frames: int, levels: int) -> None:
    pyramid = sum(0.25**level for level in range(levels))
    pixels = frames * args.side**2
    images = args.channels * pixels * found.image_bytes * pyramid / 1e12
    labels = pixels * found.label_bytes * pyramid / 1e9
    cells = frames * args.cells * found.part_bytes / 1e9
    shards = 2 * levels * frames
    parts = 2 * frames
    print(
        f"\n{args.positions} positions x {args.frames} frames of {args.channels} x {args.side} x {args.side} px:\n"
        f"  images {images:.1f} TB in {levels * frames:.3g} files, labels {labels:.0f} GB in {levels * frames:.3g}, "
        f"rows of cells {cells:.0f} GB\n"
        f"  {shards + parts:.3g} files in all, {parts:.3g} of them parts of tables; largest folder "
        f"{args.frames} files"
    )


if __name__ == "__main__":
    main()
