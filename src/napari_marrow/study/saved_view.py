"""The view that is kept with a study: where the camera stands, and what is clipped. No result depends on it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_marrow.errors import CorruptDataError
from napari_marrow.study.durable import read_document, write_document

VIEW = "view.json"
"""Its file in the folder of the study."""
_AXES = ("z", "y", "x")


@dataclass(frozen=True)
class SavedView:
    """A camera and a slab.

    Attributes
    ----------
    in_3d : bool
        Whether the session is shown as a volume.
    centre : (float, float, float)
        What the camera looks at: z, y, x in µm.
    zoom : float
        Pixels of the canvas per µm.
    angles : (float, float, float)
        Euler angles of the camera as napari has them, degrees.
    perspective : float
        Field of view, degrees; 0 for a parallel projection.
    clip_axis : str
        Axis along which is clipped: z, y or x.
    clip_low, clip_high : float
        What is shown along it, as shares of the extent, 0 to 1.
    clipped : bool
        Whether anything is clipped.
    """

    in_3d: bool
    centre: tuple[float, float, float]
    zoom: float
    angles: tuple[float, float, float]
    perspective: float = 0.0
    clip_axis: str = "z"
    clip_low: float = 0.0
    clip_high: float = 1.0
    clipped: bool = False


def save_view(study: Path, view: SavedView) -> None:
    """Keep a view with a study, in place of the one before.

    It needs no lock: one small file is replaced at once, and no step reads it.

    Parameters
    ----------
    study : Path
        The ``*.marrow`` folder.
    view : SavedView

    Raises
    ------
    StorageError
        If the folder cannot be written to.
    """
    write_document(study / VIEW, asdict(view))


def read_view(study: Path) -> SavedView | None:
    """Return the view that is kept with a study, None where there is none.

    Raises
    ------
    CorruptDataError
        If the file is damaged, or holds no view.
    """
    path = study / VIEW
    if not path.is_file():
        return None
    document = read_document(path)
    try:
        return _view_of(document)
    except (KeyError, TypeError, ValueError):
        raise CorruptDataError(f"'{path}' holds no view: save the view again, or delete the file.") from None


def _view_of(document: dict[str, Any]) -> SavedView:
    view = SavedView(
        bool(document["in_3d"]),
        _three(document["centre"]),
        float(document["zoom"]),
        _three(document["angles"]),
        float(document["perspective"]),
        str(document["clip_axis"]),
        float(document["clip_low"]),
        float(document["clip_high"]),
        bool(document["clipped"]),
    )
    numbers = (*view.centre, *view.angles, view.zoom, view.perspective)
    if not all(map(math.isfinite, numbers)) or view.zoom <= 0 or not 0 <= view.perspective < 180:
        raise ValueError
    if view.clip_axis not in _AXES or not 0 <= view.clip_low <= view.clip_high <= 1:
        raise ValueError
    return view


def _three(values: Any) -> tuple[float, float, float]:
    z, y, x = (float(v) for v in values)
    return z, y, x
