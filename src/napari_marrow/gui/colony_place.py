"""Where a colony is in the layers of the session on display, and which tracks lie in it. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_marrow.gui.track_window import every_vertex


@dataclass(frozen=True)
class ColonyPlace:
    """A colony in a session.

    Attributes
    ----------
    point : tuple of float
        Frame and µm, in the coordinates of its layer.
    tracks : frozenset of int
        Tracks with a cell inside of its radius in that frame.
    """

    point: tuple[float, ...]
    tracks: frozenset[int]


def find_colony(colonies: Any, tracks: Any | None, colony: int, t: int) -> ColonyPlace | None:
    """Return where a colony is, in the frame nearest to `t`; None where the session does not have it.

    Parameters
    ----------
    colonies : napari.layers.Points
        With the feature ``colony_id``; a point's size is the diameter, µm.
    tracks : napari.layers.Tracks or None
    colony : int
        Identity across sessions.
    t : int
        Frame.
    """
    rows = np.flatnonzero(colonies.features["colony_id"].to_numpy() == colony)
    if not len(rows):
        return None
    row = int(rows[np.argmin(np.abs(colonies.data[rows, 0] - t))])
    point = colonies.data[row]
    found: frozenset[int] = frozenset()
    if tracks is not None:
        vertices = every_vertex(tracks)
        here = vertices[vertices[:, 1] == point[0]]
        inside = ((here[:, -2:] - point[-2:]) ** 2).sum(1) <= (float(colonies.size[row]) / 2) ** 2
        found = frozenset(int(k) for k in here[inside, 0])
    return ColonyPlace(tuple(float(v) for v in point), found)


def colony_tracks(colonies: Any, tracks: Any) -> dict[int, frozenset[int]]:
    """Return the tracks that each colony of the session holds in any frame in which it was measured.

    Parameters
    ----------
    colonies : napari.layers.Points
        As for `find_colony`.
    tracks : napari.layers.Tracks
    """
    vertices = every_vertex(tracks)
    vertices = vertices[np.argsort(vertices[:, 1], kind="stable")]
    points, reach = np.asarray(colonies.data), np.asarray(colonies.size, np.float64) / 2
    identity = colonies.features["colony_id"].to_numpy()
    found: dict[int, set[int]] = {int(colony): set() for colony in identity}
    for frame in np.unique(points[:, 0]):
        rows = np.flatnonzero(points[:, 0] == frame)
        here = vertices[slice(*np.searchsorted(vertices[:, 1], [frame, frame + 0.5]))]
        apart = here[None, :, -2:] - points[rows, None, -2:]
        inside = (apart**2).sum(-1) <= reach[rows, None] ** 2
        for row, held in zip(rows, inside, strict=True):
            found[int(identity[row])].update(here[held, 0].astype(np.int64).tolist())
    return {colony: frozenset(held) for colony, held in found.items()}
