"""Step *correct*: estimate illumination and bleaching; the stored pixels stay as acquired.

`CorrectedSession` applies the estimates when pixels are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.pipeline.recipe import CorrectSection, Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.imaging import Shading
    from napari_marrow.study import SessionImage, Study

NODES = 17
"""The illumination is a smooth polynomial: its values on a grid of this many nodes a side say all of it."""

MAX_FRAMES = 24
"""Frames that the illumination of a channel is estimated from, at most."""


class CorrectStep(Step):
    """Estimate the illumination of each channel and session from the frames of all positions."""

    name = "correct"
    title = "Estimating illumination"
    version = 1
    tables = ("corrections",)

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `correct`."""
        return recipe.correct.model_dump(mode="json")

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit per session, over all positions: they share the microscope's light."""
        return [Unit(session=session) for session in study.sessions()]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Estimate each channel's illumination, and each position's bleaching where it is asked for."""
        section = context.recipe.correct
        positions = [p for p in study.positions if unit.session in study.sessions(p)]
        images = {p: study.image(p, unit.session) for p in positions}
        rows = []
        for shape in sorted({image.shape[3:] for image in images.values()}):
            group = {p: image for p, image in images.items() if image.shape[3:] == shape}
            for channel in dict.fromkeys(c.name for image in group.values() for c in image.channels):
                holders = {p: i for p, i in group.items() if channel in [c.name for c in i.channels]}
                rows += _channel_rows(holders, channel, unit.session, section, cancel)
        table = pd.DataFrame(rows, columns=["position", "session", "channel", "dark", "depth", "accepted", "reason",
                                            "field", "factors"])  # fmt: skip
        study.commit(self.tables[0], context.keys[self.name], unit.as_dict(), table)
        return {"fields": int(table["accepted"].sum())}


def _channel_rows(
    images: dict[str, SessionImage], channel: str, session: int, section: CorrectSection, cancel: CancelToken
) -> list[tuple[Any, ...]]:
    from napari_marrow import imaging

    shading = None
    reason = "not asked for"
    if section.shading:
        frames = [image.read(t, channel).max(axis=0) for image, t in _sample(list(images.values()))]
        cancel.raise_if_cancelled()
        estimate = imaging.estimate_shading(np.stack(frames), min_frames=section.min_frames)
        shading, reason = (estimate if estimate.accepted else None), estimate.reason
    rows = []
    for position, image in images.items():
        factors = np.ones(image.shape[0])
        if section.bleaching and image.shape[0] > 2:
            levels = []
            for t in range(image.shape[0]):
                cancel.raise_if_cancelled()
                levels.append(imaging.signal_level(image.read(t, channel)))
            factors = imaging.estimate_bleaching(levels).factors
        rows.append(
            (
                position,
                session,
                channel,
                shading.dark if shading else 0.0,
                shading.depth if shading else 0.0,
                shading is not None,
                reason,
                _nodes(shading.field).ravel().tolist() if shading else [],
                factors.tolist(),
            )
        )
    return rows


def _sample(images: Sequence[SessionImage]) -> list[tuple[SessionImage, int]]:
    """Choose frames evenly over positions and times."""
    each = max(1, MAX_FRAMES // len(images))
    return [
        (image, int(t))
        for image in images[:MAX_FRAMES]
        for t in np.unique(np.linspace(0, image.shape[0] - 1, min(each, image.shape[0])).round().astype(int))
    ]


def _nodes(field: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    y, x = (np.linspace(0, n - 1, NODES).round().astype(int) for n in field.shape)
    return field[np.ix_(y, x)].astype(np.float64)


def _field(nodes: Sequence[float], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    from scipy.interpolate import RectBivariateSpline

    y, x = (np.unique(np.linspace(0, n - 1, NODES).round().astype(int)) for n in shape)
    grid = np.asarray(nodes, dtype=np.float64).reshape(NODES, NODES)[: len(y), : len(x)]
    order = min(3, len(y) - 1, len(x) - 1)
    spline = RectBivariateSpline(y, x, grid, kx=order, ky=order)
    return np.asarray(spline(np.arange(shape[0]), np.arange(shape[1])), dtype=np.float32)


class CorrectedSession:
    """A session's image with its corrections applied on reading.

    Parameters
    ----------
    study : Study
    position : str
    session : int
    context : Context
        Names the key of the corrections.
    """

    def __init__(self, study: Study, position: str, session: int, context: Context) -> None:
        self.image = study.image(position, session)
        self.channels = [channel.name for channel in self.image.channels]
        table = study.table("corrections", context.keys["correct"], unit={"session": session})
        self._rows = {str(row["channel"]): row for _, row in table[table["position"] == position].iterrows()}
        self._shadings: dict[str, Shading | None] = {}

    def read(self, t: int, channel: str | None = None) -> npt.NDArray[np.float32]:
        """Return a frame, (C, Z, Y, X) or, of one channel, (Z, Y, X), in corrected counts."""
        if channel is not None:
            return self._correct(self.image.read(t, channel), channel, t)
        frame = self.image.read(t)
        return np.stack([self._correct(frame[i], name, t) for i, name in enumerate(self.channels)])

    def _correct(self, volume: npt.NDArray[Any], channel: str, t: int) -> npt.NDArray[np.float32]:
        from napari_marrow import imaging

        row = self._rows.get(channel)
        if row is None:
            return volume.astype(np.float32)
        return imaging.correct(volume, shading=self._shading(channel, row), gain=float(row["factors"][t]))

    def _shading(self, channel: str, row: pd.Series) -> Shading | None:
        from napari_marrow.imaging import Shading

        if channel not in self._shadings:
            shape = (int(self.image.shape[3]), int(self.image.shape[4]))
            self._shadings[channel] = (
                Shading(_field(row["field"], shape), float(row["dark"]), float(row["depth"]), 1.0, True)
                if row["accepted"]
                else None
            )
        return self._shadings[channel]


_sessions: dict[tuple[str, str, int, str], CorrectedSession] = {}


def corrected_session(study: Study, position: str, session: int, context: Context) -> CorrectedSession:
    """Return the session, kept from frame to frame: its corrections are read once."""
    name = (str(study.path), position, session, context.keys["correct"])
    if name not in _sessions:
        _sessions.clear()
        _sessions[name] = CorrectedSession(study, position, session, context)
    return _sessions[name]
