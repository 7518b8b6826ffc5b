"""Peak memory of a run over the number of frames: it must stay flat.

python benchmarks/memory.py            # 20 and 200 frames of 512 x 512 px
python benchmarks/memory.py 20 200 400
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIDE = 512
CELLS = 150


def write_study(path: Path, frames: int) -> None:
    """Write a study of bright discs that wander, one session, one frame in memory at a time."""
    from napari_marrow.study import Study

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    place = rng.uniform(20, SIDE - 20, (CELLS, 2))
    study = Study.create(path)
    with study.add_session(
        "A01_f00", 0, channels=["nuclei"], spacing=(1, 1, 1), shape=(frames, 1, 1, SIDE, SIDE), dtype="uint16",
        start_h=0.0, time_s=np.arange(frames) * 600.0,
    ) as writer:  # fmt: skip
        for t in range(frames):
            place = np.clip(place + rng.normal(0, 1.0, place.shape), 10, SIDE - 10)
            image = rng.normal(110, 5, (SIDE, SIDE))
            for cy, cx in place:
                near = np.s_[max(0, int(cy) - 9) : int(cy) + 10, max(0, int(cx) - 9) : int(cx) + 10]
                image[near] += 400 * ((y[near] - cy) ** 2 + (x[near] - cx) ** 2 < 49)
            writer.write(t, image.clip(0, 65535).astype(np.uint16)[None, None])


def peak_mb(path: Path) -> float:
    """Return the peak resident memory of a fresh process that runs the default recipe up to tracking."""
    code = (
        "import resource, sys; from napari_marrow.pipeline import run\n"
        "run(sys.argv[1], until='colonies')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main(numbers: list[int]) -> None:
    """Print the peak for each number of frames."""
    print("frames  peak MB")
    with tempfile.TemporaryDirectory() as scratch:
        for frames in numbers:
            path = Path(scratch) / f"{frames}.marrow"
            write_study(path, frames)
            print(f"{frames:6d}  {peak_mb(path):7.0f}")


if __name__ == "__main__":
    main([int(a) for a in sys.argv[1:]] or [20, 200])
