"""Step *colonies*: colonies in each session, and their identity across sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_marrow.imaging import Transform
from napari_marrow.pipeline.colony_identity import colony_notes, linked_colonies
from napari_marrow.pipeline.pixel_classes import classifier_digest
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, position_units
from napari_marrow.pipeline.steps.classify import classified_cells
from napari_marrow.pipeline.steps.colony_frames import colonies_of_frame, source_channel
from napari_marrow.pipeline.steps.correct import CorrectedSession
from napari_marrow.pipeline.steps.frames import key_frames
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import COLONIES, COLONY_EDGES

if TYPE_CHECKING:
    from napari_marrow.study import Study


class ColoniesStep(Step):
    """Find colonies at each session's first and last frame, as masks and rows, and follow them over the gaps."""

    name = "colonies"
    title = "Following colonies"
    version = 4
    reads = ("quality", "correct", "register", "paint", "measure", "classify", "structures")
    tables = ("colonies", "colony_edges", "found_colony_edges", "colony_members", "session_links")
    unit_tables = tables
    labels = ("colonies",)
    whole_study = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `colonies`, with the checksum of its classifier, and the lineages."""
        section = recipe.colonies
        chosen = section.model_dump(mode="json")
        chosen["classifier"] = classifier_digest(section.classifier) if section.source == "classifier" else None
        return {**chosen, "lineages": sorted(recipe.lineage.markers)}

    def state(self, study: Study) -> dict[str, Any]:
        """Return the fingerprint of the standing edits of colonies."""
        digest = study.edits().digest("colonies")
        return {"edits": digest} if digest else {}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return the positions with measured cells."""
        measured = {unit["position"] for unit in study.committed("cells", context.keys["measure"])}
        return [unit for unit in position_units(study) if unit.position in measured]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Find and link the colonies of one position."""
        key = context.keys[self.name]
        cells = classified_cells(study, context, unit)
        tables, members = _frames_of(study, unit, cells, context, cancel)
        linked = linked_colonies(study, unit.position, tables, context)
        colonies = linked.colonies
        study.commit("found_colony_edges", key, unit.as_dict(), COLONY_EDGES.conform(linked.found_edges))
        study.commit("colony_edges", key, unit.as_dict(), COLONY_EDGES.conform(linked.edges))
        study.commit("colony_members", key, unit.as_dict(), members)
        study.commit("session_links", key, unit.as_dict(), linked.session_links)
        study.commit(self.tables[0], key, unit.as_dict(), COLONIES.conform(colonies), extra={"notes": linked.notes})
        return {"colonies": int(colonies["colony_id"].nunique())}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Say what was refused and why, which wells look swapped, and which edits no longer fit."""
        return colony_notes(study, context.keys[self.name], context.recipe.seed)


def _frames_of(
    study: Study, unit: Unit, cells: pd.DataFrame, context: Context, cancel: CancelToken
) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Write the masks of each chosen frame; return its colonies, numbered within their session, and their cells."""
    tables, members = [], [cells.iloc[:0][["position", "session", "t", "label"]].assign(colony=np.int64(0))]
    for number in study.sessions(unit.position):
        session = CorrectedSession(study, unit.position, number, context)
        if not source_channel(session, context):
            continue
        places = study.table(
            "transforms", context.keys["register"], unit={"position": unit.position, "session": number}
        ).set_index("t")
        numbered = 0
        for t in key_frames(study, unit.position, number, context):
            cancel.raise_if_cancelled()
            here = cells[(cells["session"] == number) & (cells["t"] == t)]
            frame = Unit(unit.position, number, t)
            place = Transform.from_row(places.loc[[t]].iloc[0])
            found = colonies_of_frame(study, frame, context, session, here, place).numbered_from(numbered)
            study.write_labels("colonies", context.keys[ColoniesStep.name], unit.position, number, t, found.labels)
            hours = float(session.image.times_h[t])
            table = found.table.assign(position=unit.position, session=number, t=t, time_h=hours)
            table.attrs.update(session=number, time_h=hours)
            tables.append(table)
            inside = here.loc[found.of_cell > 0, ["position", "session", "t", "label"]]
            members.append(inside.assign(colony=found.of_cell[found.of_cell > 0].astype(np.int64)))
            numbered += len(found.table)
    return tables, pd.concat(members, ignore_index=True)
