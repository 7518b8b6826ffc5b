"""Files and simulated frames that the bundled networks are trained and scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError, PathMissingError
from napari_marrow.segmentation.diameter import median_diameter
from napari_marrow.segmentation.flows import labels_to_flows

if TYPE_CHECKING:
    from napari_marrow.segmentation.augmentation import Example

Pair = tuple[Path, Path]
"""Image and labels."""


def is_held_out(name: str) -> bool:
    """Return whether an image of this name belongs to the fifth that is never trained on."""
    return int(hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(), 16) % 5 == 0


def image_name(image: Path) -> str:
    """Return the name that decides whether an image is held out: its file's, or its folder's for ``raw.tif``."""
    return image.parent.name if image.name == "raw.tif" else image.name


def split(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to train on and those held out."""
    training = [pair for pair in pairs if not is_held_out(image_name(pair[0]))]
    return training, [pair for pair in pairs if is_held_out(image_name(pair[0]))]


def list_files(folder: Path) -> list[Pair]:
    """Return (image, labels) paths sorted by name.

    The folder holds ``images/*.tif`` and ``labels/*.tif`` of the same names, or a folder per image with ``raw.tif`` and
    ``instances_ids.png``.

    Raises
    ------
    PathMissingError
        If the folder or a label file is missing.
    """
    pairs = [(path, folder / "labels" / path.name) for path in sorted((folder / "images").glob("*.tif"))]
    pairs += [(path, path.with_name("instances_ids.png")) for path in sorted(folder.glob("*/raw.tif"))]
    if not pairs:
        raise PathMissingError(f"{folder} holds no images/*.tif to train on.")
    for _, labels in pairs:
        if not labels.exists():
            raise PathMissingError(f"{labels} is missing: every image needs a label image of the same name.")
    return pairs


def read_pair(pair: Pair) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Return image and labels as planes.

    Raises
    ------
    InputFileError
        If they are no planes of the same shape.
    """
    image = np.asarray(imagecodecs.imread(pair[0])).astype(np.float32)
    labels = np.asarray(imagecodecs.imread(pair[1])).astype(np.int32)
    if image.ndim != 2 or image.shape != labels.shape:
        raise InputFileError(f"{pair[0]} is {image.shape}, its labels {labels.shape}: two equal planes are needed.")
    return image, labels


def load_examples(pairs: Sequence[Pair]) -> list[Example]:
    """Read images, normalise them and compute their flows; images without a label are left out."""
    read = (read_pair(pair) for pair in pairs)
    return [make_example(image, labels) for image, labels in read if labels.any()]


def simulated_examples(n: int, seed: int, *, channel: str = "nuclei") -> list[Example]:
    """Return `n` simulated frames of marrow: crowding, haze, low signal, debris, scaffold shine.

    Organoids are numbered from ``1000 * seed``; those from 1 000 000 on are left for scoring.
    """
    from napari_marrow.simulation.nuclei_frames import nuclei_frames

    examples: list[Example] = []
    number = 1000 * seed
    while len(examples) < n:
        frames = nuclei_frames(number, channel=channel)
        examples += [make_example(f.image.astype(np.float32), f.labels, simulated=True) for f in frames]
        number += 1
    return examples[:n]


def make_example(image: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], *, simulated: bool = False) -> Example:
    """Return a training example of an image with labels: normalised, with flows and the median diameter."""
    from napari_marrow.segmentation.augmentation import Example

    low, high = np.percentile(image, (1, 99))
    image = (image - low) / max(float(high - low), 1e-3)
    target = np.concatenate([labels_to_flows(labels), (labels > 0)[None].astype(np.float32)])
    return Example(image.astype(np.float32), target, median_diameter(labels), simulated)


def digest(pairs: Sequence[Pair]) -> str:
    """Return one checksum (SHA-256) over the names and contents of all files, in order."""
    lines = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for pair in pairs for path in pair]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
