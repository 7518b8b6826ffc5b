"""Emergence curves out of the table `emergence`, ready to be drawn. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_marrow.gui.palette import lineage_colours

if TYPE_CHECKING:
    import pandas as pd


Floats = npt.NDArray[np.float64]
_NO_LINEAGES = frozenset({"", "death"})
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True, eq=False)
class Curve:
    """The cumulative incidence of a lineage in a condition.

    Attributes
    ----------
    condition, lineage : str
    time_h, value, low, high : (n,) float64
        Steps: the value holds from its time to the next. `low` and `high` may be NaN.
    at_risk : (n,) int64
        Tracks at risk.
    colour : str
        The lineage's.
    dash : str
        The condition's: solid, dash, dot or dashdot.
    """

    condition: str
    lineage: str
    time_h: Floats
    value: Floats
    low: Floats
    high: Floats
    at_risk: npt.NDArray[np.int64]
    colour: str
    dash: str

    @property
    def has_band(self) -> bool:
        """Whether there is an interval to draw."""
        return bool(np.isfinite(self.low).any() and np.isfinite(self.high).any())


def conditions(table: pd.DataFrame) -> list[str]:
    """Return the conditions in the table, the pooled one (``all``) last."""
    names = sorted(set(table["condition"].astype(str)))
    return [name for name in names if name != "all"] + (["all"] if "all" in names else [])


def of_session(table: pd.DataFrame, session: int) -> pd.DataFrame:
    """Return the rows of a session, where curves are told per session; of another one where this one has none.

    Parameters
    ----------
    table : DataFrame
        Table `emergence`.
    session : int
        The session on display; one without tracks (a single frame) has no curves, and the first that has some is taken.
    """
    if "session" not in table.columns or table.empty:
        return table
    known = set(table["session"])
    return table[table["session"] == (session if session in known else min(known))]


def emergence_curves(table: pd.DataFrame, condition: str | None = None) -> list[Curve]:
    """Return a curve per condition and lineage.

    Parameters
    ----------
    table : DataFrame
        Table `emergence`; rows of single organoids and of death, the competing end, are left out.
    condition : str, optional
        Only this one; by default every condition, without the pooled one where there are others.

    Returns
    -------
    list of Curve
    """
    means = table[table["organoid"] == "all"]
    shown = conditions(means)
    lineages = sorted(set(means["lineage"].astype(str)) - _NO_LINEAGES)
    colours = lineage_colours(lineages)
    dashes = {name: DASHES[i % len(DASHES)] for i, name in enumerate(shown)}
    if condition is not None:
        shown = [name for name in shown if name == condition]
    elif len(shown) > 1:
        shown = [name for name in shown if name != "all"]
    curves = []
    for name in shown:
        for lineage in lineages:
            rows = means[(means["condition"] == name) & (means["lineage"] == lineage)].sort_values("time_h")
            rows = rows[np.isfinite(rows["cumulative_incidence"])]
            if len(rows):
                curves.append(_curve(rows, name, lineage, colours[lineage], dashes[name]))
    return curves


def _curve(rows: pd.DataFrame, condition: str, lineage: str, colour: str, dash: str) -> Curve:
    time, value, low, high = (
        rows[name].to_numpy(np.float64) for name in ("time_h", "cumulative_incidence", "low", "high")
    )
    return Curve(condition, lineage, time, value, low, high, rows["at_risk"].to_numpy(np.int64), colour, dash)


def as_steps(time: Floats, *values: Floats) -> tuple[Floats, ...]:
    """Return time and values with the corners of a right-continuous step function put in.

    Examples
    --------
    >>> [list(map(float, v)) for v in as_steps(np.array([0.0, 1.0]), np.array([0.0, 0.5]))]
    [[0.0, 1.0, 1.0], [0.0, 0.0, 0.5]]
    """
    corners = np.repeat(time, 2)[1:]
    return (corners, *(np.repeat(value, 2)[:-1] for value in values))
