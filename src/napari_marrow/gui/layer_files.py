"""Layers as files, for napari's own Save. Knows no Qt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_marrow.errors import SettingsError, StorageError


def write_tracks(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a tracks layer as CSV: a row per track and frame, with the track of its mother.

    Of a study's tracks every vertex is written, also those of frames that the layer does not hold at the moment.

    Parameters
    ----------
    path : str
        Ends in ``.csv``.
    data : (n, d) array
        Track, frame and place of each vertex.
    attributes : dict
        Of the layer, as napari hands them over.

    Returns
    -------
    list of str
        The file.

    Raises
    ------
    SettingsError
        If the layer holds no track.
    StorageError
        If the file cannot be written.
    """
    about = attributes.get("metadata", {}).get("marrow", {})
    window = about.get("window")
    graph = attributes.get("graph", {}) if window is None else window.graph
    data = np.asarray(data if window is None else window.data, np.float64)
    if not len(data):
        raise SettingsError(f"The layer '{attributes.get('name', '')}' holds no track to save.")
    table = pd.DataFrame({"track_id": data[:, 0].astype(np.int64), "t": data[:, 1].astype(np.int64)})
    mothers = {int(child): int(np.ravel(parents)[0]) for child, parents in graph.items()}
    table["parent_track_id"] = table["track_id"].map(mothers).fillna(0).astype(np.int64)
    if "times_h" in about:
        table["time_h"] = np.asarray(about["times_h"])[table["t"].to_numpy()]
    names = ["z", "y", "x"][-(data.shape[1] - 2) :]
    sizes, offsets = (np.asarray(attributes.get(name, default))[1:] for name, default in _WHERE.items())
    places = data[:, 2:] * (sizes if sizes.size else 1.0) + (offsets if offsets.size else 0.0)
    for k, name in enumerate(names):
        table[name] = places[:, k]
    for name in ("position", "session"):
        if name in about:
            table.insert(0, name, about[name])
    try:
        table.to_csv(path, index=False)
    except OSError as error:
        raise StorageError(f"'{Path(path)}' cannot be written: {error.strerror or error}.") from error
    return [path]


_WHERE: dict[str, tuple[float, ...]] = {"scale": (), "translate": ()}
