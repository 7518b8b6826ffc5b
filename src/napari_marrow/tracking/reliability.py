"""Log odds of decisions brought to the frequencies found on simulated truth.

Gains share evidence and know no rivals beyond the candidates. What a decision's odds are worth depends on how well the
data tell cells apart, which the odds of the usual link and of the usual division of the same data show. The numbers are
fitted by ``benchmarks/calibration.py --fit`` to seeds of their own, and held against other seeds and real truth.
"""

from __future__ import annotations

import numpy as np

from napari_marrow.tracking.points import Floats

_SLOPE, _OFFSET, _PER_USUAL = 0.638, 0.121, 0.056
_USUAL, _LEAST_USUAL, _MOST_USUAL = 10.0, 1.0, 20.0
_DIVISION_SLOPE, _DIVISION_OFFSET, _PER_WEAK = 3.082, -0.183, 0.736
_USUAL_DIVISION, _FEW = 8.0, 5.0  # where divisions are few, and how many they count for
_WEAK = 5.0


def usual_link(log_odds: Floats) -> float:
    """Median log odds of the chosen links of a data set, from 1 to 20.

    Parameters
    ----------
    log_odds : (e,) float64
        Of the links; `_USUAL` is returned where there are none.
    """
    return float(np.clip(np.median(log_odds) if len(log_odds) else _USUAL, _LEAST_USUAL, _MOST_USUAL))


def usual_division(log_odds: Floats) -> float:
    """Median log odds of mothers and daughters of a data set, shrunk where divisions are few; from 0.5 to 30.

    Parameters
    ----------
    log_odds : (m,) float64
        Two per division.
    """
    pairs = 0.5 * len(log_odds)
    middle = float(np.median(log_odds)) if len(log_odds) else _USUAL_DIVISION
    return float(np.clip((middle * pairs + _USUAL_DIVISION * _FEW) / (pairs + _FEW), 0.5, 30.0))


def link_evidence(log_odds: Floats, usual: float) -> Floats:
    """Return what the probability of a link is logistic in, (e, 3)."""
    return np.column_stack([np.ones(len(log_odds)), log_odds, np.full(len(log_odds), usual - _USUAL)])


def division_evidence(log_odds: Floats, usual: float) -> Floats:
    """Return what the probability of mother and daughter is logistic in, (m, 3).

    What speaks for a division (sizes, places) speaks for its look-alikes as well, so that a division is judged beside
    the usual one of the same data; where the usual one itself is weak, none is sure.
    """
    weak = min(0.0, float(np.log(usual / _WEAK)))
    return np.column_stack([np.ones(len(log_odds)), log_odds / usual, np.full(len(log_odds), weak)])


def link_probability(log_odds: Floats, usual: float) -> Floats:
    """Probability of links, starts and ends.

    Parameters
    ----------
    log_odds : (e,) float64
    usual : float
        See `usual_link`.
    """
    return _logistic(link_evidence(log_odds, usual) @ np.array([_OFFSET, _SLOPE, _PER_USUAL]))


def division_probability(log_odds: Floats, usual: float) -> Floats:
    """Probability of mothers and daughters.

    Parameters
    ----------
    log_odds : (m,) float64
    usual : float
        See `usual_division`.
    """
    return _logistic(division_evidence(log_odds, usual) @ np.array([_DIVISION_OFFSET, _DIVISION_SLOPE, _PER_WEAK]))


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))
