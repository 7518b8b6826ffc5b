"""What division trees tell, in one table: every estimate with its interval without and with the error of tracking."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from napari_marrow.report.parts import TablePart

_RESULTS: dict[str, tuple[str, str, tuple[str, ...], str, str, str]] = {
    "division_times": ("median division time", "h", ("which", "condition", "organoid"), "median_h", "low_h", "high_h"),
    "division_types": ("share of divisions", "", ("type",), "probability", "low", "high"),
    "onset_rates": ("rate of onset", "1/h", ("to", "condition"), "rate", "low", "high"),
    "generation_hazards": ("rate by generation", "1/h", ("to", "generation"), "rate", "low", "high"),
    "kin_correlations": ("correlation beyond the clone", "", ("quantity", "kind"), "excess", "low", "high"),
    "onset_synchrony": ("synchrony of onsets", "", ("kind", "measure"), "observed", "low", "high"),
    "clone_summary": ("clones", "", ("quantity", "condition"), "value", "low", "high"),
}
"""Table to what it holds, its unit, the columns that name a row, and those of the estimate and its limits."""
RESULT_TABLES = tuple(_RESULTS)
_HEADINGS = {
    "low": "lower 95 % limit",
    "high": "upper 95 % limit",
    "tracking_sd": "SD over pedigrees",
    "drawn_mean": "mean over pedigrees",
    "low_total": "lower limit with tracking",
    "high_total": "upper limit with tracking",
}


def estimates(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the estimates of division trees that have a value.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Those of `RESULT_TABLES`, any without rows.

    Returns
    -------
    pandas.DataFrame
        result, of, unit, estimate, low, high and, where pedigrees were drawn, tracking_sd, drawn_mean, low_total,
        high_total.
    """
    parts = []
    for name, (result, unit, keys, value, low, high) in _RESULTS.items():
        table = tables[name]
        table = table[table[value].notna()] if value in table.columns else table.iloc[:0]
        if table.empty:
            continue
        part = pd.DataFrame({"result": result}, index=table.index)
        part["of"] = table[list(keys)].astype(str).agg(", ".join, axis=1)
        part["unit"] = unit
        for column, source in (("estimate", value), ("low", low), ("high", high)):
            part[column] = table[source] if source in table.columns else np.nan
        for column in list(_HEADINGS)[2:]:
            part[column] = table[column] if column in table.columns else np.nan
        parts.append(part)
    if not parts:
        return pd.DataFrame(columns=["result", "of", "unit", "estimate", *_HEADINGS])
    out = pd.concat(parts, ignore_index=True)
    return out.dropna(axis="columns", how="all")


def estimates_part(tables: Mapping[str, pd.DataFrame]) -> list[TablePart]:
    """Return the table for the page, none where no tree was followed."""
    table = estimates(tables)
    if table.empty:
        return []
    caption = "What division trees tell. Limits without the error of tracking are of the most probable tracks"
    if "low_total" in table.columns:
        caption += (
            "; those with it lie around the mean over pedigrees drawn from the links' probabilities, and hold both. "
            "Where that mean is far from the estimate the result hangs on doubtful links"
        )
    return [TablePart("lineage_estimates", f"{caption}.", table, _HEADINGS, folded=True)]
