"""Step *curate*: the tracks with the edits of a person in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.frames import usable_frames
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import TRACK_EDGES, TRACK_NODES, TRACKS

if TYPE_CHECKING:
    from napari_marrow.study import Study


class CurateStep(Step):
    """Apply the standing edits of cells; without any, the tracks are those of the step *track*."""

    name = "curate"
    title = "Applying edits"
    version = 1
    reads = ("track",)
    tables = ("tracks", "track_edges", "track_nodes")
    stands_for = "track"

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `curate`."""
        return recipe.curate.model_dump(mode="json")

    def state(self, study: Study) -> dict[str, Any]:
        """Return the fingerprint of the standing edits of cells."""
        digest = study.edits().digest("cells")
        return {"edits": digest} if digest else {}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit if there are edits and tracks."""
        edited = context.keys[self.name] != context.keys["track"]
        return [Unit()] if edited and study.is_committed("tracks", context.keys["track"], {}) else []

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Apply the edits of every position, decide again what they concern, and number and summarise the tracks."""
        from napari_marrow.pipeline.edits import applied_cells

        key, base = context.keys[self.name], context.keys["track"]
        nodes, edges = study.table("track_nodes", base), study.table("track_edges", base)
        edges = edges.assign(confirmed=False)
        tracks = study.table("tracks", base).assign(name="")
        notes: list[str] = []
        applied = 0
        for position in sorted({e.position for e in study.edits().standing(target="cells")}):
            cancel.raise_if_cancelled()
            result = applied_cells(study, position, nodes, edges, context, cancel)
            notes += result.notes
            applied += result.applied
            others = nodes["position"] != position
            first_new = int(nodes["track_id"].max()) + 1
            own_nodes, own_edges, names = result.tables(nodes[~others], edges[edges["position"] == position], first_new)
            nodes = _joined([nodes[others], own_nodes])
            edges = _joined([edges[edges["position"] != position], own_edges])
            places = study.table("session_tracks", base, unit={"position": position})
            own = _summaries(study, position, own_nodes, own_edges, places, context)
            own = own.assign(name=[names.get(int(k), "") for k in own["track_id"]])
            tracks = _joined([tracks[tracks["position"] != position], own])
        study.commit("track_nodes", key, {}, TRACK_NODES.conform(nodes))
        study.commit("track_edges", key, {}, TRACK_EDGES.conform(edges))
        study.commit(self.tables[0], key, {}, TRACKS.conform(tracks), extra={"notes": notes})
        return {"edits": applied}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Name the edits that no longer fit."""
        key = context.keys[self.name]
        if key == context.keys["track"] or not study.is_committed("tracks", key, {}):
            return []
        return list(study.commit_record("tracks", key, {})["extra"].get("notes", []))


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def _summaries(
    study: Study, position: str, nodes: pd.DataFrame, edges: pd.DataFrame, places: pd.DataFrame, context: Context
) -> pd.DataFrame:
    """Summarise the tracks of a position, session by session; places tell who enters and leaves the field."""
    from napari_marrow.tracking import summarise_tracks

    where = ["position", "session", "t", "label"]
    nodes = nodes.merge(places[[*where, "y", "x", "touches_border"]], on=where, how="left", validate="one_to_one")
    found = []
    for session in sorted(nodes["session"].unique()):
        image = study.image(position, int(session))
        extent = tuple(n * s for n, s in zip(image.shape[3:], image.spacing[1:], strict=True))
        here, there = nodes[nodes["session"] == session], edges[edges["session"] == session]
        frames = usable_frames(study, Unit(position, int(session)), context)
        found.append(summarise_tracks(here, there, extent=extent, frames=frames))
    return _joined(found) if found else TRACKS.empty()
