"""Step *track*: cells within a session, through divisions, every link with its probability."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.pipeline.steps.carry_over import cells_carried_over
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import CARRY_OVER, TRACK_EDGES, TRACK_NODES, TRACKS

if TYPE_CHECKING:
    from napari_marrow.study import Study


class TrackStep(Step):
    """Link the cells of each session with more than one frame."""

    name = "track"
    title = "Tracking cells"
    version = 2
    reads = ("measure",)
    tables = ("session_tracks", "track_edges", "track_nodes", "tracks", "carry_over", "carried_cells")
    unit_tables = ("session_tracks", "session_edges")

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `track`."""
        return recipe.track.model_dump(mode="json")

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return the sessions that can be tracked in."""
        measured = {(u["position"], u["session"]) for u in study.committed("cells", context.keys["measure"])}
        return [
            u
            for u in session_units(study)
            if (u.position, u.session) in measured and study.image(u.position, u.session).shape[0] > 1
        ]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Track one session; numbers start at 1 in each and become the study's own at the end."""
        from napari_marrow.tracking import TrackingSettings, track_points

        section, key = context.recipe.track, context.keys[self.name]
        cells, points = tracked_points(study, unit, context)
        found = track_points(points, settings=TrackingSettings(max_gap=section.max_gap), cancel=cancel)
        nodes = cells[["position", "session", "t", "time_h", "label", "y", "x", "touches_border"]].assign(
            track_id=found.track_id, link_probability=found.link_probability, parent_track_id=found.parent_track_id
        )
        edges = _edges(found.edges, cells, unit)
        study.commit("session_edges", key, unit.as_dict(), edges)
        study.commit(self.tables[0], key, unit.as_dict(), nodes)
        return {
            "tracks": int(found.track_id.max(initial=0)),
            "divisions": int((edges["kind"] == "division").sum()) // 2,
        }

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Give every track a number of its own in the whole study, and summarise each."""
        from napari_marrow.tracking import summarise_tracks

        key = context.keys[self.name]
        sessions = sorted([u["position"], u["session"]] for u in study.committed(self.tables[0], key))
        # A session that was taken out of the study leaves nothing to compute, but tracks without it.
        if not computed and study.is_committed("tracks", key, {}):
            joined = study.commit_record("tracks", key, {})["extra"].get("sessions")
            if joined == sessions:
                return []
        nodes, edges, tracks = [], [], []
        offset = 0
        for unit, session_nodes in _sessions(study, key):
            session_edges = study.table("session_edges", key, unit=unit)
            count = int(session_nodes["track_id"].max()) if len(session_nodes) else 0
            for column in ("track_id", "parent_track_id"):
                numbers = session_nodes[column].to_numpy()
                session_nodes[column] = np.where(numbers > 0, numbers + offset, 0)
            offset += count
            image = study.image(unit["position"], unit["session"])
            extent = tuple(n * s for n, s in zip(image.shape[3:], image.spacing[1:], strict=True))
            tracks.append(summarise_tracks(session_nodes, session_edges, extent=extent, times_h=image.times_h.tolist()))
            nodes.append(session_nodes)
            edges.append(session_edges)
        study.commit("track_nodes", key, {}, _joined(nodes, TRACK_NODES))
        study.commit("track_edges", key, {}, _joined(edges, TRACK_EDGES))
        summary, carried = cells_carried_over(study, context, nodes, edges)
        study.commit("carry_over", key, {}, CARRY_OVER.conform(summary))
        study.commit("carried_cells", key, {}, carried)
        study.commit("tracks", key, {}, _joined(tracks, TRACKS), extra={"sessions": sessions})
        return [] if tracks else ["No session has more than one frame: cells are not tracked, colonies are."]


def tracked_points(study: Study, unit: Unit, context: Context) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a session's cells in order, and what of them is tracked.

    Parameters
    ----------
    study : Study
    unit : Unit
        A position and a session.
    context : Context
    """
    cells = study.table("cells", context.keys["measure"], unit=unit.as_dict())
    cells = cells.sort_values(["t", "label"], ignore_index=True)
    image = study.image(unit.position, unit.session)
    features = ["area"]
    if context.recipe.track.use_intensities:
        features += [name for name in cells.columns if name.startswith("intensity_")]
    columns = ["t", "time_h", *(["z"] if image.shape[2] > 1 else []), "y", "x", *features]
    # drift is no movement of cells: link in the frame of the first session
    return cells, cells[columns].assign(y=cells["y_reg"], x=cells["x_reg"])


def _sessions(study: Study, key: str) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    units = sorted(study.committed("session_tracks", key), key=lambda u: (u["position"], u["session"]))
    for unit in units:
        yield unit, study.table("session_tracks", key, unit=unit)


def _joined(tables: list[pd.DataFrame], schema: Any) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    joined = pd.concat(filled, ignore_index=True) if filled else schema.empty()
    return schema.conform(joined)[schema.names]


def _edges(edges: pd.DataFrame, cells: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    parents = cells.iloc[edges["parent_row"].to_numpy()]
    children = cells.iloc[edges["child_row"].to_numpy()]
    return TRACK_EDGES.conform(
        pd.DataFrame(
            {
                "position": unit.position,
                "session": unit.session,
                "t_parent": parents["t"].to_numpy(),
                "label_parent": parents["label"].to_numpy(),
                "t_child": children["t"].to_numpy(),
                "label_child": children["label"].to_numpy(),
                "kind": edges["kind"].to_numpy(),
                "probability": edges["probability"].to_numpy(),
            }
        )
    )
