"""The niche of a study, or of plain tables and masks, written as tables and figures."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import (
    InputFileError,
    PathMissingError,
    SettingsError,
    StudyError,
    TableError,
)
from napari_marrow.niche import NicheResult, NicheSettings, Spots, measure_niche, window_of_points
from napari_marrow.pipeline.label_files import open_labels
from napari_marrow.pipeline.result_folder import ResultFolder
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import COLONIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STUDY_TABLES = (
    "niche_metrics", "niche_curves", "vessels", "cell_surroundings", "cell_classes", "class_thresholds",
    "niche_by_organoid", "niche_by_condition", "niche_trends", "vessel_changes", "niche_dwell",
)  # fmt: skip
_BANNER = 10  # lines that may stand before the header of a table
Figures = dict[str, "Callable[[], Figure]"]


@dataclass(frozen=True)
class Window:
    """Where cells could have been seen when nothing but tables is given.

    Attributes
    ----------
    voxel, closing : float
        As for `niche.window_of_points`, µm.
    """

    voxel: float = 10.0
    closing: float = 50.0


def niche_of_study(path: Path, out: Path, *, cancel: CancelToken | None = None) -> list[str]:
    """Write every niche table of a study and its figures.

    Parameters
    ----------
    path : Path
        Study whose step *niche_over_time* has run.
    out : Path
        New folder, or one that this function wrote.
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
    if not study.has_table("niche_by_organoid"):
        raise StudyError(f"'{path}' has no niche results yet: run `marrow run {path} --until niche_over_time` first.")
    tables = {name: study.table(name) for name in STUDY_TABLES if study.has_table(name)}
    cells = study.table("cells")
    names = {p: str(o) for p, o in zip(study.layout["position"], study.layout["organoid"], strict=True)}
    return _write(tables, _study_figures(tables, cells, names), _sentences(tables), out, cancel or CancelToken())


def niche_of_files(
    cells: Mapping[str, Path],
    out: Path,
    *,
    structures: Mapping[str, Path],
    tissue: Path | None = None,
    spacing: Sequence[float] | None = None,
    class_column: str | None = None,
    window: Window | None = None,
    settings: NicheSettings | None = None,
    cancel: CancelToken | None = None,
) -> list[str]:
    """Measure the niche of one sample given as tables of cells and masks or spots of structures.

    Parameters
    ----------
    cells : mapping of str to Path
        Class and CSV of its cells; one file under the name "" holds all cells. Columns x, y and, in 3D, z in µm
        (Imaris: Position X, Y, Z; lines before the header are passed over).
    out : Path
        New folder, or one that this function wrote.
    structures : mapping of str to Path
        TIFF of a mask, or CSV of spots.
    tissue : Path, optional
        TIFF of the tissue's mask. Without it the whole image is tissue; without any TIFF a window is guessed.
    spacing : sequence of float, optional
        Voxel size (z, y, x) or (y, x) of the TIFF files, µm; needed where there is one.
    class_column : str, optional
        Column that names each cell's class.
    window : Window, optional
        How a window is guessed.
    settings : NicheSettings, optional
    cancel : CancelToken, optional

    Returns
    -------
    list of str
        Sentences that say what was found.

    Raises
    ------
    PathMissingError, InputFileError, TableError, SettingsError
        One sentence that names the file and the remedy.
    """
    table, classes = _read_cells(cells, class_column)
    masks = {name: path for name, path in structures.items() if path.suffix.lower() in (".tif", ".tiff")}
    spots = {name: _coordinates(path) for name, path in structures.items() if name not in masks}
    given: dict[str, npt.NDArray[np.bool_] | Spots] = {name: _mask(path) for name, path in masks.items()}
    region = _mask(tissue) if tissue is not None else None
    axes = ["z", "y", "x"] if "z" in table.columns else ["y", "x"]
    origin = np.zeros(len(axes))
    notes = []
    if masks or region is not None:
        if spacing is None:
            raise SettingsError("The voxel size of the masks is missing: give --spacing z,y,x (or y,x) in µm.")
        if region is None:
            region = np.ones(next(np.asarray(m).shape for m in given.values()), dtype=bool)
            notes.append("No tissue mask was given: the whole image counts as tissue.")
        step = tuple(float(s) for s in spacing)
        if region.ndim == 2:
            axes = ["y", "x"]
    else:
        chosen = window or Window()
        every = np.concatenate([t[axes].to_numpy(dtype=np.float64) for t in (table, *spots.values())])
        region, step, origin = window_of_points(every, voxel=chosen.voxel, closing=chosen.closing)
        notes.append(
            f"No mask was given: the tissue was guessed by closing all points with {chosen.closing:g} µm on a grid of "
            f"{chosen.voxel:g} µm. The uniform null and the edge correction hang on this guess."
        )
    for name, part in spots.items():
        given[name] = Spots(part[axes].to_numpy(dtype=np.float64) - origin[-len(axes) :])
    placed = table.assign(**{a: table[a] - o for a, o in zip(axes, origin[-len(axes) :], strict=True)})
    result = measure_niche(
        cells=placed, classes=classes, structures=given, tissue=region, spacing=step, settings=settings
    )
    tables = _sample_tables(result, table)
    figures = _sample_figures(result, placed, sorted(structures))
    return _write(tables, figures, [*notes, *_sample_sentences(result)], out, cancel or CancelToken())


def _read_cells(
    files: Mapping[str, Path], class_column: str | None
) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.bool_]]]:
    if not files:
        raise SettingsError("No table of cells was given.")
    parts = []
    for name, path in files.items():
        part = _coordinates(path)
        if name:
            part["class"] = name
        elif class_column is not None and class_column not in part.columns:
            raise TableError(f"'{path}' has no column '{class_column}': it has {list(part.columns)}.")
        parts.append(part)
    column = "class" if "" not in files else class_column
    table = pd.concat(parts, ignore_index=True)
    classes = {"all": np.ones(len(table), dtype=bool)}
    if column is not None:
        names = table[column].astype(str)
        classes |= {n: (names == n).to_numpy() for n in dict.fromkeys(names) if n not in ("", "nan", "all")}
    return table, classes


def _coordinates(path: Path) -> pd.DataFrame:
    """Read a table of points with columns x, y and perhaps z, wherever its header stands."""
    if not path.is_file():
        raise PathMissingError(f"There is no file '{path}'.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = [next(file, "") for _ in range(_BANNER)]
        skip = next((k for k, line in enumerate(head) if _is_header(line)), None)
        if skip is None:
            raise TableError(
                f"'{path}' has no columns x and y (or Position X, Position Y) in its first {_BANNER} lines."
            )
        separator = max(",;\t", key=head[skip].count)
        table = pd.read_csv(path, skiprows=skip, sep=separator, index_col=False, skip_blank_lines=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputFileError(f"'{path}' cannot be read as a CSV table: {error}.") from error
    table = table.rename(columns={c: str(c).strip().lower().removeprefix("position ") for c in table.columns})
    table = table.dropna(axis=1, how="all")
    for axis in [a for a in ("z", "y", "x") if a in table.columns]:
        table[axis] = pd.to_numeric(table[axis], errors="coerce")
        if table[axis].isna().any():
            row = int(np.flatnonzero(table[axis].isna())[0])
            raise TableError(f"'{path}' has no number in column '{axis}', row {row + 1}: a position in µm is needed.")
    return table


def _is_header(line: str) -> bool:
    separator = max(",;\t", key=line.count)
    names = {n.strip().lower().removeprefix("position ") for n in next(csv.reader([line], delimiter=separator), [])}
    return {"x", "y"} <= names


def _mask(path: Path) -> npt.NDArray[np.bool_]:
    frames = open_labels([path])
    planes = [np.asarray(frame) > 0 for frame in frames]
    return planes[0] if len(planes) == 1 else np.stack(planes)


def _sample_tables(result: NicheResult, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    around = result.per_cell.drop(columns=[c for c in result.per_cell.columns if c in table.columns])
    return {
        "metrics": result.metrics, "curves": result.curves, "vessels": result.vessels,
        "cells": pd.concat([table.reset_index(drop=True), around.reset_index(drop=True)], axis=1),
    }  # fmt: skip


def _sample_figures(result: NicheResult, cells: pd.DataFrame, structures: Sequence[str]) -> Figures:
    from napari_marrow.report.figures import distances, niche

    curves, metrics = (
        table.assign(position="sample", session=0, t=0, time_h=0.0) for table in (result.curves, result.metrics)
    )
    figures: Figures = {}
    for name in structures:
        chosen = distances.pick_curves(curves, f"distance_cdf_{name}")
        if len(chosen):
            figures[f"distance_to_{name}"] = partial(
                distances.distance_distributions, chosen, metrics, {"sample": ""}, structure=name
            )
    pairs = niche.pick_pairs(curves)
    if len(pairs):
        figures["pair_correlation"] = partial(niche.pair_correlations, pairs, {"sample": ""})
    if len(result.vessels) and np.ptp(result.vessels["z"]) > 0:
        around = result.per_cell.assign(**{a: cells[a].to_numpy() if a in cells else 0.0 for a in ("z", "y", "x")})
        figures["vessels_in_space"] = partial(niche.vessels_in_space, result.vessels, around)
    return figures


def _study_figures(tables: dict[str, pd.DataFrame], cells: pd.DataFrame, names: dict[str, str]) -> Figures:
    from napari_marrow.report.figures import distances, niche, vessels

    figures: Figures = {}
    curves, metrics = tables["niche_curves"], tables["niche_metrics"]
    for structure in ("vessel", "scaffold", "stroma"):
        chosen = distances.pick_curves(curves, f"distance_cdf_{structure}")
        if len(chosen):
            figures[f"distance_to_{structure}"] = partial(
                distances.distance_distributions, chosen, metrics, names, structure=structure
            )
    pairs = niche.pick_pairs(curves)
    if len(pairs):
        figures["pair_correlation"] = partial(niche.pair_correlations, pairs, names)
    if tables["niche_by_organoid"]["metric"].str.startswith("compartment_use_").any():
        figures["compartments"] = partial(niche.compartment_bars, tables["niche_by_organoid"])
    network = tables.get("vessels", pd.DataFrame())
    if len(network):
        figures["vessel_map"] = partial(vessels.vessel_map, network, COLONIES.empty(), names)
        last = vessels.last_frames(network)
        one = last[last["position"] == last["position"].iloc[0]]
        place = ["position", "session", "t", "label"]
        if np.ptp(one["z"]) == 0:  # the map shows a plane better
            return figures
        here = cells.merge(one[place[:3]].drop_duplicates(), on=place[:3])
        if "cell_surroundings" in tables:
            here = here.merge(tables["cell_surroundings"][[*place, "distance_vessel"]], on=place)
        figures["vessels_in_space"] = partial(niche.vessels_in_space, one, here)
    return figures


def _sample_sentences(result: NicheResult) -> list[str]:
    text = []
    for _, row in result.metrics[result.metrics["metric"].str.startswith("proximity_effect_")].iterrows():
        name = str(row["metric"]).removeprefix("proximity_effect_")
        if np.isfinite(float(row["value"])):
            text.append(
                f"{row['subject']} and {name}: effect {row['value']:+.3f} (null {row['low']:+.3f} to "
                f"{row['high']:+.3f}, p = {row['p_value']:.3g}); {row['note']}."
            )
        else:
            text.append(f"{row['subject']} and {name}: none, {row['note']}.")
    return text


def _sentences(tables: dict[str, pd.DataFrame]) -> list[str]:
    means = tables["niche_by_condition"]
    last = means[means["session"] == means["session"].max()]
    text = []
    for row in last[last["metric"] == "proximity_effect_vessel"].itertuples():
        if row.n_organoids:
            text.append(
                f"{row.condition}, {row.subject}: proximity to vessels {row.mean:+.3f} (95 % {row.low:+.3f} to "
                f"{row.high:+.3f}, p = {row.p_value:.3g}, n = {row.n_organoids} organoids)."
            )
    changes = tables.get("vessel_changes", pd.DataFrame({"lost_um": []}))
    known = changes[changes["lost_um"].notna()]
    if len(known):
        lost, before = known["lost_um"].sum(), known["before_um"].sum()
        gained, after = known["gained_um"].sum(), known["after_um"].sum()
        text.append(
            f"Between sessions {lost / before if before else 0:.0%} of the vessel length was lost and "
            f"{gained / after if after else 0:.0%} was new, over {len(known)} pairs of sessions."
        )
    return text


def _write(
    tables: Mapping[str, pd.DataFrame], figures: Figures, notes: list[str], out: Path, cancel: CancelToken
) -> list[str]:
    folder = ResultFolder(out, "niche")
    folder.check()
    folder.write(tables, figures, notes, cancel)
    return notes
