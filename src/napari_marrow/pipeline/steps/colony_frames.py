"""The colonies of one frame: a mask and a row for each, and the colony of every cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.pipeline.pixel_classes import class_mask
from napari_marrow.pipeline.step import Context, Unit
from napari_marrow.pipeline.steps.correct import CorrectedSession
from napari_marrow.pipeline.steps.structures import structure_masks

if TYPE_CHECKING:
    from napari_marrow.imaging import Transform
    from napari_marrow.segmentation import ColonyMasks
    from napari_marrow.study import Study

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class ColonyFrame:
    """The colonies of one frame.

    Attributes
    ----------
    labels : int32 array, shape (Z, Y, X)
        Number of the colony, 0 for none.
    table : DataFrame
        A row per colony, numbered alike.
    of_cell : int32 array
        Colony of each cell, in the order of the table of cells; 0 for none.
    """

    labels: Labels
    table: pd.DataFrame
    of_cell: npt.NDArray[np.int32]

    def numbered_from(self, first: int) -> ColonyFrame:
        """Return the same colonies with numbers that begin after `first`."""
        return ColonyFrame(
            np.where(self.labels > 0, self.labels + first, 0).astype(np.int32),
            self.table.assign(colony=self.table["colony"] + first),
            np.where(self.of_cell > 0, self.of_cell + first, 0).astype(np.int32),
        )


def colonies_of_frame(
    study: Study, unit: Unit, context: Context, session: CorrectedSession, cells: pd.DataFrame, place: Transform
) -> ColonyFrame:
    """Find the colonies of a frame in the way that the recipe asks for.

    Parameters
    ----------
    study : Study
    unit : Unit
        The frame.
    context : Context
    session : CorrectedSession
    cells : DataFrame
        The frame's cells with their lineages.
    place : Transform
        From the frame's coordinates to those of the position's first session.
    """
    from_cells = context.recipe.colonies.source == "cells"
    if from_cells:
        masks, of_cell = _from_cells(study, unit, context, session, cells)
    else:
        masks = _from_pixels(study, unit, context, session)
        of_cell = _cells_inside(masks.labels, cells, session)
    labels = masks.labels.reshape(session.image.shape[2:])
    table = _rows(labels, masks.table, cells, of_cell, context, session)
    if not from_cells:  # of cells, the mean of what the step measure registered
        centres = place.apply(table[["y", "x"]].to_numpy(np.float64).reshape(-1, 2))
        table = table.assign(y_reg=centres[:, 0], x_reg=centres[:, 1])
    return ColonyFrame(labels, table, of_cell)


def _from_cells(
    study: Study, unit: Unit, context: Context, session: CorrectedSession, cells: pd.DataFrame
) -> tuple[ColonyMasks, npt.NDArray[np.int32]]:
    from napari_marrow.segmentation import cluster_colonies, colonies_from_cells

    section = context.recipe.colonies
    flat = session.image.shape[2] == 1
    points = cells[["y", "x"] if flat else ["z", "y", "x"]].to_numpy(np.float64)
    colony = cluster_colonies(points, distance=section.distance_um, min_cells=section.min_cells)
    key = context.keys["paint"]
    if study.has_labels("cells", key, unit.position, unit.session):
        labels = study.labels("cells", key, unit.position, unit.session).read(unit.t)
    else:  # a session without the channel that shows cells
        labels = np.zeros(session.image.shape[2:], dtype=np.int32)
    lookup = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int32)
    lookup[cells["label"].to_numpy(np.int64)] = colony
    masks = colonies_from_cells(
        labels[0] if flat else labels, lookup, spacing=session.image.spacing, gap=section.distance_um
    )
    return masks, colony


def _from_pixels(study: Study, unit: Unit, context: Context, session: CorrectedSession) -> ColonyMasks:
    from napari_marrow.segmentation import colonies_from_brightfield, colonies_from_channel

    section = context.recipe.colonies
    flat = session.image.shape[2] == 1
    spacing = session.image.spacing[1:] if flat else session.image.spacing

    def read(channel: str) -> npt.NDArray[np.float32]:
        volume = session.read(unit.t, channel)
        return volume[0] if flat else volume

    if section.source == "classifier":
        if section.classifier is None:
            raise SettingsError("Colonies by a classifier need its file (recipe: colonies.classifier).")
        mask, _ = class_mask(section.classifier, "colonies", read, available=session.channels, spacing=spacing)
        # A mask is as good an image as any: what is bright is colony.
        return colonies_from_channel(mask, spacing=spacing, gap=section.distance_um, smoothing=1e-3)
    masks = structure_masks(study, unit, context)
    within = np.ones(session.image.shape[2:], dtype=np.bool_)
    if "organoid" in masks:
        within &= masks["organoid"] > 0
    if "scaffold" in masks:
        within &= masks["scaffold"] == 0
    inside = within[0] if flat else within
    if section.source == "brightfield":
        return colonies_from_brightfield(
            read(_brightfield(session)), spacing=spacing, within=inside, gap=section.distance_um
        )
    return colonies_from_channel(read(section.channel), spacing=spacing, within=inside, gap=section.distance_um)


def source_channel(session: CorrectedSession, context: Context) -> bool:
    """Return whether a session shows what colonies are found in."""
    section = context.recipe.colonies
    if section.source == "brightfield":
        return any(channel.role == "brightfield" for channel in session.image.channels)
    return section.source != "channel" or section.channel in session.channels


def _brightfield(session: CorrectedSession) -> str:
    return next(channel.name for channel in session.image.channels if channel.role == "brightfield")


def _cells_inside(labels: Labels, cells: pd.DataFrame, session: CorrectedSession) -> npt.NDArray[np.int32]:
    """Return the colony at each cell's centroid."""
    axes = ["y", "x"] if labels.ndim == 2 else ["z", "y", "x"]
    size = session.image.spacing[-labels.ndim :]
    at = tuple(
        np.clip(np.rint(cells[axis].to_numpy(np.float64) / s).astype(np.intp), 0, n - 1)
        for axis, s, n in zip(axes, size, labels.shape, strict=True)
    )
    inside: npt.NDArray[np.int32] = labels[at]
    return inside


def _rows(
    labels: Labels,
    masks: pd.DataFrame,
    cells: pd.DataFrame,
    of_cell: npt.NDArray[np.int32],
    context: Context,
    session: CorrectedSession,
) -> pd.DataFrame:
    """Return a row per colony; its area is that of its mask, seen from above."""
    pixel = float(session.image.spacing[1] * session.image.spacing[2])
    lineages = sorted(context.recipe.lineage.markers)
    rows = []
    for mask in masks.to_dict("records"):
        number = int(mask["colony"])
        inside = cells[of_cell == number]
        area = float((labels == number).any(axis=0).sum()) * pixel
        row: dict[str, Any] = {
            "colony": number,
            "area": area,
            "radius": float(np.sqrt(area / np.pi)),
            "n_cells": len(inside),
        }
        centre = inside if context.recipe.colonies.source == "cells" else pd.DataFrame([mask])
        row |= {name: float(centre[name].mean()) if name in centre else np.nan for name in ("y", "x", "y_reg", "x_reg")}
        row |= {f"fraction_{k}": float((inside["lineage"] == k).mean()) if len(inside) else 0.0 for k in lineages}
        row["contrast"] = float(mask["contrast"])
        rows.append(row)
    columns = ["colony", "area", "radius", "n_cells", "y", "x", "y_reg", "x_reg", *(f"fraction_{n}" for n in lineages)]
    columns.append("contrast")
    # without a colony the columns would have no type of their own
    whole = {"colony": "int64", "n_cells": "int64"}
    return pd.DataFrame(rows, columns=columns).astype({c: whole.get(c, "float64") for c in columns})
