"""Step *segment*: cells of every frame by a Cellpose network, as label images."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.pipeline.executors import worker_threads
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, frame_units
from napari_marrow.pipeline.steps.correct import corrected_session
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.segmentation import Segmenter
    from napari_marrow.study import SessionImage, Study


class SegmentStep(Step):
    """Label the cells of each frame."""

    name = "segment"
    title = "Segmenting"
    version = 1
    reads = ("correct",)
    tables = ("segmentation",)

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `segment` with the checksum of the network's weights."""
        section = recipe.segment
        return {**section.model_dump(mode="json"), "weights": _segmenter(section.model, section.precision).card.sha256}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit per frame of the sessions that show what is to be segmented."""
        return [
            u for u in frame_units(study) if _channel(study.image(u.position, u.session), context.recipe) is not None
        ]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Segment one frame, write its labels, then commit its counts."""
        section, key = context.recipe.segment, context.keys[self.name]
        segmenter = _segmenter(section.model, section.precision)
        session = corrected_session(study, unit.position, unit.session, context)
        channel = _channel(session.image, context.recipe)
        spacing = session.image.spacing
        diameter = (
            section.diameter_um / spacing[2]
            if section.diameter_um is not None
            else _session_diameter(study, unit.position, unit.session, context)
        )
        volume = session.read(unit.t, channel)
        flat = volume.shape[0] == 1
        found = segmenter.segment(
            volume[0] if flat else volume,
            diameter=diameter,
            spacing=spacing[1:] if flat else spacing,
            flow_threshold=section.flow_threshold,
            cellprob_threshold=section.cellprob_threshold,
            min_size=round(section.min_area_um2 / (spacing[1] * spacing[2])),
            cancel=cancel,
        )
        labels = found.labels[None] if flat else found.labels
        study.write_labels("cells", key, unit.position, unit.session, unit.t, labels)
        row = {**unit.as_dict(), "cells": int(labels.max(initial=0)), "diameter_um": found.diameter * spacing[2]}
        study.commit(self.tables[0], key, unit.as_dict(), pd.DataFrame([row]))
        return {"cells": row["cells"]}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Name the sessions that could not be segmented, and frames without a cell."""
        channel = context.recipe.segment.channel
        missing = sorted(
            {
                (u.position, u.session)
                for u in frame_units(study)
                if _channel(study.image(u.position, u.session), context.recipe) is None
            }
        )
        notes = []
        if missing:
            where = ", ".join(f"{position} session {session}" for position, session in missing)
            notes.append(f"Not segmented, for want of a channel '{channel}' (recipe: segment.channel): {where}.")
        if study.committed(self.tables[0], context.keys[self.name]):
            table = study.table(self.tables[0], context.keys[self.name])
            empty = int((table["cells"] == 0).sum())
            if empty:
                notes.append(f"{empty} of {len(table)} frames hold no cell that the network recognised.")
        return notes


def _channel(image: SessionImage, recipe: Recipe) -> str | None:
    """Return the channel to segment; a session with a single channel has no other to mean."""
    names = [channel.name for channel in image.channels]
    if recipe.segment.channel in names:
        return recipe.segment.channel
    return names[0] if len(names) == 1 else None


@lru_cache(maxsize=4)
def _segmenter(model: str, precision: str) -> Segmenter:
    from napari_marrow.segmentation import load_segmenter

    return load_segmenter(model, precision=precision, threads=worker_threads())


_diameters: dict[tuple[str, str, int, str], float] = {}


def _session_diameter(study: Study, position: str, session: int, context: Context) -> float:
    """Return the diameter of a cell in pixels, estimated from the session's middle frame."""
    name = (str(study.path), position, session, context.keys["segment"])
    if name not in _diameters:
        corrected = corrected_session(study, position, session, context)
        channel = _channel(corrected.image, context.recipe)
        if channel is None:
            raise SettingsError(f"{position} session {session} has no channel '{context.recipe.segment.channel}'.")
        volume = corrected.read(int(corrected.image.shape[0]) // 2, channel)
        section = context.recipe.segment
        segmenter = _segmenter(section.model, section.precision)
        _diameters[name] = segmenter.estimate_diameter(volume.max(axis=0))
    return _diameters[name]
