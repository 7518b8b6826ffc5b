"""Blobs: one detection that two cells share in a frame, told by size, place and the cell that went missing."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.chains import Chains
from napari_marrow.tracking.hypotheses import Links
from napari_marrow.tracking.motion import MotionModel
from napari_marrow.tracking.points import Detections, Floats, Ints

Flags = npt.NDArray[np.bool_]

_LONGEST = 2  # frames that the missing cell may be unseen already
_PRIOR = 0.25  # chance that a cell that goes missing beside another one shares its detection
_SIZE_FLOOR = 0.1  # standard deviation of the log of a blob's size beyond the noise of one measurement
_ANYTHING = 0.005
_MOST_PLACE = 2.0  # of several pairs one lies well about any place: it must not decide alone
_SMALLER = 3.0


@dataclass(frozen=True)
class Blobs:
    """Detections that hold two cells.

    Attributes
    ----------
    shared : (n,) bool
    smaller : (n,) int64
        Last own detection of the smaller of the two cells, -1 where there is no blob. The larger one takes the
        detection: its outline covers most of it.
    """

    shared: Flags
    smaller: Ints

    def gain(self, i: Ints, j: Ints) -> Floats:
        """Log odds against a link from the smaller cell into the blob."""
        return np.where(self.shared[j] & (self.smaller[j] == i), -_SMALLER, 0.0)


def no_blobs(n: int) -> Blobs:
    """No detection is shared."""
    return Blobs(np.zeros(n, bool), np.full(n, -1, np.int64))


def find_blobs(detections: Detections, chains: Chains, links: Links, motion: MotionModel, trust: Floats) -> Blobs:
    """Find shared detections, given the links that stand.

    A detection may be shared by the cell linked into it (or one that went missing beside it) and a cell that went
    missing beside it: the sum of their sizes against the size of one, their common centre against the place of one.

    Parameters
    ----------
    detections : Detections
    chains : Chains
        Of the links that stand, past and future.
    links : Links
        Candidates.
    motion : MotionModel

    Returns
    -------
    Blobs
    """
    out = no_blobs(detections.n)
    f = detections.size_column
    if f < 0:
        return out
    keep = links.gap <= _LONGEST
    i, j = links.i[keep], links.j[keep]
    following = chains.following
    after = np.where(following >= 0, detections.frame[following], np.iinfo(np.int64).max)
    free = (following[i] == j) | (after[i] > detections.frame[j])
    i, j = i[free], j[free]
    order = np.lexsort((i, j))
    sigma = float(np.median(motion.sigma[:, 1]))
    noise = float(chains.noise.noise[f]) + _SIZE_FLOOR**2
    _pair_up(
        i[order], j[order], following, detections.frame, detections.xyz, detections.features[:, f],
        np.ascontiguousarray(chains.past[:, f]), sigma, noise, float(chains.noise.overall[f]), trust,
        out.shared, out.smaller,
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True)
def _pair_up(
    i: Ints, j: Ints, following: Ints, frame: Ints, xyz: Floats, size: Floats, level: Floats, sigma: float,
    noise: float, overall: float, trust: Floats, shared: Flags, smaller: Ints,
) -> None:  # fmt: skip
    d = xyz.shape[1]
    start = 0
    while start < len(j):
        end = start
        while end < len(j) and j[end] == j[start]:
            end += 1
        target = j[start]
        best, partner = 0.0, -1
        for p in range(start, end):
            a = i[p]
            for q in range(start, end):
                b = i[q]
                # a takes the detection, b is the smaller one that went missing
                if a == b or not level[a] >= level[b] or np.isnan(size[target]):
                    continue
                if following[a] != target and following[b] != target and frame[target] - frame[a] > 1:
                    continue
                total = np.log(np.exp(level[a]) + np.exp(level[b]))
                share = np.exp(level[a] - total)
                one, two = 0.0, 0.0
                single = b if following[b] == target else a
                for axis in range(d):
                    centre = share * xyz[a, axis] + (1 - share) * xyz[b, axis]
                    two += (xyz[target, axis] - centre) ** 2
                    one += (xyz[target, axis] - xyz[single, axis]) ** 2
                wide = sigma * sigma * max(frame[target] - min(frame[a], frame[b]), 1)
                as_two = np.exp(-0.5 * (size[target] - total) ** 2 / noise) / np.sqrt(noise) + _ANYTHING
                as_one = np.exp(-0.5 * (size[target] - level[single]) ** 2 / noise) / np.sqrt(noise)
                as_one += (_ANYTHING + 1 - trust[target]) / np.sqrt(overall)  # or the link is wrong
                odds = np.log(_PRIOR / (1 - _PRIOR)) + np.log(as_two / as_one)
                odds += min(0.5 * (one - two) / wide, _MOST_PLACE)
                if odds > best:
                    best, partner = odds, b
        if partner >= 0:
            shared[target] = True
            smaller[target] = partner
        start = end
