"""Step *lineage*: marker onset, emergence by lineage, colony growth, and conditions compared by organoid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow.errors import DesignError
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.classify import classified_cells
from napari_marrow.pipeline.steps.design import included, layout_state, of_positions
from napari_marrow.pipeline.steps.followed_cells import COUPLING_COLUMNS, FollowedCells
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import COLONIES, COLONY_GROWTH, COMPARISONS, EMERGENCE, LOSSES, ONSETS, ORGANOID_SUMMARY

if TYPE_CHECKING:
    from napari_marrow.study import Study


class LineageStep(Step):
    """Estimate which lineages arise when, and whether conditions differ, with the organoid as unit."""

    name = "lineage"
    title = "Lineages"
    version = 9
    reads = ("classify", "curate", "colonies", "niche", "surroundings")
    tables = (
        "organoid_summary", "onsets", "losses", "emergence", "colony_growth", "colony_emergence", "colony_types",
        "comparisons", "blood_output", "production", "niche_coupling", "division_times", "division_types",
        "onset_rates", "generation_hazards", "hidden_rates", "kin_correlations", "onset_synchrony", "pure_clades",
        "clones", "clone_summary",
    )  # fmt: skip
    whole_study = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `lineage` and the seed."""
        return {**recipe.lineage.model_dump(mode="json"), "seed": recipe.seed}

    def state(self, study: Study) -> dict[str, Any]:
        """Return the fingerprint of the layout: conditions, donors, and which organoids are left out."""
        return layout_state(study)

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit, if there are cells of an organoid that takes part."""
        if not study.has_table("cells", context.keys["measure"]):
            return []
        measured = {unit["position"] for unit in study.committed("cells", context.keys["measure"])}
        return [Unit()] if measured & set(included(study.layout)["position"]) else []

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Compute every table of the step; one whose data are missing has no rows."""
        from napari_marrow import lineage

        key, section = context.keys[self.name], context.recipe.lineage
        layout = included(study.layout)
        cells = classified_cells(study, context)
        cells = cells[cells["position"].isin(set(layout["position"]))].reset_index(drop=True)
        tracks = of_positions(_table(study, "tracks", context.keys["curate"]), layout)
        colonies = of_positions(_table(study, "colonies", context.keys["colonies"]), layout)
        onsets, emergence, losses = ONSETS.empty(), EMERGENCE.empty(), LOSSES.empty()
        coupling = pd.DataFrame(columns=COUPLING_COLUMNS)
        if tracks is not None:
            followed = FollowedCells.read(study, tracks, cells, context)
            tracks, losses = followed.tracks, followed.losses
            found = followed.results(layout, _table(study, "vessels", context.keys["niche"]), cancel)
            onsets, emergence = found["onsets"], found.get("emergence", emergence)
            coupling = found["niche_coupling"]
            for name in lineage.TREE_TABLES:
                study.commit(name, key, {}, found[name])
        output = lineage.blood_output(cells, layout)
        production = lineage.production_trend(output)
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
        extra = [_niche_endpoints(study, context, layout), _production_endpoints(production)]
        summary = pd.concat([summary, *(e for e in extra if len(e))], ignore_index=True)
        comparisons, compared = _compare(summary, layout, section.reference, context.recipe.seed)
        study.commit("onsets", key, {}, ONSETS.conform(onsets))
        study.commit("emergence", key, {}, EMERGENCE.conform(emergence))
        study.commit("colony_growth", key, {}, COLONY_GROWTH.conform(growth))
        known = COLONIES.empty() if colonies is None else colonies
        study.commit("colony_emergence", key, {}, lineage.colony_emergence(known, layout))
        study.commit("colony_types", key, {}, lineage.colony_types(known))
        study.commit("losses", key, {}, LOSSES.conform(losses))
        study.commit("blood_output", key, {}, output)
        study.commit("production", key, {}, production)
        study.commit("niche_coupling", key, {}, coupling)
        study.commit("comparisons", key, {}, COMPARISONS.conform(comparisons))
        notes = [*_left_out(study.layout), *_death_note(losses), *compared]
        study.commit(self.tables[0], key, {}, ORGANOID_SUMMARY.conform(summary), extra={"notes": notes})
        return {"onsets": int((onsets["event"] == "onset").sum()), "comparisons": len(comparisons)}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Repeat what the comparison had to say."""
        if not study.is_committed(self.tables[0], context.keys[self.name], {}):
            return ["No cells of an organoid that takes part were measured: there is nothing to say on lineages."]
        return list(study.commit_record(self.tables[0], context.keys[self.name], {})["extra"].get("notes", []))


def _left_out(layout: pd.DataFrame) -> list[str]:
    """Name the organoids that do not take part."""
    kept = set(included(layout)["organoid"])
    names = [name for name in dict.fromkeys(layout["organoid"]) if name not in kept]
    return [f"Left out of lineages and comparisons, as the layout says: {', '.join(names)}."] if names else []


def _death_note(losses: pd.DataFrame) -> list[str]:
    """Say how many lost cells died, or why nobody can tell."""
    if losses.empty:
        return []
    known = losses["death_probability"].notna()
    if not known.any():
        return [f"Deaths are not told from losses: {losses['note'].iloc[0]}."]
    died = float(losses["death_probability"].sum())
    text = f"Of {len(losses)} lost cells about {died:.0f} died, by their looks before they were lost"
    return [text + (f"; {int((~known).sum())} cannot be judged." if not known.all() else ".")]


def _production_endpoints(production: pd.DataFrame) -> pd.DataFrame:
    """Return the slope of the number of cells over the weeks, one value per organoid."""
    whole = production[(production["lineage"] == "all") & production["slope_per_day"].notna()]
    out = whole[["organoid", "condition"]].assign(endpoint="change of cell number", unit="1/day")
    out["value"] = whole["slope_per_day"]
    return out


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
    metrics = metrics.merge(layout[["position", "organoid", "condition"]], on="position", how="inner")
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
