"""How colonies grow: exponential, logistic or Gompertz, by Akaike's criterion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares

from napari_marrow.errors import SettingsError, TableError

Floats = npt.NDArray[np.float64]
MODELS = ("exponential", "logistic", "Gompertz")


def growth_curve(model: str, t: npt.ArrayLike, *, start: float, rate: float, capacity: float = np.inf) -> Floats:
    """Return the number of cells at times t [h].

    ``exponential``: n₀ e^{kt}. ``logistic``: K / (1 + (K/n₀ - 1) e^{-kt}). ``Gompertz``: K (n₀/K)^{e^{-kt}}, with k the
    rate at which growth slows [1/h] (Gompertz 1825, Phil Trans R Soc 115:513; Verhulst 1838).
    """
    time = np.asarray(t, dtype=np.float64)
    if model == "exponential":
        return np.asarray(start * np.exp(rate * time), dtype=np.float64)
    if model == "logistic":
        return np.asarray(capacity / (1 + (capacity / start - 1) * np.exp(-rate * time)), dtype=np.float64)
    if model == "Gompertz":
        return np.asarray(capacity * (start / capacity) ** np.exp(-rate * time), dtype=np.float64)
    raise SettingsError(f"Unknown growth model {model!r}: choose one of {', '.join(MODELS)}.")


def fit_growth(time_h: npt.ArrayLike, n_cells: npt.ArrayLike) -> pd.DataFrame:
    """Fit the three models to one colony's counts on a logarithmic scale.

    Parameters
    ----------
    time_h : (m,) array-like
        Times [h].
    n_cells : (m,) array-like
        Cells (from volumes or counts: an area is no number of cells in 3D); zeros are left out.

    Returns
    -------
    pandas.DataFrame
        model, start (cells at the first time), rate [1/h], capacity (NaN for exponential), initial_doubling_h [h, of
        the fitted curve at its begin], residual_sd (of log counts), aicc (Akaike's criterion for small samples), weight
        (Akaike weight among the models that could be fitted), best (bool), note. A model with as many parameters as
        points or more is not fitted.

    Notes
    -----
    AICc needs n > parameters + 1 (residual variance counted): three points compare nothing, five or more do.
    """
    t, n = np.asarray(time_h, dtype=np.float64), np.asarray(n_cells, dtype=np.float64)
    if t.shape != n.shape or t.ndim != 1:
        raise TableError("Times and counts must be two lists of one length.")
    keep = np.isfinite(t) & np.isfinite(n) & (n > 0)
    t, y = t[keep], np.log(n[keep])
    origin = t.min() if len(t) else 0.0
    rows = [_fit_one(model, t - origin, y) for model in MODELS]
    table = pd.DataFrame(rows)
    aicc = table["aicc"].to_numpy(dtype=np.float64)
    known = np.isfinite(aicc)
    table["weight"], table["best"] = np.nan, False
    if known.any():
        relative = np.exp(-0.5 * (aicc - aicc[known].min()))
        table["weight"] = relative / relative[known].sum()
        table.loc[int(np.nanargmin(aicc)), "best"] = True
    return table[
        ["model", "start", "rate", "capacity", "initial_doubling_h", "residual_sd", "aicc", "weight", "best", "note"]
    ]


def colony_growth_models(colonies: pd.DataFrame) -> pd.DataFrame:
    """Fit the models to every colony: columns position, colony_id and those of `fit_growth`."""
    missing = [c for c in ("position", "colony_id", "time_h", "n_cells") if c not in colonies.columns]
    if missing:
        raise TableError(f"The table of colonies lacks the column(s) {', '.join(missing)}.")
    parts = []
    for (position, colony), seen in colonies.groupby(["position", "colony_id"], sort=True):
        table = fit_growth(seen["time_h"].to_numpy(), seen["n_cells"].to_numpy())
        parts.append(table.assign(position=str(position), colony_id=int(str(colony))))
    columns = ["position", "colony_id", *fit_growth([0.0], [1.0]).columns]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _fit_one(model: str, t: Floats, y: Floats) -> dict[str, object]:
    k = 2 if model == "exponential" else 3
    names = ("start", "rate", "capacity", "initial_doubling_h", "residual_sd", "aicc")
    blank: dict[str, object] = {"model": model, **dict.fromkeys(names, np.nan)}
    n = len(t)
    if n < k + 1 or np.ptp(t) <= 0:
        return {**blank, "note": f"{n} points for {k} parameters"}
    slope, intercept = np.polyfit(t, y, 1)
    if model == "exponential":
        parameters = np.array([intercept, slope])
        residual = y - intercept - slope * t
    else:
        parameters, residual = _search(model, t, y, float(slope), float(intercept))
    variance = max(float((residual**2).mean()), 1e-12)
    p = k + 1
    aicc = n * np.log(variance) + 2 * p + 2 * p * (p + 1) / (n - p - 1) if n > p + 1 else np.nan
    start, rate = float(np.exp(parameters[0])), float(parameters[1])
    capacity = float(np.exp(parameters[0] + parameters[2])) if k == 3 else np.nan
    at_begin = {
        "exponential": rate,
        "logistic": rate * (1 - start / capacity) if k == 3 else np.nan,
        "Gompertz": rate * np.log(capacity / start) if k == 3 else np.nan,
    }[model]
    return {
        "model": model, "start": start, "rate": rate, "capacity": capacity,
        "initial_doubling_h": float(np.log(2) / at_begin) if at_begin > 0 else np.nan,
        "residual_sd": float(np.sqrt((residual**2).sum() / max(n - k, 1))), "aicc": float(aicc),
        "note": "" if np.isfinite(aicc) else f"{n} points are too few to compare models",
    }  # fmt: skip


def _search(model: str, t: Floats, y: Floats, slope: float, intercept: float) -> tuple[Floats, Floats]:
    """Least squares in (log start, rate, log capacity/start) from several first guesses."""

    def residual(p: Floats) -> Floats:
        start = np.exp(p[0])
        value = growth_curve(model, t, start=start, rate=p[1], capacity=start * np.exp(p[2]))
        return np.asarray(y - np.log(np.maximum(value, 1e-300)), dtype=np.float64)

    best: tuple[float, Floats] | None = None
    room = float(np.ptp(y)) + 0.1
    fit: Callable[..., object] = least_squares
    for factor in (1.0, 2.0):
        for speed in (1.0, 3.0):
            first = [max(y[0], intercept), max(slope, 1e-3) * speed, room * factor]
            found = fit(residual, first, bounds=([-np.inf, 1e-6, 1e-3], [np.inf, 10.0, 30.0]), x_scale="jac")
            cost, x = float(found.cost), np.asarray(found.x, dtype=np.float64)  # type: ignore[attr-defined]
            if best is None or cost < best[0]:
                best = (cost, x)
    assert best is not None
    return best[1], residual(best[1])
