"""Average precision and time of a model on the images of DSB 2018 that it was not trained on.

Usage: ``python benchmarks/segmentation_ap.py [--data FOLDER] [--model NAME_OR_FILE] [--threads N] [--worst N]``. The
held-out fifth is
decided by the file names (`napari_marrow.pipeline.training_data.is_held_out`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd

from napari_marrow.pipeline.training_data import image_name, list_files, read_pair, split
from napari_marrow.segmentation import Segmenter, load_segmenter, pool_scores, score_labels
from napari_marrow.segmentation.diameter import median_diameter

DATA = Path(__file__).parents[2] / "shared" / "data" / "nuclei_dsb2018"


def score(segmenter: Segmenter, pairs: list[tuple[Path, Path]], *, estimated: bool) -> pd.DataFrame:
    """Return one row per image: its scores, both diameters and the seconds it took."""
    rows = []
    for pair in pairs:
        image, truth = read_pair(pair)
        true_diameter = median_diameter(truth)
        started = time.perf_counter()
        found = segmenter.segment(image, diameter=None if estimated else true_diameter)
        seconds = time.perf_counter() - started
        rows.append(
            {
                "file": image_name(pair[0]),
                "score": score_labels(truth, found.labels),
                "true_diameter": true_diameter,
                "diameter": found.diameter,
                "seconds": seconds,
            }
        )
    return pd.DataFrame(rows)


def report(table: pd.DataFrame, name: str) -> None:
    """Print pooled scores, all images and by size of the nuclei."""
    size = pd.cut(table["true_diameter"], [0, 10, 14, 20, 30, 100])
    for group, rows in [("all", table), *((f"{g} px", rows) for g, rows in table.groupby(size, observed=True))]:
        pooled = pool_scores(rows["score"])
        ap = "  ".join(f"AP{t:g} {value:.3f}" for t, value in pooled.average_precision.items())
        ratio = (rows["diameter"] / rows["true_diameter"]).median()
        print(
            f"{name:10s} {group:14s} {len(rows):3d} images {pooled.n_true:5d} nuclei  {ap}  SEG {pooled.seg:.3f}"
            f"  diameter/true {ratio:.2f}  {1000 * rows['seconds'].mean():.0f} ms/image"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="marrow-nuclei")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--worst", type=int, default=0, help="list the images that cost most average precision")
    options = parser.parse_args()
    segmenter = load_segmenter(options.model, threads=options.threads, precision=options.precision)
    _, pairs = split(list_files(options.data))
    segmenter.segment(read_pair(pairs[0])[0])  # compile outside the clock
    estimated = score(segmenter, pairs, estimated=True)
    report(estimated, "estimated")
    report(score(segmenter, pairs, estimated=False), "given")
    if options.worst:
        scores = estimated["score"]
        estimated["lost_at_half"] = [s.n_true + s.n_predicted - 2 * s.true_positives[0] for s in scores]
        estimated["lost_at_.75"] = [s.n_true + s.n_predicted - 2 * s.true_positives[1] for s in scores]
        estimated["n"] = [s.n_true for s in scores]
        print(estimated.drop(columns="score").sort_values("lost_at_half").tail(options.worst).to_string())
        print(estimated.drop(columns="score").sort_values("lost_at_.75").tail(options.worst).to_string())


if __name__ == "__main__":
    main()
