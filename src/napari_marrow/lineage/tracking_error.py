"""Results repeated over drawn pedigrees, and intervals that hold the error of tracking beside that of sampling.

Anything computed from pedigrees can be computed again from pedigrees drawn by the probabilities of their links
(`PedigreeDraws`). The draws are imputations of what is not known for sure, and are combined as such (Rubin's rules).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, t

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage.drawn import DrawnPedigree, PedigreeDraws, drawn_results
from napari_marrow.progress import CancelToken

Floats = npt.NDArray[np.float64]
TRACKING_COLUMNS = ("tracking_sd", "drawn_mean", "low_total", "high_total")
"""Columns that `with_tracking_error` adds."""


@dataclass(frozen=True)
class Estimate:
    """What of a table is estimated.

    Attributes
    ----------
    keys : tuple of str
        Columns that name a row, the same in every drawn pedigree.
    value : str
        Column of the estimate.
    low, high : str
        Columns of its limits.
    least, most : float
        Bounds of the value (0 and 1 for a probability).
    shares : tuple of str
        Beginnings of the last key of rows that are shares: 1 bounds them.
    log : bool
        Combine on the logarithmic scale, for rates that are known to a factor.
    """

    keys: tuple[str, ...]
    value: str
    low: str = "low"
    high: str = "high"
    least: float = -np.inf
    most: float = np.inf
    shares: tuple[str, ...] = ()
    log: bool = False


ESTIMATES: dict[str, Estimate] = {
    "emergence": Estimate(("condition", "organoid", "lineage", "time_h"), "cumulative_incidence", least=0, most=1),
    "division_times": Estimate(("condition", "organoid", "which"), "median_h", "low_h", "high_h", least=0),
    "division_types": Estimate(("type",), "probability", least=0, most=1),
    "onset_rates": Estimate(("condition", "to"), "rate", least=0),
    "generation_hazards": Estimate(("generation", "to"), "rate", least=0),
    "hidden_rates": Estimate(("transition",), "rate", least=0, log=True),
    "kin_correlations": Estimate(("quantity", "kind"), "excess", least=-2, most=2),
    "onset_synchrony": Estimate(("kind", "measure"), "observed", least=0, shares=("same",)),
    "clone_summary": Estimate(("condition", "quantity"), "value", least=0, shares=("share", "died", "preference")),
    "niche_coupling": Estimate(("lineage", "covariate", "exposure", "question"), "log_hazard_ratio"),
}
"""Tables of the room that can be repeated, and what of them varies."""


def repeated_over_pedigrees(
    tables: Mapping[str, pd.DataFrame],
    draws: PedigreeDraws,
    compute: Callable[[DrawnPedigree], Mapping[str, pd.DataFrame]],
    *,
    n_draws: int = 20,
    seed: int = 0,
    estimates: Mapping[str, Estimate] | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute results again for drawn pedigrees and put the error of tracking into their intervals.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Results of the most probable pedigree.
    draws : PedigreeDraws
    compute : callable
        From a drawn pedigree to the same tables; those that it leaves out come back as they are.
    n_draws, seed
        Number of pedigrees, 2 or more, and seed.
    estimates : mapping of str to Estimate, optional
        What varies in each table; `ESTIMATES` by default.
    cancel : CancelToken, optional

    Returns
    -------
    dict of str to pandas.DataFrame
        The tables, those that were repeated with the columns of `with_tracking_error`.

    Raises
    ------
    SettingsError
        If there are fewer than two draws, or a table is repeated of which nothing says what varies.
    """
    known = ESTIMATES if estimates is None else estimates
    drawn = drawn_results(draws, compute, n_draws=n_draws, seed=seed, cancel=cancel)
    out = dict(tables)
    for name in dict.fromkeys(name for result in drawn for name in result):
        if name not in known:
            raise SettingsError(f"Nothing says what varies in the table '{name}': give its Estimate.")
        if name in out and len(out[name]):
            parts = [result[name] for result in drawn if name in result and len(result[name])]
            out[name] = _combined(out[name], parts, known[name], len(drawn))
    return out


def with_tracking_error(
    table: pd.DataFrame, drawn: Sequence[pd.DataFrame], *, keys: Sequence[str], value: str, low: str = "low",
    high: str = "high", least: float = -np.inf, most: float = np.inf,
) -> pd.DataFrame:  # fmt: skip
    """Add intervals that hold the scatter of an estimate over drawn pedigrees beside its error of sampling.

    Parameters
    ----------
    table : pandas.DataFrame
        Of the most probable pedigree, with `value` and, where it has intervals, `low` and `high`.
    drawn : sequence of pandas.DataFrame
        The same table for drawn pedigrees.
    keys : sequence of str
        Columns that name a row.
    value : str
        Column that varies.
    low, high : str
        Columns of its limits.
    least, most : float
        Bounds of the value (0 and 1 for a probability).

    Returns
    -------
    pandas.DataFrame
        With `tracking_sd` (over pedigrees), `drawn_mean`, and, where there were limits, `low_total`, `high_total`.
        NaN where a value came out in less than half of the pedigrees.

    Notes
    -----
    Rubin's rules for multiple imputation (Rubin 1987): the total interval lies around the mean over m pedigrees, for
    the most probable one is only one of those that may be true; its variance is that within pedigrees and (1 + 1/m)
    times that between them, its degrees of freedom (m - 1) (1 + within / between)². Within: the half-widths of the
    drawn tables' limits, of each side apart, or of the table's own where the drawn ones have none. With certain links
    the interval is the table's own.
    """
    return _combined(table, drawn, Estimate(tuple(keys), value, low, high, least, most), len(drawn))


def _combined(table: pd.DataFrame, drawn: Sequence[pd.DataFrame], what: Estimate, m: int) -> pd.DataFrame:
    keys, value = list(what.keys), what.value
    limits = [c for c in (what.low, what.high) if c in table.columns]
    for name in (*keys, value):
        if name not in table.columns:
            raise TableError(f"The table lacks the column '{name}' that tracking error is asked for.")
    table = table.drop(columns=[c for c in TRACKING_COLUMNS if c in table.columns])
    parts = [_scaled(d.reindex(columns=[*keys, value, *limits]), [value, *limits], what.log) for d in drawn]
    stacked = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*keys, value, *limits])
    for side in limits:
        stacked[f"{side}_squared"] = (stacked[side] - stacked[value]) ** 2
    how = {"_sd": (value, "std"), "_mean": (value, "mean"), "_count": (value, "count")}
    how |= {f"_{side}": (f"{side}_squared", "mean") for side in limits}
    spread = stacked.groupby(keys, sort=False, dropna=False).agg(**how).reset_index()
    out = table.merge(spread.astype({k: table[k].dtype for k in keys}), on=keys, how="left")
    known = out["_count"].fillna(0) >= max(2, m / 2)
    out["tracking_sd"] = out["_sd"].astype(float).where(known)
    out["drawn_mean"] = out["_mean"].astype(float).where(known)
    if len(limits) == 2:
        own = _scaled(out, [value, *limits], what.log)
        half = [_half_width(own, value, side, f"_{side}") for side in limits]
        between = (1 + 1 / m) * out["tracking_sd"].to_numpy(dtype=np.float64) ** 2
        extra = _quantile(half[0] + half[1], between, m) ** 2 * between
        centre = out["drawn_mean"].to_numpy(dtype=np.float64)
        share = out[keys[-1]].astype(str).str.startswith(what.shares).to_numpy() if what.shares else False
        most = np.where(share, np.minimum(what.most, 1.0), what.most)
        for name, sign, width in (("low_total", -1, half[0]), ("high_total", 1, half[1])):
            end = centre + sign * np.sqrt(width**2 + extra)
            out[name] = np.clip(np.exp(end) if what.log else end, what.least, most)
    if what.log:
        out["drawn_mean"] = np.exp(out["drawn_mean"])
        out["tracking_sd"] = out["tracking_sd"] * out["drawn_mean"]
    return out.drop(columns=[*how])


def _scaled(table: pd.DataFrame, columns: list[str], log: bool) -> pd.DataFrame:
    """Return the table with numbers in the columns, their logarithms if asked for (NaN for 0)."""
    out = table.astype(dict.fromkeys(columns, float))
    if log:
        out[columns] = np.log(out[columns].where(out[columns] > 0))
    return out


def _half_width(out: pd.DataFrame, value: str, side: str, squared: str) -> Floats:
    """Root mean square of the drawn half-widths; the table's own where the drawn ones have none, NaN if it is open."""
    own = np.abs(out[side].to_numpy(dtype=np.float64) - out[value].to_numpy(dtype=np.float64))
    drawn = np.sqrt(out[squared].to_numpy(dtype=np.float64))
    return np.where(np.isfinite(drawn) & np.isfinite(own), drawn, own)


def _quantile(widths: Floats, between: Floats, m: int) -> Floats:
    """Student's t quantile of Rubin's degrees of freedom, from the width of the interval within pedigrees."""
    within = (widths / 2 / norm.ppf(0.975)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (m - 1) * (1 + within / between) ** 2
    return np.asarray(t.ppf(0.975, np.where(np.isfinite(freedom), np.minimum(freedom, 1e6), 1e6)), dtype=np.float64)
