"""Everything that division trees with marker onsets tell, as one set of tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.lineage.clone_summary import clone_summary
from napari_marrow.lineage.clones import clone_table
from napari_marrow.lineage.divisions import division_times, division_types
from napari_marrow.lineage.hidden import hidden_commitment
from napari_marrow.lineage.kinship import division_scores, kin_correlation
from napari_marrow.lineage.pedigree import Pedigree
from napari_marrow.lineage.places import with_organoid
from napari_marrow.lineage.rates import hazard_by_generation, transition_rates
from napari_marrow.lineage.synchrony import onset_synchrony, pure_clades

TREE_TABLES = (
    "division_times", "division_types", "onset_rates", "generation_hazards", "hidden_rates", "kin_correlations",
    "onset_synchrony", "pure_clades", "clones", "clone_summary",
)  # fmt: skip
"""Names of the tables of `tree_statistics`."""


def tree_statistics(
    tracks: pd.DataFrame | Pedigree,
    onsets: pd.DataFrame,
    layout: pd.DataFrame | None,
    *,
    permutations: int = 199,
    seed: int = 0,
    like: Mapping[str, pd.DataFrame] | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute division, commitment, kinship and clone statistics.

    Parameters
    ----------
    tracks : pandas.DataFrame or Pedigree
        TRACKS table.
    onsets : pandas.DataFrame
        ONSETS table of the same tracks; may be empty.
    layout : pandas.DataFrame or None
        LAYOUT table.
    permutations, seed
        Of kin correlation and synchrony; without permutations they have no p values.
    like : mapping of str to pandas.DataFrame, optional
        The tables of nearly the same trees: ``hidden_rates`` are fitted from there, without intervals.

    Returns
    -------
    dict of str to pandas.DataFrame
        `TREE_TABLES`. ``kin_correlations`` is of division scores (cycles freed of the time left to see them in);
        ``hidden_rates`` of all clones together, empty where no marker came on. All are of conditions pooled but
        ``division_times``, which is by organoid, and ``onset_rates`` and ``clone_summary`` by condition.
    """
    pedigree = tracks if isinstance(tracks, Pedigree) else Pedigree.from_tracks(tracks)
    placed = with_organoid(onsets, layout)
    clones = clone_table(pedigree, onsets)
    kin = kin_correlation(pedigree, division_scores(pedigree), permutations=permutations, seed=seed)
    return {
        "division_times": division_times(pedigree, layout),
        "division_types": division_types(pedigree, onsets),
        "onset_rates": transition_rates(placed, by=["condition"]),
        "generation_hazards": hazard_by_generation(onsets),
        "hidden_rates": _hidden(pedigree, onsets, like["hidden_rates"] if like else None),
        "kin_correlations": kin.assign(quantity="division time"),
        "onset_synchrony": onset_synchrony(pedigree, onsets, permutations=permutations, seed=seed),
        "pure_clades": pure_clades(pedigree, onsets),
        "clones": clones,
        "clone_summary": clone_summary(clones, layout),
    }


def _hidden(pedigree: Pedigree, onsets: pd.DataFrame, start: pd.DataFrame | None) -> pd.DataFrame:
    columns = ["transition", "rate", "low", "high", "note", "gain"]
    try:
        fit = hidden_commitment(pedigree, onsets, start=start)
    except SettingsError:
        return pd.DataFrame(columns=columns)
    gain = fit.log_likelihood - fit.log_likelihood_visible
    note = "" if gain > 2 else "a hidden state explains no more than a marker that shows at once"
    table = fit.rates.assign(gain=np.round(gain, 2))
    table["note"] = table["note"].where(table["note"] != "", note)
    return table[columns]
