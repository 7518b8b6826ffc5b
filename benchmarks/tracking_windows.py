"""What it costs that the probabilities of large data sets are worked out window by window.

Usage: ``python benchmarks/tracking_windows.py [--cells 1800] [--frames 50] [--seed 101]``.

A crowded field is solved once. Its probabilities are worked out in one window, and in windows of so few frames as a
field of millions of detections has; the table says how many links and divisions get another probability by that.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from napari_marrow.progress import CancelToken, no_progress
from napari_marrow.tracking.points import read_points
from napari_marrow.tracking.posterior import posterior
from napari_marrow.tracking.settings import TrackingSettings
from napari_marrow.tracking.solver import solve
from tracking_simulator import Field, simulate

LIMITS = (0.001, 0.01, 0.05, 0.2)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1800)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--seed", type=int, default=101)
    options = parser.parse_args()
    table = simulate(Field(frames=options.frames, cells=options.cells, area_per_cell=1600.0), options.seed)
    settings = TrackingSettings()
    detections = read_points(table[["t", "y", "x", "area", "intensity"]], settings)
    solution, _ = solve(detections, settings, progress=no_progress, cancel=CancelToken())

    def found(at_once: int) -> tuple[np.ndarray, float]:
        begin = time.process_time()
        p = posterior(detections.n, solution, calibrated=True, at_once=at_once)
        return np.concatenate([p.links, p.divisions.ravel(), p.late]), time.process_time() - begin

    found(detections.n)  # compiles
    whole, seconds = found(detections.n)
    print(f"{detections.n} detections in {options.frames} frames, {len(whole)} edges")
    print(f"| frames in a window | CPU s | {' | '.join(f'off by more than {x:g}' for x in LIMITS)} | largest | mean |")
    print("|---" * (4 + len(LIMITS)) + "|")
    print(f"| all | {seconds:.2f} |{' |' * (len(LIMITS) + 2)}")
    for frames in (20, 10, 5, 3):
        cut, seconds = found(round(frames * detections.n / options.frames))
        off = np.abs(cut - whole)
        counts = " | ".join(f"{(off > x).sum()}" for x in LIMITS)
        print(f"| {frames} | {seconds:.2f} | {counts} | {off.max():.3f} | {off.mean():.1e} |", flush=True)


if __name__ == "__main__":
    main()
