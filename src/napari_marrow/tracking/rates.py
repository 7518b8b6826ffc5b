"""Learned rates: how often a cell is lost, found again, or appears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.divisions import Triples
from napari_marrow.tracking.motion import MotionModel
from napari_marrow.tracking.points import Detections, Floats, Ints


@dataclass(frozen=True)
class Rates:
    """Chances of a detection to have no successor or no predecessor.

    Attributes
    ----------
    lost : (n,) float64
        Not seen in the next frame (missed, left, died), by place: near the border of the field or inside.
    new : (n,) float64
        Not seen before.
    back : float
        A lost cell is seen again in the frame after.
    """

    lost: Floats
    new: Floats
    back: float

    def link_gain(self, i: Ints, j: Ints, gap: int) -> Floats:
        """Log odds of a link over leaving both open, apart from where and what the detections are."""
        odds = np.log((1 - self.lost[i]) / self.lost[i]) if gap == 1 else np.log(self.back / (1 - self.back))
        return np.asarray(odds - np.log(self.new[j]))

    def division_gain(self, triples: Triples, rate: float) -> Floats:
        """Return the same for divisions, which happen at `rate` per cell and frame."""
        new = np.log(self.new[triples.first]) + np.log(self.new[triples.second])
        return np.asarray(np.log(rate / self.lost[triples.mother]) - new)


def first_rates(detections: Detections) -> Rates:
    """Rates before anything is known."""
    return Rates(np.full(detections.n, 0.05), np.full(detections.n, 0.05), 0.5)


def fit_rates(detections: Detections, i: Ints, j: Ints, divisions: Triples, motion: MotionModel) -> Rates:
    """Learn the rates from a solution; few events are shrunk towards 4 %."""
    n, frame = detections.n, detections.frame
    left, found, came = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool)
    gap = frame[j] - frame[i]
    found[i[gap == 1]] = True
    found[divisions.mother] = True
    came[j] = came[divisions.first] = came[divisions.second] = True
    left[:] = ~found & (frame < detections.n_frames - 1)
    border = _near_border(detections, motion)
    lost, new = np.empty(n), np.empty(n)
    for place in (border, ~border):
        can_leave = place & (frame < detections.n_frames - 1)
        can_come = place & (frame > 0)
        lost[place] = np.clip((left[place].sum() + 2) / (can_leave.sum() + 50), 0.003, 0.3)
        new[place] = np.clip(((can_come & ~came).sum() + 2) / (can_come.sum() + 50), 0.003, 0.3)
    back = np.clip(((gap == 2).sum() + 2) / (left.sum() + 4), 0.1, 0.8)
    return Rates(lost, new, float(back))


def _near_border(detections: Detections, motion: MotionModel) -> npt.NDArray[np.bool_]:
    """Find detections within two usual steps of the field's edge in y or x (the box of all)."""
    plane = detections.xyz[:, -2:]
    low, high = plane.min(0), plane.max(0)
    near = 2.0 * float(np.median(motion.sigma[:, 1]))
    inside = ((plane > low + near) & (plane < high - near)).all(1)
    return np.asarray(~inside) if inside.mean() > 0.5 else np.zeros(detections.n, bool)
