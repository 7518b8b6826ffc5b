"""Cells followed over time with what was measured of them: deaths, onsets, error of tracking, place in the niche."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from napari_marrow.pipeline.recipe_sections import LineageSection
from napari_marrow.pipeline.step import Context
from napari_marrow.pipeline.steps.classify import present_markers
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import ONSETS

if TYPE_CHECKING:
    from napari_marrow.lineage import DrawnPedigree, OnsetSettings
    from napari_marrow.lineage.emergence_curves import Method
    from napari_marrow.study import Study

COUPLING_COLUMNS = [
    "lineage", "covariate", "log_hazard_ratio", "low", "high", "p_value", "n_events", "n_organoids", "method", "note",
    "exposure", "question", "primary", "p_adjusted",
]  # fmt: skip
_VESSEL = "log(1 + vessel distance / 10 µm)"
_NODE = ["position", "session", "t", "label"]


@dataclass(frozen=True, eq=False)
class FollowedCells:
    """Tracks long enough to be trusted, their nodes with what was measured, their losses and the marker thresholds."""

    tracks: pd.DataFrame
    nodes: pd.DataFrame
    edges: pd.DataFrame
    losses: pd.DataFrame
    thresholds: pd.DataFrame
    markers: dict[str, str]
    section: LineageSection
    seed: int

    @classmethod
    def read(cls, study: Study, tracks: pd.DataFrame, cells: pd.DataFrame, context: Context) -> FollowedCells:
        """Gather the tables of a study; deaths are told from losses and stand in the tracks."""
        from napari_marrow.lineage import DeathSettings, death_probabilities, with_deaths

        section = context.recipe.lineage
        nodes = study.table("track_nodes", context.keys["curate"])
        edges = study.table("track_edges", context.keys["curate"])
        kept = tracks.loc[_trusted(tracks, section.min_track_frames), "track_id"]
        tracks, nodes = tracks[tracks["track_id"].isin(kept)], nodes[nodes["track_id"].isin(kept)]
        measured = [c for c in cells.columns if c not in ("time_h", "lineage") and not str(c).startswith("sd_")]
        nodes = nodes.merge(cells[measured], on=_NODE, how="left", validate="one_to_one")
        nodes = _with_surroundings(nodes, study, context.keys["surroundings"])
        marker = section.death_channel
        known = marker is not None and f"intensity_{marker}" in nodes.columns and section.death_threshold is not None
        settings = DeathSettings(
            dying_h=section.dying_h,
            death_channel=marker if known else None,
            death_threshold=section.death_threshold if known else None,
            seed=context.recipe.seed,
        )
        losses = death_probabilities(tracks, nodes, settings=settings)
        markers = present_markers(cells, context.recipe)
        thresholds = study.table("marker_thresholds", context.keys["classify"])
        tracks = with_deaths(tracks, losses)
        return cls(tracks, nodes, edges, losses, thresholds, markers, section, context.recipe.seed)

    def onsets(self) -> pd.DataFrame:
        """Return the ONSETS table of the most probable tracks."""
        return self._onsets(self.tracks, self.nodes)

    def results(
        self, layout: pd.DataFrame, vessels: pd.DataFrame | None, cancel: CancelToken
    ) -> dict[str, pd.DataFrame]:
        """Return onsets and every table computed from pedigrees, intervals without and with the error of tracking.

        Without markers there is no table ``emergence``, and ``niche_coupling`` has no rows.
        """
        from napari_marrow import lineage

        placed = self if vessels is None else replace(self, nodes=self.nodes.assign(**_to_vessels(self.nodes, vessels)))
        onsets = self.onsets()
        tables = lineage.tree_statistics(self.tracks, onsets, layout, seed=self.seed)
        cancel.raise_if_cancelled()
        tables["niche_coupling"] = pd.DataFrame(columns=COUPLING_COLUMNS)
        if self.markers:
            tables["emergence"] = self._curves(onsets, layout)
            tables["niche_coupling"] = placed.coupling(onsets, layout)
        if self.section.n_pedigrees >= 2 and len(self.edges):
            again = lineage.PedigreeDraws(self.tracks, placed.nodes, self.edges, losses=self.losses)
            tables = lineage.repeated_over_pedigrees(
                tables, again, lambda d: placed.again(d, layout, tables),
                n_draws=self.section.n_pedigrees, seed=self.seed, cancel=cancel,
            )  # fmt: skip
        return {**tables, "onsets": onsets}

    def again(
        self, drawn: DrawnPedigree, layout: pd.DataFrame, tables: dict[str, pd.DataFrame]
    ) -> dict[str, pd.DataFrame]:
        """Return the tables of a drawn pedigree, without what does not bear on their intervals."""
        from napari_marrow import lineage

        mine = replace(self, tracks=drawn.tracks, nodes=drawn.nodes)
        onsets = mine.onsets()
        again = lineage.tree_statistics(drawn.tracks, onsets, layout, permutations=0, seed=self.seed, like=tables)
        if len(tables.get("emergence", ())):
            again["emergence"] = mine._curves(onsets, layout, like=tables["emergence"])
        if len(tables["niche_coupling"]):
            again["niche_coupling"] = mine.coupling(onsets, layout, settle=False)
        return {name: again[name] for name in lineage.ESTIMATES if name in again}

    def _curves(self, onsets: pd.DataFrame, layout: pd.DataFrame, like: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the EMERGENCE table, or the bare curves at the times of another."""
        from napari_marrow import lineage

        session: int | Literal["bridged"] | None = "bridged" if self.section.bridge_sessions else None
        method: Method = "auto"
        times: list[float] | None = None
        if like is not None:
            session, times = session or int(like["session"].iloc[0]), sorted(set(like["time_h"]))
            method = like["method"].iloc[0]
        bootstrap = self.section.n_bootstrap if like is None else 0
        return lineage.emergence(
            onsets, layout, lineages=list(self.section.markers), thresholds=self.thresholds, bootstrap=bootstrap,
            seed=self.seed, session=session, times_h=times, method=method,
        )  # fmt: skip

    def coupling(self, onsets: pd.DataFrame, layout: pd.DataFrame, *, settle: bool = True) -> pd.DataFrame:
        """Return how the hazard of onset changes with the distance to vessels, and with all else around a cell.

        `settle` asks the question that was settled on beforehand by its permutation test.
        """
        from napari_marrow import lineage
        from napari_marrow.statistics import benjamini_hochberg

        if onsets.empty:
            return pd.DataFrame(columns=COUPLING_COLUMNS)
        parts = self._vessel_coupling(onsets, layout, settle) if _VESSEL in self.nodes.columns else []
        # What else surrounds a cell was not settled on beforehand: to be looked at, never to be concluded from.
        around = _covariates(self.nodes)
        names = [str(name) for name in around]
        if names:
            nodes = pd.concat([self.nodes, around], axis=1)
            spans = lineage.exposure_spans(self.tracks, nodes, onsets, names, exposure="history")
            for name in names:
                found = lineage.niche_coupling(spans, layout, covariate=name)
                parts.append(found.assign(exposure="history", question="hazard", primary=False, settled_p=np.nan))
        if not parts:
            return pd.DataFrame(columns=COUPLING_COLUMNS)
        out = pd.concat(parts, ignore_index=True)
        others = benjamini_hochberg(out["p_value"].where(~out["primary"]).to_numpy(dtype=np.float64))
        out["p_adjusted"] = np.where(out["primary"], out["settled_p"], others)
        return out.sort_values("primary", ascending=False, kind="stable", ignore_index=True)[COUPLING_COLUMNS]

    def _vessel_coupling(self, onsets: pd.DataFrame, layout: pd.DataFrame, settle: bool) -> list[pd.DataFrame]:
        """Ask the question that was settled on beforehand, and three beside it."""
        from napari_marrow import lineage

        parts = []
        for exposure in ("current", "history"):
            spans = lineage.exposure_spans(self.tracks, self.nodes, onsets, [_VESSEL], exposure=exposure)
            for question, ask in (("hazard", lineage.niche_coupling), ("choice", lineage.lineage_choice)):
                found = ask(spans, layout, covariate=_VESSEL)
                primary = question == "hazard" and exposure == "history"
                parts.append(found.assign(exposure=exposure, question=question, primary=primary, settled_p=np.nan))
        if not settle:
            return parts
        # The last spans are those of the question settled on beforehand.
        test = lineage.coupling_test(spans, layout, covariate=_VESSEL, seed=self.seed).set_index("lineage")
        for part in parts:
            if part["primary"].any():
                part["settled_p"] = part["lineage"].map(test["p_adjusted"]).astype(float)
        return parts

    def _onsets(self, tracks: pd.DataFrame, nodes: pd.DataFrame) -> pd.DataFrame:
        from napari_marrow.lineage import marker_onsets

        settings = self._settings()
        wanted = {name: channel for name, channel in self.markers.items() if channel in settings.thresholds}
        if not wanted:
            return ONSETS.empty()
        return marker_onsets(tracks, nodes, markers=wanted, settings=settings)[0]

    def _settings(self) -> OnsetSettings:
        from napari_marrow.lineage import OnsetSettings

        known = self.thresholds[self.thresholds["method"] != "none"]
        cuts = dict(zip(known["channel"], known["threshold"], strict=True))
        return OnsetSettings(consecutive=self.section.consecutive, thresholds=cuts)


def _trusted(tracks: pd.DataFrame, min_frames: int) -> pd.Series:
    """Tell which tracks are long enough, or tie longer ones together: a mother or daughter is never taken away."""
    tied = set(tracks.loc[tracks["parent_track_id"] > 0, "parent_track_id"])
    return (tracks["n_nodes"] >= min_frames) | (tracks["parent_track_id"] > 0) | tracks["track_id"].isin(tied)


def _with_surroundings(nodes: pd.DataFrame, study: Study, key: str) -> pd.DataFrame:
    """Add what the step *surroundings* knows of each cell, as far as it has run."""
    if not study.has_table("cell_surroundings", key):
        return nodes
    around = study.table("cell_surroundings", key)
    wanted = [c for c in around.columns if str(c).startswith("distance_") or c in ("edge_distance", "local_density")]
    return nodes.merge(around[[*_NODE, *wanted]], on=_NODE, how="left", validate="one_to_one")


def _covariates(nodes: pd.DataFrame) -> pd.DataFrame:
    """Return what surrounds each node on a logarithmic scale, vessels apart: they have a question of their own."""
    found = {}
    for column in nodes.columns:
        name = str(column)
        if name.startswith("distance_") and name != "distance_vessel":
            found[f"log(1 + {name.removeprefix('distance_')} distance / 10 µm)"] = nodes[column] / 10.0
        elif name == "edge_distance":
            found["log(1 + distance to the tissue's edge / 10 µm)"] = nodes[column] / 10.0
        elif name == "local_density":
            found["log(1 + local density / its median)"] = nodes[column] / nodes[column].median()
    values = {name: np.log1p(np.maximum(v.to_numpy(dtype=np.float64), 0.0)) for name, v in found.items()}
    return pd.DataFrame(values, index=nodes.index).dropna(axis="columns", how="all")


def _to_vessels(nodes: pd.DataFrame, vessels: pd.DataFrame) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Return the covariate of vessels for each node.

    It is logarithmic from 10 µm on: what a vessel gives off fades, so that 10 to 30 µm matter, 110 to 130 do not.
    """
    return {_VESSEL: np.log1p(_distance_to_vessels(nodes, vessels) / 10.0)}


def _distance_to_vessels(nodes: pd.DataFrame, vessels: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Distance [µm] of each node to the nearest vessel surface traced in its session, in the frame nearest in time."""
    from scipy.spatial import cKDTree

    out = np.full(len(nodes), np.nan)
    places = nodes[["y", "x"]].to_numpy(dtype=np.float64)
    where: dict[tuple[str, int], list[int]] = {}
    frames: dict[tuple[str, int, int], pd.DataFrame] = {}
    for _, traced in vessels.groupby(["position", "session", "t"], sort=True):
        position, session, t0 = (traced[c].iloc[0] for c in ("position", "session", "t"))
        where.setdefault((str(position), int(session)), []).append(int(t0))
        frames[(str(position), int(session), int(t0))] = traced
    codes = nodes.groupby(["position", "session"], sort=False).ngroup().to_numpy()
    for code in np.unique(codes):
        index = np.flatnonzero(codes == code)
        place = (str(nodes["position"].iloc[index[0]]), int(nodes["session"].iloc[index[0]]))
        times = where.get(place, [])
        if not times:
            continue
        t = nodes["t"].to_numpy()[index]
        nearest = np.array(times)[np.abs(t[:, None] - np.array(times)[None]).argmin(axis=1)]
        for time in times:
            mine = index[nearest == time]
            if len(mine) == 0:
                continue
            traced = frames[(*place, time)]
            radius = traced["radius"].to_numpy(dtype=np.float64)
            # The nearest of the few nearest centres less its radius: thick vessels reach further than thin ones.
            tree = cKDTree(traced[["y", "x"]].to_numpy(dtype=np.float64))
            k = min(8, len(traced))
            distance, which = tree.query(places[mine], k=k)
            out[mine] = np.maximum((distance - radius[which]).reshape(len(mine), k).min(axis=1), 0.0)
    return out
