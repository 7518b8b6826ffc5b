"""Step *structures*: organoid, scaffold, vessels and others as label images, at the frames that stand for a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_marrow.pipeline.pixel_classes import classifier_digest
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.pipeline.steps.correct import CorrectedSession, corrected_session
from napari_marrow.pipeline.steps.frames import key_frames
from napari_marrow.pipeline.steps.structure_masks import FINE, Found, bright_structures, find_structures
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import STRUCTURES

if TYPE_CHECKING:
    from napari_marrow.segmentation import ScaffoldThreshold
    from napari_marrow.study import Study

THRESHOLD_FRAMES = 12
"""Frames that the scaffold's threshold of a session is estimated from, at most."""


class StructuresStep(Step):
    """Find the structures of each session's first and last frame, and in between at the recipe's spacing."""

    name = "structures"
    title = "Finding structures"
    version = 1
    reads = ("quality", "correct")
    tables = ("structures", "scaffold_thresholds", "pericytes_thresholds", "stroma_thresholds")
    labels = ("organoid", "scaffold", "vessels", "pericytes", "stroma")
    by_frame = True

    def label_images(self, study: Study, key: str, unit: Mapping[str, Any]) -> list[str]:
        """Return the structures that the unit's rows name."""
        return [str(name) for name in study.table(self.tables[0], key, unit=unit)["structure"]]

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `structures`, what `niche` says of vessels and times, and checksums of classifiers."""
        section, niche = recipe.structures, recipe.niche
        files = {
            name: classifier_digest(getattr(section, f"{name}_classifier"))
            for name in ("organoid", "scaffold", "vessel")
        }
        chosen = {name: getattr(niche, name) for name in ("vessel_channel", "vessel_radii_um", "every_h")}
        return {**section.model_dump(mode="json"), **chosen, "classifiers": files}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return the chosen frames of every session."""
        every = context.recipe.niche.every_h
        return [
            Unit(u.position, u.session, t)
            for u in session_units(study)
            for t in key_frames(study, u.position, u.session, context, every_h=every)
        ]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Find the structures of one frame, write a label image of each, then commit what they measure."""
        key = context.keys[self.name]
        session = corrected_session(study, unit.position, unit.session, context)
        found = find_structures(
            session,
            unit.t,
            context.recipe,
            threshold=lambda name: session_threshold(study, session, unit.session, context, name),
            cancel=cancel,
        )
        for structure in found:
            labels = structure.labels.reshape(session.image.shape[2:])
            study.write_labels(structure.name, key, unit.position, unit.session, unit.t, labels)
        place = {**unit.as_dict(), "time_h": float(session.image.times_h[unit.t])}
        rows = pd.DataFrame([{**place, **structure.row()} for structure in found])
        table = STRUCTURES.conform(rows) if len(rows) else STRUCTURES.empty()
        study.commit(self.tables[0], key, unit.as_dict(), table)
        return {structure.name: structure.count for structure in found}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Say where vessels could not be looked for, and where the organoid's outline did not show."""
        channel = context.recipe.niche.vessel_channel
        without = [
            f"{u.position} session {u.session}"
            for u in session_units(study)
            if channel not in [c.name for c in study.image(u.position, u.session).channels]
        ]
        notes = []
        if without and context.recipe.structures.vessel_classifier is None:
            notes.append(f"No channel '{channel}' (recipe: niche.vessel_channel) in {', '.join(without)}.")
        if study.committed(self.tables[0], context.keys[self.name]):
            table = study.table(self.tables[0], context.keys[self.name])
            outlines = table[table["structure"] == "organoid"]
            whole = int((outlines["share"] >= 1).sum())
            if whole:
                notes.append(f"In {whole} of {len(outlines)} frames the tissue fills the field, or does not show.")
        return notes


def structure_masks(study: Study, unit: Unit, context: Context) -> dict[str, Any]:
    """Return the label images (Z, Y, X) that the step wrote for a frame, by name."""
    key = context.keys[StructuresStep.name]
    table = study.table("structures", key, unit=unit.as_dict())
    names = table.loc[table["t"] == unit.t, "structure"]
    return {name: study.labels(name, key, unit.position, unit.session).read(unit.t) for name in names}


def session_threshold(
    study: Study, session: CorrectedSession, number: int, context: Context, structure: str = "scaffold"
) -> ScaffoldThreshold:
    """Return a structure's threshold of a session, over all positions: from its record, or estimated and recorded.

    Workers that estimate it at the same time find the same value.
    """
    from napari_marrow.segmentation import ScaffoldThreshold, scaffold_threshold
    from napari_marrow.segmentation.scaffold import SMOOTHING

    key, unit, table = context.keys[StructuresStep.name], {"session": number}, f"{structure}_thresholds"
    if study.is_committed(table, key, unit):
        row = study.table(table, key, unit=unit).iloc[0]
        return ScaffoldThreshold(float(row["value"]), float(row["separation"]), int(row["n_frames"]))
    channel = bright_structures(context.recipe).get(structure, context.recipe.structures.scaffold_channel)
    spacing = session.image.spacing
    holders = []
    for position in study.positions:
        if number in study.sessions(position):
            other = CorrectedSession(study, position, number, context)
            if channel in other.channels and other.image.spacing == spacing:
                holders.append(other)
    each = max(1, THRESHOLD_FRAMES // len(holders))
    frames = (
        other.read(int(t), channel)
        for other in holders[:THRESHOLD_FRAMES]
        for t in np.unique(np.linspace(0, other.image.shape[0] - 1, min(each, other.image.shape[0])).round())
    )
    flat = session.image.shape[2] == 1
    found = scaffold_threshold(
        (frame[0] if flat else frame for frame in frames),
        spacing=spacing,
        smoothing=SMOOTHING if structure == "scaffold" else FINE,
    )
    record = {"session": number, "value": found.value, "separation": found.separation, "n_frames": found.n_frames}
    study.commit(table, key, unit, pd.DataFrame([record]))
    return found


__all__ = ["Found", "StructuresStep", "session_threshold", "structure_masks"]
