"""Figures of lineage tables, drawn when the folder of results is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow import lineage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_marrow.study import Study


def figures_of_cells(
    study: Study, tracks: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> dict[str, Callable[[], Figure]]:
    """Return figures that need single cells: the tree with the most onsets, and division times of cells by organoid."""
    from napari_marrow.report.figures.experiments import super_plot
    from napari_marrow.report.figures.single_tree import single_tree

    figures: dict[str, Callable[[], Figure]] = {}
    came = tables["onsets"][tables["onsets"]["event"] == "onset"] if "onsets" in tables else pd.DataFrame()
    if len(came) and study.has_table("marker_thresholds"):
        founder = int(came["founder_track_id"].value_counts().idxmax())
        thresholds = study.table("marker_thresholds")
        columns = [f"intensity_{c}" for c in thresholds["channel"]]
        place = ["position", "session", "t", "label"]
        nodes = study.table("track_nodes").merge(study.table("cells")[[*place, *columns]], on=place, how="left")
        markers = dict(zip(thresholds["lineage"], thresholds["channel"], strict=True))
        levels = dict(zip(thresholds["channel"], thresholds["threshold"].astype(float), strict=True))
        levels = {c: v for c, v in levels.items() if np.isfinite(v)}
        figures["single_tree"] = lambda: single_tree(tracks, nodes, founder, markers=markers, thresholds=levels)
    life = lineage.Pedigree.from_tracks(tracks).lifetimes().merge(study.layout, on="position", how="left")
    divided = life[(life["event"] == "division") & life["birth_seen"]].rename(columns={"age_h": "value"})
    if len(divided):
        means = divided.groupby(["organoid", "condition"], as_index=False).agg({"value": "mean"})
        label = "Completed division time (h)"
        figures["division_times"] = lambda: super_plot(divided, means, label=label)
    return figures


def figures_of_tables(
    tables: dict[str, pd.DataFrame], tracks: pd.DataFrame | None, layout: pd.DataFrame, sort_by: str
) -> dict[str, Callable[[], Figure]]:
    """Return the figures that the tables allow."""
    from napari_marrow.report.figures import clones, comparisons, emergence, pedigrees

    none = pd.DataFrame()
    onsets = tables.get("onsets", none)
    figures: dict[str, Callable[[], Figure]] = {}
    if len(tables.get("emergence", none)):
        figures["emergence"] = lambda: emergence.emergence_curves(tables["emergence"])
    by_colony = tables.get("colony_emergence", none)
    if len(by_colony) and by_colony["cumulative_incidence"].notna().any():
        figures["colony_emergence"] = lambda: emergence.emergence_curves(by_colony, subject="colonies")
    if len(onsets) and (onsets["event"] != "prevalent").any():
        figures["generations"] = lambda: clones.generation_time_map(onsets)
    if len(tables.get("clones", none)):
        figures["clone_sizes"] = lambda: clones.clone_sizes(tables["clones"], layout)
    if tracks is not None and (tracks["generation"] > 0).any():
        figures["pedigrees"] = lambda: pedigrees.pedigree_forest(tracks, onsets, layout, leaves=600, sort_by=sort_by)
    if len(tables.get("blood_output", none)):
        figures["blood_output"] = lambda: clones.blood_output_curves(tables["blood_output"])
    compared = tables.get("comparisons", none)
    if len(compared):
        usable = compared[np.isfinite(compared[["difference", "p_value"]].to_numpy(dtype=float)).all(axis=1)]
        if len(usable):
            ordered = usable.sort_values(["p_adjusted", "p_value"], kind="stable")
            figures["comparisons"] = lambda: comparisons.estimation_plots(ordered, tables["organoid_summary"])
    return figures
