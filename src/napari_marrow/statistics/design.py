"""Does the design allow the comparison? Which units were randomised, and within which strata."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_marrow.errors import DesignError, TableError

UNITS = ("organoid", "donor", "batch")


def unit_table(layout: pd.DataFrame, *, unit: str = "organoid") -> pd.DataFrame:
    """Return one row per unit of replication with its organoid, condition, donor and batch.

    Raises
    ------
    TableError
        If a column is missing.
    DesignError
        If an organoid stands in two conditions, or the unit is unknown.
    """
    if unit not in UNITS:
        raise DesignError(f"Unknown unit {unit!r}: choose one of {', '.join(UNITS)}.")
    missing = [c for c in ("organoid", "condition") if c not in layout.columns]
    if missing:
        raise TableError(f"The plate layout lacks the column(s) {', '.join(missing)}.")
    table = layout.copy()
    for column in ("donor", "batch"):
        if column not in table.columns:
            table[column] = ""
        table[column] = table[column].fillna("").astype(str)
    table = table[["organoid", "condition", "donor", "batch"]].astype(str).drop_duplicates()
    torn = table["organoid"].duplicated()
    if torn.any():
        name = table.loc[torn, "organoid"].iloc[0]
        rows = table[table["organoid"] == name]
        what = "conditions" if len(set(rows["condition"])) > 1 else "donors or batches"
        raise DesignError(f"Organoid {name} stands in two {what}: give each organoid one in the plate layout.")
    table["unit"] = table[unit] if unit != "organoid" else table["organoid"]
    return table.reset_index(drop=True)


def check_design(units: pd.DataFrame, conditions: Sequence[str], *, unit: str = "organoid") -> list[str]:
    """Return the columns to stratify by (batch, donor) for comparing two conditions, and refuse confounded designs.

    A factor that takes several values is stratified by if it crosses the conditions (some of its values hold both). If
    no value holds both, its effect and the condition's cannot be told apart and the comparison is refused.

    Raises
    ------
    DesignError
        If batch or donor is confounded with condition.
    """
    mine = units[units["condition"].isin(conditions)]
    strata = []
    for factor in ("batch", "donor"):
        if factor == unit or len(set(mine[factor])) < 2:
            continue
        both = mine.groupby(factor)["condition"].nunique().ge(2)
        if both.any():
            strata.append(factor)
            continue
        counts = mine.groupby("condition")[factor].nunique()
        if unit != "organoid" and (counts >= 2).all():
            continue  # the unit itself is nested in this factor's values or the other way round
        remedy = (
            f"compare on unit='{factor}', whose values are then what is replicated"
            if (counts >= 2).all()
            else f"repeat the experiment with both conditions in each {factor}"
        )
        names = " and ".join(f"'{c}'" for c in conditions)
        raise DesignError(
            f"Condition and {factor} are confounded: no {factor} holds both {names}, so that their effects cannot be "
            f"told apart; {remedy}."
        )
    if len(strata) == 2:
        # Both factors at once only if their combinations still hold both conditions; else the batch goes first.
        cells = mine.groupby(strata)["condition"].nunique()
        if not (cells > 1).any():
            strata = ["batch"]
    return strata


def strata_of(units: pd.DataFrame, columns: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    """Name of each unit's stratum, "" where there is only one."""
    if not columns:
        return np.full(len(units), "", dtype=str)
    return units[list(columns)].astype(str).agg(" / ".join, axis=1).to_numpy(dtype=str)
