"""What the links of the last round say about every detection: its velocity, its speed, its smoothed measurements."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.histories import FeatureNoise, fit_noise, levels
from napari_marrow.tracking.points import Detections, Floats, Ints

_WINDOW = 5


@dataclass(frozen=True)
class Chains:
    """Per detection, from the chain of links it stands in (a division ends a chain).

    The past of a source and the future of a target never contain the link between them, so that a wrong link of the
    last round does not vouch for itself in the next.

    Attributes
    ----------
    previous, following : (n,) int64
        Neighbours in the chain, -1 for none.
    velocity_in, velocity_out : (n, d) float64
        Step from the previous, to the following detection per unit of time; 0 for none.
    past_speed, future_speed : (n, 2) float64
        Sum of squared steps per unit of time over up to five steps before, after; and their number.
    past, future : (n, k) float64
        Level of every measurement given the chain up to here, from here on (see `histories`).
    past_variance, future_variance : (n, k) float64
        Their variances.
    past_count, future_count : (n,) int64
        Detections of the chain up to here, from here on.
    noise : FeatureNoise
        What the levels rest on.
    """

    previous: Ints
    following: Ints
    velocity_in: Floats
    velocity_out: Floats
    past_speed: Floats
    future_speed: Floats
    past: Floats
    future: Floats
    past_variance: Floats
    future_variance: Floats
    past_count: Ints
    future_count: Ints
    noise: FeatureNoise


def build_chains(
    detections: Detections,
    i: Ints,
    j: Ints,
    probability: Floats,
    *,
    shared: npt.NDArray[np.bool_] | None = None,
) -> Chains:
    """Follow the links i -> j (no divisions among them) from every detection.

    Parameters
    ----------
    detections : Detections
    i, j : (e,) int64
        Every source and every target at most once.
    probability : (e,) float64
        Of the links. What lies beyond a doubtful link says less about a cell, so that wrong links do not vouch for each
        other.
    shared : (n,) bool, optional
        Detections that hold two cells: their measurements and places say little about either.

    Returns
    -------
    Chains
    """
    n = detections.n
    previous, following = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    previous[j], following[i] = i, j
    time = detections.time[detections.frame]
    step = detections.xyz[j] - detections.xyz[i]
    duration = np.maximum(time[j] - time[i], 1e-9)
    velocity_in, velocity_out = np.zeros_like(detections.xyz), np.zeros_like(detections.xyz)
    velocity_in[j] = velocity_out[i] = step / duration[:, None]
    square_in, square_out = np.full(n, np.nan), np.full(n, np.nan)
    square_in[j] = square_out[i] = (step**2).sum(1) / duration
    values = detections.features
    if shared is not None and shared.any():
        values = np.where(shared[:, None], np.nan, values)
        beside = shared[i] | shared[j]
        velocity_in[j[beside]] = velocity_out[i[beside]] = 0.0
        square_in[j[beside]] = square_out[i[beside]] = np.nan
    noise = fit_noise(values, previous, time)
    doubt = np.zeros(n)
    doubt[j] = (1 - probability) / np.maximum(probability, 0.05)
    past, past_variance, past_count = levels(values, previous, time, noise, doubt, forward=True)
    future, future_variance, future_count = levels(values, following, time, noise, doubt, forward=False)
    return Chains(
        previous, following, velocity_in, velocity_out,
        _recent(square_in, previous, _WINDOW), _recent(square_out, following, _WINDOW),
        past, future, past_variance, future_variance, past_count, future_count, noise,
    )  # fmt: skip


def without_future(detections: Detections, chains: Chains, *, shared: npt.NDArray[np.bool_] | None = None) -> Chains:
    """Return the same chains as if nothing after a detection were known yet; the past is not copied."""
    n = detections.n
    values = detections.features
    if shared is not None and shared.any():
        values = np.where(shared[:, None], np.nan, values)
    none = np.full(n, -1, np.int64)
    future, variance, count = levels(
        values, none, detections.time[detections.frame], chains.noise, np.zeros(n), forward=False
    )
    return replace(
        chains, following=none, velocity_out=np.zeros_like(chains.velocity_out),
        future_speed=np.zeros_like(chains.future_speed), future=future, future_variance=variance, future_count=count,
    )  # fmt: skip


def no_chains(detections: Detections) -> Chains:
    """Chains of a data set without links."""
    none = np.zeros(0, np.int64)
    return build_chains(detections, none, none, np.zeros(0))


@numba.njit(cache=True, nogil=True)
def _recent(values: Floats, pointer: Ints, window: int) -> Floats:
    """Sum of known values over up to `window` detections along the pointer, the own one first, and their number."""
    out = np.zeros((len(values), 2))
    for row in range(len(values)):
        at = row
        for _ in range(window):
            if at < 0:
                break
            if not np.isnan(values[at]):
                out[row, 0] += values[at]
                out[row, 1] += 1
            at = pointer[at]
    return out
