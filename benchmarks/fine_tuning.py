"""What a few annotated images are worth: average precision before and after `marrow models train`, on other images.

Usage: ``python benchmarks/fine_tuning.py [--task phase halo] [--steps N | --minutes M] [--freeze none] [--threads N]``.

phase: whole cells in phase contrast (Usiigaci), which `marrow-nuclei` does not know; five images, drawn by seed. halo:
images of DSB 2018 whose nuclei were annotated along the outer edge of their halo (20 to 30 px across), from the fifth
that `marrow-nuclei` was not trained on; three images. One of the images is held back to choose the state that is kept.
All others of the kind are scored, diameters estimated, as `marrow segment` does. CPU seconds are those of all threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from napari_marrow.pipeline.annotated_files import find_files, read_files
from napari_marrow.pipeline.model_training import train_model
from napari_marrow.pipeline.training_data import is_held_out, list_files, read_pair
from napari_marrow.segmentation import LabelScore, Segmenter, load_segmenter
from napari_marrow.segmentation.annotation import AnnotatedImage
from napari_marrow.segmentation.diameter import median_diameter
from napari_marrow.segmentation.fine_tuning import FineTuningSettings
from napari_marrow.segmentation.held_out import score_held_out

DATA = Path(__file__).parents[2] / "shared" / "data"


@dataclass
class Task:
    """Annotated images, and others to score."""

    annotated: list[Path]
    scored: list[AnnotatedImage]


def prepare(name: str, seed: int, folder: Path) -> Task:
    """Write the images of a task with their labels into a folder and return which are annotated."""
    if name == "phase":
        pairs, n = list_files(DATA / "phase_usiigaci"), 5
    else:
        pairs = [p for p in list_files(DATA / "nuclei_dsb2018") if is_held_out(p[0].name)]
        pairs, n = [p for p in pairs if 20 < median_diameter(read_pair(p)[1]) <= 30], 3
    images = folder / name
    images.mkdir()
    for k, pair in enumerate(pairs):
        image, labels = read_pair(pair)
        tifffile.imwrite(images / f"{k}.tif", image.astype(np.uint16))
        tifffile.imwrite(images / f"{k}_masks.tif", labels.astype(np.uint16))
    order = [int(k) for k in np.random.default_rng(seed).permutation(len(pairs))]
    rest = read_files(find_files([images / f"{k}.tif" for k in order[n:]]))
    return Task([images / f"{k}.tif" for k in order[:n]], [p.annotated for p in rest.planes])


def line(score: LabelScore) -> str:
    """Return a score as text."""
    precision = "  ".join(f"AP{t:g} {value:.3f}" for t, value in score.average_precision.items())
    return f"{precision}  SEG {score.seg:.3f}  ({score.n_true} cells)"


def score(model: str | Path, task: Task, threads: int | None) -> str:
    """Score a model on the images that are not annotated."""
    segmenter: Segmenter = load_segmenter(model, threads=threads)
    return line(score_held_out(segmenter, task.scored)[0])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", nargs="+", choices=("phase", "halo"), default=["phase", "halo"])
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--freeze", choices=("none", "encoder"), default="none")
    parser.add_argument("--rate", type=float, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=None, help="folder to keep the models in")
    options = parser.parse_args()
    settings = FineTuningSettings(
        steps=options.steps, minutes=options.minutes, freeze=options.freeze, rate=options.rate, seed=options.seed,
        threads=options.threads,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.task:
            task = prepare(name, options.seed, Path(scratch))
            print(f"{name}: {len(task.annotated)} annotated images, {len(task.scored)} others", flush=True)
            print(f"  before  {score('marrow-nuclei', task, options.threads)}", flush=True)
            started, wall = time.process_time(), time.perf_counter()
            out = (options.out or Path(scratch)) / f"{name}-{options.freeze}"
            trained = train_model(task.annotated, out, settings=settings, keep_anyway=True)
            cpu, wall = time.process_time() - started, time.perf_counter() - wall
            print(f"  after   {score(trained.weights or 'marrow-nuclei', task, options.threads)}", flush=True)
            tuning = trained.tuning
            print(f"  {tuning.steps} steps, kept {tuning.step}; {cpu:.0f} CPU s, {wall:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
