"""OME-Zarr 0.5 metadata of plate, wells, images and labels, as plain documents.

The models of ome-zarr-models validate every kind of store in the tests; at run time plain dictionaries save the import.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from napari_marrow.study.naming import image_name, split_position

VERSION = "0.5"


def group(ome: dict[str, Any] | None, marrow: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a zarr v3 group document with the given attributes."""
    attributes: dict[str, Any] = {}
    if ome is not None:
        attributes["ome"] = {"version": VERSION, **ome}
    attributes["marrow"] = marrow or {}
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def multiscales(
    *, name: str, spacing: Sequence[float], levels: int, step_h: float, start_h: float, centred: bool
) -> dict[str, Any]:
    """Return the ``multiscales`` entry of an image or a label image.

    Parameters
    ----------
    name : str
    spacing : (dz, dy, dx)
        Pixel size of level 0 in µm.
    levels : int
        Resolution levels; each halves y and x.
    step_h, start_h : float
        Mean frame interval and time of the first frame since t0, hours.
    centred : bool
        Whether a pixel of a lower level is the mean of its four (its centre lies half a pixel further), or their first.
    """
    dz, dy, dx = (float(s) for s in spacing)
    datasets = []
    for level in range(levels):
        factor = 2**level
        shift = (factor - 1) / 2 if centred else 0.0
        scale = [step_h, 1.0, dz, dy * factor, dx * factor]
        translation = [start_h, 0.0, 0.0, shift * dy, shift * dx]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": scale},
                    {"type": "translation", "translation": translation},
                ],
            }
        )
    axes = [
        {"name": "t", "type": "time", "unit": "hour"},
        {"name": "c", "type": "channel"},
        *({"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"),
    ]
    return {"name": name, "axes": axes, "datasets": datasets, "type": "mean 2x2" if centred else "every second pixel"}


def omero(channels: Iterable[tuple[str, str]], *, largest: float) -> dict[str, Any]:
    """Return the ``omero`` entry, which viewers read channel names and colours from.

    Parameters
    ----------
    channels : iterable of (name, colour)
        Colour as six hexadecimal digits.
    largest : float
        Largest value of the pixel type.
    """
    entries = [
        {
            "label": name,
            "color": color,
            "active": True,
            "window": {"min": 0.0, "max": largest, "start": 0.0, "end": largest},
        }
        for name, color in channels
    ]
    return {"channels": entries, "rdefs": {"model": "color"}}


def plate(name: str, sessions: Iterable[tuple[str, int]], acquisitions: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the ``plate`` entry.

    Parameters
    ----------
    name : str
    sessions : iterable of (position, session)
    acquisitions : dict
        Per session number: name, starttime, endtime (seconds since 1970, where known).
    """
    places = sorted({split_position(position) for position, _ in sessions})
    numbers = sorted({session for _, session in sessions})
    rows = sorted({row for row, _, _ in places}, key=lambda r: (len(r), r))
    columns = sorted({column for _, column, _ in places})
    wells = sorted({(row, column) for row, column, _ in places})
    fields = [sum(1 for r, c, _ in places if (r, c) == well) for well in wells]
    return {
        "plate": {
            "name": name,
            "version": VERSION,
            "field_count": max(fields),
            "rows": [{"name": row} for row in rows],
            "columns": [{"name": column} for column in columns],
            "wells": [
                {"path": f"{row}/{column}", "rowIndex": rows.index(row), "columnIndex": columns.index(column)}
                for row, column in wells
            ],
            "acquisitions": [{**acquisitions.get(n, {}), "id": n, "name": f"session {n}"} for n in numbers],
        }
    }


def well(sessions: Iterable[tuple[str, int]]) -> dict[str, Any]:
    """Return the ``well`` entry of the well that all the given (position, session) lie in."""
    images = [
        {"path": image_name(session, split_position(position)[2]), "acquisition": session}
        for position, session in sorted(sessions, key=lambda s: (s[1], s[0]))
    ]
    return {"well": {"version": VERSION, "images": images}}


def seconds_since_1970(utc: str) -> int | None:
    """Return an ISO 8601 time as a Unix time, None when it is none."""
    try:
        return int(datetime.fromisoformat(utc).timestamp())
    except ValueError:
        return None
