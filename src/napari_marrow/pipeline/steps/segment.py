"""Step *segment*: cells of every frame by a Cellpose network, as label images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.pipeline.executors import worker_threads
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.recipe_sections import SegmentSection
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, frame_units
from napari_marrow.pipeline.steps.correct import corrected_session
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.segmentation import Segmentation, Segmenter
    from napari_marrow.study import SessionImage, Study


class SegmentStep(Step):
    """Label the cells of each frame."""

    name = "segment"
    title = "Segmenting"
    version = 1
    reads = ("correct",)
    tables = ("segmentation",)
    labels = ("cells",)
    by_frame = True

    def label_images(self, study: Study, key: str, unit: Mapping[str, Any]) -> list[str]:
        """Return ``cells``: every segmented frame has labels, if only empty ones."""
        return ["cells"]

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `segment` with the checksum of the network's weights."""
        section = recipe.segment
        return {**section.model_dump(mode="json"), "weights": _segmenter(section).card.sha256}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit per frame of the sessions that show what is to be segmented."""
        return [u for u in frame_units(study) if _channels(study.image(u.position, u.session), context.recipe)]

    def chain(self, unit: Unit, context: Context) -> Hashable:
        """Return the unit, or a block of frames where they mend each other, so that few are segmented twice."""
        return (unit.position, unit.session, unit.t // _BLOCK) if context.recipe.segment.repair else unit

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Segment one frame, write its labels, then commit its counts."""
        key = context.keys[self.name]
        spacing = study.image(unit.position, unit.session).spacing
        if context.recipe.segment.repair:
            found, repaired = _mended(study, unit, context, cancel)
        else:
            found, repaired = _segmented(study, unit, context, cancel), 0
        labels = found.labels[None] if found.labels.ndim == 2 else found.labels
        study.write_labels("cells", key, unit.position, unit.session, unit.t, labels)
        row = {**unit.as_dict(), "cells": int(labels.max(initial=0)), "diameter_um": found.diameter * spacing[2]}
        study.commit(self.tables[0], key, unit.as_dict(), pd.DataFrame([row]))
        return {"cells": row["cells"], **({"repairs": repaired} if context.recipe.segment.repair else {})}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Name the sessions that could not be segmented, and frames without a cell."""
        section = context.recipe.segment
        missing = sorted(
            {
                (u.position, u.session)
                for u in frame_units(study)
                if not _channels(study.image(u.position, u.session), context.recipe)
            }
        )
        notes = []
        if missing:
            where = ", ".join(f"{position} session {session}" for position, session in missing)
            wanted = f"a channel '{section.channel}' (recipe: segment.channel)"
            if section.second_channel is not None:
                wanted += f" and '{section.second_channel}' (segment.second_channel)"
            notes.append(f"Not segmented, for want of {wanted}: {where}.")
        if study.committed(self.tables[0], context.keys[self.name]):
            table = study.table(self.tables[0], context.keys[self.name])
            empty = int((table["cells"] == 0).sum())
            if empty:
                notes.append(f"{empty} of {len(table)} frames hold no cell that the network recognised.")
        return notes


def _segmented(study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Segmentation:
    """Segment one frame."""
    section = context.recipe.segment
    segmenter = _segmenter(section)
    session = corrected_session(study, unit.position, unit.session, context)
    spacing = session.image.spacing
    diameter = None
    if section.diameter_um is not None:
        diameter = section.diameter_um / spacing[2]
    elif segmenter.needs_diameter:
        diameter = _session_diameter(study, unit.position, unit.session, context)
    volumes = [session.read(unit.t, channel) for channel in _channels(session.image, context.recipe)]
    flat = volumes[0].shape[0] == 1
    images = [volume[0] if flat else volume for volume in volumes]
    return segmenter.segment(
        images[0],
        second=images[1] if len(images) > 1 else None,
        diameter=diameter,
        spacing=spacing[1:] if flat else spacing,
        flow_threshold=section.flow_threshold,
        cellprob_threshold=section.cellprob_threshold,
        min_size=round(section.min_area_um2 / (spacing[1] * spacing[2])),
        volume_mode=section.volume_mode,
        flow_smoothing=section.flow_smoothing,
        return_probability=section.repair,
        cancel=cancel,
    )


_BLOCK = 12  # not above `shares.BLOCK`, so that a block stays in one share
"""Frames that one process segments one after the other where they mend each other."""
_recent: OrderedDict[tuple[str, str, Unit], Segmentation] = OrderedDict()


def _mended(study: Study, unit: Unit, context: Context, cancel: CancelToken) -> tuple[Segmentation, int]:
    """Segment a frame and mend it by its neighbours; return how many repairs were made.

    A unit depends on nothing but images, so that units may come in any order; the last three frames are kept, since the
    next unit of a block needs two of them.
    """
    from napari_marrow.segmentation.temporal_repair import repair_frame

    n_frames = int(study.image(unit.position, unit.session).shape[0])
    frames = []
    for t in (unit.t - 1, unit.t, unit.t + 1):
        if not 0 <= t < n_frames:
            continue
        at = replace(unit, t=t)
        name = (str(study.path), context.keys["segment"], at)
        found = _recent.pop(name, None) or _segmented(study, at, context, cancel)
        frames.append(found)
        _recent[name] = found
    while len(_recent) > 3:
        _recent.popitem(last=False)
    found = frames[min(unit.t, 1)]
    if len(frames) < 3 or found.probability is None:
        return found, 0
    before, _, after = (frame.labels for frame in frames)
    labels, repairs = repair_frame(before, found.labels, after, found.probability, t=unit.t)
    return replace(found, labels=labels), len(repairs)


def _channels(image: SessionImage, recipe: Recipe) -> list[str]:
    """Return the channel to segment and, if the recipe names one, the second; empty if the session lacks one of them.

    A session with a single channel has no other to mean.
    """
    names = [channel.name for channel in image.channels]
    section = recipe.segment
    first = section.channel if section.channel in names or len(names) > 1 else names[0]
    wanted = [first] if section.second_channel is None else [first, section.second_channel]
    return wanted if set(wanted) <= set(names) else []


def _segmenter(section: SegmentSection) -> Segmenter:
    return _loaded(section.model, section.device, section.precision, worker_threads())


@lru_cache(maxsize=4)
def _loaded(model: str, device: str, precision: str, threads: int | None) -> Segmenter:
    from napari_marrow.segmentation import load_segmenter

    return load_segmenter(model, device=device, precision=precision, threads=threads)


_diameters: dict[tuple[str, str, int, str], float] = {}


def _session_diameter(study: Study, position: str, session: int, context: Context) -> float:
    """Return the diameter of a cell in pixels, estimated from the session's middle frame."""
    name = (str(study.path), position, session, context.keys["segment"])
    if name not in _diameters:
        corrected = corrected_session(study, position, session, context)
        channels = _channels(corrected.image, context.recipe)
        if not channels:
            raise SettingsError(f"{position} session {session} has no channel '{context.recipe.segment.channel}'.")
        middle = int(corrected.image.shape[0]) // 2
        planes = [corrected.read(middle, channel).max(axis=0) for channel in channels]
        _diameters[name] = _segmenter(context.recipe.segment).estimate_diameter(
            planes[0], second=planes[1] if len(planes) > 1 else None
        )
    return _diameters[name]
