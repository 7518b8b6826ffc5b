"""Tracks that were edited in another program, brought back into a study as edits of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_marrow.errors import EditError
from napari_marrow.export.geff import geff_points
from napari_marrow.pipeline.edits import edit_study, standing_graph
from napari_marrow.tracking.edit_graph import Node
from napari_marrow.tracking.graph_difference import edits_towards

if TYPE_CHECKING:
    import pandas as pd

    from napari_marrow.study.edits import Entry

_NAMES = ("session", "t", "label")


def edit_study_by_graph(
    study_path: Path | str, folder: Path, position: str, *, author: str | None = None
) -> list[Entry]:
    """Put into a study's journal what a graph of its cells' tracks has otherwise, as one step.

    Parameters
    ----------
    study_path : path
    folder : Path
        GEFF graph with the properties ``session`` and ``label`` that `marrow export --as geff` gives every node.
    position : str
    author : str, optional
        By default the user's name on this machine.

    Returns
    -------
    list of Entry
        None where nothing differs.

    Raises
    ------
    PathMissingError, InputFileError
        If there is no such graph.
    EditError
        If it is not of this position's cells, or holds tracks that cells cannot have; then nothing is kept.
    """
    from napari_marrow.study import Study

    study = Study.open(study_path)
    if position not in study.positions:
        raise EditError(f"There is no position '{position}': the study has {', '.join(study.positions)}.")
    points, links = geff_points(folder)
    _require_same_place(folder, position)
    nodes = _cells(folder, points)
    pairs = {(nodes[a], nodes[b]) for a, b in links[["source", "target"]].itertuples(index=False, name=None)}
    try:
        actions = edits_towards(standing_graph(study, position, "cells"), set(nodes), pairs)
    except EditError as error:
        raise EditError(f"{folder} cannot be brought in: {error}") from error
    found: list[dict[str, Any]] = [{"position": position, **action.as_dict()} for action in actions]
    return edit_study(study_path, found, author=author) if found else []


def _cells(folder: Path, points: pd.DataFrame) -> list[Node]:
    lacking = [name for name in _NAMES if name not in points]
    if lacking:
        raise EditError(
            f"{folder} has no property '{lacking[0]}', which tells its cells apart: edit what `marrow export --as "
            "geff` wrote, and keep its properties."
        )
    values = points[list(_NAMES)].to_numpy(np.float64)
    if not np.isfinite(values).all() or (values % 1 != 0).any():
        raise EditError(
            f"{folder} has cells without session, frame or label: new cells are painted in the study, and linked after "
            "the next run."
        )
    nodes = [Node(*map(int, row)) for row in values]
    if len(set(nodes)) < len(nodes):
        raise EditError(f"{folder} holds a label of a frame twice: every cell has one node.")
    return nodes


def _require_same_place(folder: Path, position: str) -> None:
    """Refuse the graph of another position, where it says whose it is; other programs may drop that."""
    import zarr

    metadata: Any = zarr.open_group(folder, mode="r").attrs["geff"]
    extra = metadata.get("extra")
    about = extra.get("napari_marrow") if isinstance(extra, dict) else None
    theirs = about.get("position") if isinstance(about, dict) else None
    if theirs is not None and theirs != position:
        raise EditError(f"{folder} holds the tracks of '{theirs}', not of '{position}'.")
