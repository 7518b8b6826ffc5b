"""When cells divide, and what their divisions make."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import beta

from napari_marrow.lineage.onset import track_lineages
from napari_marrow.lineage.pedigree import Pedigree
from napari_marrow.lineage.places import with_organoid
from napari_marrow.lineage.survival import SurvivalCurve, kaplan_meier

DIVISION_TYPES = ("symmetric self-renewal", "asymmetric", "symmetric commitment")


def division_curve(
    lifetimes: pd.DataFrame, *, which: Literal["first", "later"] = "later", event: str = "division"
) -> SurvivalCurve:
    """Kaplan-Meier curve of the time to division (or to another event, death then being the censoring).

    Parameters
    ----------
    lifetimes : pandas.DataFrame
        As returned by `Pedigree.lifetimes`.
    which : {"first", "later"}
        ``later``: cells born by a division in the movie, on their age. ``first``: cells whose birth was not seen, on
        the study's clock with left truncation at the time they came under observation; their first division takes
        longer (about 75 h against 28 h in human progenitors) and is never pooled with the later ones.
    event : str
        ``division`` or ``death``.

    Returns
    -------
    SurvivalCurve
        Its `median` is NaN where fewer than half are seen to divide.
    """
    born = lifetimes["birth_seen"].to_numpy(dtype=bool)
    cells = lifetimes[born if which == "later" else ~born]
    happened = (cells["event"] == event).to_numpy()
    if which == "later":
        return kaplan_meier(cells["age_h"].to_numpy(), happened)
    return kaplan_meier(cells["exit_h"].to_numpy(), happened, entry=cells["entry_h"].to_numpy())


def division_times(tracks: pd.DataFrame | Pedigree, layout: pd.DataFrame | None = None) -> pd.DataFrame:
    """Summarise division times by organoid, first divisions apart from later ones.

    Returns
    -------
    pandas.DataFrame
        organoid, condition, which (first, later), n_cells, n_divisions, median_h, q25_h, q75_h [h, Kaplan-Meier],
        completed_mean_h [h; of completed cycles only, too short, for comparison], low_h, high_h [h; 95 % limits of the
        median, cells taken as independent], note.
    """
    pedigree = tracks if isinstance(tracks, Pedigree) else Pedigree.from_tracks(tracks)
    lifetimes = with_organoid(pedigree.lifetimes(), layout)
    rows = []
    for (organoid, condition), cells in lifetimes.groupby(["organoid", "condition"], sort=True):
        for which in ("first", "later"):
            mine = cells[cells["birth_seen"] == (which == "later")]
            curve = division_curve(cells, which=which)
            divided = mine.loc[mine["event"] == "division", "age_h"]
            note = ""
            if not np.isfinite(curve.median):
                note = "no cell followed" if mine.empty else "fewer than half are seen to divide"
            completed = float(divided.mean()) if len(divided) and which == "later" else float("nan")
            quantiles = [curve.quantile(q) for q in (0.5, 0.25, 0.75)]
            limits = curve.quantile_interval(0.5) if np.isfinite(curve.median) else (np.nan, np.nan)
            rows.append([organoid, condition, which, len(mine), len(divided), *quantiles, completed, *limits, note])
    names = ["organoid", "condition", "which", "n_cells", "n_divisions"]
    times = ["median_h", "q25_h", "q75_h", "completed_mean_h", "low_h", "high_h"]
    return pd.DataFrame(rows, columns=[*names, *times, "note"])


def division_types(pedigree: Pedigree, onsets: pd.DataFrame) -> pd.DataFrame:
    """Classify divisions of uncommitted cells by what their two daughters do.

    A daughter is *committed* if her marker comes on in her own time, *self-renewing* if she divides without; one that
    is lost, dies or reaches the movie's end while negative is unknown, and her mother's division is left out (counted
    in `n_unknown`). Commitment may precede its marker by generations: these are types by visible output.

    Returns
    -------
    pandas.DataFrame
        type, n, probability, low, high (Clopper-Pearson 95 % interval, divisions taken as independent), n_unknown,
        note.
    """
    lineage = track_lineages(pedigree, onsets)
    divides = (pedigree.tracks["fate"] == "division").to_numpy()
    pairs = pedigree.sisters()
    binary = pedigree.n_daughters[pedigree.mother[pairs[:, 0]]] == 2
    pairs = pairs[binary]
    pairs = pairs[lineage[pedigree.mother[pairs[:, 0]]] == ""]
    committed = (lineage != "")[pairs]
    known = (committed | divides[pairs]).all(axis=1)
    number = committed[known].sum(axis=1)
    total, unknown = int(known.sum()), int((~known).sum())
    rows = []
    for i, name in enumerate(DIVISION_TYPES):
        n = int((number == i).sum())
        low, high = _clopper_pearson(n, total)
        note = "" if total else "no division with two known daughters"
        rows.append([name, n, n / total if total else np.nan, low, high, unknown, note])
    return pd.DataFrame(rows, columns=["type", "n", "probability", "low", "high", "n_unknown", "note"])


def _clopper_pearson(k: int, n: int) -> tuple[float, float]:
    if n == 0:
        return float("nan"), float("nan")
    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return low, high
