"""TrackMate XML (Fiji): spots, edges and tracks in, and out."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import InputFileError, PathMissingError

_PLACES = {"FRAME": "t", "POSITION_Y": "y", "POSITION_X": "x", "POSITION_Z": "z"}
_NAMES = {"AREA": "area", "VOLUME": "volume", "RADIUS": "radius"}


def read_trackmate(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the spots and edges of a TrackMate file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    spots : DataFrame
        ``spot_id, t, y, x``, ``z`` where it varies, and the numeric features that every spot has (``area`` for AREA,
        the others in lower case), in the file's unit.
    edges : DataFrame
        ``source, target`` (spot ids), the earlier one first; empty if the file has no tracks.

    Raises
    ------
    PathMissingError
        If there is no file.
    InputFileError
        If it is no TrackMate file, or declares entities.
    """
    if not path.is_file():
        raise PathMissingError(f"There is no file {path}.")
    if b"<!DOCTYPE" in path.read_bytes()[:4096]:
        raise InputFileError(f"{path} declares a document type, which TrackMate files do not: it is not read.")
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise InputFileError(f"{path} is no XML file: {error}.") from error
    found = [spot.attrib for spot in root.iter("Spot")]
    if root.tag != "TrackMate" or not found:
        raise InputFileError(f"{path} holds no TrackMate spots: save the session in TrackMate and give that file.")
    try:
        spots = _spots(found)
        pairs = [(int(e.attrib["SPOT_SOURCE_ID"]), int(e.attrib["SPOT_TARGET_ID"])) for e in root.iter("Edge")]
    except (KeyError, ValueError) as error:
        raise InputFileError(f"{path} has a spot or an edge without a number where one is needed: {error}.") from error
    edges = pd.DataFrame(pairs, columns=["source", "target"], dtype=np.int64)
    time = spots.set_index("spot_id")["t"]
    missing = np.setdiff1d(edges.to_numpy().ravel(), time.index.to_numpy())
    if len(missing):
        raise InputFileError(f"{path} has an edge to the spot {missing[0]}, which it does not hold.")
    back = time.loc[edges["source"]].to_numpy() > time.loc[edges["target"]].to_numpy()
    edges.loc[back, ["source", "target"]] = edges.loc[back, ["target", "source"]].to_numpy()
    return spots, edges


def _spots(found: list[dict[str, str]]) -> pd.DataFrame:
    table: dict[str, object] = {"spot_id": np.array([int(s["ID"]) for s in found], np.int64)}
    for name, column in _PLACES.items():
        values = np.array([float(s[name]) if name != "POSITION_Z" else float(s.get(name, 0)) for s in found])
        table[column] = values.astype(np.int64) if column == "t" else values
    skipped = {"ID", "VISIBILITY", "MANUAL_SPOT_COLOR", "POSITION_T", "name", *_PLACES}
    for name in found[0]:
        if name in skipped or any(name not in s for s in found):
            continue
        try:
            table[_NAMES.get(name, name.lower())] = np.array([float(s[name]) for s in found])
        except ValueError:
            continue
    spots = pd.DataFrame(table)
    return spots.drop(columns="z") if spots["z"].nunique() < 2 else spots


def trackmate_text(
    points: pd.DataFrame,
    edges: pd.DataFrame,
    track_id: npt.NDArray[np.int32],
    parent_track_id: npt.NDArray[np.int32],
    *,
    unit: str = "pixel",
) -> str:
    """Return a TrackMate file of points and links; a pedigree is one TrackMate track.

    Parameters
    ----------
    points : DataFrame
        ``t, y, x`` and optionally ``z``, ``radius``, ``area``.
    edges : DataFrame
        ``parent_row, child_row``, and ``probability`` where it is known.
    track_id, parent_track_id : (n,) int
    unit : str
        Of the coordinates.

    Returns
    -------
    str
    """
    root = ElementTree.Element("TrackMate", version="7.11.1")
    model = ElementTree.SubElement(root, "Model", spatialunits=unit, timeunits="frame")
    t = points["t"].to_numpy(np.int64)
    z = points["z"].to_numpy(np.float64) if "z" in points.columns else np.zeros(len(points))
    y, x = points["y"].to_numpy(np.float64), points["x"].to_numpy(np.float64)
    radius = points["radius"].to_numpy(np.float64) if "radius" in points.columns else np.full(len(points), 5.0)
    if "radius" not in points.columns and "area" in points.columns:
        radius = np.sqrt(np.maximum(points["area"].to_numpy(np.float64), 0) / np.pi)
    everything = ElementTree.SubElement(model, "AllSpots", nspots=str(len(points)))
    for frame in np.unique(t):
        within = ElementTree.SubElement(everything, "SpotsInFrame", frame=str(frame))
        for k in np.flatnonzero(t == frame):
            ElementTree.SubElement(
                within, "Spot", ID=str(k), name=f"ID{k}", FRAME=str(frame), POSITION_T=str(float(frame)),
                POSITION_X=repr(float(x[k])), POSITION_Y=repr(float(y[k])), POSITION_Z=repr(float(z[k])),
                RADIUS=repr(float(radius[k])), QUALITY="1.0", VISIBILITY="1",
            )  # fmt: skip
    parent_of: dict[int, int] = dict(zip(track_id.tolist(), parent_track_id.tolist(), strict=True))
    founder: dict[int, int] = {}
    for track in sorted(parent_of):  # a mother has a smaller number than her daughters
        mother = parent_of[track]
        founder[track] = founder.get(mother, mother) if mother else track
    families: dict[int, list[tuple[int, int, float]]] = {}
    known = edges["probability"] if "probability" in edges.columns else np.full(len(edges), np.nan)
    rows = zip(edges["parent_row"], edges["child_row"], known, strict=True)
    for source, target, chance in rows:
        families.setdefault(founder[int(track_id[target])], []).append((int(source), int(target), float(chance)))
    tracks = ElementTree.SubElement(model, "AllTracks")
    for name, links in sorted(families.items()):
        one = ElementTree.SubElement(tracks, "Track", name=f"Track_{name}", TRACK_ID=str(name))
        for source, target, chance in links:
            edge = ElementTree.SubElement(one, "Edge", SPOT_SOURCE_ID=str(source), SPOT_TARGET_ID=str(target))
            if np.isfinite(chance):
                edge.set("LINK_COST", repr(1 - chance))
    kept = ElementTree.SubElement(model, "FilteredTracks")
    for name in sorted(families):
        ElementTree.SubElement(kept, "TrackID", TRACK_ID=str(name))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
