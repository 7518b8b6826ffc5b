"""Where daughters lie: their midpoint about the place their mother was heading for, and how far they are apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
from scipy.stats import chi2

from napari_marrow.tracking.appearance import log_normal
from napari_marrow.tracking.chains import Chains
from napari_marrow.tracking.motion import MotionModel
from napari_marrow.tracking.points import Detections, Floats, Ints
from napari_marrow.tracking.rank_statistics import median_deviation

_FAR_WIDTH = 3.0  # of midpoints that lie farther off than a normal distribution has them
_FAR_FROM = 2.5  # standard deviations beyond which they are counted
_MOST_MIDDLE = 5.0  # standard deviations of the midpoint that are looked at
_MOST_APART = 3.5
_FEW = 15.0  # divisions that the model before counts for
_FEW_FOR_MOTION = 40.0  # as many without steering
_LEAST_FAR, _MOST_FAR = 0.01, 0.2
_LONGEST = 0.95  # quantile of the midpoint beyond which a division does not teach where mothers head for


@dataclass(frozen=True)
class Heading:
    """What is known of a mother's motion before she divides.

    Attributes
    ----------
    ahead : (n, d) float64
        Her last step, at the duration up to the next frame.
    quick : (n,) float64
        Her speed over up to five steps against the usual one.
    """

    ahead: Floats
    quick: Floats


def heading(detections: Detections, chains: Chains, motion: MotionModel) -> Heading:
    """Return step and speed of every detection, as far as its past tells."""
    time = detections.time
    until_next = np.append(np.diff(time), 1.0)[detections.frame]
    usual = motion.speed[motion.crowding] if np.isfinite(motion.speed).all() else np.ones(detections.n)
    own = np.sqrt((chains.past_speed[:, 0] + 3 * usual) / (chains.past_speed[:, 1] + 3))
    middle = float(np.median(own)) if detections.n else 1.0
    return Heading(chains.velocity_in * until_next[:, None], own / max(middle, 1e-300))


@dataclass(frozen=True)
class DivisionGeometry:
    """Place of two daughters relative to their mother.

    Attributes
    ----------
    middle : float
        Standard deviation per coordinate of the daughters' midpoint about its expected place, for a mother of usual
        speed.
    apart, apart_width : float
        Distance of the daughters, mean and standard deviation.
    steering : float
        Share of the mother's last step that the midpoint goes on.
    pace : float
        Exponent of the mother's speed in the midpoint's deviation: 0 if she stops to divide.
    far : float
        Share of midpoints that scatter three times as widely.
    """

    middle: float
    apart: float
    apart_width: float
    steering: float = 0.0
    pace: float = 0.0
    far: float = 0.05

    @property
    def reach(self) -> float:
        """Largest distance of a daughter from the mother's expected place that is looked at."""
        return 0.5 * (self.apart + 3.0 * self.apart_width) + 4.0 * self.middle

    def expected(self, detections: Detections, before: Heading) -> Floats:
        """Return the expected midpoint of every detection's daughters, (n, d)."""
        return np.asarray(detections.xyz + self.steering * before.ahead)

    def measured(
        self, detections: Detections, before: Heading, mother: Ints, first: Ints, second: Ints
    ) -> tuple[Floats, Floats]:
        """Return the midpoint's distance from the expected place at usual speed, and the daughters' distance."""
        middle, apart = np.empty(len(mother)), np.empty(len(mother))
        _distances(detections.xyz, before.ahead, self.steering, mother, first, second, middle, apart)
        return (middle / before.quick[mother] ** self.pace if self.pace else middle), apart

    def plausible(self, middle: Floats, apart: Floats) -> np.ndarray:
        """Whether the daughters are near enough to what is expected to be looked at."""
        return (middle <= _MOST_MIDDLE * self.middle) & (np.abs(apart - self.apart) <= _MOST_APART * self.apart_width)

    def log_density(self, middle: Floats, apart: Floats, quick: Floats, d: int) -> Floats:
        """Log density of both daughters' places in `d` dimensions, per unit area or volume each."""
        near, far = (
            -(middle**2) / (2 * (w * self.middle) ** 2) - 0.5 * d * np.log(2 * np.pi * (w * self.middle) ** 2)
            for w in (1.0, _FAR_WIDTH)
        )
        out = np.logaddexp(np.log(1 - self.far) + near, np.log(self.far) + far) - d * self.pace * np.log(quick)
        shell = 2 * np.pi * apart if d == 2 else 4 * np.pi * apart**2
        floor = shell_floor(self.apart, d)
        return np.asarray(out + log_normal(apart, self.apart, self.apart_width) - np.log(np.maximum(shell, floor)))

    def learned(
        self, detections: Detections, before: Heading, mother: Ints, first: Ints, second: Ints
    ) -> DivisionGeometry:
        """Return the geometry of these divisions, shrunk towards what stands."""
        m, x = len(mother), detections.xyz
        trust, trust_in_motion = m / (m + _FEW), m / (m + _FEW_FOR_MOTION)
        way = 0.5 * (x[first] + x[second]) - x[mother]
        ahead, quick = before.ahead[mother], np.log(before.quick[mother])
        length = (way**2).sum(1)
        usual = length <= np.quantile(length, _LONGEST)
        along = float((way[usual] * ahead[usual]).sum()) / max(float((ahead[usual] ** 2).sum()), 1e-300)
        new = replace(self, steering=trust_in_motion * float(np.clip(along, 0.0, 1.0)), pace=0.0)
        middle, apart = new.measured(detections, before, mother, first, second)
        size = np.log(np.maximum(middle, 0.1 * float(np.median(middle))))
        slope = float(((size - size.mean()) * quick).sum()) / max(float(((quick - quick.mean()) ** 2).sum()), 1e-9)
        new = replace(new, pace=trust_in_motion * float(np.clip(slope, 0.0, 1.0)))
        middle, _ = new.measured(detections, before, mother, first, second)
        chi = 1.1774 if detections.ndim == 2 else 1.5382  # median length of a standard normal vector
        width = float(np.median(middle)) / chi
        near, far = (chi2.sf((_FAR_FROM / w) ** 2, detections.ndim) for w in (1.0, _FAR_WIDTH))
        share = (float((middle > _FAR_FROM * width).mean()) - near) / (far - near)
        return replace(
            new,
            far=float(np.clip(trust * share + (1 - trust) * self.far, _LEAST_FAR, _MOST_FAR)),
            middle=trust * width + (1 - trust) * self.middle,
            apart=trust * float(np.median(apart)) + (1 - trust) * self.apart,
            apart_width=max(
                trust * median_deviation(apart) + (1 - trust) * self.apart_width, 0.1 * float(np.median(apart))
            ),
        )


@numba.njit(cache=True, nogil=True)
def _distances(
    xyz: Floats, ahead: Floats, steering: float, mother: Ints, first: Ints, second: Ints, middle: Floats, apart: Floats
) -> None:  # fmt: skip
    """Fill in the midpoints' distances from the expected places, and the daughters' distances."""
    for m in range(len(mother)):
        i, j, k = mother[m], first[m], second[m]
        off, wide = 0.0, 0.0
        for axis in range(xyz.shape[1]):
            off += (0.5 * (xyz[j, axis] + xyz[k, axis]) - xyz[i, axis] - steering * ahead[i, axis]) ** 2
            wide += (xyz[j, axis] - xyz[k, axis]) ** 2
        middle[m], apart[m] = np.sqrt(off), np.sqrt(wide)


def shell_floor(apart: float, d: int) -> float:
    """Surface of the smallest sphere about a daughter that is told apart from a point."""
    r = 0.15 * apart
    return 2 * np.pi * r if d == 2 else 4 * np.pi * r**2
