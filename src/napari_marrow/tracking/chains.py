"""What the links of the last round say about every detection: its velocity, its speed, its smoothed measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
        Measurements smoothed over up to five detections that end, begin here.
    past_count, future_count : (n,) int64
        Detections in these windows, 1 to 5.
    """

    previous: Ints
    following: Ints
    velocity_in: Floats
    velocity_out: Floats
    past_speed: Floats
    future_speed: Floats
    past: Floats
    future: Floats
    past_count: Ints
    future_count: Ints


def build_chains(detections: Detections, i: Ints, j: Ints, *, causal: bool = False) -> Chains:
    """Follow the links i -> j (no divisions among them) from every detection.

    Parameters
    ----------
    detections : Detections
    i, j : (e,) int64
        Every source and every target at most once.
    causal : bool
        Leave the future out, as if nothing after a detection were known yet.

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
    if causal:
        following[:] = -1
        velocity_out[:] = 0.0
        square_out[:] = np.nan
    back, ahead = _window(previous), _window(following)
    return Chains(
        previous, following, velocity_in, velocity_out, _sums(square_in, back), _sums(square_out, ahead),
        smooth(detections.features, back), smooth(detections.features, ahead), (back >= 0).sum(1), (ahead >= 0).sum(1),
    )  # fmt: skip


def no_chains(detections: Detections) -> Chains:
    """Chains of a data set without links."""
    none = np.zeros(0, np.int64)
    return build_chains(detections, none, none)


def _window(pointer: Ints) -> Ints:
    """(n, 5): the detection itself and up to four more along the pointer, -1 beyond the end."""
    at = np.arange(len(pointer))
    out = np.full((len(pointer), _WINDOW), -1, np.int64)
    for q in range(_WINDOW):
        out[:, q] = at
        at = np.where(at >= 0, pointer[at], -1)
    return out


def _sums(values: Floats, window: Ints) -> Floats:
    found = np.where(window >= 0, values[window], np.nan)
    known = ~np.isnan(found)
    return np.column_stack([np.where(known, found, 0.0).sum(1), known.sum(1)])


def smooth(values: Floats, window: Ints) -> Floats:
    """Mean over a window without its extremes; NaN where nothing is known.

    One frame in which two cells were segmented as one must not shift the mean: of three values the middle counts, of
    four and five those between the extremes.

    Parameters
    ----------
    values : (n, k) float64
    window : (n, w) int64
        Rows to take, -1 for none.

    Returns
    -------
    (n, k) float64
    """
    out = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        found = np.sort(np.where(window >= 0, values[window, column], np.nan), axis=1)  # NaN last
        count = (~np.isnan(found)).sum(1)
        cut = (count >= 3).astype(np.int64)
        total = np.concatenate([np.zeros((len(found), 1)), np.nancumsum(found, axis=1)], axis=1)
        row = np.arange(len(found))
        kept = count - 2 * cut
        with np.errstate(invalid="ignore"):
            out[:, column] = np.where(
                kept > 0, (total[row, count - cut] - total[row, cut]) / np.maximum(kept, 1), np.nan
            )
    return out
