"""Step *track*: cells within a session, through divisions, every link with its probability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.recipe_sections import TrackSection
from napari_marrow.pipeline.reuse import taken_over
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.pipeline.steps.carry_over import cells_carried_over
from napari_marrow.pipeline.steps.frames import skipped_frames, usable_frames
from napari_marrow.pipeline.steps.paint import strokes_of
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import CARRY_OVER, TRACK_EDGES, TRACK_NODES, TRACKS

if TYPE_CHECKING:
    from napari_marrow.study import Study
    from napari_marrow.tracking import TrackingSettings


class TrackStep(Step):
    """Link the cells of each session with more than one frame."""

    name = "track"
    title = "Tracking cells"
    version = 4
    reads = ("quality", "measure")
    tables = ("session_tracks", "track_edges", "track_nodes", "tracks", "carry_over", "carried_cells")
    unit_tables = ("session_tracks", "session_edges")

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `track`."""
        return recipe.track.model_dump(mode="json")

    def state(self, study: Study) -> dict[str, Any]:
        """Return the quality flags that came with the images: they may be set at any time."""
        frames = study.frames()
        flagged = frames[frames["flags"].fillna("").astype(str) != ""]
        rows = flagged[["position", "session", "t", "flags"]].itertuples(index=False, name=None)
        return {"flags": [[str(p), int(s), int(t), str(f)] for p, s, t, f in rows]} if len(flagged) else {}

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
        from napari_marrow.tracking import track_points

        key = context.keys[self.name]
        inputs = _tracked_from(study, unit, context)
        if taken_over(study, self.unit_tables, key, unit, inputs):
            return {"taken_over": 1}
        cells, points = tracked_points(study, unit, context)
        found = track_points(points, settings=tracking_settings(context.recipe.track), cancel=cancel)
        nodes = cells[["position", "session", "t", "time_h", "label", "y", "x", "touches_border"]].assign(
            track_id=found.track_id, link_probability=found.link_probability, parent_track_id=found.parent_track_id
        )
        edges = _edges(found.edges, cells, unit)
        study.commit("session_edges", key, unit.as_dict(), edges)
        study.commit(self.tables[0], key, unit.as_dict(), nodes, extra={"tracking": found.model, "inputs": inputs})
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
            record = study.commit_record("tracks", key, {})["extra"]
            if record.get("sessions") == sessions:
                return list(record.get("notes", []))
        nodes, edges, tracks = [], [], []
        notes: list[str] = []
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
            of_session = Unit(unit["position"], unit["session"])
            frames = usable_frames(study, of_session, context)
            tracks.append(summarise_tracks(session_nodes, session_edges, extent=extent, frames=frames))
            notes += _skipped_note(study, of_session, context)
            nodes.append(session_nodes)
            edges.append(session_edges)
        study.commit("track_nodes", key, {}, _joined(nodes, TRACK_NODES))
        study.commit("track_edges", key, {}, _joined(edges, TRACK_EDGES))
        summary, carried = cells_carried_over(study, context, nodes, edges)
        study.commit("carry_over", key, {}, CARRY_OVER.conform(summary))
        study.commit("carried_cells", key, {}, carried)
        if not tracks:
            notes.append("No session has more than one frame: cells are not tracked, colonies are.")
        study.commit("tracks", key, {}, _joined(tracks, TRACKS), extra={"notes": notes, "sessions": sessions})
        return notes


def _tracked_from(study: Study, unit: Unit, context: Context) -> dict[str, Any]:
    """Return all that the tracks of a session depend on: painting in another session is no part of it."""
    n_frames = study.image(unit.position, unit.session).shape[0]
    painted = {t: strokes_of(study, replace(unit, t=t), context) for t in range(n_frames)}
    frames = study.frames(unit.as_dict())
    return {
        "version": TrackStep.version,
        "track": context.recipe.track.model_dump(mode="json"),
        **{name: context.keys[name] for name in ("quality", "correct", "register", "segment")},
        "flags": [[int(t), str(f)] for t, f in zip(frames["t"], frames["flags"].fillna(""), strict=True) if str(f)],
        "strokes": {str(t): found for t, found in painted.items() if found},
    }


def tracking_settings(section: TrackSection) -> TrackingSettings:
    """Return the settings of `track_points` that a recipe asks for; its features choose the columns of the points."""
    from napari_marrow.tracking import TrackingSettings

    return TrackingSettings(
        max_gap=section.max_gap,
        candidates=section.candidates,
        rounds=section.rounds,
        divisions=section.divisions,
        second_order=section.second_order,
        appearance=section.appearance,
        blobs=section.blobs,
        drift=section.drift,
        search_radius=section.max_displacement_um,
        division_rate=section.division_rate,
    )


def _skipped_note(study: Study, unit: Unit, context: Context) -> list[str]:
    """Say which frames of a session were left out, and why."""
    skipped = skipped_frames(study, unit, context)
    if not skipped:
        return []
    which = ", ".join(f"{t} ({flag.replace('_', ' ')})" for t, flag in skipped.items())
    return [f"{unit}: tracking left out frame{'s' * (len(skipped) > 1)} {which}; cells are linked over the others."]


def tracked_points(study: Study, unit: Unit, context: Context) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a session's cells in order, without those of frames that quality says not to use, and what is tracked.

    Parameters
    ----------
    study : Study
    unit : Unit
        A position and a session.
    context : Context

    Raises
    ------
    SettingsError
        If the recipe names a feature that the cells do not have.
    """
    section = context.recipe.track
    cells = study.table("cells", context.keys["measure"], unit=unit.as_dict())
    cells = cells[~cells["t"].isin(skipped_frames(study, unit, context))]
    cells = cells.sort_values(["t", "label"], ignore_index=True)
    image = study.image(unit.position, unit.session)
    features = list(section.features)
    unknown = [name for name in features if name not in cells.columns or cells[name].dtype.kind not in "iufb"]
    if unknown:
        raise SettingsError(
            f"The recipe tracks cells by '{unknown[0]}' (track.features), which the cells of {unit} do not have: "
            f"choose among {', '.join(n for n in cells.columns if cells[n].dtype.kind in 'f')}."
        )
    if not features:
        features = ["area"]
        if section.use_intensities:
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
