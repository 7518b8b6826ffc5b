"""A chart as data: what is drawn, the numbers behind it and what a click on it picks. Knows neither Qt nor matplotlib.

The window draws a chart with pyqtgraph, an export with matplotlib; both draw the same series, so that a figure in a
paper is the one that was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Kind = Literal["line", "steps", "points", "bars", "pieces"]
DASHES = ("solid", "dash", "dot", "dashdot")
INK = "#000000"
"""Drawn in the window's text colour there, in black on paper."""


@dataclass(frozen=True)
class Subset:
    """What part of a study is looked at; the same for every chart.

    Attributes
    ----------
    condition, organoid : str
        Only these; '' for every one.
    session : int or None
        Only this one; None for every one, or for the one on display where a chart can only tell one.
    """

    condition: str = ""
    organoid: str = ""
    session: int | None = None

    def of(self, table: pd.DataFrame, *, sessions: bool = True) -> pd.DataFrame:
        """Return the rows of a table that belong to it; columns that the table lacks are not asked for.

        Parameters
        ----------
        table : DataFrame
        sessions : bool
            Whether to keep to the session, too.
        """
        for name, wanted in (("condition", self.condition), ("organoid", self.organoid)):
            if wanted and name in table.columns:
                table = table[table[name].astype(str) == wanted]
        if sessions and self.session is not None and "session" in table.columns:
            table = table[table["session"] == self.session]
        return table


@dataclass(frozen=True)
class Pick:
    """What a series stands for in the image.

    Attributes
    ----------
    position : str
    colony : int
        Identity of a colony across sessions; 0 for none.
    """

    position: str
    colony: int = 0


@dataclass(frozen=True, eq=False)
class Series:
    """Something that is drawn in one colour.

    Attributes
    ----------
    x, y : (n,) float64
        Of bars: middle and height. Of pieces: the end points of lines, two after each other.
    colour : str
        ``#rrggbb``.
    name : str
        For the legend; '' for none.
    kind : str
        line, steps (the value holds from its x to the next), points, bars or pieces.
    low, high : (n,) float64 or None
        Band of a line, whiskers of points and bars; NaN where there is none.
    dash : str
        solid, dash, dot or dashdot.
    width : float
        Of a line in px, of bars in units of x, of points their diameter in px.
    faint : bool
        Drawn half transparent: a single organoid behind its mean.
    pick : Pick or None
        What a click selects.
    """

    x: Floats
    y: Floats
    colour: str
    name: str = ""
    kind: Kind = "line"
    low: Floats | None = None
    high: Floats | None = None
    dash: str = "solid"
    width: float = 2.0
    faint: bool = False
    pick: Pick | None = None

    @property
    def dotted(self) -> bool:
        """Whether a line shows its few points."""
        return self.kind == "line" and len(self.x) < 12 and self.width > 1

    @property
    def has_band(self) -> bool:
        """Whether there is an interval to draw."""
        ends = (self.low, self.high)
        return all(end is not None and bool(np.isfinite(end).any()) for end in ends)


@dataclass(frozen=True)
class Key:
    """An entry of a short legend: a name with a colour, or with a dash (solid, dash, dot, dashdot)."""

    name: str
    colour: str
    dash: str


@dataclass(frozen=True, eq=False)
class Chart:
    """What one plot shows.

    Attributes
    ----------
    title, x_label, y_label : str
    series : tuple of Series
        From back to front.
    numbers : DataFrame
        What was drawn, as it is written beside an exported figure.
    note : str
        What to know when reading it, or why it is empty.
    x_ticks : tuple of (float, str)
        Names along the x axis instead of numbers.
    y_range : (float, float) or None
    log_y : bool
    same_scale : bool
        A map: x and y have one scale, and y points down as in the image.
    at_risk : dict of str to ((n,) float64, (n,) int64)
        Times and numbers at risk by condition.
    keys : tuple of Key
        A shorter legend than the names of all series, for the window.
    handles : DataFrame
        Points that stand for something in the image, which a lasso selects and a selection brings out: x, y as the
        series have them, position, and of what they stand for ``colony`` (identity across sessions), ``founder`` (a
        clone's first track) with session, or ``t`` and ``label`` (a cell) with session.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...] = ()
    numbers: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str = ""
    x_ticks: tuple[tuple[float, str], ...] = ()
    y_range: tuple[float, float] | None = None
    log_y: bool = False
    same_scale: bool = False
    at_risk: Mapping[str, tuple[Floats, npt.NDArray[np.int64]]] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    handles: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.series


Tables = Mapping[str, pd.DataFrame]
"""Tables of a study's active results by name; those that were not computed are not in it."""


@dataclass(frozen=True)
class View:
    """What a chart is made for.

    Attributes
    ----------
    subset : Subset
    position : str
        The position on display, for charts that can only show one field.
    session : int
        Its session on display.
    option : str
        Which of the chart's options.
    """

    subset: Subset
    position: str = ""
    session: int = 0
    option: str = ""


@dataclass(frozen=True)
class ChartKind:
    """A chart that can be asked for.

    Attributes
    ----------
    name : str
        As it stands in the list.
    needs : tuple of str
        Tables without which it cannot be drawn.
    build : callable
        Makes the chart from tables and a view.
    also : tuple of str
        Tables that it uses where they are there.
    options : callable
        Names what can be chosen within it; none by default.
    """

    name: str
    needs: tuple[str, ...]
    build: Callable[[Tables, View], Chart]
    options: Callable[[Tables], list[str]] = lambda tables: []
    also: tuple[str, ...] = ()


def make_chart(kind: ChartKind, tables: Tables, view: View) -> Chart:
    """Make a chart, or an empty one that says which results are missing.

    Parameters
    ----------
    kind : ChartKind
    tables : mapping of str to DataFrame
    view : View
        An option that does not exist is replaced by the first.
    """
    missing = [name for name in kind.needs if name not in tables or tables[name].empty]
    if missing:
        return Chart(kind.name, "", "", note=f"Run the recipe: {kind.name.lower()} is drawn here.")
    options = kind.options(tables)
    if options and view.option not in options:
        view = View(view.subset, view.position, view.session, options[0])
    return kind.build(tables, view)


def as_steps(time: Floats, *values: Floats) -> tuple[Floats, ...]:
    """Return time and values with the corners of a right-continuous step function put in.

    Examples
    --------
    >>> [list(map(float, v)) for v in as_steps(np.array([0.0, 1.0]), np.array([0.0, 0.5]))]
    [[0.0, 1.0, 1.0], [0.0, 0.0, 0.5]]
    """
    corners = np.repeat(time, 2)[1:]
    return (corners, *(np.repeat(value, 2)[:-1] for value in values))


def tick_times(end: float, *, most: int = 5) -> list[float]:
    """Return round times from 0 to `end` (h), at most `most` steps apart.

    Examples
    --------
    >>> tick_times(13.0)
    [0.0, 4.0, 8.0, 12.0]
    """
    step = next((s for s in (1, 2, 4, 6, 12, 24, 48, 72, 96, 168, 336) if end / s <= most), end / most)
    return [float(v) for v in np.arange(0.0, end + 1e-6, step)] if step > 0 else [0.0]


def risk_counts(chart: Chart, ticks: Sequence[float]) -> dict[str, list[int]]:
    """Return how many tracks are at risk just before each time, by condition; none behind the last observation."""
    counted = {}
    for name, (time, at_risk) in chart.at_risk.items():
        rows = np.searchsorted(time, np.asarray(ticks) - 1e-9)
        counted[name] = [int(at_risk[k]) if k < len(at_risk) else 0 for k in rows]
    return counted


def floats(table: pd.DataFrame, column: str) -> Floats:
    """Return a column as float64, NaN where the table has none."""
    if column not in table.columns:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(np.float64)
