"""Values that organoids have over time: means with intervals at a time, and trends, with the organoid as unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t

from napari_marrow.errors import SettingsError, TableError

Floats = npt.NDArray[np.float64]
_EXACT = 14  # up to 2^14 sign flips are gone through one by one


@dataclass(frozen=True)
class UnitMean:
    """Mean of one value per organoid.

    Attributes
    ----------
    n : int
        Organoids with a value.
    mean : float
    low, high : float
        95 % interval by Student's t over organoids; NaN for fewer than two.
    p_value : float
        Two-sided p of a mean of `null`, by flipping signs; NaN for fewer than two organoids.
    smallest_p : float
        Smallest p that this number of organoids can give.
    """

    n: int
    mean: float
    low: float
    high: float
    p_value: float
    smallest_p: float


def unit_mean(values: npt.ArrayLike, *, null: float = 0.0, n_draws: int = 9999, seed: int = 0) -> UnitMean:
    """Mean over organoids with its interval and the sign-flip test against a value.

    Parameters
    ----------
    values : (n,) array-like
        One value per organoid; NaN is left out.
    null : float
        Mean under the null; the differences from it are taken to be symmetric.
    n_draws, seed : int
        Sign flips that are drawn where there are too many to go through all.

    References
    ----------
    Fisher 1935, The Design of Experiments, ch. III (randomisation of signs).
    """
    y = np.asarray(values, dtype=np.float64)
    y = y[np.isfinite(y)]
    n, nan = len(y), float("nan")
    if n == 0:
        return UnitMean(0, nan, nan, nan, nan, nan)
    mean = float(y.mean())
    if n < 2:
        return UnitMean(n, mean, nan, nan, nan, nan)
    half = float(t.ppf(0.975, n - 1) * y.std(ddof=1) / np.sqrt(n))
    d = y - null
    if n <= _EXACT:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        p = float(np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-12 * np.abs(d).sum()))
        return UnitMean(n, mean, mean - half, mean + half, p, 2.0 / 2**n)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n_draws, n))
    hits = np.count_nonzero(np.abs(signs @ d) >= abs(d.sum()) - 1e-12 * np.abs(d).sum())
    return UnitMean(n, mean, mean - half, mean + half, (1 + hits) / (n_draws + 1), 1.0 / (n_draws + 1))


def unit_slopes(
    table: pd.DataFrame, *, unit: str = "organoid", time: str = "time_h", value: str = "value"
) -> pd.Series:
    """Least-squares slope of each organoid's values over time, NaN with fewer than two times.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per organoid and time; several rows of one time are averaged first.
    unit, time, value : str
        Columns.

    Returns
    -------
    pandas.Series
        Slope in units of the value per unit of time, by organoid.

    Raises
    ------
    TableError
        If a column is missing.
    """
    missing = {unit, time, value} - set(table.columns)
    if missing:
        raise TableError(f"The table lacks the column(s) {', '.join(sorted(missing))}.")
    known = table[np.isfinite(table[value].to_numpy(dtype=np.float64))]
    means = known.groupby([unit, time], as_index=False)[value].mean()
    slopes = {
        name: _slope(part[time].to_numpy(float), part[value].to_numpy(float)) for name, part in means.groupby(unit)
    }
    return pd.Series({name: slopes.get(name, np.nan) for name in dict.fromkeys(table[unit])}, dtype=np.float64)


def _slope(x: Floats, y: Floats) -> float:
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ y) / spread if spread > 0 else float("nan")


def trends(
    table: pd.DataFrame,
    by: Sequence[str],
    *,
    unit: str = "organoid",
    time: str = "time_h",
    value: str = "value",
    per: float = 168.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Change over time in each group, as the mean of the organoids' slopes.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns of `by`, unit, time, value.
    by : sequence of str
        Columns that name a group (condition, metric, subject).
    unit, time, value : str
    per : float
        Slopes are given per this much time; 168 h is a week.
    seed : int

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, n_units (organoids with two times or more), slope, low, high (95 %, over organoids),
        p_value (no change, sign flips over organoids), smallest_p, note.
    """
    if not per > 0:
        raise SettingsError(f"per is {per}: give a positive time.")
    rows = []
    for names, part in table.groupby(list(by), sort=True, dropna=False):
        slopes = unit_slopes(part, unit=unit, time=time, value=value) * per
        found = unit_mean(slopes.to_numpy(), seed=seed)
        lacking = int(slopes.isna().sum())
        notes = [f"{lacking} of {len(slopes)} organoids seen at fewer than two times"] if lacking else []
        if found.n < 2:
            notes.append("an interval needs two organoids")
        elif found.smallest_p > 0.05:
            notes.append(f"so few organoids cannot give p below {found.smallest_p:.3g}")
        rows.append(
            {
                **dict(zip(by, names, strict=True)), "n_units": found.n, "slope": found.mean, "low": found.low,
                "high": found.high, "p_value": found.p_value, "smallest_p": found.smallest_p, "note": "; ".join(notes),
            }
        )  # fmt: skip
    columns = [*by, "n_units", "slope", "low", "high", "p_value", "smallest_p", "note"]
    return pd.DataFrame(rows, columns=columns)
