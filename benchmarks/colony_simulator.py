"""Colonies of a plate over weeks, put back on the stage for every session, and the truth of who became whom.

Lengths in µm, times in hours. Colonies drift, grow at a rate of their own, die, are born, merge where they touch, and
rarely fall apart. Every session sees them through a mounting of its own (rotation, scale, shift, smooth deformation of
the gel), misses some, and adds some that are none. A colony has a shape and a composition that change slowly; landmarks
stand still in the gel, as a scaffold does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MARGIN = 0.15  # of the field on each side, where colonies live that a shift brings into view
_CONTACT = 0.9  # of the sum of two radii: nearer colonies are one
_DAY = 24.0


@dataclass(frozen=True)
class Course:
    """What is simulated.

    Attributes
    ----------
    founders : int
        Colonies in the field at the start (mean).
    radius : float
        Their median radius at the start, µm.
    sessions : int
    side : float
        Side of the field, µm.
    rotation : float
        Standard deviation of a mounting's angle, degrees.
    shift : float
        Largest shift along each axis, µm.
    gel : float
        Amplitude of the gel's deformation, µm.
    drift : float
        Movement of a colony, µm per coordinate and √day.
    missed, false : float
        Share of colonies that a session misses, and of objects that are none.
    landmarks : int
        Landmarks in the field (mean).
    largest : float
        Radius at which colonies stop growing, µm.
    """

    founders: int = 80
    radius: float = 55.0
    sessions: int = 6
    side: float = 6000.0
    rotation: float = 4.0
    shift: float = 350.0
    gel: float = 40.0
    drift: float = 18.0
    missed: float = 0.05
    false: float = 0.05
    landmarks: int = 60
    largest: float = 420.0


COURSES = {
    "stage returns": Course(rotation=0.0, shift=20.0, gel=10.0),
    "remounted": Course(),
    "remounted, twice as dense": Course(founders=160),
    "organoids": Course(founders=16, radius=200.0, side=12_000.0, drift=40.0, landmarks=0, largest=900.0),
}


@dataclass(frozen=True)
class Plate:
    """What the sessions show, and the truth.

    Attributes
    ----------
    tables : list of DataFrame
        Per session ``colony, y, x, area, radius, aspect, fraction_erythroid, fraction_megakaryocytic``.
    times_h : list of float
    landmarks : list of (k, 2) arrays
    links : DataFrame
        ``session, parent, child``: colony numbers of neighbouring sessions of which the later holds cells of the
        earlier.
    real : list of (n,) bool arrays
        Whether each row is a colony.
    """

    tables: list[pd.DataFrame]
    times_h: list[float]
    landmarks: list[Floats]
    links: pd.DataFrame
    real: list[npt.NDArray[np.bool_]]


@dataclass
class _Colonies:
    """Living colonies; `origin` tells of which rows of the session before each holds cells."""

    x: Floats
    r: Floats
    rate: Floats
    traits: Floats  # log aspect and two logits of the composition
    origin: list[frozenset[int]]

    def keep(self, rows: Ints | npt.NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        self.x, self.r, self.rate, self.traits = self.x[rows], self.r[rows], self.rate[rows], self.traits[rows]
        self.origin = [self.origin[k] for k in rows]

    def add(self, x: Floats, r: Floats, rate: Floats, traits: Floats, origin: list[frozenset[int]]) -> None:
        self.x, self.r = np.concatenate([self.x, x]), np.concatenate([self.r, r])
        self.rate, self.traits = np.concatenate([self.rate, rate]), np.concatenate([self.traits, traits])
        self.origin = self.origin + origin


def simulate(course: Course, seed: int) -> Plate:
    """Simulate one plate."""
    rng = np.random.default_rng([seed, 7])
    wide = course.side * (1 + 2 * _MARGIN)
    living = _founded(rng, int(course.founders * (1 + 2 * _MARGIN) ** 2), wide, median=course.radius, scatter=0.35)
    marks = rng.uniform(0, wide, (rng.poisson(course.landmarks * (1 + 2 * _MARGIN) ** 2), 2))
    tables, times, shown_marks, real, links = [], [], [], [], []
    shown_before: Ints = np.zeros(0, np.int64)
    hours = 0.0
    for session in range(course.sessions):
        living.origin = [frozenset([k]) for k in range(len(living.x))]
        if session:
            days = int(rng.integers(3, 8))
            hours += _DAY * days
            _live(living, days, course, wide, rng)
        mount = _Mounting(course, session > 0, rng)
        table, shown, true = _seen(living, mount, course, rng)
        if session:
            number_before = {int(row): k + 1 for k, row in enumerate(shown_before) if row >= 0}
            for child, row in zip(table["colony"], shown, strict=True):
                if row >= 0:
                    parents = sorted(number_before[o] for o in living.origin[row] if o in number_before)
                    links += [(session - 1, parent, int(child)) for parent in parents]
        shown_before = shown
        tables.append(table)
        times.append(hours)
        real.append(true)
        seen_marks = mount(marks) + rng.normal(0, 5.0, marks.shape)
        inside = ((seen_marks > 0) & (seen_marks < course.side)).all(1) & (rng.random(len(marks)) > 0.1)
        shown_marks.append(seen_marks[inside])
    return Plate(tables, times, shown_marks, pd.DataFrame(links, columns=["session", "parent", "child"]), real)


def _founded(rng: np.random.Generator, n: int, wide: float, *, median: float, scatter: float) -> _Colonies:
    return _Colonies(
        rng.uniform(0, wide, (n, 2)),
        rng.lognormal(np.log(median), scatter, n),
        rng.normal(0.12, 0.05, n).clip(0.0, 0.25),
        rng.normal(0, [0.3, 1.0, 1.0], (n, 3)),
        [frozenset()] * n,
    )


def _live(c: _Colonies, days: int, course: Course, wide: float, rng: np.random.Generator) -> None:
    """Let the days between two sessions pass."""
    c.x = c.x + rng.normal(0, course.drift * np.sqrt(days), c.x.shape)
    c.r = np.minimum(c.r * np.exp(c.rate * days / 2), course.largest)
    c.traits = c.traits + rng.normal(0, [0.08, 0.3, 0.3], c.traits.shape)
    c.keep(rng.random(len(c.x)) > 0.03)
    born = _founded(rng, int(rng.poisson(0.04 * len(c.x))), wide, median=course.radius * 10 / 11, scatter=0.3)
    c.add(born.x, born.r, born.rate, born.traits, born.origin)
    _touch(c)
    for k in np.flatnonzero(rng.random(len(c.x)) < 0.015):
        _fall_apart(c, int(k), rng)


def _touch(c: _Colonies) -> None:
    """Unite the nearest pair until none touches."""
    while len(c.x) > 1:
        gap = np.hypot(*(c.x[:, None] - c.x[None]).transpose(2, 0, 1)) - _CONTACT * (c.r[:, None] + c.r[None])
        np.fill_diagonal(gap, np.inf)
        i, j = np.unravel_index(int(gap.argmin()), gap.shape)
        if gap[i, j] > 0:
            return
        share = c.r[i] ** 2 / (c.r[i] ** 2 + c.r[j] ** 2)
        for values in (c.x, c.rate, c.traits):
            values[i] = share * values[i] + (1 - share) * values[j]
        c.r[i] = np.hypot(c.r[i], c.r[j])
        c.origin[i] = c.origin[i] | c.origin[j]
        c.keep(np.flatnonzero(np.arange(len(c.x)) != j))


def _fall_apart(c: _Colonies, k: int, rng: np.random.Generator) -> None:
    """Break a fragment of a third to a half off."""
    angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.5)
    away = 1.75 * c.r[k] * np.array([np.cos(angle), np.sin(angle)])
    piece = c.x[k] + (1 - share) * away
    c.x[k] = c.x[k] - share * away
    c.add(piece[None], c.r[[k]] * np.sqrt(share), c.rate[[k]], c.traits[[k]], [c.origin[k]])
    c.r[k] *= np.sqrt(1 - share)


class _Mounting:
    """A session's own view of the gel."""

    def __init__(self, course: Course, moved: bool, rng: np.random.Generator) -> None:
        angle = np.deg2rad(rng.normal(0, course.rotation))
        shift, scale = rng.uniform(-course.shift, course.shift, 2), 1 + rng.normal(0, 0.01)
        self.phase = rng.uniform(0, 2 * np.pi, 4)
        self.amplitude = course.gel / 1.4 if moved else 0.0
        if not moved:
            angle, shift, scale = 0.0, np.zeros(2), 1.0
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        self.matrix = np.array([[cos, -sin], [sin, cos]])
        self.shift = shift
        self.centre, self.origin = course.side * (0.5 + _MARGIN), course.side * _MARGIN

    def __call__(self, x: Floats) -> Floats:
        y = (x - self.centre) @ self.matrix.T + self.centre + self.shift
        wave = 2 * np.pi / 2500.0 * y[:, [1, 0, 0, 1]] + self.phase
        bend = np.sin(wave)
        return np.asarray(y + self.amplitude * (bend[:, [0, 2]] + bend[:, [1, 3]]) - self.origin)


def _seen(
    c: _Colonies, mount: _Mounting, course: Course, rng: np.random.Generator
) -> tuple[pd.DataFrame, Ints, npt.NDArray[np.bool_]]:
    """Return a session's table, the living colony of each row (-1 for none), and whether it is one."""
    place = mount(c.x)
    rows = np.flatnonzero(((place > 0) & (place < course.side)).all(1) & (rng.random(len(place)) > course.missed))
    extra = _founded(
        rng, int(rng.poisson(course.false * len(rows))), course.side, median=course.radius * 10 / 11, scatter=0.4
    )
    x = np.concatenate([place[rows] + rng.normal(0, 5.0, (len(rows), 2)), extra.x])
    r = np.concatenate([c.r[rows] * rng.lognormal(0, 0.05, len(rows)), extra.r])
    traits = np.concatenate([c.traits[rows], extra.traits]) + rng.normal(0, [0.05, 0.2, 0.2], (len(x), 3))
    living = np.concatenate([rows, np.full(len(extra.x), -1)])
    order = rng.permutation(len(x))
    fractions = 1 / (1 + np.exp(-traits[order, 1:]))
    table = pd.DataFrame(
        {
            "colony": np.arange(1, len(x) + 1),
            "y": x[order, 0],
            "x": x[order, 1],
            "area": np.pi * r[order] ** 2,
            "radius": r[order],
            "aspect": np.exp(np.abs(traits[order, 0])),
            "fraction_erythroid": fractions[:, 0],
            "fraction_megakaryocytic": fractions[:, 1],
        }
    )
    return table, living[order], living[order] >= 0
