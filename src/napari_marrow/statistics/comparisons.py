"""Conditions compared with the organoid as unit: one value per organoid, permuted as it was randomised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t

from napari_marrow.errors import DesignError, TableError
from napari_marrow.schemas import COMPARISONS, ORGANOID_SUMMARY
from napari_marrow.statistics.design import check_design, strata_of, unit_table
from napari_marrow.statistics.multiplicity import benjamini_hochberg
from napari_marrow.statistics.permutation import PermutationResult, permutation_test

Floats = npt.NDArray[np.float64]
_EXTRA = ("interval", "strata", "n_splits", "note")


def compare(
    summary: pd.DataFrame,
    layout: pd.DataFrame,
    *,
    reference: str = "control",
    endpoints: Sequence[str] | None = None,
    unit: str = "organoid",
    n_draws: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every condition with the reference on every endpoint.

    The test is a permutation of the difference in means over organoids, exact up to 20 000 splits, within batches and
    donors where these hold both conditions. Its interval is the permutation test inverted; where there are too few
    organoids for it to be finite, Student's t with unequal variances (Welch) on the organoid values.

    Parameters
    ----------
    summary : pandas.DataFrame
        ORGANOID_SUMMARY table: one value per organoid and endpoint. NaN values are left out and counted in the note.
    layout : pandas.DataFrame
        LAYOUT table: organoid, condition, donor, batch.
    reference : str
        Condition that the others are compared with.
    endpoints : sequence of str, optional
        All by default.
    unit : {"organoid", "donor", "batch"}
        What was randomised. Organoid values are averaged within a coarser unit first.
    n_draws, seed
        Of the permutations that are drawn at random.

    Returns
    -------
    pandas.DataFrame
        COMPARISONS table and `interval` (how it was made), `strata` (within what was permuted), `n_splits`, `note`.
        With fewer than two units in a condition every estimate that needs more is NaN and the note says so. With
        strata, `difference` is the weighted mean of the differences within them.

    Raises
    ------
    DesignError
        If condition and batch or donor are confounded, the reference is missing or there is no other condition.
    TableError
        If an organoid has two values for an endpoint or is not in the layout.
    """
    table = ORGANOID_SUMMARY.conform(summary)
    units = unit_table(layout, unit=unit)
    _check_table(table, units)
    conditions = sorted(set(units["condition"]))
    if reference not in conditions:
        raise DesignError(f"The reference condition '{reference}' is not in the plate layout, which has {conditions}.")
    others = [c for c in conditions if c != reference]
    if not others:
        raise DesignError(f"There is only the condition '{reference}': a comparison needs two.")
    plans = {other: check_design(units, [reference, other], unit=unit) for other in others}
    names = list(endpoints) if endpoints is not None else sorted(set(table["endpoint"]))
    rows = []
    for number, endpoint in enumerate(names):
        mine = table[table["endpoint"] == endpoint]
        if mine.empty:
            raise TableError(f"The summary has no endpoint '{endpoint}': it has {sorted(set(table['endpoint']))}.")
        joined = mine[["organoid", "value", "unit"]].rename(columns={"unit": "measured_in"})
        joined = joined.merge(units, on="organoid", how="inner", validate="one_to_one")
        for other in others:
            drawn_seed = np.random.default_rng([seed, number, others.index(other)]).integers(2**31)
            row = _one(joined, reference, other, plans[other], n_draws, int(drawn_seed))
            rows.append({"endpoint": endpoint, "unit": joined["measured_in"].iloc[0] if len(joined) else "", **row})
    if not rows:
        return COMPARISONS.empty().assign(**{name: pd.Series([], dtype=object) for name in _EXTRA})
    out = pd.DataFrame(rows)
    out["p_adjusted"] = benjamini_hochberg(out["p_value"].to_numpy(dtype=np.float64))
    return COMPARISONS.conform(out)


def _check_table(table: pd.DataFrame, units: pd.DataFrame) -> None:
    doubled = table.duplicated(["organoid", "endpoint"])
    if doubled.any():
        row = table[doubled].iloc[0]
        raise TableError(f"Organoid {row['organoid']} has two values for '{row['endpoint']}': give one per organoid.")
    stray = sorted(set(table["organoid"].astype(str)) - set(units["organoid"]))
    if stray:
        raise TableError(f"The plate layout does not name the organoid(s) {', '.join(stray)}: add them.")


def _one(joined: pd.DataFrame, a: str, b: str, strata: list[str], n_draws: int, seed: int) -> dict[str, Any]:
    pair = joined[joined["condition"].isin([a, b])]
    known = pair[np.isfinite(pair["value"].to_numpy(dtype=np.float64))]
    notes = []
    if len(known) < len(pair):
        notes.append(f"{len(pair) - len(known)} of {len(pair)} organoids without a value left out")
    # Organoids of one unit (and, where a unit crosses conditions, of one condition in it) are one observation.
    grouped = known.groupby(["condition", "unit", *strata], sort=True, as_index=False)["value"].mean()
    y = grouped["value"].to_numpy(dtype=np.float64)
    in_b = (grouped["condition"] == b).to_numpy()
    n_a, n_b = int((~in_b).sum()), int(in_b.sum())
    row: dict[str, Any] = {
        "condition_a": a,
        "condition_b": b,
        "n_a": n_a,
        "n_b": n_b,
        "mean_a": float(y[~in_b].mean()) if n_a else np.nan,
        "mean_b": float(y[in_b].mean()) if n_b else np.nan,
        "difference": float(y[in_b].mean() - y[~in_b].mean()) if n_a and n_b else np.nan,
        **dict.fromkeys(("low", "high", "p_value", "smallest_p", "p_adjusted"), np.nan),
        "interval": "none",
        "strata": ", ".join(strata),
        "n_splits": 0,
    }
    if n_a < 2 or n_b < 2:
        notes.append(f"{n_a} and {n_b} organoids with a value: a comparison needs two in each condition")
        return {**row, "note": "; ".join(notes)}
    names = strata_of(grouped, strata)
    if not any(0 < in_b[names == s].sum() < (names == s).sum() for s in np.unique(names)):
        notes.append(f"no {' and '.join(strata)} has values in both conditions")
        return {**row, "difference": np.nan, "note": "; ".join(notes)}
    result = permutation_test(y, in_b, strata=names, n_draws=n_draws, seed=seed)
    low, high, how = _interval(result, y, in_b, names)
    if strata and abs(result.difference - row["difference"]) > 1e-12:
        notes.append(f"difference adjusted for {' and '.join(strata)}")
    if result.smallest_p > 0.05:
        notes.append(f"so few organoids cannot give p below {result.smallest_p:.3g}")
    row |= {
        "difference": result.difference,
        "low": low,
        "high": high,
        "p_value": result.p_value,
        "smallest_p": result.smallest_p,
        "interval": how,
        "n_splits": result.n_splits,
    }
    return {**row, "note": "; ".join(notes)}


def _interval(
    result: PermutationResult, y: Floats, in_b: npt.NDArray[np.bool_], strata: npt.NDArray[np.str_]
) -> tuple[float, float, str]:
    if np.isfinite(result.low) and np.isfinite(result.high):
        return result.low, result.high, "permutation"
    low, high = adjusted_t_interval(y, in_b, strata, result.difference)
    return low, high, "t" if np.isfinite(low) else "none"


def adjusted_t_interval(
    y: Floats, in_b: npt.NDArray[np.bool_], strata: npt.NDArray[np.str_], difference: float
) -> tuple[float, float]:
    """95 % interval of a difference of means: Welch's t, or with strata the t of the model y ~ condition + stratum.

    Returns
    -------
    low, high : float
        NaN where no degree of freedom is left.
    """
    a, b = y[~in_b], y[in_b]
    if len(np.unique(strata)) == 1:
        va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
        if va + vb <= 0:
            return difference, difference
        df = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
        error = np.sqrt(va + vb)
    else:
        dummies = (strata[:, None] == np.unique(strata)[None]).astype(np.float64)
        design = np.column_stack([in_b.astype(np.float64), dummies])
        df = len(y) - np.linalg.matrix_rank(design)
        if df < 1:
            return float("nan"), float("nan")
        residual = y - design @ np.linalg.pinv(design) @ y
        error = np.sqrt(residual @ residual / df * np.linalg.pinv(design.T @ design)[0, 0])
    half = float(t.ppf(0.975, df) * error)
    return difference - half, difference + half
