"""Where organoid, scaffold, vessels and colonies truly are in a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.simulation.colonies import LINK_UM, MIN_CELLS, group_cells
from napari_marrow.simulation.raster import tube_distance

if TYPE_CHECKING:
    from napari_marrow.simulation.experiment import Experiment, SimulatedSession
    from napari_marrow.simulation.organoid import OrganoidHistory

Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]

_CENTRELINE_STEP_UM = 1.0


@dataclass(frozen=True)
class TrueStructures:
    """The structures of a frame.

    Attributes
    ----------
    organoid, scaffold, vessels : (Z, Y, X) bool
        Scaffold and vessels lie in the organoid.
    colonies : (Z, Y, X) int32
        Number of the colony, 0 for none; numbered as in the truth table `colonies`.
    centrelines : (n, 3) float64
        Points z, y, x in µm, about 1 µm apart, of the vessels' centrelines within the field.
    radii : (n,) float64
        Radius of the vessel at each, µm.
    """

    organoid: Mask
    scaffold: Mask
    vessels: Mask
    colonies: npt.NDArray[np.int32]
    centrelines: Float
    radii: Float


def true_structures(experiment: Experiment, session: SimulatedSession, t: int) -> TrueStructures:
    """Return where the structures of a frame truly are.

    A colony is a group of blood cells as in the truth table `colonies`. Its mask covers its cells and the gaps between
    them: what no disc (in a volume, no ball) of half the linking distance can reach without touching a cell.

    Parameters
    ----------
    experiment : Experiment
    session : SimulatedSession
    t : int
        Frame.
    """
    history = experiment.history(session.source_position)
    tissue, spacing = history.tissue, np.asarray(session.spacing, dtype=float)
    shape = session.shape[2:]
    scale = float(session.acquisition.scale[t])
    grid = np.indices(shape[1:]).reshape(2, -1).T * spacing[1:]
    back = session.acquisition.to_tissue(t, grid.astype(float))
    organoid = np.broadcast_to(tissue.outline.depth(back[:, 0], back[:, 1]).reshape(shape[1:]) > 0, shape).copy()
    scaffold = np.zeros(shape, dtype=bool)
    for z in range(shape[0]) if tissue.has_scaffold else ():
        points = np.concatenate([np.full((len(back), 1), z * spacing[0] / scale), back], axis=1)
        scaffold[z] = tissue.sample(tissue.scaffold, points).reshape(shape[1:]) < 0
    vessels, centrelines, radii = _vessels(history, session, t)
    colonies = _colonies(experiment, session, t)
    return TrueStructures(organoid, scaffold & organoid, vessels, colonies, centrelines, radii)


def _vessels(history: OrganoidHistory, session: SimulatedSession, t: int) -> tuple[Mask, Float, Float]:
    starts, ends, radii = history.vessels.pieces()
    scale, flat = float(session.acquisition.scale[t]), session.shape[2] == 1
    moved = []
    for points in (starts, ends):
        image = points.copy()
        image[:, 1:] = session.acquisition.to_image(t, points[:, 1:])
        image[:, 0] = 0.0 if flat else image[:, 0] * scale
        moved.append(image)
    spacing, shape = np.asarray(session.spacing, dtype=float), session.shape[2:]
    distance = np.full(shape, 1.0, np.float32)
    tube_distance(moved[0], moved[1], radii * scale, spacing, np.zeros(3), 1.0, distance)
    if not len(radii):
        return distance < 0, np.zeros((0, 3)), radii
    n = np.maximum(1, np.ceil(np.linalg.norm(moved[1] - moved[0], axis=1) / _CENTRELINE_STEP_UM).astype(int))
    row = np.repeat(np.arange(len(n)), n)
    part = (np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n) + 0.5) / n[row]
    points = moved[0][row] + part[:, None] * (moved[1] - moved[0])[row]
    inside = ((points[:, 1:] >= 0) & (points[:, 1:] <= (np.array(shape[1:]) - 1) * spacing[1:])).all(axis=1)
    if not flat:
        inside &= (points[:, 0] >= 0) & (points[:, 0] <= (shape[0] - 1) * spacing[0])
    return distance < 0, points[inside], (radii * scale)[row][inside]


def _colonies(experiment: Experiment, session: SimulatedSession, t: int) -> npt.NDArray[np.int32]:
    from napari_marrow.simulation.truth import cell_rows

    labels = session.labels(t)
    colonies = np.zeros(labels.shape, dtype=np.int32)
    rows = cell_rows(experiment, session, t, labels)
    rows = rows[rows["founder"] > 0]
    group = group_cells(rows[["z_reg", "y_reg", "x_reg"]].to_numpy(dtype=float), link_um=LINK_UM, min_cells=MIN_CELLS)
    lookup = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int32)
    lookup[rows["label"].to_numpy()] = group
    own = lookup[labels]
    geometry = experiment.scenario.geometry
    rim = geometry.cell_diameter_um * (1.0 - geometry.nucleus_ratio) / 2.0
    size, reach = _sides(session), LINK_UM / 2.0
    nearest = np.full(labels.shape, np.inf)
    margin = [
        (int(np.ceil((2 * reach + rim) / s)) + 1) if n > 1 else 0 for s, n in zip(size, labels.shape, strict=True)
    ]
    padded = np.pad(own, [(m, m) for m in margin])
    core = tuple(slice(m, m + n) for m, n in zip(margin, labels.shape, strict=True))
    for number in range(1, int(group.max(initial=0)) + 1):
        away = ndimage.distance_transform_edt(padded != number, sampling=size)
        closed = ndimage.distance_transform_edt(away <= rim + reach, sampling=size) > reach
        mine = closed[core] & (away[core] < nearest)
        colonies[mine], nearest[mine] = number, away[core][mine]
    return colonies


def _sides(session: SimulatedSession) -> tuple[float, float, float]:
    return tuple(float(s) for s in session.spacing)  # type: ignore[return-value]
