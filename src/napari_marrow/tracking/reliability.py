"""Log odds of decisions brought to the frequencies found on simulated truth.

Gains share evidence and know no rivals beyond the candidates. What a decision's odds are worth depends on how well the
data tell cells apart, which the odds of the usual link and of the usual division of the same data show; and on how many
false detections there are, which make look-alikes of divisions: most of them stay alone. The numbers are fitted by
``benchmarks/calibration.py --fit`` to seeds of their own, and held against other seeds and real truth.
"""

from __future__ import annotations

import numpy as np

from napari_marrow.tracking.points import Floats, Ints

_SLOPE, _OFFSET, _PER_USUAL = 0.632, 0.103, 0.052
_USUAL, _LEAST_USUAL, _MOST_USUAL = 10.0, 1.0, 20.0
_DIVISION = (0.166, 2.764, -0.058, 1.144, -0.178)
_USUAL_DIVISION, _FEW = 8.0, 5.0  # where divisions are few, and how many they count for
_FEW_ALONE, _LEAST_ALONE, _MOST_ALONE = 3.0, -2.0, 2.5


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


def alone(n: int, sources: Ints, targets: Ints, divisions: int) -> float:
    """Log of how many detections no link and no division touches for each division; from -2 to 2.5.

    Parameters
    ----------
    n : int
        Number of detections.
    sources, targets : int64
        Detections that something follows, that something precedes.
    divisions : int
    """
    touched = np.zeros(n, np.bool_)
    touched[sources] = touched[targets] = True
    ratio = (n - np.count_nonzero(touched) + 1.0) / (divisions + _FEW_ALONE)
    return float(np.clip(np.log(ratio), _LEAST_ALONE, _MOST_ALONE))


def division_evidence(log_odds: Floats, usual: float, lonely: float) -> Floats:
    """Return what the probability of mother and daughter is logistic in, (m, 5).

    What speaks for a division (sizes, places) speaks for its look-alikes as well, so that a division is judged beside
    the usual one of the same data; the better divisions are told there, the steeper.
    """
    beside, one, told = log_odds / usual, np.ones(len(log_odds)), float(np.log(usual / _USUAL_DIVISION))
    return np.column_stack([one, beside, told * one, told * beside, lonely * one])


def link_probability(log_odds: Floats, usual: float) -> Floats:
    """Probability of links, starts and ends.

    Parameters
    ----------
    log_odds : (e,) float64
    usual : float
        See `usual_link`.
    """
    return _logistic(link_evidence(log_odds, usual) @ np.array([_OFFSET, _SLOPE, _PER_USUAL]))


def division_probability(log_odds: Floats, usual: float, lonely: float) -> Floats:
    """Probability of mothers and daughters.

    Parameters
    ----------
    log_odds : (m,) float64
    usual : float
        See `usual_division`.
    lonely : float
        See `alone`.
    """
    return _logistic(division_evidence(log_odds, usual, lonely) @ np.array(_DIVISION))


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))
