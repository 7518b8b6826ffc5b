"""Painted labels into the study: a frame of them, or all that a layer holds. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow.errors import SettingsError
from napari_marrow.gui.paintable_labels import PaintableLabels

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_marrow.study.edits import Entry


@dataclass(frozen=True)
class FramePlace:
    """Where a stroke belongs."""

    study: Path
    position: str
    session: int
    t: int


def keep_frame(place: FramePlace, labels: npt.ArrayLike, author: str) -> tuple[list[Entry], list[Entry]]:
    """Keep a frame's labels; return what was made of it in the journal, and what stands on the frame now.

    Parameters
    ----------
    place : FramePlace
    labels : array of int, shape (Z, Y, X)
        All labels of the frame, as the study keeps them.
    author : str
    """
    from napari_marrow.pipeline.painting import keep_painted, painted_entries
    from napari_marrow.study import Study

    made = keep_painted(place.study, place.position, place.session, place.t, labels, author)
    study = Study.open(place.study)
    strokes = painted_entries(study, study.active.get("segment", ""))
    return made, strokes.get((place.position, place.session, place.t), [])


def write_cells(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save the cells of a study, or a copy of that layer, into the study: every frame that was painted in.

    Each frame is an entry of the journal, as a stroke in the dock is, and can be undone like one.

    Parameters
    ----------
    path : str
        The study's folder, or any name in it.
    data : PaintableLabels
    attributes : dict
        Of the layer, as napari hands them over.

    Returns
    -------
    list of str
        The study's folder.

    Raises
    ------
    SettingsError
        If the layer is no study's, or the path is not its study.
    StudyLockedError
        If a run or another program writes to the study.
    """
    from napari_marrow.study.process import user_name

    name, about = attributes.get("name", ""), attributes.get("metadata", {}).get("marrow", {})
    if not isinstance(data, PaintableLabels) or about.get("role") != "cells":
        raise SettingsError(
            f"'{name}' does not come from a study, and none can take it: correct the layer Cells of the opened study, "
            "or give a name that ends in .tif."
        )
    study, wanted = Path(about["study"]), Path(path)
    if study.resolve() not in (wanted.resolve(), wanted.parent.resolve()):
        raise SettingsError(f"'{path}' is not the study of '{name}': save it into '{study}'.")
    for t in data.touched:
        change, shown = data.draft(t)
        place = FramePlace(study, about["position"], about["session"], t)
        _, strokes = keep_frame(place, data.to_keep(t, shown), user_name())
        data.settle(t, change, strokes)
    return [str(study)]
