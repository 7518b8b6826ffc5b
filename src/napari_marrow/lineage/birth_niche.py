"""What a clone makes against where it began."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from napari_marrow.errors import TableError
from napari_marrow.lineage.places import with_organoid

Floats = npt.NDArray[np.float64]


def birth_niche_output(
    clones: pd.DataFrame,
    layout: pd.DataFrame | None,
    *,
    output: str,
    covariate: str,
    permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate what a clone makes with where it began, within organoids.

    Parameters
    ----------
    clones : pandas.DataFrame
        `clone_table` with a column `covariate` (for example the founder's first distance to a vessel).
    layout : pandas.DataFrame or None
        LAYOUT table.
    output, covariate : str
        Columns of `clones`; rows with NaN are left out.
    permutations : int
        Shuffles of the covariate within organoids.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row: output, covariate, spearman (mean of the organoids' rank correlations, weighted by clones - 1),
        p_value (two-sided), n_clones, n_organoids, note.
    """
    for column in (output, covariate):
        if column not in clones.columns:
            raise TableError(f"The clone table lacks the column '{column}'.")
    table = with_organoid(clones, layout)
    table = table[np.isfinite(table[[output, covariate]].to_numpy(dtype=np.float64)).all(axis=1)]
    groups = [g for _, g in table.groupby("organoid") if len(g) > 2]
    groups = [g for g in groups if np.ptp(g[output]) > 0 and np.ptp(g[covariate]) > 0]
    columns = ["output", "covariate", "spearman", "p_value", "n_clones", "n_organoids", "note"]
    if not groups:
        note = "no organoid has three clones that differ"
        return pd.DataFrame([[output, covariate, np.nan, np.nan, len(table), 0, note]], columns=columns)
    rng = np.random.default_rng(seed)
    total = np.zeros(permutations + 1)
    weight = 0.0
    for group in groups:
        y = _standard(group[output])
        x = _standard(group[covariate])
        orders = np.vstack([np.arange(len(x)), rng.permuted(np.tile(np.arange(len(x)), (permutations, 1)), axis=1)])
        total += (len(x) - 1) * (x[orders] @ y) / len(x)
        weight += len(x) - 1
    rho = total / weight
    p = (np.abs(rho[1:]) >= abs(rho[0]) - 1e-12).sum() + 1
    row = [output, covariate, float(rho[0]), float(p) / (permutations + 1), sum(map(len, groups)), len(groups), ""]
    return pd.DataFrame([row], columns=columns)


def _standard(values: pd.Series) -> Floats:
    ranks = rankdata(values.to_numpy(dtype=np.float64))
    return np.asarray((ranks - ranks.mean()) / ranks.std(), dtype=np.float64)
