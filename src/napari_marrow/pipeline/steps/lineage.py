"""Step *lineage*: marker onset, emergence by lineage, colony growth, and conditions compared by organoid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow.errors import DesignError
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.classify import classified_cells, present_markers
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import COLONY_GROWTH, COMPARISONS, EMERGENCE, ONSETS, ORGANOID_SUMMARY

if TYPE_CHECKING:
    from napari_marrow.study import Study


class LineageStep(Step):
    """Estimate which lineages arise when, and whether conditions differ, with the organoid as unit."""

    name = "lineage"
    title = "Lineages"
    version = 1
    reads = ("classify", "curate", "colonies", "niche")
    tables = ("organoid_summary", "onsets", "emergence", "colony_growth", "comparisons")
    whole_study = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `lineage` and the seed."""
        return {**recipe.lineage.model_dump(mode="json"), "seed": recipe.seed}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit."""
        return [Unit()] if study.has_table("cells", context.keys["measure"]) else []

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Compute every table of the step; one whose data are missing has no rows."""
        from napari_marrow import lineage

        key, section = context.keys[self.name], context.recipe.lineage
        layout = study.layout
        cells = classified_cells(study, context)
        tracks = _table(study, "tracks", context.keys["curate"])
        colonies = _table(study, "colonies", context.keys["colonies"])
        onsets, emergence = ONSETS.empty(), EMERGENCE.empty()
        if tracks is not None and present_markers(cells, context.recipe):
            thresholds = study.table("marker_thresholds", context.keys["classify"])
            onsets = self._onsets(study, tracks, cells, thresholds, context)
            cancel.raise_if_cancelled()
            emergence = lineage.emergence(
                onsets,
                layout,
                lineages=list(section.markers),
                thresholds=thresholds,
                bootstrap=section.n_bootstrap,
                seed=context.recipe.seed,
            )
        growth = lineage.colony_growth(colonies, layout) if colonies is not None else COLONY_GROWTH.empty()
        cancel.raise_if_cancelled()
        summary = lineage.organoid_endpoints(
            onsets if len(onsets) else None,
            emergence if len(emergence) else None,
            colonies,
            growth if len(growth) else None,
            tracks,
            layout,
            cells=cells,
        )
        summary = pd.concat([summary, _niche_endpoints(study, context, layout)], ignore_index=True)
        comparisons, notes = _compare(summary, layout, section.reference, context.recipe.seed)
        study.commit("onsets", key, {}, ONSETS.conform(onsets))
        study.commit("emergence", key, {}, EMERGENCE.conform(emergence))
        study.commit("colony_growth", key, {}, COLONY_GROWTH.conform(growth))
        study.commit("comparisons", key, {}, COMPARISONS.conform(comparisons))
        study.commit(self.tables[0], key, {}, ORGANOID_SUMMARY.conform(summary), extra={"notes": notes})
        return {"onsets": int((onsets["event"] == "onset").sum()), "comparisons": len(comparisons)}

    def _onsets(
        self, study: Study, tracks: pd.DataFrame, cells: pd.DataFrame, thresholds: pd.DataFrame, context: Context
    ) -> pd.DataFrame:
        from napari_marrow.lineage import OnsetSettings, marker_onsets

        section = context.recipe.lineage
        markers = present_markers(cells, context.recipe)
        known = thresholds[thresholds["method"] != "none"]
        nodes = study.table("track_nodes", context.keys["curate"])
        long_enough = tracks.loc[_trusted(tracks, section.min_track_frames), "track_id"]
        tracks = tracks[tracks["track_id"].isin(long_enough)]
        nodes = nodes[nodes["track_id"].isin(long_enough)]
        columns = ["position", "session", "t", "label", *(f"intensity_{c}" for c in markers.values())]
        nodes = nodes.merge(cells[columns], on=columns[:4], how="left", validate="one_to_one")
        cuts = dict(zip(known["channel"], known["threshold"], strict=True))
        if not cuts:
            return ONSETS.empty()
        settings = OnsetSettings(consecutive=section.consecutive, thresholds=cuts)
        wanted = {lineage: channel for lineage, channel in markers.items() if channel in cuts}
        onsets, _ = marker_onsets(tracks, nodes, markers=wanted, settings=settings)
        return onsets

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Repeat what the comparison had to say."""
        if not study.is_committed(self.tables[0], context.keys[self.name], {}):
            return ["No cells were measured: there is nothing to say on lineages."]
        return list(study.commit_record(self.tables[0], context.keys[self.name], {})["extra"].get("notes", []))


def _trusted(tracks: pd.DataFrame, min_frames: int) -> pd.Series:
    """Tell which tracks are long enough, or tie longer ones together: a mother or daughter is never taken away."""
    tied = set(tracks.loc[tracks["parent_track_id"] > 0, "parent_track_id"])
    return (tracks["n_nodes"] >= min_frames) | (tracks["parent_track_id"] > 0) | tracks["track_id"].isin(tied)


def _table(study: Study, name: str, key: str) -> pd.DataFrame | None:
    table = study.table(name, key) if study.has_table(name, key) else None
    return table if table is not None and len(table) else None


NICHE_ENDPOINTS = ("vessel_length_density", "median_distance_vessel", "proximity_effect_vessel")


def _niche_endpoints(study: Study, context: Context, layout: pd.DataFrame) -> pd.DataFrame:
    """Return each organoid's last value of the niche metrics that conditions are compared by."""
    metrics = _table(study, "niche_metrics", context.keys["niche"])
    if metrics is None:
        return ORGANOID_SUMMARY.empty()
    # the length density is the tissue's; where the cells are is asked of every lineage, "all" being the null's own mean
    subjects = ["tissue", *context.recipe.lineage.markers]
    metrics = metrics[metrics["metric"].isin(NICHE_ENDPOINTS) & metrics["subject"].isin(subjects)]
    metrics = metrics.merge(layout[["position", "organoid", "condition"]], on="position", how="left")
    keys = ["organoid", "condition", "metric", "subject"]
    last = metrics.sort_values("time_h").groupby(keys, as_index=False).last()
    names = last["metric"].str.replace("_", " ")
    last["endpoint"] = names.where(last["subject"] == "tissue", names + " " + last["subject"])
    return last[["organoid", "condition", "endpoint", "value", "unit"]]


def _compare(
    summary: pd.DataFrame, layout: pd.DataFrame, reference: str | None, seed: int
) -> tuple[pd.DataFrame, list[str]]:
    from napari_marrow.statistics import compare

    conditions = list(dict.fromkeys(summary["condition"]))
    if len(conditions) < 2:
        return COMPARISONS.empty(), ["One condition only: nothing is compared."]
    chosen = reference or next(
        (c for c in conditions if str(c).lower() in ("control", "vehicle", "dmso")), conditions[0]
    )
    if chosen not in conditions:
        return COMPARISONS.empty(), [f"No organoid of the reference condition '{chosen}': nothing is compared."]
    try:
        return compare(summary, layout, reference=chosen, seed=seed), []
    except DesignError as error:
        return COMPARISONS.empty(), [str(error)]
