"""Step *colonies*: colonies in each session, and their identity across sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, position_units
from napari_marrow.pipeline.steps.classify import classified_cells
from napari_marrow.pipeline.steps.frames import key_frames
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import COLONIES, COLONY_EDGES

if TYPE_CHECKING:
    from napari_marrow.study import Study


class ColoniesStep(Step):
    """Group cells into colonies at each session's first and last frame, and follow the colonies over the gaps."""

    name = "colonies"
    title = "Following colonies"
    version = 1
    reads = ("register", "measure", "classify")
    tables = ("colonies", "colony_edges", "colony_members")
    whole_study = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `colonies` and the lineages."""
        return {**recipe.colonies.model_dump(mode="json"), "lineages": sorted(recipe.lineage.markers)}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return the positions with measured cells."""
        measured = {unit["position"] for unit in study.committed("cells", context.keys["measure"])}
        return [unit for unit in position_units(study) if unit.position in measured]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Find and link the colonies of one position."""
        from napari_marrow.tracking import link_colonies

        section, key = context.recipe.colonies, context.keys[self.name]
        cells = classified_cells(study, context, unit)
        transforms = study.table("transforms", context.keys["register"], unit=unit.as_dict())
        tables, members = [], []
        for session in study.sessions(unit.position):
            cancel.raise_if_cancelled()
            numbered = 0
            for t in key_frames(study, unit.position, session):
                here = cells[(cells["session"] == session) & (cells["t"] == t)]
                found, colony = _colonies(here, context)
                found["colony"] += numbered
                members.append(
                    here[["position", "session", "t", "label"]].assign(colony=np.where(colony, colony + numbered, 0))
                )
                numbered += len(found)
                tables.append(found.assign(position=unit.position, session=session, t=t,
                                           time_h=study.image(unit.position, session).times_h[t]))  # fmt: skip
        first = transforms[transforms["t"] == 0].set_index("session")["accepted"]
        linked = link_colonies(
            tables,
            placed=[bool(first.get(session, True)) for session in _sessions_of(study, unit)],
            min_probability=section.min_probability,
        )
        colonies = pd.concat(tables, ignore_index=True).assign(colony_id=linked.colony_id, founders=linked.founders)
        study.commit(
            "colony_edges", key, unit.as_dict(), COLONY_EDGES.conform(linked.edges.assign(position=unit.position))
        )
        joined = pd.concat(members, ignore_index=True)
        study.commit("colony_members", key, unit.as_dict(), joined[joined["colony"] > 0])
        study.commit(self.tables[0], key, unit.as_dict(), COLONIES.conform(colonies))
        return {"colonies": int(colonies["colony_id"].nunique())}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Say how many links over gaps were refused."""
        if not study.has_table("colony_edges", context.keys[self.name]):
            return []
        edges = study.table("colony_edges", context.keys[self.name])
        refused = int((edges["kind"] == "refused").sum())
        return [f"{refused} link(s) between colonies were refused as too uncertain."] if refused else []


def _sessions_of(study: Study, unit: Unit) -> list[int]:
    return [s for s in study.sessions(unit.position) for _ in key_frames(study, unit.position, s)]


def _colonies(cells: pd.DataFrame, context: Context) -> tuple[pd.DataFrame, npt.NDArray[np.int32]]:
    """Return a row per colony and the colony of each cell."""
    from napari_marrow.segmentation.colonies import cluster_colonies
    from napari_marrow.segmentation.outline import outline_area

    section = context.recipe.colonies
    points = cells[["y", "x"]].to_numpy(np.float64)
    colony = cluster_colonies(points, distance=section.distance_um, min_cells=section.min_cells)
    lineages = sorted(context.recipe.lineage.markers)
    rows = []
    for number in range(1, int(colony.max(initial=0)) + 1):
        inside = cells[colony == number]
        radius = float(np.sqrt(inside["area"].mean() / np.pi))
        area = outline_area(inside[["y", "x"]].to_numpy(np.float64), margin=radius)
        row: dict[str, Any] = {
            "colony": number,
            "area": area,
            "radius": float(np.sqrt(area / np.pi)),
            "n_cells": len(inside),
        }
        row |= {name: float(inside[name].mean()) for name in ("y", "x", "y_reg", "x_reg")}
        row |= {f"fraction_{name}": float((inside["lineage"] == name).mean()) for name in lineages}
        rows.append(row)
    columns = ["colony", "area", "radius", "n_cells", "y", "x", "y_reg", "x_reg", *(f"fraction_{n}" for n in lineages)]
    return pd.DataFrame(rows, columns=columns).astype({"colony": "int64"}), colony
