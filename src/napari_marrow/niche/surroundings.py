"""What surrounds each cell: distances, compartment and densities, for many frames that share their structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.niche._frame import Frame, empty_cells, prepare
from napari_marrow.niche.attraction import Neighbourhood
from napari_marrow.niche.distances import edge_distance, read_at
from napari_marrow.niche.geometry import as_points, inside, voxel_of
from napari_marrow.niche.settings import NicheSettings
from napari_marrow.niche.spots import Spots


class Surroundings:
    """Structures and tissue made ready once, then asked for the cells of any number of frames.

    Parameters
    ----------
    structures, tissue, spacing, settings :
        As for `measure_niche`.

    Raises
    ------
    SettingsError
        If shapes or spacing do not fit.
    """

    def __init__(
        self,
        structures: Mapping[str, npt.ArrayLike | Spots],
        tissue: npt.ArrayLike,
        spacing: Sequence[float],
        settings: NicheSettings | None = None,
    ) -> None:
        chosen = settings or NicheSettings()
        chosen = replace(chosen, strata_column=None)
        none = empty_cells(np.asarray(tissue).ndim)
        self._keep(prepare(none, {}, structures, tissue, spacing, chosen), chosen)

    @classmethod
    def from_frame(cls, frame: Frame, settings: NicheSettings) -> Surroundings:
        """Return the surroundings of a frame that is made ready already."""
        made = cls.__new__(cls)
        made._keep(frame, settings)
        return made

    def _keep(self, frame: Frame, settings: NicheSettings) -> None:
        self._frame, self._settings = frame, settings
        self._edge = edge_distance(frame.tissue, frame.spacing)
        self._names, self._compartment = frame.compartments(settings.niche_radius)
        self._room = Neighbourhood(frame.tissue, frame.spacing, settings.density_radius)

    def of(self, cells: pd.DataFrame, classes: Mapping[str, npt.ArrayLike]) -> pd.DataFrame:
        """Return one row per cell, in the order of `cells`.

        Parameters
        ----------
        cells : DataFrame
            y, x and in 3D z (µm); optionally label.
        classes : mapping of str to array (n_cells,) bool

        Returns
        -------
        DataFrame
            label, distance_<structure> (µm, signed; NaN outside the image or without the structure), edge_distance
            (µm), in_tissue, compartment, local_density and local_density_<class> (cells per mm² or mm³).
        """
        frame, settings = self._frame, self._settings
        axes = list(("z", "y", "x")[3 - frame.ndim :])
        scale = np.asarray([settings.shrinkage_z, settings.shrinkage_xy, settings.shrinkage_xy])[3 - frame.ndim :]
        points = as_points(cells[axes].to_numpy(dtype=np.float64).reshape(-1, frame.ndim) / scale, frame.ndim)
        held = inside(points, frame.tissue, frame.spacing)
        labels = cells["label"].to_numpy(dtype=np.int64) if "label" in cells.columns else np.arange(1, len(cells) + 1)
        columns: dict[str, npt.NDArray[np.generic]] = {"label": labels}
        for name, structure in frame.structures.items():
            distance = structure.distance_at(points, frame.spacing)
            columns[f"distance_{name}"] = np.where(np.isfinite(distance), distance, np.nan)
        columns["edge_distance"] = read_at(self._edge, points, frame.spacing)
        columns["in_tissue"] = held
        of_cell = np.full(len(points), "", dtype=object)
        voxel = voxel_of(points[held], frame.spacing)
        of_cell[held] = np.asarray(self._names, dtype=object)[self._compartment[tuple(voxel.T)]]
        columns["compartment"] = of_cell
        columns |= self._room.densities(points, classes)
        return pd.DataFrame(columns)
