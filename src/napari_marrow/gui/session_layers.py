"""A session of a study as napari layer data: images, structures, cells, tracks, colonies. Knows no Qt.

Space is in µm, as in every table of the study. The time axis counts frames, because the frames of a session need not be
evenly spaced; the true time of each stands in `SessionLayers.times_h` and is shown over the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.gui.currency import current_steps
from napari_marrow.gui.frame_features import FrameFeatures
from napari_marrow.gui.lazy_labels import TrackLookup, lazy_labels
from napari_marrow.gui.paintable_labels import PaintableLabels
from napari_marrow.gui.palette import CHANNEL_COLOURS, channel_colour
from napari_marrow.gui.track_window import windowed
from napari_marrow.palette import ORANGE
from napari_marrow.pipeline.painting import painted_entries

if TYPE_CHECKING:
    from napari_marrow.study import SessionImage, Study

LayerData = tuple[Any, dict[str, Any], str]
"""What napari takes: data, keyword arguments of the layer, kind of layer."""

_STEP_OF = {"cells": "measure", "track_nodes": "curate", "tracks": "curate", "colonies": "colonies"}
_HIDDEN = frozenset({"brightfield", "scaffold", "CD45", "CD34"})
_NO_BACKGROUND = frozenset({"brightfield", "scaffold"})


@dataclass(frozen=True)
class Geometry:
    """How pixels lie in the world.

    Attributes
    ----------
    spacing : tuple of float
        (dz, dy, dx) µm.
    flat : bool
        One plane only: layers then have the axes t, y, x.
    placement : (3, 3) tuple of float or None
        Where the session lies in the frame of the first one: a matrix for (y, x, 1) in µm; None for where it is.
    """

    spacing: tuple[float, float, float]
    flat: bool
    placement: tuple[tuple[float, float, float], ...] | None = None

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes."""
        return ("t", "y", "x") if self.flat else ("t", "z", "y", "x")

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each axis; frames have none."""
        return ("pixel",) + ("micrometer",) * (len(self.axes) - 1)

    @property
    def scale(self) -> tuple[float, ...]:
        """Size of a pixel along each axis."""
        return (1.0, *self.spacing[1:]) if self.flat else (1.0, *self.spacing)

    def pixels(self) -> dict[str, Any]:
        """Arguments of a layer whose data are pixels; napari wants them alike on every layer."""
        zeros = (0.0,) * len(self.axes)
        return {
            "scale": self.scale,
            "translate": zeros,
            "affine": self.affine,
            "units": self.units,
            "axis_labels": self.axes,
        }

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """The placement as napari has it, for all axes."""
        matrix = np.eye(len(self.axes) + 1)
        if self.placement is not None:
            matrix[-3:, -3:] = self.placement
        return matrix

    def micrometres(self) -> dict[str, Any]:
        """Arguments of a layer whose data are frames and µm."""
        return {**self.pixels(), "scale": (1.0,) * len(self.axes)}

    def points(self, table: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Return the coordinates (t, (z,) y, x) of a table's rows; a table without z lies in the middle plane."""
        columns = [name for name in self.axes if name in table.columns]
        points = np.zeros((len(table), len(self.axes)))
        for name in columns:
            points[:, self.axes.index(name)] = table[name].to_numpy(np.float64)
        return points


@dataclass(frozen=True, eq=False)
class SessionLayers:
    """Everything that is shown of a session.

    Attributes
    ----------
    study, position, session
        Whose session it is; `study` is the folder.
    layers : list of LayerData
        From bottom to top. Each has ``metadata["marrow"]`` with its role.
    times_h : (T,) float64
        Hours since the study's t0.
    """

    study: str
    position: str
    session: int
    layers: list[LayerData]
    times_h: npt.NDArray[np.float64]


def session_layers(study: Study, position: str, session: int) -> SessionLayers:
    """Return the layers of a session: its images, and of the active results what is there.

    Raises
    ------
    StudyError
        If the study has no such session.
    CorruptDataError
        If a stored frame is damaged.
    """
    image = study.image(position, session)
    geometry = geometry_of(study, image)
    where = {"position": position, "session": session}
    cells, nodes = _rows(study, "cells", where), _rows(study, "track_nodes", where)
    results = [
        *mask_layers(study, image, geometry),
        cell_layer(study, image, geometry, cells, nodes),
        track_layer(geometry, nodes, cells, _rows(study, "tracks", where)),
        colony_layer(image, geometry, _rows(study, "colonies", where)),
    ]
    layers = [*image_layers(image, geometry), *(layer for layer in results if layer is not None)]
    return SessionLayers(str(study.path), position, session, described(study, image, layers), image.times_h)


def geometry_of(study: Study, image: SessionImage) -> Geometry:
    """Return how a session's pixels lie in the world, with its registration into the first session's frame.

    A session is placed as a whole, as its most typical frame is: what it drifts by from frame to frame (some µm) stays
    in the images, since tracks and labels follow them.
    """
    flat = image.shape[2] == 1
    if "register" not in current_steps(study) or not study.has_table("transforms"):
        return Geometry(image.spacing, flat)
    rows = study.table("transforms", unit={"position": image.position, "session": image.session})
    rows = rows[(rows["position"] == image.position) & (rows["session"] == image.session)]
    if rows.empty:
        return Geometry(image.spacing, flat)
    places = rows[["ty", "tx"]].to_numpy(np.float64)
    row = rows.iloc[int(np.argmin(((places - np.median(places, axis=0)) ** 2).sum(1)))]
    names = (("m00", "m01", "ty"), ("m10", "m11", "tx"))
    matrix = tuple(tuple(float(row[name]) for name in line) for line in names)
    return Geometry(image.spacing, flat, (*matrix, (0.0, 0.0, 1.0)))  # type: ignore[arg-type]


def described(study: Study, image: SessionImage, layers: list[LayerData]) -> list[LayerData]:
    """Return layers with what says whose they are in ``metadata["marrow"]``, beside the role that they have."""
    about = {
        "study": str(study.path),
        "name": str(study.name),
        "position": image.position,
        "session": image.session,
        "times_h": image.times_h,
        "t0": study.t0,
    }
    for _, arguments, _ in layers:
        arguments["metadata"] = {"marrow": {**about, **arguments["metadata"]}}
    return [
        (windowed(arguments, data) if kind == "tracks" else data, arguments, kind) for data, arguments, kind in layers
    ]


def _rows(study: Study, table: str, where: dict[str, Any]) -> pd.DataFrame | None:
    """Return a session's rows of an active table, None where the step has not run on what is active now."""
    if _STEP_OF[table] not in current_steps(study) or not study.has_table(table):
        return None
    rows = study.table(table)
    chosen = rows[(rows["position"] == where["position"]) & (rows["session"] == where["session"])]
    return chosen.reset_index(drop=True)


def image_layers(image: SessionImage, geometry: Geometry) -> list[LayerData]:
    """Return a lazy image layer per channel, multiscale where the study has several levels."""
    levels = [image.dask(level) for level in range(image.levels)]
    layers: list[LayerData] = []
    for index, channel in enumerate(image.channels):
        pyramid = [level[:, index, 0] if geometry.flat else level[:, index] for level in levels]
        known = channel.role in CHANNEL_COLOURS
        arguments = {
            "name": channel.name,
            "colormap": channel_colour(channel.role, index) if known else f"#{channel.color}",
            "blending": "additive",
            "contrast_limits": contrast_limits(image, index),
            "visible": channel.role not in _HIDDEN,
            "multiscale": len(pyramid) > 1,
            "cache": False,  # frames are read as fast as kept, and weeks of them do not fit into memory
            "metadata": {"role": "image", "channel": channel.name},
            **geometry.pixels(),
        }
        layers.append((pyramid if len(pyramid) > 1 else pyramid[0], arguments, "image"))
    return layers


def contrast_limits(image: SessionImage, channel: int) -> tuple[float, float]:
    """Return display limits from the first, middle and last frame at the coarsest level.

    Fluorescence is shown from its median (the background) to its 99.7 % quantile, but never over less than ten times
    the median absolute deviation (as a standard deviation): a channel without signal stays dark and shows no noise.
    Transmitted and reflected light is shown between its 0.5 % and 99.5 % quantiles.
    """
    n_frames = image.shape[0]
    frames = sorted({0, n_frames // 2, n_frames - 1})
    values = np.stack([image.read(t, channel, level=image.levels - 1) for t in frames]).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return (0.0, 1.0)
    if image.channels[channel].role in _NO_BACKGROUND:
        low, high = (float(q) for q in np.percentile(values, (0.5, 99.5)))
    else:
        low = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - low)))
        high = max(float(np.percentile(values, 99.7)), low + 10 * spread)
    return (low, high if high > low else low + 1.0)


def cell_layer(
    study: Study, image: SessionImage, geometry: Geometry, cells: pd.DataFrame | None, nodes: pd.DataFrame | None
) -> LayerData | None:
    """Return the cells as labels: a tracked cell keeps its track's number, and so its colour, over the frames."""
    key = study.active.get("segment")
    if key is None or not study.has_labels("cells", key, image.position, image.session):
        return None
    labels = study.labels("cells", key, image.position, image.session)
    lookup = None if nodes is None or nodes.empty else TrackLookup(nodes, image.shape[0])
    features = None if cells is None else FrameFeatures(cells, image.shape[0], nodes)
    arguments = {
        "name": "Cells",
        "cache": False,
        "opacity": 0.6,
        "features": pd.DataFrame() if features is None else features.at(0),
        "metadata": {"role": "cells", "features": features, "tracked": lookup is not None},
        **geometry.pixels(),
    }
    segmented = study.table("segmentation", key, unit={"position": image.position, "session": image.session})
    strokes = {
        t: entries
        for (position, session, t), entries in painted_entries(study, key).items()
        if (position, session) == (image.position, image.session)
    }
    data = PaintableLabels(
        labels,
        flat=geometry.flat,
        strokes=strokes,
        lookup=lookup,
        largest=int(max([0, *segmented["cells"], *(max(e.action["painted"]) for s in strokes.values() for e in s)])),
    )
    return data, arguments, "labels"


def track_layer(
    geometry: Geometry, nodes: pd.DataFrame | None, cells: pd.DataFrame | None, tracks: pd.DataFrame | None
) -> LayerData | None:
    """Return the tracks of a session with their graph (daughter -> mother)."""
    if nodes is None or nodes.empty:
        return None
    if not {"y", "x"} <= set(nodes.columns):
        if cells is None:
            return None
        nodes = nodes.merge(cells[["t", "label", "z", "y", "x"]], on=["t", "label"], how="inner")
    nodes = nodes.sort_values(["track_id", "t"], ignore_index=True)
    data = np.column_stack([nodes["track_id"].to_numpy(np.float64), geometry.points(nodes)])
    present = set(nodes["track_id"].tolist())
    graph = {}
    features = {"link_probability": nodes["link_probability"].fillna(1.0).to_numpy()}
    if tracks is not None:
        pairs = tracks.loc[tracks["parent_track_id"] > 0, ["track_id", "parent_track_id"]]
        graph = {
            int(child): [int(parent)]
            for child, parent in pairs.itertuples(index=False)
            if child in present and parent in present
        }
        of_track = tracks.set_index("track_id")
        for name in ("founder_track_id", "generation"):
            features[name] = nodes["track_id"].map(of_track[name]).fillna(0).to_numpy()
    arguments = {
        "name": "Tracks",
        "graph": graph,
        "features": pd.DataFrame(features),
        "tail_length": 12,
        "tail_width": 2,
        "blending": "translucent",
        "metadata": {"role": "tracks"},
        **geometry.micrometres(),
    }
    return data, arguments, "tracks"


def colony_layer(image: SessionImage, geometry: Geometry, colonies: pd.DataFrame | None) -> LayerData | None:
    """Return colonies as rings of their radius, named by their identity across sessions."""
    if colonies is None or colonies.empty:
        return None
    arguments = {
        "name": "Colonies",
        "size": 2 * colonies["radius"].clip(lower=1.0).to_numpy(),
        "face_color": "transparent",
        "border_color": ORANGE,
        "border_width": 0.04,
        "features": colonies[["colony_id", "n_cells", "area", "founders"]].reset_index(drop=True),
        "text": {"string": "{colony_id}", "size": 9, "color": ORANGE, "anchor": "upper_right"},
        "metadata": {"role": "colonies"},
        **geometry.micrometres(),
    }
    return geometry.points(colonies), arguments, "points"


@dataclass(frozen=True)
class _MaskStyle:
    """How the label image of a structure is shown: name of its layer, step that writes it, colour, line width."""

    title: str
    step: str
    colour: tuple[float, float, float]
    contour: int
    opacity: float


_MASKS: dict[str, _MaskStyle] = {
    "organoid": _MaskStyle("Organoid", "structures", (0.34, 0.71, 0.91), 2, 0.8),
    "scaffold": _MaskStyle("Scaffold", "structures", (0.75, 0.75, 0.75), 0, 0.4),
    "vessels": _MaskStyle("Vessels", "structures", (0.941, 0.894, 0.259), 0, 0.4),
    "pericytes": _MaskStyle("Pericytes", "structures", (0.8, 0.475, 0.655), 0, 0.4),
    "stroma": _MaskStyle("Stroma", "structures", (0.0, 0.62, 0.45), 0, 0.3),
    "colonies": _MaskStyle("Colony masks", "colonies", (0.9, 0.62, 0.0), 2, 0.8),
}
"""Structures from bottom to top; a contour of 0 is a filled mask."""


def mask_layers(study: Study, image: SessionImage, geometry: Geometry) -> list[LayerData]:
    """Return the structures as masks; they are found now and then and shown until the next time."""
    current = current_steps(study)
    layers: list[LayerData] = []
    for name, style in _MASKS.items():
        key = study.active.get(style.step, "")
        if style.step not in current or not study.has_labels(name, key, image.position, image.session):
            continue
        layers.append(_mask_layer(study, image, geometry, name, style, key))
    return layers


def _mask_layer(
    study: Study, image: SessionImage, geometry: Geometry, name: str, style: _MaskStyle, key: str
) -> LayerData:
    from napari.utils.colormaps import CyclicLabelColormap

    labels = study.labels(name, key, image.position, image.session)
    # a cyclic map of one colour; a direct one costs napari seconds of compilation in the window's thread
    colours = np.array([[0.0, 0.0, 0.0, 0.0], [*style.colour, 1.0], [*style.colour, 1.0]])
    arguments = {
        "name": style.title,
        "cache": False,
        "opacity": style.opacity,
        "colormap": CyclicLabelColormap(colors=colours, background_value=0),
        "visible": False,
        "metadata": {"role": name if name != "colonies" else "colony masks", "contour": style.contour},
        **geometry.pixels(),
    }
    return lazy_labels(labels, flat=geometry.flat, hold=True), arguments, "labels"
