"""The next experiment: power and number of organoids, from the scatter between the organoids of this one."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2, nct, t

from napari_marrow.errors import SettingsError, TableError

Floats = npt.NDArray[np.float64]


def smallest_p(n_a: int, n_b: int) -> float:
    """Return the smallest two-sided p that a permutation of organoids can give.

    It is 2/C(n_a + n_b, n_a) for equal groups and 1/C for unequal ones: 4 + 4 organoids allow 70 splits, hence .029;
    3 + 3 allow 20, hence .1.
    """
    if n_a < 1 or n_b < 1:
        raise SettingsError(f"{n_a} and {n_b} organoids: each group needs one or more.")
    return (2 if n_a == n_b else 1) / comb(n_a + n_b, n_a)


def two_group_power(n_a: int, n_b: int, difference: float, sd: float, *, alpha: float = 0.05) -> float:
    """Return the power of a two-sided comparison of means of organoids.

    Parameters
    ----------
    n_a, n_b : int
        Organoids in each group.
    difference : float
        True difference of means, unit of the endpoint.
    sd : float
        Standard deviation between organoids of a group, same unit.
    alpha : float
        Level. Where the smallest attainable p lies above it, the power is 0.

    Notes
    -----
    Noncentral t with n_a + n_b - 2 degrees of freedom; the permutation test has nearly the same power (Lehmann 1975).
    """
    if sd <= 0 or not 0 < alpha < 1:
        raise SettingsError("The standard deviation must be above 0 and alpha between 0 and 1.")
    if n_a < 2 or n_b < 2 or smallest_p(n_a, n_b) > alpha:
        return 0.0
    df = n_a + n_b - 2
    shift = abs(difference) / (sd * np.sqrt(1 / n_a + 1 / n_b))
    q = t.ppf(1 - alpha / 2, df)
    return float(nct.sf(q, df, shift) + nct.cdf(-q, df, shift))


def organoids_needed(
    difference: float, sd: float, *, power: float = 0.8, alpha: float = 0.05, most: int = 10_000
) -> int:
    """Return the organoids per group for a power, the same in both groups.

    Raises
    ------
    SettingsError
        If more than `most` per group would be needed (or the difference is 0).
    """
    if not 0 < power < 1:
        raise SettingsError(f"power is {power}: give a probability between 0 and 1.")
    low, high = 1, 2
    while difference != 0 and high <= most and two_group_power(high, high, difference, sd, alpha=alpha) < power:
        low, high = high, 2 * high
    if difference == 0 or high > most:
        raise SettingsError(
            f"A difference of {difference:g} with a scatter of {sd:g} needs more than {most} organoids."
        )
    while high - low > 1:
        middle = (low + high) // 2
        enough = two_group_power(middle, middle, difference, sd, alpha=alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def next_experiment(
    summary: pd.DataFrame,
    *,
    reference: str = "control",
    endpoints: Sequence[str] | None = None,
    relative_effects: Sequence[float] = (0.2, 0.5, 1.0),
    power: float = 0.8,
    alpha: float = 0.05,
    confidence: float = 0.8,
) -> pd.DataFrame:
    """Plan from this experiment: organoids per group to find effects of a given size.

    Parameters
    ----------
    summary : pandas.DataFrame
        ORGANOID_SUMMARY table.
    reference : str
        Condition whose mean the effects are relative to.
    endpoints : sequence of str, optional
        All by default.
    relative_effects : sequence of float
        Differences as fractions of the reference's mean.
    power, alpha : float
    confidence : float
        The standard deviation of a few organoids is itself uncertain: the plan also takes its upper limit of this
        confidence (Browne 1995, Stat Med 14:1933).

    Returns
    -------
    pandas.DataFrame
        endpoint, unit, sd (within conditions), sd_upper, df, reference_mean, relative_effect, difference, n_per_group,
        n_per_group_cautious (with sd_upper), note.
    """
    names = list(endpoints) if endpoints is not None else sorted(set(summary["endpoint"]))
    rows = []
    for name in names:
        mine = summary[(summary["endpoint"] == name) & np.isfinite(summary["value"].to_numpy(dtype=np.float64))]
        if endpoints is not None and mine.empty:
            raise TableError(f"The summary has no values of the endpoint '{name}'.")
        groups = [g["value"].to_numpy(dtype=np.float64) for _, g in mine.groupby("condition")]
        df = sum(len(g) - 1 for g in groups)
        squares = sum(float(((g - g.mean()) ** 2).sum()) for g in groups)
        unit = str(mine["unit"].iloc[0]) if len(mine) else ""
        at = mine.loc[mine["condition"] == reference, "value"]
        mean = float(at.mean()) if len(at) else np.nan
        sd = float(np.sqrt(squares / df)) if df > 0 else np.nan
        upper = float(np.sqrt(squares / chi2.ppf(1 - confidence, df))) if df > 0 else np.nan
        for effect in relative_effects:
            difference = abs(effect * mean)
            n, cautious, note = _needed(difference, sd, upper, power, alpha)
            rows.append([name, unit, sd, upper, df, mean, effect, difference, n, cautious, note])
    columns = ["endpoint", "unit", "sd", "sd_upper", "df", "reference_mean", "relative_effect", "difference",
               "n_per_group", "n_per_group_cautious", "note"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _needed(difference: float, sd: float, upper: float, power: float, alpha: float) -> tuple[float, float, str]:
    if not np.isfinite(sd):
        return np.nan, np.nan, "no condition has two organoids: their scatter is unknown"
    if not difference > 0:
        return np.nan, np.nan, "the reference's mean is 0 or unknown: there is no relative effect"
    if sd == 0:
        return np.nan, np.nan, "organoids do not differ at all: nothing to plan from"
    counts = []
    for scatter in (sd, upper):
        try:
            counts.append(float(organoids_needed(difference, scatter, power=power, alpha=alpha)))
        except SettingsError:
            counts.append(np.inf)
    return counts[0], counts[1], ""
