"""Rates of switching on a lineage: events per cell-hour at risk, by lineage and by generation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_marrow.lineage.emergence_curves import hours_at_risk
from napari_marrow.schemas import ONSETS
from napari_marrow.statistics.poisson import poisson_rate


def transition_rates(
    onsets: pd.DataFrame, *, lineages: Sequence[str] | None = None, by: Sequence[str] = ()
) -> pd.DataFrame:
    """Estimate the rates q = N / T out of the negative state.

    N are the transitions seen (marker onsets, deaths), T the hours at risk of cells that were negative;
    interval-censored onsets count to the middle of their interval. An onset that needs a second look cannot be seen at
    a cell's last one, so that T of onsets ends at the last look but one (`watched_to_h`) of cells without heirs. T of
    death are the hours for which a nucleus was followed, until an onset was confirmed. Nothing flows back: a lineage
    once entered is kept.

    Parameters
    ----------
    onsets : pandas.DataFrame
        ONSETS table; prevalent rows are left out.
    lineages : sequence of str, optional
        Lineages to report; those that occur by default.
    by : sequence of str
        Columns of `onsets` to split by, for example ``["generation"]``.

    Returns
    -------
    pandas.DataFrame
        The `by` columns, `to` (lineage or death), n_cells (at risk), n_events, time_h (cell-hours at risk of it), rate,
        low, high [1/h; exact Poisson 95 % interval, cells taken as independent], probability (events per cell at risk),
        note.

    References
    ----------
    Garwood 1936, Biometrika 28:437 (interval).
    """
    table = ONSETS.conform(onsets)
    names = list(lineages) if lineages is not None else sorted(set(table["lineage"]) - {""})
    table = table[table["event"] != "prevalent"].copy()
    table["of_onset_h"], table["of_death_h"] = hours_at_risk(table)
    table["to"] = np.where(table["event"] == "death", "death", table["lineage"])
    if "followed_to_h" in table.columns:
        table = table[(table["to"] != "death") | table["followed_to_h"].notna()]  # dead cells never looked at
    groups = table.groupby(list(by), sort=True) if by else [((), table)]
    rows = []
    for key, cells in groups:
        place = key if isinstance(key, tuple) else (key,)
        for name in [*names, "death"]:
            hours = float(cells["of_death_h" if name == "death" else "of_onset_h"].sum())
            n = int((cells["to"] == name).sum())
            found = poisson_rate(n, hours)
            note = "" if hours > 0 else "no time at risk"
            share = n / len(cells) if len(cells) else np.nan
            rows.append([*place, name, len(cells), n, hours, found.rate, found.low, found.high, share, note])
    names = [*by, "to", "n_cells", "n_events", "time_h", "rate", "low", "high", "probability", "note"]
    return pd.DataFrame(rows, columns=names)


def hazard_by_generation(onsets: pd.DataFrame, *, lineages: Sequence[str] | None = None) -> pd.DataFrame:
    """Hazard of each lineage's onset by generation: it rises with generation and is never assumed constant.

    Returns
    -------
    pandas.DataFrame
        As `transition_rates`, with the column `generation` (divisions since the founder; the founder's own past is
        unknown).
    """
    return transition_rates(onsets, lineages=lineages, by=["generation"])
