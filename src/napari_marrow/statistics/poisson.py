"""Rates of rare events: how many over how long, with exact limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PoissonRate:
    """A rate with its exact 95 % limits.

    Attributes
    ----------
    rate : float
        Events over time at risk; NaN without time at risk, as are the limits.
    low, high : float
        The lower one is 0 where no event was seen.
    """

    rate: float
    low: float
    high: float


def poisson_rate(events: int, exposure: float) -> PoissonRate:
    """Return events over time at risk, with the limits of Garwood (1936, Biometrika 28:437).

    Parameters
    ----------
    events : int
    exposure : float
        Time at risk, in any unit; the rate is per that unit.

    Examples
    --------
    >>> found = poisson_rate(3, 10.0)
    >>> [round(value, 3) for value in (found.rate, found.low, found.high)]
    [0.3, 0.062, 0.877]
    """
    from scipy.stats import chi2

    if not exposure > 0:
        return PoissonRate(float("nan"), float("nan"), float("nan"))
    low = float(chi2.ppf(0.025, 2 * events)) / 2 if events else 0.0
    high = float(chi2.ppf(0.975, 2 * events + 2)) / 2
    return PoissonRate(events / exposure, low / exposure, high / exposure)
