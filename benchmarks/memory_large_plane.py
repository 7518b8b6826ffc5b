"""Peak memory and processor time of segmenting one large plane.

python benchmarks/memory_large_plane.py             # 20 000 x 20 000 px, uint16, labels into a file on disk
python benchmarks/memory_large_plane.py 4096 8192   # other sides
python benchmarks/memory_large_plane.py --in-memory 20000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

SPACING = 24
"""Nuclei stand on a jittered grid, px."""
DIAMETER = 15.0


def draw(path: Path, side: int) -> int:
    """Write a plane of blurred discs with Poisson noise as a raw file, strip by strip; return how many there are."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    image = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint16, shape=(side, side))
    n = 0
    y, x = np.mgrid[:SPACING, :SPACING] - SPACING // 2
    stamps = [
        ((y - dy) ** 2 + (x - dx) ** 2 < r * r) * 150.0
        for dy, dx, r in rng.uniform(-3, 3, (64, 3)) + np.array([0, 0, 7.5])
    ]
    for top in range(0, side - SPACING + 1, SPACING):
        columns = side // SPACING
        row = np.concatenate([stamps[k] for k in rng.integers(0, 64, columns)], axis=1)
        signal = np.zeros((SPACING, side))
        signal[:, : row.shape[1]] = gaussian_filter(row, 1)
        image[top : top + SPACING] = rng.poisson(20 + signal)
        n += columns
    image.flush()
    return n


def measure(path: Path, out: Path | None) -> None:
    """Segment the plane in this process and print what it took."""
    import time

    from napari_marrow.segmentation import load_segmenter

    segmenter = load_segmenter(threads=1)
    segmenter.segment(np.random.default_rng(0).poisson(20, (300, 300)), diameter=DIAMETER)  # compiled, loaded
    image = np.load(path)
    memory = _Sampler()
    base = memory.now()
    labels = None if out is None else np.lib.format.open_memmap(out, mode="w+", dtype=np.int32, shape=image.shape)
    before = time.process_time()
    found = segmenter.segment(image, diameter=DIAMETER, out=labels)
    seconds = time.process_time() - before
    print(image.nbytes / 1e6, base, memory.peak(), found.n_cells, seconds)


class _Sampler:
    """Looks every 20 ms at the memory that is this process's own (Linux); pages of mapped files are the system's."""

    def __init__(self) -> None:
        self._most = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def now(self) -> float:
        """Return the memory in use, MB."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e6

    def peak(self) -> float:
        """Return the most that was seen, MB, and stop looking."""
        self._stop.set()
        self._thread.join()
        return self._most

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self._most = max(self._most, self.now())


def main() -> None:
    """Print a row per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", nargs="*", type=int)
    parser.add_argument("--in-memory", action="store_true", help="labels as an array in memory")
    parser.add_argument("--measure", nargs="+", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], options.measure[1] if len(options.measure) > 1 else None)
        return
    print("side px  image MB  before MB  peak MB  peak - before MB     drawn     found  CPU s  CPU s / Mpx")
    with tempfile.TemporaryDirectory() as scratch:
        for side in options.sides or [20_000]:
            path = Path(scratch) / "image.npy"
            drawn = draw(path, side)
            arguments = [str(path)] if options.in_memory else [str(path), str(Path(scratch) / "labels.npy")]
            command = [sys.executable, __file__, "--measure", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            size, before, peak, cells, seconds = map(float, done.stdout.split())
            print(
                f"{side:7d}  {size:8.0f}  {before:9.0f}  {peak:7.0f}  {peak - before:16.0f}  {drawn:8d}  "
                f"{cells:8.0f}  {seconds:5.0f}  {seconds / side / side * 1e6:.2f}"
            )


if __name__ == "__main__":
    main()
