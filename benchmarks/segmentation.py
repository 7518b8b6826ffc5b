"""Speed of segmentation beside Cellpose: one run prints every table of the section "Segmentation speed".

Usage: ``python benchmarks/segmentation.py [--venv FOLDER] [--threads N] [--only PART ...] [--sides PX ...]``. PART is
one of frames, masks, transformer, start. Cellpose 3.1.1.2 runs in an environment of its own, which is made if the
folder has none; Cellpose 4 is the installed one. Both sides take the same frames and weights, one after the other, with
the same threads.

* frames: from frame to labels with the weights of `marrow-nuclei`, here and in Cellpose 3.
* masks: labels from the same flows, here and in ``cellpose.dynamics.compute_masks`` of Cellpose 4.
* transformer: a tile of Cellpose-SAM with random weights (its time does not depend on them), times a frame's tiles.
* start: ``marrow segment`` of one 512 x 512 image in a new process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter

from cellpose3_venv import DEFAULT, interpreter, run_peer
from napari_marrow.segmentation import load_segmenter, score_labels
from napari_marrow.segmentation.dynamics import compute_masks
from napari_marrow.segmentation.flows import labels_to_flows
from napari_marrow.segmentation.registry import find_model
from napari_marrow.segmentation.weights import read_weights

NUCLEI = {512: 250, 1024: 1000, 2048: 4000}
"""Nuclei by the frame's side in px: one on 1050 px²."""
DIAMETER = 18.0
PARTS = ("frames", "masks", "transformer", "start")
HEAVY = ("torch", "cellpose", "openvino", "numba", "zarr", "matplotlib", "pandas", "skimage", "dask", "napari", "qtpy")


def draw(side: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (image uint16, labels) of blurred ellipses of 14 to 22 px with photon noise, some touching."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int32)
    brightness = np.zeros(n + 1)
    cells = int(np.ceil(np.sqrt(n)))
    places = rng.permutation(cells * cells)[:n]
    for k, place in enumerate(places, start=1):
        cy, cx = (np.array(divmod(place, cells)) + 0.5 + rng.uniform(-0.22, 0.22, 2)) * side / cells
        a, ratio, angle = rng.uniform(7, 11), rng.uniform(0.7, 1), rng.uniform(0, np.pi)
        y0, x0 = max(0, int(cy) - 14), max(0, int(cx) - 14)
        y, x = np.mgrid[y0 : min(side, y0 + 29), x0 : min(side, x0 + 29)]
        u = (y - cy) * np.cos(angle) + (x - cx) * np.sin(angle)
        v = (x - cx) * np.cos(angle) - (y - cy) * np.sin(angle)
        labels[y, x] = np.where((u / a) ** 2 + (v / (a * ratio)) ** 2 < 1, k, labels[y, x])
        brightness[k] = rng.uniform(80, 300)
    image = 100 + rng.poisson(30 + gaussian_filter(brightness[labels], 1.3))
    return image.astype(np.uint16), labels


def clocked(work: Callable[[], Any], repeats: int = 3) -> tuple[Any, float, float]:
    """Return what the work returns, and the least wall and CPU seconds of some repeats."""
    walls, used = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        used.append(time.process_time() - cpu)
    return result, min(walls), min(used)


def size_of(side: int) -> str:
    """Return a frame's size in words."""
    return f"{side} x {side}"


def frames(options: argparse.Namespace) -> None:
    """Print the whole way from a frame to its labels, here and in Cellpose 3."""
    theirs = cellpose3(options)
    print(
        "\n| frame | nuclei | Cellpose 3.1.1.2 (network + masks) | here, f32 | here, default | faster | AP .5 | same |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for side in options.sides:
        image, truth = draw(side, NUCLEI[side])
        exact, fast = (timed_here(image, precision, options.threads) for precision in ("f32", "auto"))
        wall, used, network, reconstruction = theirs[f"seconds:{side}"]
        labels = theirs[f"frame:{side}"]
        points = [score_labels(truth, found).average_precision[0.5] for found in (labels, fast.labels)]
        same = score_labels(labels, exact.labels).average_precision[0.9]
        cells = (
            size_of(side),
            str(len(np.unique(truth)) - 1),
            f"{wall:.1f} s ({network:.1f} + {reconstruction:.1f}), CPU {used:.1f} s",
            f"{exact.wall:.2f} s, CPU {exact.cpu:.2f} s",
            f"{fast.wall:.2f} s ({fast.precision}), CPU {fast.cpu:.2f} s",
            f"{wall / exact.wall:.0f}x, {wall / fast.wall:.0f}x (CPU {used / exact.cpu:.0f}x, {used / fast.cpu:.0f}x)",
            f"{points[0]:.3f} there, {points[1]:.3f} here",
            f"{same:.3f}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)
    print(
        "\nAP .5: average precision at IoU .5 against what was drawn; same: average precision at IoU .9 of the labels"
    )
    print("here (f32) against Cellpose 3's.")
    here = own_peak(options)
    print(f"\nPeak memory over the frames: Cellpose 3 {float(theirs['peak_mb']):.0f} MB, here {here:.0f} MB.")


@dataclass(frozen=True)
class Timed:
    """Labels, and what they took."""

    labels: np.ndarray
    wall: float
    cpu: float
    precision: str


def timed_here(image: np.ndarray, precision: str, threads: int) -> Timed:
    """Return the labels of a frame and the least seconds of some repeats."""
    segmenter = load_segmenter(threads=threads, precision=precision)
    segmenter.segment(image, diameter=DIAMETER)  # compile outside the clock
    found, wall, cpu = clocked(lambda: segmenter.segment(image, diameter=DIAMETER))
    return Timed(found.labels, wall, cpu, segmenter.precision)


def cellpose3(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return the labels and times of Cellpose 3 for all frames."""
    python = interpreter(options.venv)
    weights = read_weights(find_model("marrow-nuclei").path)
    with tempfile.TemporaryDirectory() as room:
        source, target = Path(room) / "in.npz", Path(room) / "out.npz"
        np.savez(
            source,
            widths=np.array(weights.widths),
            diameter=np.array(DIAMETER),
            threads=np.array(options.threads),
            **{f"w:{name}": value for name, value in weights.arrays.items()},
            **{f"frame:{side}": draw(side, NUCLEI[side])[0] for side in options.sides},
        )
        run_peer(python, "masks", source, target, threads=options.threads)
        with np.load(target) as file:
            return dict(file)


def own_peak(options: argparse.Namespace) -> float:
    """Return the peak memory in MB of a new process that segments the frames."""
    code = (
        "import resource, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import segmentation as benchmark\n"
        "from napari_marrow.segmentation import load_segmenter\n"
        "segmenter = load_segmenter(threads=int(sys.argv[2]))\n"
        "for side in map(int, sys.argv[3:]):\n"
        "    image = benchmark.draw(side, benchmark.NUCLEI[side])[0]\n"
        "    segmenter.segment(image, diameter=benchmark.DIAMETER)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    given = [str(Path(__file__).parent), str(options.threads), *map(str, options.sides)]
    done = subprocess.run([sys.executable, "-c", code, *given], check=True, capture_output=True, text=True)
    return float(done.stdout)


def masks(options: argparse.Namespace) -> None:
    """Print the reconstruction of labels from the same flows, here and in Cellpose 4."""
    import torch
    from cellpose import dynamics

    torch.set_num_threads(options.threads)
    print("\n| plane | nuclei | Cellpose 4 `compute_masks` | here | faster | AP .9 between both |")
    print("|---|---|---|---|---|---|")
    for side in options.sides:
        _, truth = draw(side, NUCLEI[side])
        rng = np.random.default_rng(1)
        flows = 5 * labels_to_flows(truth) + rng.normal(0, 0.5, (2, *truth.shape)).astype(np.float32)
        logit = (np.where(truth > 0, 4, -4) + rng.normal(0, 1, truth.shape)).astype(np.float32)
        compute_masks(flows[:, :99, :99], logit[:99, :99], threads=options.threads)
        ours, wall, used = clocked(lambda f=flows, c=logit: compute_masks(f, c, threads=options.threads))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs, wall4, used4 = clocked(lambda f=flows, c=logit: dynamics.compute_masks(f, c, niter=200), repeats=1)
        score = score_labels(theirs.astype(np.int32), ours)
        print(
            f"| {size_of(side)} | {score.n_true} | {wall4:.2f} s, CPU {used4:.1f} s | {wall:.3f} s, CPU {used:.3f} s "
            f"| {wall4 / wall:.0f}x (CPU {used4 / used:.0f}x) | {score.average_precision[0.9]:.4f} |",
            flush=True,
        )


def transformer(options: argparse.Namespace) -> None:
    """Print the time of Cellpose-SAM per tile, and for a frame."""
    import torch
    from cellpose.vit import CPSAM

    from napari_marrow.segmentation.cellpose4_network import Cellpose4Network
    from napari_marrow.segmentation.openvino_network import choose_precision

    torch.set_num_threads(options.threads)
    precision = choose_precision("auto")
    with torch.device("meta"):
        network = CPSAM()
    network = network.to_empty(device="cpu")
    network.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.02)
    both = Cellpose4Network(network, device="cpu", precision=precision)
    both.time_a_tile()  # warm up
    both.seconds_per_tile = None
    seconds = both.time_a_tile()
    print(f"\nCellpose-SAM ({precision}): {seconds:.2f} s per tile of 256 x 256 px.\n")
    print("| frame | tiles | Cellpose-SAM, its tiles alone | here, frame to labels | faster |")
    print("|---|---|---|---|---|")
    segmenter = load_segmenter(threads=options.threads)
    for side in options.sides:
        image, _ = draw(side, NUCLEI[side])
        segmenter.segment(image, diameter=DIAMETER)
        _, wall, _ = clocked(lambda i=image: segmenter.segment(i, diameter=DIAMETER))
        n = both.n_tiles(*image.shape)
        print(f"| {size_of(side)} | {n} | {n * seconds:.0f} s | {wall:.2f} s | {n * seconds / wall:.0f}x |", flush=True)


def start(options: argparse.Namespace) -> None:
    """Print the time of a command in a new process, and what it imported."""
    with tempfile.TemporaryDirectory() as room:
        tifffile.imwrite(Path(room) / "frame.tif", draw(512, 250)[0])
        code = (
            "import sys, json; from napari_marrow.__main__ import main; main(sys.argv[1:]); "
            "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
        )
        seconds = []
        for n in range(4):  # the first one compiles the loops, as after an installation
            command = ["segment", str(Path(room) / "frame.tif"), "--out", str(Path(room) / f"out{n}")]
            environment = os.environ | {"NUMBA_CACHE_DIR": str(Path(room) / "numba")}
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", code, *command], check=True, capture_output=True, text=True, env=environment
            )
            seconds.append(time.perf_counter() - started)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    print(
        f"\n`marrow segment` of one 512 x 512 image in a new process, diameter estimated: {min(seconds[1:]):.1f} s "
        f"(the first time after an installation {seconds[0]:.1f} s). Imported of {', '.join(HEAVY)}: "
        f"{', '.join(name for name in HEAVY if name in loaded)}."
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=DEFAULT, help="environment of Cellpose 3")
    parser.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--sides", nargs="*", type=int, choices=NUCLEI, default=list(NUCLEI), help="of frames, px")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, Python {platform.python_version()}."
    )
    for part in options.only:
        {"frames": frames, "masks": masks, "transformer": transformer, "start": start}[part](options)


if __name__ == "__main__":
    main()
