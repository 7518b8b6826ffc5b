"""Single cells over a gap between sessions: linked only where the ceiling of identity allows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.tracking.identity import fit_distances, identity_ceiling, pattern_ceiling
from napari_marrow.tracking.packing import pack
from napari_marrow.tracking.points import Floats, Ints

_REACH = 4.0
_PATTERN = 8  # cells of which the pattern is taken as it is
_EVIDENCE = 12.0  # nats by which the distances must beat those of cells at random
_NO_LINKS = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)


@dataclass(frozen=True)
class CarryOver:
    """Whether cells can be told apart after a gap, and which is which.

    Attributes
    ----------
    ceiling : float
        Chance that the nearest cell is the right one.
    sigma : float
        Displacement per coordinate, µm.
    density : float
        Cells per µm² or µm³.
    allowed : bool
    reason : str
        One sentence, why or why not.
    links : DataFrame
        ``row_before, row_after, probability``; empty where not allowed.
    """

    ceiling: float
    sigma: float
    density: float
    allowed: bool
    reason: str
    links: pd.DataFrame


def carry_over(
    before: pd.DataFrame,
    after: pd.DataFrame,
    gap_h: float,
    *,
    step_um: float,
    step_h: float,
    exponent: float = 1.0,
    residual_um: float = 0.0,
    min_ceiling: float = 0.9,
    min_probability: float = 0.5,
) -> CarryOver:
    """Link the cells of a session's last frame with those of the next session's first, if they can be told apart.

    Over the gap a cell is displaced by ``step_um * (gap_h / step_h) ** (exponent / 2)`` per coordinate, to which the
    residual of the registration adds in square. With that and the places after the gap, `pattern_ceiling` says how
    often the nearest cell is the right one (`identity_ceiling` and the density for few cells and in space); below
    `min_ceiling` none is linked. Where it is allowed, links are weighed together, exactly.

    Parameters
    ----------
    before, after : DataFrame
        ``y_reg, x_reg`` or ``y, x`` (and ``z_reg`` or ``z`` in 3D), µm.
    gap_h : float
        Hours between the two frames.
    step_um, step_h : float
        Displacement per coordinate (standard deviation, µm) that tracking found over so many hours.
    exponent : float
        Of the mean squared displacement over time: 1 for a random walk, 2 for straight runs.
    residual_um : float
        Of the registration, per coordinate.
    min_ceiling, min_probability : float

    Returns
    -------
    CarryOver

    Raises
    ------
    SettingsError
        If a time, a length or a bar has no meaning.
    TableError
        If a coordinate is missing or NaN.
    """
    for name, value in (("gap_h", gap_h), ("step_um", step_um), ("step_h", step_h)):
        if not (np.isfinite(value) and value > 0):
            raise SettingsError(f"{name} is {value}: give a positive number.")
    if not (0 <= min_ceiling <= 1 and 0 <= min_probability <= 1 and 0 < exponent <= 2 and residual_um >= 0):
        raise SettingsError(
            "Bars are chances between 0 and 1, the exponent lies in (0, 2], the residual is not negative."
        )
    a, b = _places(before, "before"), _places(after, "after")
    ndim = a.shape[1]
    if b.shape[1] != ndim:
        raise TableError(
            "The cells before the gap and after it have different coordinates: give z for both or neither."
        )
    sigma = float(np.hypot(step_um * (gap_h / step_h) ** (exponent / 2), residual_um))
    crowd = _density(b)
    # few cells show no pattern
    ceiling = pattern_ceiling(b, sigma) if ndim == 2 and len(b) >= _PATTERN else identity_ceiling(crowd, sigma, ndim)
    unit = "µm²" if ndim == 2 else "µm³"
    state = f"{len(b)} cells ({crowd:.2g} per {unit}) moved by {sigma:.1f} µm in {gap_h:.3g} h"
    why_not = _objection(a, b, ceiling, min_ceiling, state, crowd)
    if why_not:
        return CarryOver(ceiling, sigma, crowd, False, why_not, _table(*_NO_LINKS))
    i, j, p = _links(a, b, sigma, crowd, ndim)
    sure = p >= min_probability
    links = _table(i[sure], j[sure], p[sure])
    reason = (
        f"{len(links)} cells are carried over: {state}, the nearest is the right one with a chance of {ceiling:.2f}."
    )
    return CarryOver(ceiling, sigma, crowd, True, reason, links)


def _objection(a: Floats, b: Floats, ceiling: float, min_ceiling: float, state: str, crowd: float) -> str:
    """Return why cells may not be carried over, nothing if they may."""
    if min(len(a), len(b)) == 0:
        return "One of the two frames holds no cell."
    if ceiling < min_ceiling:
        return (
            f"Cells are not carried over: {state}, so that the nearest would be the right one with a chance of "
            f"{ceiling:.2f} only (bar {min_ceiling:.2f})."
        )
    if a.shape[1] == 2 and len(a) >= _PATTERN:
        evidence = fit_distances(np.asarray(cKDTree(b).query(a)[0]), crowd).evidence
        if evidence < _EVIDENCE:
            return (
                f"Cells are not carried over: those after the gap lie no nearer than at random (evidence "
                f"{evidence:.0f} of {_EVIDENCE:.0f} nats)."
            )
    return ""


def _table(i: Ints, j: Ints, probability: Floats) -> pd.DataFrame:
    return pd.DataFrame({"row_before": i, "row_after": j, "probability": probability})


def _places(table: pd.DataFrame, name: str) -> Floats:
    suffix = "_reg" if {"y_reg", "x_reg"} <= set(table.columns) else ""
    axes = [f"{a}{suffix}" for a in "zyx"]
    missing = [c for c in axes[1:] if c not in table.columns]
    if missing:
        raise TableError(f"The cells {name} the gap lack the column(s) {', '.join(missing)}.")
    chosen = [c for c in axes if c in table.columns]
    out = table[chosen].to_numpy(dtype=np.float64)
    if not np.isfinite(out).all():
        raise TableError(f"The cells {name} the gap hold NaN among their coordinates: remove these rows.")
    flat = len(chosen) == 3 and (len(out) == 0 or np.ptp(out[:, 0]) == 0)
    return out[:, 1:] if flat else out


def _density(x: Floats) -> float:
    """Local density: half of the cells live at a higher one, and it is where they live that confuses them."""
    n, ndim = x.shape
    if n < 4:
        side = np.maximum(np.ptp(x, axis=0), 1.0) if n else np.ones(ndim)
        return float(max(n, 1) / np.prod(side))
    k = min(4, n - 1)
    r = cKDTree(x).query(x, k + 1)[0][:, -1]
    volume = np.pi * r**2 if ndim == 2 else 4 / 3 * np.pi * r**3
    # the volume to the k-th neighbour estimates 1/density with (k - 1) in the numerator without bias
    return float(np.median((k - 1 / 3) / np.maximum(volume, 1e-12)))


def _links(a: Floats, b: Floats, sigma: float, crowd: float, ndim: int) -> tuple[Ints, Ints, Floats]:
    near = cKDTree(b).query_ball_point(a, _REACH * sigma)
    i = np.repeat(np.arange(len(a)), [len(n) for n in near])
    j = np.concatenate([np.asarray(n, np.int64) for n in near]) if len(i) else np.zeros(0, np.int64)
    squared = ((a[i] - b[j]) ** 2).sum(1)
    weight = -squared / (2 * sigma**2) - ndim / 2 * np.log(2 * np.pi * sigma**2) - np.log(crowd)
    weight += np.log(0.9 / 0.1**2)
    claims = [(int(p), len(a) + int(q)) for p, q in zip(i, j, strict=True)]
    return i, j, pack(claims, weight, np.concatenate([a, b])).probability
