"""Step *correct*: estimate illumination and bleaching; the stored pixels stay as acquired.

`CorrectedSession` applies the estimates when pixels are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.recipe_sections import CorrectSection
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.frames import fit_frames, unfit_note
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.imaging import ChannelCorrection, GainJumps
    from napari_marrow.study import SessionImage, Study

COLUMNS = (
    "position", "session", "channel", "dark", "depth", "accepted", "reason", "field", "background", "background_um",
    "factors", "levels", "bleaching_per_frame", "jump_frames", "jump_ratios",
)  # fmt: skip
"""Of the table `corrections`: the illumination on a grid of nodes, and what was done frame by frame."""

MAX_FRAMES = 24
"""Frames that the illumination of a channel is estimated from, at most."""


class CorrectStep(Step):
    """Estimate the illumination of each channel and session from the frames of all positions."""

    name = "correct"
    title = "Estimating illumination"
    version = 4
    reads = ("quality",)
    tables = ("corrections",)

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `correct`."""
        return recipe.correct.model_dump(mode="json")

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit per session, over all positions: they share the microscope's light."""
        return [Unit(session=session) for session in study.sessions()]

    def covers(self, study: Study, key: str, unit: Unit) -> bool:
        """Return whether every position has its rows: one may have been imported into the session since."""
        found = set(study.table(self.tables[0], key, unit=unit.as_dict())["position"])
        return all(p in found for p in study.positions if unit.session in study.sessions(p))

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Estimate each channel's illumination, and each position's bleaching where it is asked for."""
        section = context.recipe.correct
        positions = [p for p in study.positions if unit.session in study.sessions(p)]
        images = {p: study.image(p, unit.session) for p in positions}
        fit = {p: fit_frames(study, p, unit.session, context) for p in positions}
        rows = []
        for shape in sorted({image.shape[3:] for image in images.values()}):
            group = {p: image for p, image in images.items() if image.shape[3:] == shape}
            for channel in dict.fromkeys(c.name for image in group.values() for c in image.channels):
                holders = {p: i for p, i in group.items() if channel in [c.name for c in i.channels]}
                rows += _channel_rows(holders, channel, unit.session, section, fit, cancel)
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        study.commit(self.tables[0], context.keys[self.name], unit.as_dict(), table)
        return {"fields": int(table["accepted"].sum()), "jumps": sum(map(len, table["jump_frames"]))}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Name the frames that nothing was estimated from, and the gain jumps that were undone."""
        table = study.table(self.tables[0], context.keys[self.name])
        jumped = table[table["jump_frames"].map(len) > 0]
        notes = unfit_note(study, context, "illumination, jumps and bleaching are not estimated from them")
        return notes + [
            f"{row['position']}, session {row['session']}, {row['channel']}: brightness "
            + ", ".join(
                f"x {ratio:.2f} from frame {frame} on"
                for frame, ratio in zip(row["jump_frames"], row["jump_ratios"], strict=True)
            )
            + ", undone."
            for _, row in jumped.iterrows()
        ]


def _channel_rows(
    images: dict[str, SessionImage],
    channel: str,
    session: int,
    section: CorrectSection,
    fit: dict[str, list[int]],
    cancel: CancelToken,
) -> list[dict[str, Any]]:
    from napari_marrow import imaging

    shading = None
    reason = "not asked for"
    if section.shading:
        frames = [image.read(t, channel).max(axis=0) for image, t in _sample(images, fit)]
        cancel.raise_if_cancelled()
        estimate = imaging.estimate_shading(np.stack(frames), dark=section.camera_offset, min_frames=section.min_frames)
        shading, reason = (estimate if estimate.accepted else None), estimate.reason
    taken_off = section.background if _asked(channel, section.background_channels) else "none"
    return [
        {
            "position": position,
            "session": session,
            "channel": channel,
            "dark": section.camera_offset,
            "depth": shading.depth if shading else 0.0,
            "accepted": shading is not None,
            "reason": reason,
            "field": imaging.shading_nodes(shading.field).ravel().tolist() if shading else [],
            "background": taken_off,
            "background_um": section.background_um,
            **_over_time(image, channel, section, fit[position], cancel),
        }
        for position, image in images.items()
    ]


def _asked(channel: str, named: Sequence[str]) -> bool:
    return not named or channel in named


def _over_time(
    image: SessionImage, channel: str, section: CorrectSection, fit: Sequence[int], cancel: CancelToken
) -> dict[str, list[float] | list[int] | float]:
    """Return the factors of the frames, and the bleaching and jumps that they undo."""
    from napari_marrow import imaging

    frames = int(image.shape[0])
    bleaching = section.bleaching and _asked(channel, section.bleaching_channels)
    jumping = section.gain_jumps and _asked(channel, section.gain_channels)
    none = imaging.GainJumps((), (), np.ones(frames))
    if frames < 3 or not (bleaching or jumping):
        return _row_over_time(np.empty(0), none, 0.0, none.factors)
    levels = np.full((frames, 2), np.nan)
    for t in fit:
        cancel.raise_if_cancelled()
        levels[t] = imaging.gain_levels(image.read(t, channel))
    jumps = imaging.estimate_gain_jumps(levels) if jumping else none
    factors, rate = jumps.factors, 0.0
    if bleaching:
        # levels of the same gain: a jump is no bleaching
        method: Literal["exponential", "ratio"] = (
            "ratio" if channel in section.bleaching_ratio_channels else "exponential"
        )
        found = imaging.estimate_bleaching(levels[:, 0] * jumps.factors, method=method)
        factors, rate = factors * found.factors, found.rate if found.significant else 0.0
    return _row_over_time(levels[:, 0], jumps, rate, factors)


def _row_over_time(
    levels: npt.NDArray[np.float64], jumps: GainJumps, rate: float, factors: npt.NDArray[np.float64]
) -> dict[str, list[float] | list[int] | float]:
    return {
        "factors": factors.tolist(),
        "levels": levels.tolist(),
        "bleaching_per_frame": rate,
        "jump_frames": list(jumps.frames),
        "jump_ratios": list(jumps.ratios),
    }


def _sample(images: dict[str, SessionImage], fit: dict[str, list[int]]) -> list[tuple[SessionImage, int]]:
    """Choose fit frames evenly over positions and times."""
    each = max(1, MAX_FRAMES // len(images))
    return [
        (image, fit[position][i])
        for position, image in list(images.items())[:MAX_FRAMES]
        for i in np.unique(np.linspace(0, len(fit[position]) - 1, min(each, len(fit[position]))).round().astype(int))
    ]


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
        self._corrections = {
            str(row["channel"]): self._correction(row) for _, row in table[table["position"] == position].iterrows()
        }

    def _correction(self, row: pd.Series) -> ChannelCorrection:
        from napari_marrow.imaging import correction_from_row

        return correction_from_row(row, (int(self.image.shape[3]), int(self.image.shape[4])))

    def read(self, t: int, channel: str | None = None) -> npt.NDArray[np.float32]:
        """Return a frame, (C, Z, Y, X) or, of one channel, (Z, Y, X), in corrected counts."""
        if channel is not None:
            return self._correct(self.image.read(t, channel), channel, t)
        frame = self.image.read(t)
        return np.stack([self._correct(frame[i], name, t) for i, name in enumerate(self.channels)])

    def _correct(self, volume: npt.NDArray[Any], channel: str, t: int) -> npt.NDArray[np.float32]:
        correction = self._corrections.get(channel)
        if correction is None:
            return volume.astype(np.float32)
        return correction.apply(volume, t, self.image.spacing)


_sessions: dict[tuple[str, str, int, str], CorrectedSession] = {}


def corrected_session(study: Study, position: str, session: int, context: Context) -> CorrectedSession:
    """Return the session, kept from frame to frame: its corrections are read once."""
    name = (str(study.path), position, session, context.keys["correct"])
    if name not in _sessions:
        _sessions.clear()
        _sessions[name] = CorrectedSession(study, position, session, context)
    return _sessions[name]
