"""What mending labels by the frames before and after gains: DET and SEG with and without, simulated and real.

Usage: ``python benchmarks/temporal_repair.py [--preset NAME] [--frames N] [--seeds N] [--light F ...]``.

Simulated: a dense session of one organoid of about 1000 cells, segmented by `marrow-nuclei` at fractions of its light.
DET is that of Matula et al. (2015, PLoS One 10:e0144959): 1 - (10 missed + 1 false + 5 to be split) / (10 true cells).
SEG is that of the Cell Tracking Challenge. Real: frames 0-9 of Fluo-N2DL-HeLa 02, where the true places of a third of
the nuclei are known: how many of these lie on a label of their own.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from napari_marrow import simulation
from napari_marrow.segmentation import Segmenter, load_segmenter, score_labels
from napari_marrow.segmentation.temporal_repair import Repair, repair_sequence

DATA = Path(__file__).parents[2] / "shared" / "data" / "tracking" / "hela02_first10"
Labels = npt.NDArray[np.int32]


@dataclass
class Tally:
    """Sums over frames."""

    true: int = 0
    missed: int = 0
    false: int = 0
    merged: int = 0
    jaccard: float = 0.0

    def add(self, truth: Labels, found: Labels) -> None:
        """Take a frame."""
        size = np.bincount(truth.ravel())
        n_found = int(found.max()) + 1
        pairs, common = np.unique(truth.ravel().astype(np.int64) * n_found + found.ravel(), return_counts=True)
        a, b = pairs // n_found, pairs % n_found
        held = (a > 0) & (b > 0) & (2 * common > size[a])
        holders, per_holder = np.unique(b[held], return_counts=True)
        n_true, n_labels = int((size[1:] > 0).sum()), np.unique(found[found > 0]).size
        self.true += n_true
        self.missed += n_true - int(held.sum())
        self.false += n_labels - holders.size
        self.merged += int((per_holder - 1).sum())
        self.jaccard += score_labels(truth, found).jaccard_sum

    @property
    def det(self) -> float:
        """Detection accuracy."""
        return 1 - (10 * self.missed + self.false + 5 * self.merged) / (10 * self.true)

    @property
    def line(self) -> str:
        """All of it."""
        return (
            f"DET {self.det:.4f}  SEG {self.jaccard / self.true:.4f}  missed {self.missed}  false {self.false}  "
            f"merged {self.merged}  of {self.true}"
        )


def movie(
    preset: str, seed: int, n_frames: int, interval_h: float
) -> tuple[list[npt.NDArray[np.uint16]], list[Labels]]:
    """Return images of the nuclei and true labels of one dense session."""
    scenario = simulation.preset(preset, seed=seed)
    dense = next(s for s in scenario.sessions if s.kind == "dense")
    dense = replace(dense, n_frames=n_frames, interval_h=interval_h)
    scenario = replace(
        scenario, sessions=(dense,), design=replace(scenario.design, organoids_per_condition=1, donors=1)
    )
    experiment = simulation.simulate(scenario)
    session = experiment.sessions(experiment.positions[0])[0]
    channel = session.channels.index("nuclei")
    images = [session.frame(t)[channel].max(axis=0) for t in range(n_frames)]
    return images, [session.labels(t).max(axis=0).astype(np.int32) for t in range(n_frames)]


def dimmed(image: npt.NDArray[np.uint16], light: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return an image as if it had been taken with a fraction of the light."""
    if light >= 1:
        return image.astype(np.float32)
    floor = float(np.percentile(image, 0.5))
    return rng.poisson(np.clip(image - floor, 0, None) * light).astype(np.float32)


def segmented(
    segmenter: Segmenter, images: list[npt.NDArray[np.float32]]
) -> list[tuple[Labels, npt.NDArray[np.float32]]]:
    """Return labels and probability of each frame, at one diameter."""
    diameter = float(
        np.median([segmenter.estimate_diameter(images[t]) for t in {0, len(images) // 2, len(images) - 1}])
    )
    found = [segmenter.segment(image, diameter=diameter, return_probability=True) for image in images]
    return [(f.labels, f.probability) for f in found if f.probability is not None]


def found_cells(truth: Labels, labels: Labels) -> set[int]:
    """Return the true cells of which a label covers more than half."""
    size = np.bincount(truth.ravel())
    pairs, common = np.unique(
        truth.ravel().astype(np.int64) * (int(labels.max()) + 1) + labels.ravel(), return_counts=True
    )
    a, b = np.divmod(pairs, int(labels.max()) + 1)
    return set(a[(a > 0) & (b > 0) & (2 * common > size[a])].tolist())


def missed_once(truths: list[Labels], labels: list[Labels]) -> int:
    """Return how often a true cell is missed in a frame and found in both its neighbours: what can be mended at all."""
    found = [found_cells(truth, found) for truth, found in zip(truths, labels, strict=True)]
    present = [set(np.unique(truth[truth > 0]).tolist()) for truth in truths]
    return sum(len((present[t] - found[t]) & found[t - 1] & found[t + 1]) for t in range(1, len(truths) - 1))


def judged(repairs: list[Repair], before: Labels, after: Labels, truth: Labels) -> dict[str, int]:
    """Count repairs by kind, and how many of them the truth confirms (SEG of the frame grows)."""
    counts: dict[str, int] = {}
    for repair in repairs:
        alone = before.copy()  # labels of the mended frame are numbered anew, so the repair is redone by its pixels
        for number, label in enumerate(repair.labels, start=int(before.max()) + 1):
            alone[after == label] = number
        better = score_labels(truth, alone).jaccard_sum > score_labels(truth, before).jaccard_sum
        counts[repair.kind] = counts.get(repair.kind, 0) + 1
        counts[f"{repair.kind} right"] = counts.get(f"{repair.kind} right", 0) + int(better)
    return counts


def simulated(segmenter: Segmenter, options: argparse.Namespace) -> None:
    """Print the gain on simulated movies."""
    movies = [movie(options.preset, seed, options.frames, options.interval_h) for seed in range(options.seeds)]
    for light in options.light:
        plain, mended, counts, seconds, once = Tally(), Tally(), dict[str, int](), 0.0, 0
        for seed, (images, truths) in enumerate(movies):
            rng = np.random.default_rng(seed)
            frames = segmented(segmenter, [dimmed(image, light, rng) for image in images])
            started = time.process_time()
            results = list(repair_sequence(frames))
            seconds += time.process_time() - started
            once += missed_once(truths, [labels for labels, _ in frames])
            for (labels, _), (better, repairs), truth in zip(frames, results, truths, strict=True):
                plain.add(truth, labels)
                mended.add(truth, better)
                for kind, n in judged(repairs, labels, better, truth).items():
                    counts[kind] = counts.get(kind, 0) + n
        n_frames = sum(len(images) for images, _ in movies)
        print(f"light {light:g}, {n_frames} frames:")
        print(f"  as segmented  {plain.line}")
        print(f"  mended        {mended.line}")
        print(f"  repairs       {dict(sorted(counts.items()))}; cells missed in one frame alone: {once}")
        print(f"  {1000 * seconds / n_frames:.0f} ms CPU per frame")


def real(segmenter: Segmenter, folder: Path) -> None:
    """Print the gain on real frames of which some true places are known."""
    images = list(tifffile.imread(folder / "img.tif").astype(np.float32))
    gold = pd.read_csv(folder / "partial_gold.csv")
    frames = segmented(segmenter, images)
    results = list(repair_sequence(frames))
    for name, all_labels in (
        ("as segmented", [labels for labels, _ in frames]),
        ("mended", [labels for labels, _ in results]),
    ):
        own = sum(_alone(labels, gold[gold["t"] == t]) for t, labels in enumerate(all_labels))
        n_labels = sum(np.unique(labels[labels > 0]).size for labels in all_labels)
        print(f"HeLa  {name:13s} {own} of {len(gold)} known places on a label of their own, {n_labels} labels")
    kinds = [r.kind for _, repairs in results for r in repairs]
    print(f"HeLa  repairs {dict(sorted({k: kinds.count(k) for k in kinds}.items()))}")


def _alone(labels: Labels, places: pd.DataFrame) -> int:
    y, x = (places[c].round().astype(int).to_numpy() for c in ("y", "x"))
    here = labels[y.clip(0, labels.shape[0] - 1), x.clip(0, labels.shape[1] - 1)]
    values, counts = np.unique(here[here > 0], return_counts=True)
    return int((counts == 1).sum()) if values.size else 0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="benchmark")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--light", type=float, nargs="+", default=[1.0, 0.015])
    parser.add_argument("--interval-h", type=float, default=0.1)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="marrow-nuclei")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    segmenter = load_segmenter(options.model, threads=options.threads)
    simulated(segmenter, options)
    if options.data.is_dir():
        real(segmenter, options.data)
    else:
        print(f"HeLa  skipped: {options.data} is not here")


if __name__ == "__main__":
    main()
