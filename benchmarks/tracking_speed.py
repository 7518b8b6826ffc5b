"""Speed and memory of cell tracking, from a thousand to millions of detections, beside laptrack.

Usage: ``python benchmarks/tracking_speed.py [--peers FOLDER] [--sizes N ...] [--repeats N] [--millions N]``.

Detections are simulated by a process of their own and written to disk; each tracker reads them in a process of its own,
one after the other in turns (paired), and says the CPU seconds of the tracking alone and the peak memory of its whole
process. Fifty frames each, with areas and intensities. ``--millions 5`` adds a set of that many million detections: the
largest field side by side in its eight orientations, as often as it takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ["t", "y", "x", "area", "intensity"]
SIZES = (1_000, 10_000, 100_000, 500_000)
FRAMES = 50
SETTING = {"radius": 12.0, "weight": 30.0}
"""Of laptrack: the best of nine on the tuning set of ``benchmarks/tracking.py``, `crowded`."""


def simulate_to(path: Path, size: int) -> None:
    """Write about `size` detections of a crowded field."""
    from tracking_simulator import Field, simulate

    field = Field(frames=FRAMES, cells=max(size // FRAMES * 9 // 10, 3), area_per_cell=1600.0)
    simulate(field, 101).to_parquet(path)


def tile(source: Path, path: Path, size: int) -> None:
    """Write the detections of a field side by side, turned and mirrored, until there are `size`."""
    table = pd.read_parquet(source)
    side = float(max(table["y"].max(), table["x"].max())) + 30.0
    across = int(np.ceil(np.sqrt(size / len(table))))
    parts, tracks = [], int(table["track_id"].max())
    for k in range(int(np.ceil(size / len(table)))):
        y, x = table["y"].to_numpy(), table["x"].to_numpy()
        y, x = (y, x) if k % 2 else (x, y)
        y, x = side - 30.0 - y if k // 2 % 2 else y, side - 30.0 - x if k // 4 % 2 else x
        part = table.assign(y=y + side * (k // across), x=x + side * (k % across))
        for name in ("track_id", "parent_track_id"):
            part[name] = np.where(part[name] > 0, part[name] + k * tracks, 0)
        parts.append(part)
    pd.concat(parts, ignore_index=True).iloc[:size].to_parquet(path)


def track(path: Path) -> None:
    """Track a file and print seconds, memory and score as JSON; what is compiled and imported comes first."""
    import resource
    import time

    from napari_marrow.tracking import score_tracks, track_points

    table = pd.read_parquet(path, columns=COLUMNS)
    track_points(table[table["t"] < 4].iloc[:2000])
    begin, wall = time.process_time(), time.perf_counter()
    found = track_points(table)
    seconds, wall = time.process_time() - begin, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    truth = pd.read_parquet(path, columns=["t", "track_id", "parent_track_id"])
    own = pd.DataFrame({"t": table["t"], "track_id": found.track_id, "parent_track_id": found.parent_track_id})
    score = score_tracks(truth, own, max_gap=3)
    said = {"seconds": seconds, "wall": wall, "megabytes": peak, "f1": score.f1, "division_f1": score.division_f1}
    print(json.dumps(said))


def _apart(*arguments: object) -> str:
    """Run a part of this file in a process of its own."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _laptrack(python: Path, source: Path, scratch: Path, limit: float) -> str:
    from tracking_peers import run_peer

    found, reason = run_peer("laptrack", python, pd.read_parquet(source, columns=COLUMNS), [SETTING], scratch, limit)
    return f"{found[0].seconds:.2f} | {found[0].megabytes:.0f}" if found else f"{reason} | "


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulate", nargs=2, metavar=("FILE", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--track", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--millions", type=float, help="a set of so many million detections, ours only")
    parser.add_argument("--peers", type=Path, help="folder for laptrack's environment")
    parser.add_argument("--limit", type=float, default=900, help="CPU s after which laptrack is stopped")
    options = parser.parse_args()
    if options.simulate:
        simulate_to(Path(options.simulate[0]), int(options.simulate[1]))
        return
    if options.track:
        track(options.track)
        return
    python = None
    if options.peers:
        from tracking_peers import environment

        python = environment("laptrack", options.peers)
    print("| detections | marrow, CPU s | wall s | µs per detection | peak MB | link F1 | laptrack, CPU s | peak MB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for size in options.sizes:
            source = home / f"{size}.parquet"
            _apart("--simulate", source, size)
            for _ in range(options.repeats):
                _line(source, "" if python is None else _laptrack(python, source, home / "scratch", options.limit))
        if options.millions:
            largest = max(options.sizes, default=500_000)
            source = home / f"{largest}.parquet"
            if not source.exists():
                _apart("--simulate", source, largest)
            tile(source, home / "huge.parquet", int(options.millions * 1e6))
            _line(home / "huge.parquet", "")


def _line(source: Path, peer: str) -> None:
    """Track a file and print its line of the table."""
    own = json.loads(_apart("--track", source).splitlines()[-1])
    n = len(pd.read_parquet(source, columns=["t"]))
    print(
        f"| {n} | {own['seconds']:.2f} | {own['wall']:.1f} | {1e6 * own['seconds'] / n:.0f} | {own['megabytes']:.0f} | "
        f"{own['f1']:.4f} | {peer or ' | '} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
