"""Labels of volumes from the same flows, here and by ``cellpose.dynamics.compute_masks(do_3D=True)``.

python benchmarks/volume_masks.py [--threads N]

Volumes of overlapping ellipsoids; flows of unit vectors to the centres with noise, logits with noise. Prints processor
seconds of both, and the average precision at IoU .9 of one against the other.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

from napari_marrow.segmentation import score_labels
from napari_marrow.segmentation.volume_dynamics import compute_volume_masks

VOLUMES = [((32, 128, 128), 250), ((48, 256, 256), 1500)]
NOISE = 0.7


def draw(shape: tuple[int, int, int], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return flows (3, Z, Y, X) and logits (Z, Y, X) of n ellipsoids."""
    rng = np.random.default_rng(0)
    flows = rng.normal(0, NOISE, (3, *shape)).astype(np.float32)
    inside = np.zeros(shape, dtype=bool)
    for _ in range(n):
        centre, radii = rng.uniform(0, shape), rng.uniform(4, 8, 3)
        low = np.maximum(np.floor(centre - radii).astype(int), 0)
        high = np.minimum(np.ceil(centre + radii).astype(int) + 1, shape)
        where = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        away = np.stack(np.mgrid[where]) - centre[:, None, None, None]
        cell = (((away / radii[:, None, None, None]) ** 2).sum(axis=0) < 1) & ~inside[where]
        away /= np.maximum(np.linalg.norm(away, axis=0), 1)
        for axis in range(3):
            flows[axis][where][cell] -= 5 * away[axis][cell]
        inside[where] |= cell
    logit = np.where(inside, 4, -4) + rng.normal(0, 2, shape)
    return flows, logit.astype(np.float32)


def main() -> None:
    """Print a row per volume."""
    import torch
    from cellpose import dynamics

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    compute_volume_masks(*(a[..., :9, :9, :9].copy() for a in draw((16, 32, 32), 9)))  # compiled
    print("| volume | cells | Cellpose, CPU s | here, CPU s | faster | AP .9 between both |\n|---|---|---|---|---|---|")
    for shape, n in VOLUMES:
        flows, logit = draw(shape, n)
        started = time.process_time()
        ours = compute_volume_masks(flows, logit, threads=options.threads)
        here = time.process_time() - started
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            started = time.process_time()
            theirs = dynamics.compute_masks(flows, logit, do_3D=True, min_size=15).astype(np.int32)
            there = time.process_time() - started
        score = score_labels(theirs, ours, thresholds=(0.9,)).average_precision[0.9]
        name = " x ".join(map(str, shape))
        print(f"| {name} | {ours.max()} | {there:.1f} | {here:.2f} | {there / here:.0f} | {score:.3f} |", flush=True)


if __name__ == "__main__":
    main()
