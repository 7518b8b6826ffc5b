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
    from napari_marrow.tracking.colonies import ColonyLinks


class ColoniesStep(Step):
    """Group cells into colonies at each session's first and last frame, and follow the colonies over the gaps."""

    name = "colonies"
    title = "Following colonies"
    version = 1
    reads = ("register", "measure", "classify")
    tables = ("colonies", "colony_edges", "colony_members", "session_links")
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

        key = context.keys[self.name]
        cells = classified_cells(study, context, unit)
        tables, members = _frames_of(study, unit, cells, context, cancel)
        # every chosen frame is a node of its own: a dense session's first and last frame are linked, too
        linked = link_colonies(
            [table.assign(session=i, y=table["y_reg"], x=table["x_reg"]) for i, table in enumerate(tables)],
            [table.attrs["time_h"] for table in tables],
            min_ceiling=context.recipe.colonies.min_ceiling,
            seed=context.recipe.seed,
        )
        session_of = np.array([table.attrs["session"] for table in tables])
        edges = linked.edges.assign(
            position=unit.position,
            session_parent=session_of[linked.edges["session_parent"].to_numpy(np.int64)],
            session_child=session_of[linked.edges["session_child"].to_numpy(np.int64)],
        )
        filled = [table for table in tables if len(table)]
        colonies = pd.concat(filled, ignore_index=True) if filled else tables[0]
        colonies = colonies.assign(
            colony_id=linked.identity["colony_id"].to_numpy(), founders=linked.identity["founders"].to_numpy()
        )
        study.commit("colony_edges", key, unit.as_dict(), COLONY_EDGES.conform(edges))
        study.commit("colony_members", key, unit.as_dict(), members)
        study.commit("session_links", key, unit.as_dict(), _session_links(linked, session_of, unit.position))
        study.commit(self.tables[0], key, unit.as_dict(), COLONIES.conform(colonies))
        return {"colonies": int(colonies["colony_id"].nunique())}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Say how many links over gaps were refused."""
        if not study.has_table("colony_edges", context.keys[self.name]):
            return []
        edges = study.table("colony_edges", context.keys[self.name])
        refused = int((edges["kind"] == "refused").sum())
        return [f"{refused} links between colonies were refused as too uncertain."] if refused else []


def _session_links(linked: ColonyLinks, session_of: npt.NDArray[np.int64], position: str) -> pd.DataFrame:
    """Return how each pair of neighbouring sessions was connected, with the chance of a right identity."""
    rows = [
        (position, int(session_of[link.session_parent]), int(session_of[link.session_child]), link.registration,
         link.sigma, link.ceiling, link.accepted)
        for link in linked.sessions
    ]  # fmt: skip
    columns = ["position", "session_parent", "session_child", "registration", "sigma", "ceiling", "accepted"]
    return pd.DataFrame(rows, columns=columns)


def _frames_of(
    study: Study, unit: Unit, cells: pd.DataFrame, context: Context, cancel: CancelToken
) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Return the colonies of each chosen frame, numbered within their session, and the colony of each cell in one."""
    tables, members = [], []
    for session in study.sessions(unit.position):
        cancel.raise_if_cancelled()
        times = study.image(unit.position, session).times_h
        numbered = 0
        for t in key_frames(study, unit.position, session):
            here = cells[(cells["session"] == session) & (cells["t"] == t)]
            found, colony = _colonies(here, context)
            found["colony"] += numbered
            found = found.assign(position=unit.position, session=session, t=t, time_h=times[t])
            found.attrs.update(session=session, time_h=float(times[t]))
            tables.append(found)
            inside = here.loc[colony > 0, ["position", "session", "t", "label"]]
            members.append(inside.assign(colony=colony[colony > 0] + numbered))
            numbered += len(found)
    return tables, pd.concat(members, ignore_index=True)


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
    # without a colony the columns would have no type of their own
    whole = {"colony": "int64", "n_cells": "int64"}
    return pd.DataFrame(rows, columns=columns).astype({c: whole.get(c, "float64") for c in columns}), colony
