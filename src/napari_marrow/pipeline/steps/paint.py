"""Step *paint*: the segmented labels with what a person painted over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_marrow.errors import UserError
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.segment import SegmentStep
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_marrow.study import Study
    from napari_marrow.study.edits import Entry


class PaintStep(Step):
    """Put strokes over the labels they were painted on; without any, the labels are those of the step *segment*.

    A frame that nobody painted in shares its files with the segmentation.
    """

    name = "paint"
    title = "Applying painted labels"
    version = 1
    reads = ("segment",)
    tables = ("segmentation",)
    labels = ("cells",)
    by_frame = True
    stands_for = "segment"

    def label_images(self, study: Study, key: str, unit: Mapping[str, Any]) -> list[str]:
        """Return ``cells``."""
        return ["cells"]

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return nothing: the recipe has no say in it."""
        return {}

    def state(self, study: Study) -> dict[str, Any]:
        """Return the fingerprint of the standing strokes."""
        digest = study.edits().digest("labels")
        return {"strokes": digest} if digest else {}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return every segmented frame if somebody painted in one."""
        if context.keys[self.name] == context.keys["segment"]:
            return []
        return SegmentStep().plan(study, context)

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Write the labels of one frame, then commit its counts."""
        from napari_marrow.pipeline.painting import fingerprint, painted

        key, base = context.keys[self.name], context.keys["segment"]
        where = (unit.position, unit.session, unit.t)
        row = study.table(self.tables[0], base, unit=unit.as_dict())
        entries = _strokes(study, context).get(where, [])
        note = ""
        if entries:
            found = study.labels("cells", base, unit.position, unit.session).read(unit.t)
            try:
                labels = painted(found, entries)
                row = row.assign(cells=len(np.unique(labels[labels > 0])))
            except UserError as error:
                note, entries, labels = f"What was painted in {unit} was left out: {error}", [], found
            study.write_labels("cells", key, *where, labels)
        else:
            study.share_labels("cells", base, key, *where)
        study.commit(self.tables[0], key, unit.as_dict(), row, extra={"strokes": fingerprint(entries), "note": note})
        return {"painted_frames": int(bool(entries))}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Say which strokes belong to another segmentation."""
        key, base = context.keys[self.name], context.keys["segment"]
        if key == base:
            return []
        standing = study.edits().standing(target="labels")
        others = [e for e in standing if e.action.get("segmentation") != base]
        notes = []
        if others:
            frames = len({(e.position, e.action["session"], e.action["t"]) for e in others})
            notes.append(
                f"{len(others)} painted stroke(s) in {frames} frame(s) were left out: they were painted on labels of "
                "another recipe or model."
            )
        for unit in study.committed(self.tables[0], key) if computed else ():
            note = study.commit_record(self.tables[0], key, unit)["extra"].get("note")
            if note:
                notes.append(str(note))
        return notes


def strokes_of(study: Study, unit: Unit, context: Context) -> str:
    """Return the fingerprint of what was painted in a frame, empty for nothing."""
    key = context.keys["paint"]
    if key == context.keys["segment"]:
        return ""
    return str(study.commit_record("segmentation", key, unit.as_dict())["extra"].get("strokes", ""))


_read: dict[tuple[str, str], dict[tuple[str, int, int], list[Entry]]] = {}


def _strokes(study: Study, context: Context) -> dict[tuple[str, int, int], list[Entry]]:
    """Return the strokes by frame; the journal is read once for a state of it."""
    from napari_marrow.pipeline.painting import painted_entries

    name = (str(study.path), context.keys["paint"])
    if name not in _read:
        _read.clear()
        _read[name] = painted_entries(study, context.keys["segment"])
    return _read[name]
