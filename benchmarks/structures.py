"""How well colonies, organoid, vessels and scaffold are found, against the simulator's truth.

    python benchmarks/structures.py                              # simulated planes and volumes, and empty fields
    python benchmarks/structures.py SHARED_DATA                  # and a real volume of vessels (scoring only)
    python benchmarks/structures.py --speed                      # CPU seconds of a 2048 x 2048 plane and a volume
    python benchmarks/structures.py --picture docs/images/structures.png

Dice is twice the common area over the sum of both. Colonies are also counted: one is found if a mask has more than half
of its union with it in common (F1 over all scenes). Of centrelines, recall is the share of the true length that has a
found centreline within 5 µm or half the vessel's radius, precision the share of the found length that has a true one,
and length the found one over the true one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_marrow.niche import vessel_graph
from napari_marrow.segmentation import (
    cluster_colonies,
    colonies_from_brightfield,
    colonies_from_cells,
    colonies_from_channel,
    organoid_mask,
    scaffold_mask,
    tissue_signal,
    vessel_mask,
)
from napari_marrow.segmentation.pixel_training import train_pixel_classifier
from structures_scenes import Scene, deep_scenarios, empty, flat_scenarios, render

SEED = 2026
FLUORESCENCE = ("nuclei", "CD31", "CD235a", "CD41", "CD11b")
RADII = (4.0, 8.0, 16.0)
Mask = npt.NDArray[np.bool_]


def dice(one: Mask, other: Mask) -> float:
    """Return twice the common area over the sum of both."""
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


def counted(truth: npt.NDArray[np.int32], found: npt.NDArray[np.int32]) -> tuple[int, int, int]:
    """Return how many colonies were found, invented and missed at an IoU above one half."""
    n, m = int(truth.max(initial=0)), int(found.max(initial=0))
    common = np.zeros((n + 1, m + 1))
    np.add.at(common, (truth.ravel(), found.ravel()), 1)
    union = common.sum(axis=1, keepdims=True) + common.sum(axis=0, keepdims=True) - common
    hits = int((common / np.maximum(union, 1) > 0.5)[1:, 1:].sum())
    return hits, m - hits, n - hits


def plain(scene: Scene, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return a plane of a scene of one plane, else the volume."""
    return array[0] if len(scene.labels) == 1 else array


def size(scene: Scene) -> tuple[float, ...]:
    """Return the pixel size of `plain` arrays."""
    return scene.spacing[1:] if len(scene.labels) == 1 else scene.spacing


def found_structures(scene: Scene) -> dict[str, npt.NDArray[np.generic]]:
    """Find everything as the pipeline does: the organoid, the scaffold in it, then the rest in the tissue."""
    spacing = size(scene)
    channels = {name: plain(scene, pixels) for name, pixels in scene.channels.items()}
    organoid = organoid_mask(tissue_signal([channels[c] for c in FLUORESCENCE], spacing=spacing), spacing=spacing)
    scaffold = scaffold_mask(channels["scaffold"], spacing=spacing)
    tissue = organoid & ~scaffold
    found = {
        "organoid": organoid,
        "scaffold": scaffold,
        "vessels": vessel_mask(channels["CD31"], spacing=spacing, radii=RADII, within=tissue),
        "colonies from cells": from_cells(scene),
        "colonies from a channel": colonies_from_channel(channels["nuclei"], spacing=spacing, within=tissue).labels,
    }
    if len(scene.labels) == 1:
        bright = channels["brightfield"]
        found["colonies from bright field"] = colonies_from_brightfield(bright, spacing=spacing, within=tissue).labels
    return found


def from_cells(scene: Scene) -> npt.NDArray[np.int32]:
    """Return colonies from the true label image of cells."""
    labels, spacing = plain(scene, scene.labels), size(scene)
    ids = np.unique(labels)[1:]
    at = np.argwhere(labels > 0)
    sums = np.stack([np.bincount(labels[tuple(at.T)], at[:, k]) for k in range(at.shape[1])], axis=1)
    centres = sums[ids] / np.bincount(labels.ravel())[ids, None] * spacing
    colony = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    colony[ids] = cluster_colonies(centres, distance=18.0, min_cells=5)
    return colonies_from_cells(labels, colony, spacing=spacing).labels


def centreline(scene: Scene, mask: Mask) -> tuple[float, float, float]:
    """Return recall and precision of centreline length, and the found length over the true one (points 1 µm apart)."""
    from scipy.spatial import cKDTree

    spacing, axes = size(scene), ["z", "y", "x"][-mask.ndim :]
    graph = vessel_graph(mask, spacing=spacing)
    vertices = graph.vertices[axes].to_numpy(np.float64)
    true, radii = scene.truth.centrelines[:, -mask.ndim :], scene.truth.radii
    if not len(vertices) or not len(true):
        return 0.0, 0.0, 0.0
    near = np.maximum(5.0, radii / 2)
    recall = float((cKDTree(vertices).query(true)[0] <= near).mean())
    away, nearest = cKDTree(true).query(vertices)
    return recall, float((away <= near[nearest]).mean()), graph.length / len(true)


def score_scenes() -> None:
    """Print a row per scene, and the counts of colonies over all planes."""
    print(
        "scene | organoid | scaffold | vessels | centreline recall, precision, length "
        "| colonies: cells, channel, bright field"
    )
    counts: dict[str, list[int]] = {}
    for scenario in [*flat_scenarios(SEED), *deep_scenarios(SEED)]:
        scene = render(scenario)
        found, truth = found_structures(scene), scene.truth
        masks = {"organoid": truth.organoid, "scaffold": truth.scaffold, "vessels": truth.vessels & ~truth.scaffold}
        cells = [f"{dice(plain(scene, mask), found[name]):.3f}" for name, mask in masks.items()]
        cells.append("{:.2f} {:.2f} {:.2f}".format(*centreline(scene, found["vessels"])))
        colonies = plain(scene, truth.colonies)
        shares = []
        for name in [name for name in found if name.startswith("colonies")]:
            shares.append(f"{dice(colonies > 0, found[name] > 0):.3f}")
            total = counts.setdefault(f"{name}, {'planes' if colonies.ndim == 2 else 'volumes'}", [0, 0, 0])
            for k, value in enumerate(counted(colonies, found[name])):
                total[k] += value
        print(" | ".join([scenario.name, *cells, " ".join(shares)]))
        if len(scene.labels) > 1:
            inside = found["organoid"] & ~found["scaffold"]
            walls = vessel_mask(
                scene.channels["CD31"], spacing=size(scene), radii=RADII, within=inside, fill_lumen=False
            )
            print("  lumens not filled: {:.2f} {:.2f} {:.2f}".format(*centreline(scene, walls)))
    for name, (hits, invented, missed) in counts.items():
        f1 = 2 * hits / max(2 * hits + invented + missed, 1)
        print(f"{name}: F1 {f1:.3f} ({hits} found, {invented} invented, {missed} missed)")


def score_empty() -> None:
    """Print what is found in medium alone; it should be nothing."""
    parts = {"colonies (channel)": 0, "colonies (bright field)": 0, "vessel pixels": 0, "scaffold pixels": 0}
    for seed in range(5):
        for shading in (0.25, 0.5):
            field = {name: pixels[0] for name, pixels in empty(SEED + seed, shading=shading).items()}
            spacing = (1.02, 1.02)
            parts["colonies (channel)"] += int(colonies_from_channel(field["nuclei"], spacing=spacing).labels.max())
            light = field["brightfield"]
            parts["colonies (bright field)"] += int(colonies_from_brightfield(light, spacing=spacing).labels.max())
            parts["vessel pixels"] += int(vessel_mask(field["CD31"], spacing=spacing, radii=RADII).sum())
            parts["scaffold pixels"] += int(scaffold_mask(field["scaffold"], spacing=spacing).sum())
    print("ten empty fields:", ", ".join(f"{name} {value}" for name, value in parts.items()))


def scribbled(truth: Mask, strokes: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return straight strokes of up to 25 pixels within either class, begun at random places."""
    rng = np.random.default_rng(seed)
    marks = np.zeros(truth.shape, dtype=np.uint8)
    for number, mask in ((1, ~truth), (2, truth)):
        places = np.argwhere(mask)
        for y, x in places[rng.choice(len(places), strokes)]:
            angle = rng.uniform(0, 2 * np.pi)
            for step in range(25):
                at = int(y + step * np.sin(angle)), int(x + step * np.cos(angle))
                if not (0 <= at[0] < truth.shape[0] and 0 <= at[1] < truth.shape[1] and mask[at]):
                    break
                marks[at] = number
    return marks


def score_classifier() -> None:
    """Print how a classifier that learned vessels from strokes in one frame does in another organoid."""
    learn, *others = (render(scenario) for scenario in (flat_scenarios(SEED)[0], *flat_scenarios(SEED + 50)[::4]))
    for strokes in (4, 12, 40):
        marks = scribbled(learn.truth.vessels[0], strokes, SEED)
        classifier = train_pixel_classifier([learn.channels["CD31"][0]], [marks], spacing=learn.spacing[1:])
        shares = [
            dice(classifier.predict(s.channels["CD31"][0], spacing=s.spacing[1:]) == 2, s.truth.vessels[0])
            for s in others
        ]
        print(
            f"pixel classifier, {strokes} strokes a class: Dice in other organoids "
            + ", ".join(f"{share:.3f}" for share in shares)
            + f"; strokes left out {classifier.card['accuracy_on_strokes_left_out']:.3f}"
        )


def score_real(shared: Path) -> None:
    """Print the agreement with the mask of a real volume, whose origin is not stated."""
    import tifffile

    folder = shared / "niche" / "vessel_volume"
    image, mask = tifffile.imread(folder / "image.tif"), tifffile.imread(folder / "mask.tif") > 0
    found = vessel_mask(image, spacing=(1, 1, 1), radii=(2, 4, 8, 16))
    common = (found & mask).sum()
    print(
        f"real volume: Dice {dice(found, mask):.3f}, precision {common / found.sum():.3f}, "
        f"recall {common / mask.sum():.3f}"
    )


def speed() -> None:
    """Print CPU seconds; the first call of each is left out."""
    scene = render(flat_scenarios(SEED)[4])
    plane = np.tile(scene.channels["CD31"][0], (5, 5))[:2048, :2048]
    cells = np.tile(scene.channels["nuclei"][0], (5, 5))[:2048, :2048]
    light = np.tile(scene.channels["brightfield"][0], (5, 5))[:2048, :2048]
    volume = np.random.default_rng(SEED).poisson(100, (64, 256, 256)).astype(np.uint16)
    marks = scribbled(scene.truth.vessels[0], 12, SEED)
    spacing = scene.spacing[1:]
    classifier = train_pixel_classifier([scene.channels["CD31"][0]], [marks], spacing=spacing)
    jobs = {
        "vessels, 2048 x 2048": lambda: vessel_mask(plane, spacing=spacing, radii=RADII),
        "vessels, 64 x 256 x 256": lambda: vessel_mask(volume, spacing=(2, 1, 1), radii=RADII),
        "organoid of one channel, 2048 x 2048": lambda: organoid_mask(
            tissue_signal([cells], spacing=spacing), spacing=spacing
        ),
        "scaffold, 2048 x 2048": lambda: scaffold_mask(plane, spacing=spacing),
        "colonies from a channel, 2048 x 2048": lambda: colonies_from_channel(cells, spacing=spacing),
        "colonies from bright field, 2048 x 2048": lambda: colonies_from_brightfield(light, spacing=spacing),
        "pixel classifier, 2048 x 2048": lambda: classifier.predict(plane, spacing=spacing),
    }
    for name, job in jobs.items():
        job()
        started = time.process_time()
        job()
        print(f"{name}: {time.process_time() - started:.2f} s of CPU")


def picture(path: Path) -> None:
    """Draw a simulated frame with the outlines that were found, and beside them the true ones."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    scene = render(flat_scenarios(SEED)[0])
    found, truth = found_structures(scene), scene.truth
    colours = {"organoid": "#56b4e9", "scaffold": "#dddddd", "vessels": "#cc79a7", "colonies": "#e69f00"}
    shown = {
        "found": {
            **{name: found[name] for name in ("organoid", "scaffold", "vessels")},
            "colonies": found["colonies from cells"],
        },
        "true": {
            "organoid": truth.organoid[0], "scaffold": truth.scaffold[0], "vessels": truth.vessels[0],
            "colonies": truth.colonies[0],
        },
    }  # fmt: skip
    shades = {"nuclei": (0.35, 0.55, 1.0), "CD31": (1.0, 0.35, 0.85), "scaffold": (0.55, 0.55, 0.5)}
    canvas = np.zeros((*scene.labels.shape[1:], 3))
    for name, shade in shades.items():
        pixels = scene.channels[name][0].astype(float)
        low, high = np.percentile(pixels, (30, 99.7))
        canvas += 0.8 * np.clip((pixels - low) / (high - low), 0, 1)[..., None] * shade
    figure, axes = plt.subplots(1, 2, figsize=(12, 6.8), facecolor="black")
    for axis, (title, masks) in zip(axes, shown.items(), strict=True):
        axis.imshow(np.clip(canvas, 0, 1), interpolation="nearest")
        for name, labels in masks.items():
            for number in range(1, int(labels.max()) + 1):
                axis.contour(labels == number, [0.5], colors=colours[name], linewidths=1.3)
        axis.set_title(title, color="white", fontsize=13)
        axis.axis("off")
    length = 100 / scene.spacing[1]
    axes[0].plot([20, 20 + length], [462, 462], color="white", linewidth=3)
    axes[0].text(20 + length / 2, 454, "100 µm", color="white", ha="center", fontsize=10)
    lines = [Line2D([], [], color=colour, linewidth=2, label=name) for name, colour in colours.items()]
    legend = figure.legend(handles=lines, loc="lower center", ncol=4, frameon=False, fontsize=12)
    for text in legend.get_texts():
        text.set_color("white")
    figure.tight_layout(rect=(0, 0.05, 1, 0.97))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=85, facecolor="black")
    print(f"picture in {path}")


def main(arguments: list[str]) -> None:
    """Do what the command line asks for."""
    if arguments[:1] == ["--speed"]:
        speed()
    elif arguments[:1] == ["--picture"]:
        picture(Path(arguments[1]))
    else:
        score_scenes()
        score_empty()
        score_classifier()
        for folder in arguments:
            score_real(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
