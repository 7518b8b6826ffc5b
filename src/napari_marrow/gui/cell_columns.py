"""What is known of every cell, as one table that can be plotted. Knows no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.gui.charts import Chart, Series
from napari_marrow.gui.currency import current_steps
from napari_marrow.palette import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    condition_colours,
    condition_order,
    lineage_colours,
    lineage_order,
)

if TYPE_CHECKING:
    from napari_marrow.study import Study

_CELL = ["position", "session", "t", "label"]
_BESIDE = {
    "cell_lineages": "classify",
    "cell_classes": "cell_classes",
    "cell_surroundings": "surroundings",
    "track_nodes": "curate",
    "colony_members": "colonies",
}
"""Tables with a row per cell that go beside `cells`, and the step that makes each."""

_LEFT_OUT = frozenset({"y_reg", "x_reg", "z_reg", "t_structures"})
_UNITS = {"time_h": "h", "y": "µm", "x": "µm", "z": "µm", "area": "µm²", "local_density": "cells/mm²"}
_SPARE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW)
_MOST_VALUES = 12
_STEPS_OF_COLOUR = ("#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838")
"""Matplotlib's cividis in six steps: darker to lighter is less to more for every colour vision."""


def cell_columns(study: Study) -> pd.DataFrame:
    """Return a row per cell of a study with everything that was found of it.

    Parameters
    ----------
    study : Study

    Returns
    -------
    DataFrame
        `cells`, and of the active results what is there: lineage, classes, surroundings, track_id and colony; organoid
        and condition. Empty where nothing was measured yet.
    """
    current = current_steps(study)
    if "measure" not in current or not study.has_table("cells"):
        return pd.DataFrame(columns=_CELL)
    table = study.table("cells")
    for name, step in _BESIDE.items():
        if step in current and study.has_table(name):
            beside = study.table(name)
            new = [c for c in beside.columns if c not in table.columns and c not in _LEFT_OUT]
            table = table.merge(beside[[*_CELL, *new]], on=_CELL, how="left")
    layout = study.layout
    names = [n for n in ("organoid", "condition") if n in layout and layout[n].notna().any()]
    if names:
        table = table.merge(layout[["position", *names]], on="position", how="left")
    return table.drop(columns=[n for n in _LEFT_OUT if n in table.columns])


def numeric_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that can be an axis: numbers that tell something, measurements first."""
    found = [
        name
        for name in table.columns
        if name not in ("label", "session", "t", "track_id", "colony")
        and pd.api.types.is_numeric_dtype(table[name])
        and not pd.api.types.is_bool_dtype(table[name])
        and table[name].notna().any()
    ]
    last = [name for name in ("time_h", "z", "y", "x") if name in found]
    return [name for name in found if name not in last] + last


def colour_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that can be a colour: classes first, then numbers."""
    classes = [
        name
        for name in table.columns
        if name not in ("position", "t", "label")
        and (table[name].dtype == object or isinstance(table[name].dtype, pd.StringDtype | pd.CategoricalDtype)
             or pd.api.types.is_bool_dtype(table[name]) or name == "session")
        and 1 <= table[name].nunique() <= _MOST_VALUES
    ]  # fmt: skip
    first = [name for name in ("lineage", "condition", "class", "compartment", "organoid") if name in classes]
    return first + [name for name in classes if name not in first] + numeric_columns(table)


def titled(name: str) -> str:
    """Return a column's name as it stands at an axis, with its unit where it has one."""
    unit = _UNITS.get(name) or ("µm" if name.startswith(("distance_", "edge_distance")) else "")
    unit = unit or ("cells/mm²" if name.startswith("local_density") else "")
    return f"{name.replace('_', ' ').removesuffix(' h')}{f' ({unit})' if unit else ''}"


def describe_cell(row: pd.Series) -> str:
    """Return what is known of a cell besides numbers: its label and frame, lineage, class, track and colony.

    Parameters
    ----------
    row : Series
        A row of `cell_columns`.
    """
    known = [f"{row[name]}" for name in ("lineage", "class", "compartment") if str(row.get(name) or "nan") != "nan"]
    known += [f"{name.removesuffix('_id')} {int(row[name])}" for name in ("track_id", "colony") if row.get(name, 0) > 0]
    return f"Label {int(row['label'])} in frame {int(row['t']) + 1}{': ' if known else ''}{', '.join(known)}."


@dataclass(frozen=True, eq=False)
class Colouring:
    """Which colour each cell has.

    Attributes
    ----------
    code : (n,) int64
        Index into `names` and `colours`.
    names, colours : sequence of str
        For the legend; ``#rrggbb``.
    """

    code: npt.NDArray[np.int64]
    names: Sequence[str]
    colours: Sequence[str]


def colouring(table: pd.DataFrame, column: str) -> Colouring:
    """Colour cells by a column: a class has its own colour, numbers six steps of equal counts.

    Parameters
    ----------
    table : DataFrame
    column : str
        '' for one colour.
    """
    if column not in table.columns:
        return Colouring(np.zeros(len(table), np.int64), [""], [SKY])
    values = table[column]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and column != "session":
        return _steps(values.to_numpy(np.float64))
    text = values.astype(object).where(values.notna(), "").astype(str)
    names = sorted(n for n in text.unique() if n)
    colours = dict(zip(names, _SPARE * (1 + len(names) // len(_SPARE)), strict=False))
    if column == "condition":
        names, colours = condition_order(names), condition_colours(names)
    elif column == "lineage":
        known = [n for n in names if n not in ("none", "negative")]
        names = lineage_order(known) + [n for n in names if n not in known]
        colours = {**dict.fromkeys(names, GREY), **lineage_colours(known)}
    names = [*names, *([""] if (text == "").any() else [])]
    code = pd.Categorical(text, categories=names).codes.astype(np.int64)
    return Colouring(code, [n or "none" for n in names], [colours.get(n, GREY) for n in names])


def _steps(values: npt.NDArray[np.float64]) -> Colouring:
    known = np.isfinite(values)
    n = len(_STEPS_OF_COLOUR)
    if not known.any():
        return Colouring(np.zeros(len(values), np.int64), ["none"], [GREY])
    bounds = np.unique(np.quantile(values[known], np.linspace(0, 1, n + 1)))
    bounds = bounds if len(bounds) > 1 else np.array([bounds[0], bounds[0]])
    code = np.clip(np.searchsorted(bounds, values, side="right") - 1, 0, len(bounds) - 2)
    picks = np.linspace(0, n - 1, len(bounds) - 1).round().astype(int)
    names = [f"{low:.3g} - {high:.3g}" for low, high in pairwise(bounds)]
    colours = [_STEPS_OF_COLOUR[k] for k in picks]
    if not known.all():
        names, colours = [*names, "none"], [*colours, GREY]
        code = np.where(known, code, len(names) - 1)
    return Colouring(code.astype(np.int64), names, colours)


def cells_chart(table: pd.DataFrame, x: str, y: str, colour: Colouring, note: str) -> Chart:
    """Return what is plotted as a chart, for export: points by class, and their numbers."""
    wide = 4.0 if len(table) < 2000 else 2.0
    series = []
    for k, (name, ink) in enumerate(zip(colour.names, colour.colours, strict=True)):
        rows = table[colour.code == k]
        if len(rows):
            across, up = (rows[column].to_numpy(np.float64) for column in (x, y))
            series.append(Series(across, up, ink, name, kind="points", width=wide))
    keep = [name for name in (*_CELL, "organoid", "condition", "track_id", "lineage", x, y) if name in table.columns]
    numbers = table[list(dict.fromkeys(keep))]
    return Chart("Cells", titled(x), titled(y), tuple(series), numbers, note)
