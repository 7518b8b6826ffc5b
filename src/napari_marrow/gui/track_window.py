"""Tracks around the frame on display: napari draws every vertex of a tracks layer at every step, seen or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

MOST = 8_000
"""Vertices that a layer gets at once; all of them where there are no more."""


class TrackWindow:
    """All tracks of a session, and those of the frames around one.

    Parameters
    ----------
    data : (n, d) float64
        Track, frame and place of each vertex, sorted by track and frame.
    features : DataFrame
        A row per vertex.
    graph : dict of int to list of int
        Daughter to mother.
    most : int
        Vertices that are shown at once.

    Attributes
    ----------
    data
        All vertices.
    graph
        All divisions.
    """

    def __init__(
        self, data: npt.NDArray[np.float64], features: pd.DataFrame, graph: dict[int, list[int]], *, most: int = MOST
    ) -> None:
        self.data, self._features, self.graph = data, features, graph
        frames = np.asarray(data[:, 1], np.int64)
        n_frames = int(frames.max(initial=0)) - int(frames.min(initial=0)) + 1
        self._half = max(int(most * n_frames / max(len(data), 1)) // 2, 1)
        self._frames = frames
        self._middle: int | None = None

    def covers(self, t: int) -> bool:
        """Whether what was returned last reaches far enough around a frame."""
        return self._middle is not None and abs(t - self._middle) <= self._half // 2

    def around(self, t: int) -> dict[str, Any]:
        """Return what a tracks layer shows at a frame: data, features and graph of the frames around it.

        Parameters
        ----------
        t : int
        """
        self._middle = t
        chosen = np.abs(self._frames - t) <= self._half
        data = self.data[chosen]
        there = set(data[:, 0].astype(np.int64).tolist())
        graph = {k: parents for k, parents in self.graph.items() if k in there and parents[0] in there}
        return {"data": data, "features": self._features[chosen].reset_index(drop=True), "graph": graph}


def windowed(arguments: dict[str, Any], data: Any) -> Any:
    """Cut a tracks layer's data and arguments down to a window where there are too many; return its data.

    Parameters
    ----------
    arguments : dict
        Of the layer; its ``metadata["marrow"]`` gets the window.
    data : array
        Of the layer.
    """
    if len(data) <= MOST:
        arguments["metadata"]["marrow"]["window"] = None
        return data
    window = TrackWindow(data, arguments["features"], arguments["graph"], most=MOST)
    arguments["metadata"]["marrow"]["window"] = window
    shown = window.around(int(data[:, 1].min()))
    arguments |= {"features": shown["features"], "graph": shown["graph"]}
    return shown["data"]


def every_vertex(layer: Any) -> Any:
    """Return all vertices of a tracks layer, shown or not."""
    window = layer.metadata["marrow"].get("window")
    return layer.data if window is None else window.data
