"""From what a user types to image files: folders, and patterns that the shell did not expand."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from napari_marrow.errors import PathMissingError
from napari_marrow.pipeline.label_files import natural_key
from napari_marrow.pipeline.pictures import PICTURES

IMAGE_ENDINGS = (".tif", ".tiff", *PICTURES)
"""Name endings of images, in small letters."""


def image_paths(given: Sequence[str | Path]) -> list[Path]:
    """Return the image files that are meant, each once, in the order given; those of a folder in natural order.

    Parameters
    ----------
    given : sequence of paths
        Files, folders (their images, not those of folders within), and patterns such as ``day*/*.tif``.

    Raises
    ------
    PathMissingError
        If a folder holds no image, or a pattern fits nothing.
    """
    found: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            found += images_in(path)
        elif not path.exists() and glob.has_magic(str(path)):
            fitting = sorted((Path(p) for p in glob.glob(str(path), recursive=True)), key=natural_key)
            fitting = [p for p in fitting if p.suffix.lower() in IMAGE_ENDINGS and p.is_file()]
            if not fitting:
                raise PathMissingError(f"No image fits '{path}' ({', '.join(IMAGE_ENDINGS)}).")
            found += fitting
        else:
            found.append(path)  # whatever it is: reading it says what is wrong
    return list(dict.fromkeys(found))


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder, in natural order.

    Raises
    ------
    PathMissingError
        If it holds none.
    """
    inside = [
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_ENDINGS and p.is_file() and not p.name.startswith(".")
    ]
    if not inside:
        raise PathMissingError(f"The folder '{folder}' holds no image ({', '.join(IMAGE_ENDINGS)}).")
    return sorted(inside, key=natural_key)
