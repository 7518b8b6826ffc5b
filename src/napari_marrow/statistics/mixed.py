"""Mixed models of repeated measurements: y ~ condition × time with a random intercept per organoid."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t

from napari_marrow.errors import DesignError, TableError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
COLUMNS = ["term", "estimate", "low", "high", "p_value", "df", "method", "n_organoids", "n_rows", "note"]


def mixed_model(
    table: pd.DataFrame,
    *,
    response: str = "value",
    condition: str = "condition",
    time: str | None = "time_h",
    organoid: str = "organoid",
    batch: str | None = None,
    slopes: bool = False,
    reference: str = "control",
) -> pd.DataFrame:
    """Fit ``response ~ condition * time + (1 | organoid)``, or with ``(time | organoid)`` and ``(1 | batch)``.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per organoid and time; rows with NaN are left out.
    response, condition, time, organoid : str
        Columns; `time` None fits ``response ~ condition + (1 | organoid)``. Time enters centred, so that the
        condition's term is its effect at the mean time.
    batch : str, optional
        Column of batches or donors that get a random effect of their own; organoids are nested in them.
    slopes : bool
        Let every organoid have its own slope over time: without, a slope's interval is too narrow if they differ.
    reference : str
        Condition that the others are compared with.

    Returns
    -------
    pandas.DataFrame
        term, estimate, low, high (95 %), p_value, df, method (``mixed``, or ``ols cluster-robust`` where the mixed
        model does not converge), n_organoids, n_rows, note. Terms: ``condition[x]``,
        ``time``, ``condition[x]:time``.

    Raises
    ------
    TableError
        If a column is missing.
    DesignError
        If fewer than two conditions are left, the reference is not there, or an organoid stands in two conditions.

    Notes
    -----
    Wald's z of a mixed model is far too sure of itself with few organoids. Conditions differ between organoids, so t
    has as many degrees of freedom as organoids minus conditions, for all terms.
    """
    columns = [c for c in (response, condition, time, organoid, batch) if c is not None]
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise TableError(f"The table of the mixed model lacks the column(s) {', '.join(missing)}.")
    data = table[columns].dropna()
    levels = sorted(set(data[condition].astype(str)))
    if reference not in levels or len(levels) < 2:
        raise DesignError(f"A mixed model needs the reference '{reference}' and another condition: there is {levels}.")
    if data.groupby(organoid)[condition].nunique().ge(2).any():
        raise DesignError("An organoid stands in two conditions: give each organoid one.")
    others = [c for c in levels if c != reference]
    design, names = _design(data, condition, time, others)
    y = data[response].to_numpy(dtype=np.float64)
    group = pd.factorize(data[organoid])[0]
    n = int(group.max()) + 1
    df = n - len(levels)
    if df < 1 or len(y) <= design.shape[1]:
        blank = dict.fromkeys(("estimate", "low", "high", "p_value"), np.nan)
        note = f"{n} organoids for {len(levels)} conditions are too few"
        rows = [{"term": name, **blank, "df": df, "method": "none", "note": note} for name in names[1:]]
    else:
        clock = design[:, names.index("time")] if slopes and time is not None else None
        batches = pd.factorize(data[batch])[0] if batch is not None else None
        estimate, error, method, note = _fit(y, design, group, clock, batches)
        half = t.ppf(0.975, df) * error
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * t.sf(np.abs(estimate / error), df)
        rows = [
            {
                "term": name,
                "estimate": e,
                "low": e - h,
                "high": e + h,
                "p_value": q,
                "df": df,
                "method": method,
                "note": note,
            }
            for name, e, h, q in list(zip(names, estimate, half, p, strict=True))[1:]
        ]
    return pd.DataFrame(rows).assign(n_organoids=n, n_rows=len(y))[COLUMNS]


def _design(data: pd.DataFrame, condition: str, time: str | None, others: list[str]) -> tuple[Floats, list[str]]:
    columns: list[Any] = [np.ones(len(data))]
    names = ["intercept"]
    in_condition = {c: (data[condition].astype(str) == c).to_numpy(dtype=np.float64) for c in others}
    for c, on in in_condition.items():
        columns.append(on)
        names.append(f"condition[{c}]")
    if time is not None:
        clock = data[time].to_numpy(dtype=np.float64)
        clock = clock - clock.mean()
        columns.append(clock)
        names.append("time")
        for c, on in in_condition.items():
            columns.append(on * clock)
            names.append(f"condition[{c}]:time")
    return np.column_stack(columns).astype(np.float64), names


def _fit(
    y: Floats, design: Floats, group: Ints, clock: Floats | None, batch: Ints | None
) -> tuple[Floats, Floats, str, str]:
    """Estimates and standard errors, by the mixed model or, where that fails, least squares with clustered errors."""
    import statsmodels.api as sm
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    reason = ""
    # Fitting on a unit scale keeps the optimiser's tolerances meaningful whatever the unit of the response.
    scale = float(np.std(y)) or 1.0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            model = _model(sm.MixedLM, y / scale, design, group, clock, batch)
            fit = model.fit(reml=True, method=["lbfgs", "powell"])
        k = design.shape[1]
        estimate, error = np.asarray(fit.fe_params)[:k] * scale, np.asarray(fit.bse_fe)[:k] * scale
        # Variance of the organoids: the groups' own, or with batches the first component.
        nested = batch is not None and len(set(batch)) > 1
        variance = float(fit.vcomp[0]) if nested else float(np.asarray(fit.cov_re)[0, 0])
        if np.isfinite(error).all() and (error > 0).all():
            note = "" if variance > 1e-8 else "organoids do not differ beyond their residuals: random effect at 0"
            return estimate, error, "mixed", note
        reason = "the mixed model gives no standard errors"
    except (ConvergenceWarning, np.linalg.LinAlgError, ValueError) as failure:
        reason = f"mixed model did not converge ({type(failure).__name__})"
    ols = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": group})
    return np.asarray(ols.params), np.asarray(ols.bse), "ols cluster-robust", reason


def _model(kind: Any, y: Floats, design: Floats, group: Ints, clock: Floats | None, batch: Ints | None) -> Any:
    """Random intercepts (and slopes) of organoids; with several batches those of batches, organoids within them."""
    from statsmodels.regression.mixed_linear_model import VCSpec

    pace = None if clock is None else clock / (float(np.std(clock)) or 1.0)
    if batch is None or len(set(batch)) < 2:
        effects = None if pace is None else np.column_stack([np.ones(len(y)), pace])
        return kind(y, design, groups=group, exog_re=effects)
    names, columns, matrices = ["organoid"], [[]], [[]]  # type: tuple[list[str], list[list[list[str]]], list[list[Floats]]]
    if pace is not None:
        names, columns, matrices = ["organoid", "slope"], [[], []], [[], []]
    for b in np.unique(batch):
        rows = np.flatnonzero(batch == b)
        inside = np.unique(group[rows])
        indicator = (group[rows][:, None] == inside[None]).astype(np.float64)
        for i, weight in enumerate([1.0] if pace is None else [1.0, pace[rows][:, None]]):
            matrices[i].append(np.asarray(indicator * weight, dtype=np.float64))
            columns[i].append([str(g) for g in inside])
    return kind(y, design, groups=batch, exog_vc=VCSpec(names, columns, matrices))
