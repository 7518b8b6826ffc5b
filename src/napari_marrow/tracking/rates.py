"""Learned rates: how often a cell is lost, found again, or appears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.divisions import Triples
from napari_marrow.tracking.motion import MotionModel
from napari_marrow.tracking.points import Detections, Floats, Ints

_LEAST_BACK = 0.02


@dataclass(frozen=True)
class Rates:
    """Chances of a detection to have no successor or no predecessor.

    Attributes
    ----------
    lost : (n,) float64
        Not seen in the next frame (missed, left, died), by place: near the border of the field or inside.
    new : (n,) float64
        Not seen before.
    back : (gaps,) float64
        A lost cell is seen again two, three, ... frames after its last detection, if it was not before.
    """

    lost: Floats
    new: Floats
    back: Floats

    @property
    def found_again(self) -> float:
        """Chance that a lost cell is ever seen again."""
        return float(1 - np.prod(1 - self.back))

    def link_gain(self, i: Ints, j: Ints, gap: int) -> Floats:
        """Log odds of a link over leaving both open, apart from where and what the detections are."""
        odds = (
            np.log((1 - self.lost[i]) / self.lost[i])
            if gap == 1
            else np.log(self.back[gap - 2] / (1 - self.back[gap - 2]))
        )
        return np.asarray(odds - np.log(self.new[j]))

    def over_later(self, gap: Ints) -> Floats:
        """Return what a link gains over losing the cell for good, beyond its gain over the cell being unseen so far."""
        unseen = np.concatenate([[1.0], np.cumprod(1 - self.back)])
        return np.asarray(np.log(unseen / unseen[-1])[gap - 1])

    def division_gain(self, triples: Triples, rate: float) -> Floats:
        """Return the same for divisions, which happen at `rate` per cell and frame."""
        new = np.log(self.new[triples.first]) + np.log(self.new[triples.second])
        return np.asarray(np.log(rate / self.lost[triples.mother]) - new)


def first_rates(detections: Detections, max_gap: int) -> Rates:
    """Rates before anything is known."""
    return Rates(np.full(detections.n, 0.05), np.full(detections.n, 0.05), np.full(max(max_gap - 1, 0), 0.5))


def fit_rates(detections: Detections, i: Ints, j: Ints, divisions: Triples, motion: MotionModel, max_gap: int) -> Rates:
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
    seen = np.array([(gap == g).sum() for g in range(2, max_gap + 1)], np.float64)
    unseen = left.sum() - np.concatenate([[0.0], np.cumsum(seen)[:-1]]) if len(seen) else seen
    back = np.clip((seen + 2) / (np.maximum(unseen, seen) + 4), _LEAST_BACK, 0.8)
    return Rates(lost, new, back)


def _near_border(detections: Detections, motion: MotionModel) -> npt.NDArray[np.bool_]:
    """Find detections within two usual steps of the field's edge in y or x (the box of all)."""
    plane = detections.xyz[:, -2:]
    low, high = plane.min(0), plane.max(0)
    near = 2.0 * float(np.median(motion.sigma[:, 1]))
    inside = ((plane > low + near) & (plane < high - near)).all(1)
    return np.asarray(~inside) if inside.mean() > 0.5 else np.zeros(detections.n, bool)
