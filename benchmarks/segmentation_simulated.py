"""Segmentation of simulated marrow at three noise levels: ours, the same without simulated training data, a watershed.

Usage: ``python benchmarks/segmentation_simulated.py [--organoids N] [--without WEIGHTS] [--threads N]``. The organoids
are none of those that the model was trained on. `--without` names weights that were trained on real images alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from napari_marrow.segmentation import load_segmenter, pool_scores, score_labels
from napari_marrow.simulation.nuclei_frames import NOISE_LEVELS, nuclei_frames

FIRST_SEED = 1_000_000
"""Training never reaches these organoids."""

Find = Callable[[npt.NDArray[Any], float], npt.NDArray[np.int32]]


def classical(image: npt.NDArray[Any], diameter: float) -> npt.NDArray[np.int32]:
    """Return labels by smoothing, Otsu's threshold and a watershed from the peaks of the distance transform."""
    smooth = gaussian(image.astype(np.float32), diameter / 8)
    mask = ndimage.binary_opening(smooth > threshold_otsu(smooth))
    distance = gaussian(ndimage.distance_transform_edt(mask), diameter / 10)
    peaks = peak_local_max(distance, min_distance=max(2, round(diameter / 3)), labels=ndimage.label(mask)[0])
    seeds = np.zeros(image.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels: npt.NDArray[np.int32] = watershed(-distance, seeds, mask=mask).astype(np.int32)
    return labels


def network(model: str | Path, threads: int) -> Find:
    """Return a function that segments with a network, diameter estimated."""
    segmenter = load_segmenter(model, threads=threads)
    return lambda image, diameter: segmenter.segment(image).labels


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organoids", type=int, default=12)
    parser.add_argument("--model", default="marrow-nuclei")
    parser.add_argument("--without", type=Path, default=None, metavar="WEIGHTS")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    methods: dict[str, Find] = {options.model: network(options.model, options.threads)}
    if options.without is not None:
        methods["trained without simulated data"] = network(options.without, options.threads)
    methods["watershed, diameter given"] = classical
    print("| noise | electrons | nuclei | method | AP .5 | AP .75 | SEG |\n|---|---|---|---|---|---|---|")
    for level, electrons in NOISE_LEVELS.items():
        seeds = range(FIRST_SEED, FIRST_SEED + options.organoids)
        frames = [frame for seed in seeds for frame in nuclei_frames(seed, electrons=electrons)]
        for name, find in methods.items():
            scores = []
            for frame in frames:
                areas = np.bincount(frame.labels.ravel())[1:]
                diameter = float(2 * np.sqrt(np.median(areas) / np.pi))
                scores.append(score_labels(frame.labels, find(frame.image, diameter)))
            pooled = pool_scores(scores)
            precision = pooled.average_precision
            print(
                f"| {level} | {electrons:g} | {pooled.n_true} | {name} | {precision[0.5]:.3f} | {precision[0.75]:.3f} "
                f"| {pooled.seg:.3f} |"
            )


if __name__ == "__main__":
    main()
