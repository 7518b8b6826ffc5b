"""Colonies of the sessions as arrays, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.tracking.points import Floats, Ints

_SHAPES = ("aspect", "eccentricity", "solidity", "circularity", "elongation")
_CONTACT = (0.7, 1.2)  # where touching colonies may become one, of the sum of their radii
_USUAL_CONTACT = 0.95


@dataclass(frozen=True)
class Colonies:
    """Colonies of one table.

    Attributes
    ----------
    session : int
    number : (n,) int64
        Their numbers in the session.
    x : (n, 2) float64
        Centroids (y, x), µm.
    r : (n,) float64
        Radii of circles of their areas, µm.
    features : dict of str to (n,) float64
        Shape and composition, transformed to a scale on which they scatter evenly; NaN where unknown.
    landmarks : (k, 2) float64
        Places that stand still in the gel, such as scaffold; may be none.
    """

    session: int
    number: Ints
    x: Floats
    r: Floats
    features: dict[str, Floats]
    landmarks: Floats

    def __len__(self) -> int:
        return len(self.x)

    @property
    def log_area(self) -> Floats:
        """Log of the area, up to a constant."""
        return np.asarray(2 * np.log(self.r))


def read_colonies(
    tables: Sequence[pd.DataFrame], landmarks: Sequence[npt.ArrayLike | None] | None = None
) -> list[Colonies]:
    """Check the tables of all sessions and take what identity is judged by.

    Raises
    ------
    TableError
        If a column is missing or holds NaN, or a colony number repeats within a session.
    SettingsError
        If there are landmarks for another number of sessions, or they are no places.
    """
    if landmarks is not None and len(landmarks) != len(tables):
        raise SettingsError(
            f"There are landmarks for {len(landmarks)} of {len(tables)} sessions: give one set for each."
        )
    out, seen = [], set[tuple[int, int]]()
    for number, table in enumerate(tables):
        session = _check(table, number)
        y, x = _axes(table)
        if "radius" in table.columns:
            r = np.maximum(table["radius"].to_numpy(dtype=np.float64), 1e-6)
        else:
            r = np.sqrt(np.maximum(table["area"].to_numpy(dtype=np.float64), 1e-12) / np.pi)
        marks = _landmarks(None if landmarks is None else landmarks[number], session)
        colony = table["colony"].to_numpy().astype(np.int64)
        for c in colony.tolist():
            if (session, c) in seen:
                raise TableError(f"Colony {c} stands twice in session {session}: its number must be its own.")
            seen.add((session, c))
        xy = table[[y, x]].to_numpy(dtype=np.float64)
        out.append(Colonies(session, colony, xy, r, _features(table), marks))
    return out


def _check(table: pd.DataFrame, number: int) -> int:
    """Check a session's table and return its session number."""
    y, x = _axes(table)
    missing = [c for c in ("colony", y, x) if c not in table.columns]
    if "area" not in table.columns and "radius" not in table.columns:
        missing.append("area")
    if missing:
        raise TableError(f"The colonies of session {number} lack the column(s) {', '.join(missing)}.")
    size = "radius" if "radius" in table.columns else "area"
    for column in ("colony", y, x, size):
        try:
            values = table[column].to_numpy(dtype=np.float64)
        except (TypeError, ValueError):
            raise TableError(
                f"Column '{column}' of the colonies of session {number} holds text, not numbers."
            ) from None
        if not np.isfinite(values).all():
            raise TableError(f"Column '{column}' of the colonies of session {number} holds NaN: remove these rows.")
    if (table[size].to_numpy(dtype=np.float64) < 0).any():
        raise TableError(f"Column '{size}' of the colonies of session {number} holds a negative size.")
    return int(table["session"].iloc[0]) if "session" in table.columns and len(table) else number


def _axes(table: pd.DataFrame) -> tuple[str, str]:
    return ("y_reg", "x_reg") if {"y_reg", "x_reg"} <= set(table.columns) else ("y", "x")


def _landmarks(places: npt.ArrayLike | None, session: int) -> Floats:
    if places is None:
        return np.zeros((0, 2))
    out = np.asarray(places, dtype=np.float64)
    if out.ndim != 2 or out.shape[1] != 2 or not np.isfinite(out).all():
        raise SettingsError(f"The landmarks of session {session} must be an (n, 2) array of places (y, x) without NaN.")
    return out


def _features(table: pd.DataFrame) -> dict[str, Floats]:
    """Fractions as angles, which makes their scatter even; shapes as they are, ratios as logs."""
    out = {}
    for name in map(str, table.columns):
        if name.startswith("fraction_"):
            out[name] = np.arcsin(np.sqrt(np.clip(table[name].to_numpy(dtype=np.float64), 0, 1)))
        elif name in _SHAPES:
            values = table[name].to_numpy(dtype=np.float64)
            out[name] = np.log(np.maximum(values, 1.0)) if name in ("aspect", "elongation") else values
        elif name.startswith("intensity_"):
            out[name] = np.arcsinh(table[name].to_numpy(dtype=np.float64))
    return out


def density(x: Floats) -> float:
    """Colonies per area of the box that holds them, widened by half a spacing."""
    side = np.ptp(x, axis=0) if len(x) else np.zeros(2)
    n = len(x)
    if n < 2 or side.max() == 0:
        return 1e-6
    side = np.maximum(side, 0.05 * side.max())
    return float(n / np.prod(side * (1 + 1 / np.sqrt(n))))


def contact(sessions: Sequence[Colonies]) -> float:
    """Return the distance, in sums of radii, below which two colonies are seen as one.

    Learned from the pairs that are still seen as two: random places leave as many pairs in equal rings of area,
    touching ones are missing. The step with the largest likelihood is taken.
    """
    ratios = []
    for s in sessions:
        if len(s) > 1:
            gap = np.hypot(*(s.x[:, None] - s.x[None]).transpose(2, 0, 1)) / (s.r[:, None] + s.r[None])
            found = gap[np.triu_indices(len(s), 1)]
            ratios.append(found[found < 2.0])
    ratio = np.concatenate(ratios) if ratios else np.zeros(0)
    if len(ratio) < 20:
        return _USUAL_CONTACT
    best, where = -np.inf, _USUAL_CONTACT
    for step in np.arange(_CONTACT[0], _CONTACT[1] + 0.01, 0.02):
        inside = float((ratio < step).sum())
        outside = len(ratio) - inside
        rate_in, rate_out = (inside + 0.5) / step**2, (outside + 0.5) / (4 - step**2)
        if rate_in < rate_out:
            value = inside * np.log(rate_in) + outside * np.log(rate_out)
            if value > best:
                best, where = value, float(step)
    return where
