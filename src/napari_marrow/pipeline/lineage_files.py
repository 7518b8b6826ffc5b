"""Lineage emergence from a study or from a plain table of cells, written as tables and figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow import lineage
from napari_marrow.errors import InputFileError, PathMissingError, StudyError
from napari_marrow.pipeline.lineage_experiments import Experiment, add_experiment
from napari_marrow.pipeline.lineage_figures import figures_of_cells, figures_of_tables
from napari_marrow.pipeline.result_folder import ResultFolder
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import LAYOUT

if TYPE_CHECKING:
    from matplotlib.figure import Figure


STUDY_TABLES = (
    "onsets", "losses", "emergence", "organoid_summary", "comparisons", "colony_growth", "colony_emergence",
    "colony_types", "blood_output", "production", "niche_coupling", *lineage.TREE_TABLES,
)  # fmt: skip


def lineage_of_study(
    path: Path,
    out: Path,
    *,
    asked: Experiment | None = None,
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
    asked : Experiment, optional
        Reference condition, insult and endpoints of a therapeutic window.
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
    more = figures_of_cells(study, tracks, tables) if tracks is not None and len(tracks) else {}
    return _write(tables, tracks, study.layout, out, asked or Experiment(), sort_by, cancel or CancelToken(), more)


def lineage_of_table(
    path: Path, out: Path, *, asked: Experiment | None = None, bootstrap: int = 500, seed: int = 0,
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
    return _write(tables, pedigree.tracks, layout, out, asked or Experiment(), sort_by, cancel)


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
    tables: dict[str, pd.DataFrame], tracks: pd.DataFrame | None, layout: pd.DataFrame, out: Path, asked: Experiment,
    sort_by: str, cancel: CancelToken, more: dict[str, Callable[[], Figure]] | None = None,
) -> list[str]:  # fmt: skip
    """Add what the experiment was made for, and write everything."""
    folder = ResultFolder(out, "lineage")
    folder.check()
    curves, notes = add_experiment(tables, layout, asked)
    figures = {**figures_of_tables(tables, tracks, layout, sort_by), **curves, **(more or {})}
    notes = [*_sentences(tables), *notes]
    folder.write(tables, figures, notes, cancel)
    return notes


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
