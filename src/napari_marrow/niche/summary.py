"""The whole niche of one frame: every measure of one organoid at one time, with its null model, in tidy tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.niche._distance_measures import measure_distances
from napari_marrow.niche._frame import Rows, prepare
from napari_marrow.niche._measures import measure_classes, measure_compartments, measure_enrichment
from napari_marrow.niche._vessel_measures import measure_coverage, measure_vessels
from napari_marrow.niche.settings import NicheSettings
from napari_marrow.niche.spots import Spots
from napari_marrow.niche.surroundings import Surroundings

METRIC_COLUMNS = (
    "metric",
    "subject",
    "value",
    "low",
    "high",
    "null_mean",
    "p_value",
    "unit",
    "note",
    "interval_low",
    "interval_high",
)
CURVE_COLUMNS = ("curve", "subject", "r", "observed", "null_mean", "low", "high")


@dataclass(frozen=True)
class NicheResult:
    """Measures of one frame.

    Attributes
    ----------
    metrics : DataFrame
        metric, subject, value, low, high, null_mean, p_value, unit, note, interval_low, interval_high. `low` and `high`
        are the null model's 95 % band where there is one; `interval_low` and `interval_high` bound the value itself
        (95 %, over blocks of this organoid's tissue or over vessel branches), NaN where there is no such interval. A
        missing value is NaN and `note` says why.
    curves : DataFrame
        curve, subject, r (µm), observed, null_mean, low, high (global 95 % band of the null).
    per_cell : DataFrame
        label, distance_<structure> (µm, signed), edge_distance (µm), in_tissue, compartment (a structure, "elsewhere",
        or empty outside the tissue), local_density and local_density_<class> (cells per mm² or mm³); one row per cell
        in the order of the input.
    vessels : DataFrame
        Centrelines, one row per vertex: structure, branch, vertex, z, y, x (µm), radius (µm), inside, and of its branch
        branch_length (µm), branch_radius (µm), tortuosity, kind.
    """

    metrics: pd.DataFrame
    curves: pd.DataFrame
    per_cell: pd.DataFrame
    vessels: pd.DataFrame = field(default_factory=pd.DataFrame)


def measure_niche(
    *,
    cells: pd.DataFrame,
    classes: Mapping[str, npt.ArrayLike],
    structures: Mapping[str, npt.ArrayLike | Spots],
    tissue: npt.ArrayLike,
    spacing: Sequence[float],
    settings: NicheSettings | None = None,
) -> NicheResult:
    """Measure where the cells of one frame live.

    Parameters
    ----------
    cells : DataFrame
        One row per cell: label, y, x and in 3D z (µm, voxel 0 centred at 0).
    classes : mapping of str to array (n_cells,) bool
        Subjects, for instance {"all": ..., "erythroid": ...}. "all" are the positions for re-labelling; without it all
        rows are.
    structures : mapping of str to array bool (Z, Y, X) or (Y, X)
        For instance {"vessel": ..., "scaffold": ...}; or `Spots`, points of another program on the structure.
    tissue : array bool, same shape
        The organoid. Scaffold and voids are taken off here (`NicheSettings.solid`).
    spacing : sequence of float
        (z, y, x) or (y, x), µm. A stack of one plane is measured in 2D, whatever its z spacing.
    settings : NicheSettings or None

    Returns
    -------
    NicheResult

    Raises
    ------
    SettingsError, TableError
        If shapes, columns or spacing do not fit. What the data cannot answer (an empty structure, one cell, no tissue)
        is no error: the value is NaN and the note says why.
    """
    chosen = settings or NicheSettings()
    frame = prepare(cells, classes, structures, tissue, spacing, chosen)
    per_cell = Surroundings.from_frame(frame, chosen).of(cells, classes)
    rows = Rows()
    measure_vessels(frame, chosen, rows)
    measure_coverage(frame, chosen, rows)
    measure_distances(frame, chosen, rows)
    measure_compartments(frame, chosen, rows)
    measure_classes(frame, chosen, rows)
    measure_enrichment(frame, chosen, rows)
    metrics = pd.DataFrame(rows.metrics, columns=list(METRIC_COLUMNS))
    for name in ("value", "low", "high", "null_mean", "p_value", "interval_low", "interval_high"):
        metrics[name] = metrics[name].astype(np.float64)
    curves = pd.concat(rows.curves, ignore_index=True) if rows.curves else _no_curves()
    vessels = pd.concat(rows.vessels, ignore_index=True) if rows.vessels else _no_vessels()
    return NicheResult(metrics, curves[list(CURVE_COLUMNS)], per_cell, vessels)


def _no_curves() -> pd.DataFrame:
    return pd.DataFrame(
        {c: pd.Series([], dtype="object" if k < 2 else np.float64) for k, c in enumerate(CURVE_COLUMNS)}
    )


def _no_vessels() -> pd.DataFrame:
    return pd.DataFrame({c: pd.Series([], dtype=d) for c, d in VESSEL_DTYPES.items()})


VESSEL_DTYPES: dict[str, str] = {
    "structure": "object", "branch": "int64", "vertex": "int64", "z": "float64", "y": "float64", "x": "float64",
    "radius": "float64", "inside": "bool", "branch_length": "float64", "branch_radius": "float64",
    "tortuosity": "float64", "kind": "object",
}  # fmt: skip
