"""Lineage emergence from a study or from a plain table of cells, written as tables and figures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow import lineage, statistics
from napari_marrow.errors import (
    DesignError,
    InputFileError,
    PathMissingError,
    StudyError,
)
from napari_marrow.pipeline.result_folder import ResultFolder
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import LAYOUT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_marrow.study import Study

STUDY_TABLES = (
    "onsets", "losses", "emergence", "organoid_summary", "comparisons", "colony_growth", "blood_output", "production",
    "niche_coupling", *lineage.TREE_TABLES,
)  # fmt: skip


def lineage_of_study(
    path: Path,
    out: Path,
    *,
    reference: str | None = None,
    released: Path | None = None,
    sort_by: str = "size",
    cancel: CancelToken | None = None,
) -> list[str]:
    """Write every lineage table of a study, its figures, dose-response curves and the plan for the next experiment.

    Parameters
    ----------
    path : Path
        Study whose step *lineage* has run.
    out : Path
        New folder, or one that this function wrote.
    reference : str, optional
        Condition that effects are relative to; the one called control by default, else the first.
    released : Path, optional
        CSV of cells counted in the medium: organoid, time_h, lineage, n_cells.
    sort_by : str
        Order of the pedigrees in their figure: size, generation, start or onset.
    cancel : CancelToken, optional

    Returns
    -------
    list of str
        Sentences that say what was found.

    Raises
    ------
    StudyError
        If the step has not run.
    """
    from napari_marrow.study import Study

    study = Study.open(path)
    if not study.has_table("organoid_summary"):
        raise StudyError(f"'{path}' has no lineage results yet: run `marrow run {path} --until lineage` first.")
    tables = {name: study.table(name) for name in STUDY_TABLES if study.has_table(name)}
    if released is not None:
        cells = study.table("cells").merge(
            study.table("cell_lineages"), on=["position", "session", "t", "label"], how="left"
        )
        output = lineage.blood_output(cells, study.layout, released=_read_csv(released))
        tables["blood_output"] = output
        tables["production"] = pd.concat(
            [lineage.production_trend(output, source=s) for s in ("held", "released")], ignore_index=True
        )
    tracks = study.table("tracks") if study.has_table("tracks") else None
    more = _figures_of_cells(study, tracks, tables) if tracks is not None and len(tracks) else {}
    return _write(tables, tracks, study.layout, out, reference, sort_by, cancel or CancelToken(), more)


def lineage_of_table(
    path: Path, out: Path, *, reference: str | None = None, bootstrap: int = 500, seed: int = 0,
    sort_by: str = "size", cancel: CancelToken | None = None,
) -> list[str]:  # fmt: skip
    """Analyse a CSV with one row per cell (see `lineage.annotated_trees`) and write tables and figures.

    Columns `organoid`, `condition`, `donor`, `batch` and `dose` are taken as the layout where they are there.

    Raises
    ------
    InputFileError
        If the file is no CSV table.
    TableError
        If its cells cannot be: see `lineage.annotated_trees`.
    """
    cancel = cancel or CancelToken()
    cells = _read_csv(path)
    pedigree, onsets = lineage.annotated_trees(cells)
    layout = _layout(cells)
    tables = lineage.tree_statistics(pedigree, onsets, layout, seed=seed)
    cancel.raise_if_cancelled()
    tables["onsets"] = onsets
    tables["emergence"] = lineage.emergence(onsets, layout, bootstrap=bootstrap, seed=seed)
    tables["organoid_summary"] = lineage.organoid_endpoints(
        onsets, tables["emergence"], None, None, pedigree.tracks, layout
    )
    return _write(tables, pedigree.tracks, layout, out, reference, sort_by, cancel)


def _figures_of_cells(
    study: Study, tracks: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> dict[str, Callable[[], Figure]]:
    """Figures that need single cells: the tree with the most onsets, and division times of cells by organoid."""
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


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise PathMissingError(f"There is no file '{path}'.")
    try:
        table = pd.read_csv(
            path, dtype={"position": str, "organoid": str, "condition": str, "donor": str, "batch": str}
        )
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputFileError(f"'{path}' cannot be read as a CSV table: {error}.") from error
    if table.empty:
        raise InputFileError(f"'{path}' has no rows.")
    return table


def _layout(cells: pd.DataFrame) -> pd.DataFrame:
    position = cells["position"].astype(str) if "position" in cells.columns else pd.Series("all", index=cells.index)
    table = pd.DataFrame({"position": position})
    for name, default in (("organoid", None), ("condition", "all"), ("donor", ""), ("batch", ""), ("dose", np.nan)):
        table[name] = cells[name] if name in cells.columns else (position if default is None else default)
    table["well"], table["replicate"] = table["position"], 1
    table["organoid"] = table["organoid"].fillna(table["position"]).astype(str)
    table["condition"] = table["condition"].fillna("all").astype(str)
    return LAYOUT.conform(table.drop_duplicates("position").reset_index(drop=True))


def _write(
    tables: dict[str, pd.DataFrame], tracks: pd.DataFrame | None, layout: pd.DataFrame, out: Path,
    reference: str | None, sort_by: str, cancel: CancelToken, more: dict[str, Callable[[], Figure]] | None = None,
) -> list[str]:  # fmt: skip
    """Add comparisons and dose-response, and write everything."""
    folder = ResultFolder(out, "lineage")
    folder.check()
    conditions = list(dict.fromkeys(layout["condition"].astype(str)))
    chosen = reference or next((c for c in conditions if c.lower() in ("control", "vehicle", "dmso")), conditions[0])
    if chosen not in conditions:
        raise DesignError(f"The reference condition '{chosen}' is not in the layout, which has {conditions}.")
    summary = tables["organoid_summary"]
    notes: list[str] = []
    if "comparisons" not in tables and len(conditions) > 1:
        try:
            tables["comparisons"] = statistics.compare(summary, layout, reference=chosen)
        except DesignError as error:
            notes.append(str(error))
    tables["next_experiment"] = statistics.next_experiment(summary, reference=chosen)
    curves = _dose_responses(summary, layout, tables)
    figures = {**_figures(tables, tracks, layout, sort_by), **curves, **(more or {})}
    notes = [*_sentences(tables), *notes]
    folder.write(tables, figures, notes, cancel)
    return notes


def _figures(
    tables: dict[str, pd.DataFrame], tracks: pd.DataFrame | None, layout: pd.DataFrame, sort_by: str
) -> dict[str, Callable[[], Figure]]:
    from napari_marrow.report.figures import clones, comparisons, emergence, pedigrees

    none = pd.DataFrame()
    onsets = tables.get("onsets", none)
    figures: dict[str, Callable[[], Figure]] = {}
    if len(tables.get("emergence", none)):
        figures["emergence"] = lambda: emergence.emergence_curves(tables["emergence"])
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


def _dose_responses(
    summary: pd.DataFrame, layout: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> dict[str, Callable[[], Figure]]:
    """Fit every endpoint that has four doses; add the table and return the figures of those with an effect."""
    from napari_marrow.report.figures.experiments import dose_response_curve

    figures: dict[str, Callable[[], Figure]] = {}
    if layout["dose"].fillna(0.0).nunique() < 4:
        return figures
    rows = []
    for endpoint in sorted(set(summary["endpoint"])):
        try:
            fit = statistics.dose_response(summary, layout, endpoint)
        except DesignError as error:
            rows.append({"endpoint": endpoint, "note": str(error)})
            continue
        names = ("ec50", "ec50_low", "ec50_high", "hill", "bottom", "top", "p_value", "n_organoids", "n_doses", "note")
        rows.append({"endpoint": endpoint, **{name: getattr(fit, name) for name in names}})
        if fit.p_value < 0.05:
            points = summary[summary["endpoint"] == endpoint].merge(
                layout[["organoid", "donor", "dose"]].drop_duplicates("organoid"), on="organoid"
            )
            name = f"dose_response_{endpoint.replace(' ', '_')}"
            figures[name] = partial(
                dose_response_curve, points, fit, endpoint=endpoint, unit=str(points["unit"].iloc[0])
            )
    tables["dose_response"] = pd.DataFrame(rows)
    return figures


def _sentences(tables: dict[str, pd.DataFrame]) -> list[str]:
    onsets = tables.get("onsets", pd.DataFrame({"event": [], "lineage": []}))
    came = onsets[onsets["event"] == "onset"]["lineage"].value_counts().sort_index()
    text = [f"Onsets: {', '.join(f'{n} {name}' for name, n in came.items()) or 'none'}."]
    times = tables.get("division_times")
    if times is not None:
        later = times[(times["which"] == "later") & times["median_h"].notna()]
        if len(later):
            text.append(
                f"Median division time of later cycles {later['median_h'].median():.3g} h over {len(later)} organoids."
            )
    kin = tables.get("kin_correlations")
    if kin is not None:
        known = kin[kin["excess"].notna()]
        text += [
            f"Division times of {row.kind} pairs: correlation {row.pooled:.2f}, of which {row.excess:.2f} beyond the "
            f"clone (p = {row.p_value:.3g}, {row.n_pairs} pairs)."
            for row in known.itertuples()
        ]
    return text
