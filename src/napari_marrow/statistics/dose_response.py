"""Dose and response: the four-parameter logistic on organoids, donors apart, and the room between good and harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import f as f_distribution
from scipy.stats import t

from napari_marrow.errors import DesignError, TableError

Floats = npt.NDArray[np.float64]
_HILLS = np.linspace(-2.5, 2.5, 13)  # log steepness that is searched


@dataclass(frozen=True, eq=False)
class DoseResponse:
    """A fitted four-parameter logistic, y = bottom + (top - bottom) / (1 + (EC50 / dose)^hill).

    Attributes
    ----------
    bottom, top : float
        Response without drug, and at saturating dose (below `bottom` for a drug that lowers it); mean over donors.
    ec50 : float
        Dose of half the effect, unit of the doses.
    ec50_low, ec50_high : float
        95 % limits by profile likelihood; 0 or inf where the data set no limit.
    hill : float
        Steepness, above 0.
    residual_sd : float
        Scatter of organoids about their donor's curve.
    donor_offsets : dict
        Shift of each donor's curve; empty for one donor.
    p_value : float
        F test against no effect of dose.
    n_organoids, n_doses : int
    note : str
        What to beware of: EC50 outside the doses, no plateau, no effect.
    """

    bottom: float
    top: float
    ec50: float
    ec50_low: float
    ec50_high: float
    hill: float
    residual_sd: float
    donor_offsets: dict[str, float]
    p_value: float
    n_organoids: int
    n_doses: int
    note: str

    def at(self, dose: npt.ArrayLike) -> Floats:
        """Return the mean response at doses of 0 or more."""
        return four_parameter_logistic(dose, self.bottom, self.top, self.ec50, self.hill)

    def dose_of(self, share: float) -> float:
        """Return the dose that gives a share of the full effect, 0 < share < 1 (EC10: .1, EC90: .9)."""
        return float(self.ec50 * (share / (1 - share)) ** (1 / self.hill))


def four_parameter_logistic(dose: npt.ArrayLike, bottom: float, top: float, ec50: float, hill: float) -> Floats:
    """Return bottom + (top - bottom) / (1 + (EC50 / dose)^hill); `bottom` at dose 0 (Hill 1910, J Physiol 40:iv)."""
    d = np.asarray(dose, dtype=np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(bottom + (top - bottom) / (1 + (ec50 / d) ** hill), dtype=np.float64)


def dose_response(summary: pd.DataFrame, layout: pd.DataFrame, endpoint: str) -> DoseResponse:
    """Fit a dose-response curve to one value per organoid.

    Parameters
    ----------
    summary : pandas.DataFrame
        ORGANOID_SUMMARY table.
    layout : pandas.DataFrame
        LAYOUT table; `dose` is 0 or NaN for untreated organoids. Donors shift the curve by an offset each, so that only
        differences within donors tell of dose.
    endpoint : str

    Returns
    -------
    DoseResponse

    Raises
    ------
    TableError
        If the endpoint is not there or a dose is negative.
    DesignError
        If there are fewer than four doses (0 counted), no more organoids than parameters, or every donor has one dose.

    Notes
    -----
    Organoids are the replicates: several values of one organoid are averaged first. Limits of the EC50 are the doses
    at which the residual sum of squares, all else refitted, grows by the factor 1 + F(.95; 1, df)/df (profile
    likelihood; Bates & Watts 1988, ch. 6): they need not be symmetric, and are open where the doses do not enclose it.
    """
    mine = summary[summary["endpoint"] == endpoint]
    if mine.empty:
        raise TableError(f"The summary has no endpoint '{endpoint}': it has {sorted(set(summary['endpoint']))}.")
    places = layout[["organoid", "donor", "dose"]].drop_duplicates("organoid")
    table = mine[["organoid", "value"]].merge(places, on="organoid", how="inner")
    table = table[np.isfinite(table["value"].to_numpy(dtype=np.float64))]
    first = {"value": "mean", "donor": "first", "dose": "first"}
    table = table.groupby("organoid", as_index=False).agg(first)
    dose = table["dose"].fillna(0.0).to_numpy(dtype=np.float64)
    if (dose < 0).any():
        raise TableError(f"The plate layout has the dose {dose.min():g}: doses are 0 or more.")
    donor = table["donor"].fillna("").astype(str).to_numpy(dtype=str)
    fit = _Fit(dose, table["value"].to_numpy(dtype=np.float64), donor)
    return fit.result()


def dose_response_by_donor(summary: pd.DataFrame, layout: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """Fit each donor by itself: patient-specific responses.

    Returns
    -------
    pandas.DataFrame
        donor, ec50, ec50_low, ec50_high, hill, bottom, top, p_value, n_organoids, n_doses, note (why a donor has no
        curve).
    """
    rows = []
    for donor, part in layout.groupby(layout["donor"].fillna("").astype(str), sort=True):
        own = summary[summary["organoid"].isin(part["organoid"])]
        names = ["ec50", "ec50_low", "ec50_high", "hill", "bottom", "top", "p_value", "n_organoids", "n_doses", "note"]
        try:
            fit = dose_response(own, part, endpoint)
            rows.append([str(donor), *(getattr(fit, name) for name in names)])
        except (DesignError, TableError) as error:
            rows.append([str(donor), *[np.nan] * 7, part["organoid"].nunique(), part["dose"].nunique(), str(error)])
    return pd.DataFrame(rows, columns=["donor", *names])


def therapeutic_window(benefit: DoseResponse, harm: DoseResponse) -> dict[str, float | str]:
    """Compare the doses of benefit and of harm.

    Returns
    -------
    dict
        ``ratio`` = EC50 of harm / EC50 of benefit, ``low`` and ``high`` (95 %, profile limits of both combined by
        MOVER; Zou & Donner 2008, Stat Med 27:1693), ``margin`` = EC10 of harm / EC90 of benefit (above 1: nearly full
        benefit with hardly any harm), and ``note``.
    """
    a, b = np.log(benefit.ec50), np.log(harm.ec50)
    with np.errstate(divide="ignore"):
        a_low, a_high = np.log([benefit.ec50_low, benefit.ec50_high])
        b_low, b_high = np.log([harm.ec50_low, harm.ec50_high])
    difference = b - a
    low = difference - np.hypot(b - b_low, a_high - a)
    high = difference + np.hypot(b_high - b, a - a_low)
    notes = [f"benefit: {benefit.note}" if benefit.note else "", f"harm: {harm.note}" if harm.note else ""]
    return {
        "ratio": float(np.exp(difference)),
        "low": float(np.exp(low)),
        "high": float(np.exp(high)),
        "margin": harm.dose_of(0.1) / benefit.dose_of(0.9),
        "note": "; ".join(n for n in notes if n),
    }


class _Fit:
    """Least squares with the linear parameters (bottom, span, donors) solved for given log EC50 and log hill."""

    def __init__(self, dose: Floats, y: Floats, donor: npt.NDArray[np.str_]) -> None:
        names = np.unique(donor)
        doses = np.unique(dose)
        if len(doses) < 4:
            raise DesignError(f"{len(doses)} doses (0 counted): a curve of four parameters needs 4 or more.")
        n_parameters = 4 + len(names) - 1
        if len(y) <= n_parameters:
            raise DesignError(f"{len(y)} organoids for {n_parameters} parameters: a curve needs more organoids.")
        if all(len(np.unique(dose[donor == name])) < 2 for name in names):
            raise DesignError("Every donor has one dose only: donor and dose cannot be told apart.")
        self.dose, self.y, self.names = dose, y, names
        indicator = (donor[:, None] == names[None]).astype(np.float64)
        # Offsets that sum to 0: the curve is that of the mean donor.
        self.offsets = indicator[:, :-1] - indicator[:, -1:] if len(names) > 1 else np.empty((len(y), 0))
        self.df = len(y) - n_parameters
        positive = doses[doses > 0]
        self.low, self.high = np.log(positive[0]), np.log(positive[-1])
        self.n_doses = len(doses)

    def _design(self, log_ec50: float, log_hill: float) -> Floats:
        shape = four_parameter_logistic(self.dose, 0.0, 1.0, np.exp(log_ec50), np.exp(log_hill))
        return np.column_stack([np.ones(len(self.y)), shape, self.offsets])

    def _squares(self, log_ec50: float, log_hill: float) -> float:
        design = self._design(log_ec50, log_hill)
        coefficients = np.linalg.lstsq(design, self.y, rcond=None)[0]
        return float(((self.y - design @ coefficients) ** 2).sum())

    def _profile(self, log_ec50: float) -> tuple[float, float]:
        """Smallest sum of squares at an EC50, and the log hill that gives it."""
        return _smallest(lambda h: self._squares(log_ec50, h), _HILLS)

    def result(self) -> DoseResponse:
        room = max(self.high - self.low, np.log(10.0))
        grid = np.linspace(self.low - room, self.high + room, 25)
        squares, log_ec50 = _smallest(lambda x: self._profile(x)[0], grid)
        log_hill = self._profile(log_ec50)[1]
        low, high = self._limits(log_ec50, squares)
        coefficients = np.linalg.lstsq(self._design(log_ec50, log_hill), self.y, rcond=None)[0]
        flat = np.column_stack([np.ones(len(self.y)), self.offsets])
        none = float(((self.y - flat @ np.linalg.lstsq(flat, self.y, rcond=None)[0]) ** 2).sum())
        ratio = (none - squares) / 3 / (squares / self.df) if squares > 0 else np.inf
        p = float(f_distribution.sf(ratio, 3, self.df))
        offsets = coefficients[2:]
        by_donor = np.append(offsets, -offsets.sum()) if len(self.names) > 1 else np.empty(0)
        return DoseResponse(
            float(coefficients[0]), float(coefficients[0] + coefficients[1]), float(np.exp(log_ec50)),
            float(np.exp(low)), float(np.exp(high)), float(np.exp(log_hill)), float(np.sqrt(squares / self.df)),
            dict(zip(map(str, self.names), map(float, by_donor), strict=False)), p, len(self.y), self.n_doses,
            self._note(log_ec50, low, high, p),
        )  # fmt: skip

    def _limits(self, log_ec50: float, squares: float) -> tuple[float, float]:
        critical = squares * (1 + float(t.ppf(0.975, self.df)) ** 2 / self.df)
        if squares <= 1e-20 * float((self.y**2).sum()):
            return log_ec50, log_ec50
        far = max(self.high - self.low, np.log(10.0)) + np.log(100.0)

        def excess(x: float) -> float:
            return self._profile(x)[0] - critical

        ends = []
        for sign in (-1.0, 1.0):
            inside, step = log_ec50, 0.1
            found = np.inf * sign
            while abs(inside - log_ec50) < far:
                outside = inside + sign * step
                if excess(outside) > 0:
                    found = float(brentq(excess, inside, outside, xtol=1e-3))
                    break
                inside, step = outside, step * 1.5
            ends.append(found)
        return ends[0], ends[1]

    def _note(self, log_ec50: float, low: float, high: float, p: float) -> str:
        if p > 0.05:
            return f"no effect of dose is shown (p = {p:.2g}): the curve's parameters mean little"
        if not self.low <= log_ec50 <= self.high:
            return "the EC50 lies outside the doses: it is extrapolated"
        if not (np.isfinite(low) and np.isfinite(high)):
            return "the doses do not enclose the EC50 well enough for both limits"
        return ""


def _smallest(function: Callable[[float], float], grid: Floats) -> tuple[float, float]:
    """Smallest value of a function of one number and where it lies: a grid, then a search between its neighbours."""
    values = [function(float(x)) for x in grid]
    best = int(np.argmin(values))
    ends = (float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)]))
    found = minimize_scalar(function, bounds=ends, method="bounded", options={"xatol": 1e-6})
    if found.fun < values[best]:
        return float(found.fun), float(found.x)
    return values[best], float(grid[best])
