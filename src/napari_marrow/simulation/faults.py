"""What the stage, the clock and the user do to a session: true transforms, times and faults, drawn before any pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.simulation.scenario import Scenario

Float = npt.NDArray[np.float64]

FRAME_FAULTS = (
    "blank", "defocus", "duplicate", "dropped", "saturation", "bubble", "z_jump", "media_change", "restart",
)  # fmt: skip
"""Faults that hit single frames."""


@dataclass(frozen=True)
class Acquisition:
    """One session of one position as it really went.

    Attributes
    ----------
    session : int
        Number, from 1.
    planned : (T,) int64
        Planned frame number of each recorded frame (dropped ones are missing).
    true_h : (T,) float64
        When the recorded pixels were exposed, hours since seeding (a duplicate shows an earlier moment).
    time_s : (T,) float64
        What the recorded clock says, seconds since the session's first frame.
    angle : float
        Rotation of the image against the tissue, rad, from +x towards +y.
    scale : (T,) float64
        Swelling.
    shift : (T, 2) float64
        Shift y, x of the tissue in the image, µm.
    defocus_um : (T,) float64
        Blur (SD) added by defocus, µm.
    flags : tuple of frozenset of str
        Faults of each frame.
    gain : float
        Brightness of the session.
    centre : (2,) float64
        Centre of rotation y, x, µm.
    """

    session: int
    planned: npt.NDArray[np.int64]
    true_h: Float
    time_s: Float
    angle: float
    scale: Float
    shift: Float
    defocus_um: Float
    flags: tuple[frozenset[str], ...]
    gain: float
    centre: Float

    def matrix(self, t: int) -> Float:
        """Return the 2 x 2 matrix (y, x) from tissue to image."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        return self.scale[t] * np.array([[c, s], [-s, c]])

    def to_image(self, t: int, points: Float) -> Float:
        """Map tissue points (n, 2) y, x in µm to image coordinates in µm."""
        return (points - self.centre) @ self.matrix(t).T + self.centre + self.shift[t]

    def to_tissue(self, t: int, points: Float) -> Float:
        """Map image points (n, 2) y, x in µm to tissue coordinates in µm."""
        return (points - self.centre - self.shift[t]) @ np.linalg.inv(self.matrix(t)).T + self.centre

    def registration(self, t: int) -> tuple[Float, Float]:
        """Return matrix (2, 2) and shift (2,) in µm that map image coordinates to the tissue's (y_reg, x_reg)."""
        inverse: Float = np.linalg.inv(self.matrix(t)).astype(np.float64)
        return inverse, self.centre - inverse @ (self.centre + self.shift[t])


def plan_acquisition(scenario: Scenario, position: str, number: int, rng: np.random.Generator) -> Acquisition:
    """Draw how one session of one position goes.

    Parameters
    ----------
    scenario : Scenario
    position : str
    number : int
        Session, from 1.
    rng : numpy.random.Generator

    Returns
    -------
    Acquisition
    """
    faults, plan = scenario.faults, scenario.sessions[number - 1]
    hit = _hits(scenario, position, number)
    frames = np.arange(plan.n_frames)
    centre = 0.5 * (np.array(scenario.imaging.shape[1:]) - 1) * np.array(scenario.imaging.spacing_um[1:])
    angle, offset = 0.0, np.zeros(2)
    length, turn = rng.uniform(*faults.shift_um), rng.uniform(*faults.rotation_deg) * rng.choice([-1, 1])
    towards = rng.uniform(0, 2 * np.pi)
    if number > 1:
        angle = float(np.deg2rad(turn))
        offset = length * np.array([np.sin(towards), np.cos(towards)])
    planned_h: Float = plan.start_h + frames.astype(np.float64) * plan.interval_h
    heading, jitter = rng.uniform(0, 2 * np.pi), rng.normal(0.0, 1.0, (plan.n_frames, 2)) * faults.drift_jitter_um
    jitter[0] = 0.0
    drift = (planned_h - plan.start_h)[:, None] * faults.drift_um_per_h * np.array([np.sin(heading), np.cos(heading)])
    shift = offset + drift + jitter
    for t in sorted(hit["media_change"]):
        away = rng.uniform(0, 2 * np.pi)
        shift[t:] += faults.media_change_um * np.array([np.sin(away), np.cos(away)])
    days = (planned_h - scenario.sessions[0].start_h) / 24.0
    scale = np.power(1.0 + faults.swelling_per_day, days)
    # What a frame shows; a duplicate repeats the frame before it, place and time included.
    shown = frames.copy()
    for t in sorted(hit["duplicate"]):
        before = [s for s in frames[:t] if s not in hit["dropped"]]
        if before:
            shown[t] = shown[before[-1]]
        else:
            hit["duplicate"].discard(t)
    clock = _clock(plan.interval_h, frames, hit["restart"])
    defocus = np.zeros(plan.n_frames)
    defocus[list(hit["defocus"])] = 4.0
    defocus[list(hit["z_jump"])] = 2.0
    flags = tuple(frozenset(n for n in FRAME_FAULTS if t in hit[n]) for t in frames)
    gain = float(np.exp(rng.normal(0.0, scenario.imaging.session_gain_sd)))
    kept = np.array([t for t in frames if t not in hit["dropped"]], dtype=np.int64)
    return Acquisition(
        session=number,
        planned=kept,
        true_h=planned_h[shown][kept],
        time_s=clock[kept],
        angle=angle,
        scale=scale[shown][kept],
        shift=shift[shown][kept],
        defocus_um=defocus[shown][kept],
        flags=tuple(flags[t] for t in kept),
        gain=gain,
        centre=centre,
    )


def _hits(scenario: Scenario, position: str, number: int) -> dict[str, set[int]]:
    faults, n = scenario.faults, scenario.sessions[number - 1].n_frames
    mine = faults.only_position in ("", position)
    hits = {
        name: {t for session, t in getattr(faults, name) if mine and session == number and 0 <= t < n}
        for name in FRAME_FAULTS
    }
    if len(hits["dropped"]) >= n:
        hits["dropped"] = set()
    return hits


def _clock(interval_h: float, frames: npt.NDArray[np.int64], restarts: set[int]) -> Float:
    clock = frames.astype(np.float64) * interval_h * 3600.0
    for t in sorted(restarts):
        clock[t:] -= clock[t]
    return clock
