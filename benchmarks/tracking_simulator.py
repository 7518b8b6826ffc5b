"""Detections of a dividing, crowded, moving field of cells with a segmenter's errors, and the truth.

Lengths in µm. Half of the cells lie in packed colonies, the others roam; each walks persistently, grows, rounds up and
brightens before it divides, and pushes its neighbours. The segmenter misses 3 % in bursts, merges touching cells
(newborn sisters more often), breaks a few in two, adds debris that stays and specks that do not, and measures places,
areas and intensities with noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MARGIN = 30.0
_YOUNG_AREA = 52.0
_REACH = 12.0


@dataclass(frozen=True)
class Field:
    """What is simulated.

    Attributes
    ----------
    frames, cells : int
        Frames, and cells at the start.
    area_per_cell : float
        µm² of field for each cell.
    every : int
        Steps of 5 min between frames.
    """

    frames: int = 100
    cells: int = 800
    area_per_cell: float = 1700.0
    every: int = 1
    in_colonies: float = 0.5
    colony_cells: float = 40.0
    cycle: float = 170.0
    speed_free: float = 6.0
    speed_packed: float = 3.0
    persistence_free: float = 0.75
    persistence_packed: float = 0.35
    death: float = 3e-4
    missed: float = 0.03
    missed_again: float = 0.3
    merged: float = 0.012
    merged_sisters: float = 0.15
    merged_again: float = 0.5
    broken: float = 0.003
    specks: float = 0.007
    debris: float = 0.005
    place_noise: float = 0.6
    area_noise: float = 0.07
    intensity_noise: float = 0.08
    stage_jitter: float = 0.5


SETS = {
    "sparse": Field(frames=200, cells=70, area_per_cell=2500.0),
    "crowded": Field(),
    "slow": Field(frames=60, cells=650, every=3),
    "large": Field(frames=50, cells=9000, area_per_cell=1600.0),
    "tiny": Field(frames=40, cells=110),
}
"""Sets by name: `slow` has a frame every 15 min, `tiny` serves the tests."""


@dataclass
class _Cells:
    """State of all living cells, one array per property."""

    x: Floats
    v: Floats
    speed: Floats
    persistence: Floats
    colony: Ints
    brightness: Floats
    age: Floats
    cycle: Floats
    name: Ints
    mother: Ints
    born: Ints
    dies: Ints
    unseen: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[np.bool_]) -> _Cells:
        return _Cells(**{k: v[rows] for k, v in vars(self).items()})

    def join(self, other: _Cells) -> _Cells:
        return _Cells(**{k: np.concatenate([v, getattr(other, k)]) for k, v in vars(self).items()})

    @property
    def radius(self) -> Floats:
        return np.sqrt(_YOUNG_AREA * (1 + np.clip(self.age / self.cycle, 0, 1)) / np.pi)


@dataclass
class _World:
    settings: Field
    side: float
    rng: np.random.Generator
    cells: _Cells
    centres: Floats
    drift: Floats
    names: int
    debris: tuple[Floats, Floats, Floats]
    together: set[tuple[int, int]] = field(default_factory=set)


def simulate(settings: Field, seed: int) -> pd.DataFrame:
    """Simulate a field and what a segmenter finds in it.

    Parameters
    ----------
    settings : Field
    seed : int

    Returns
    -------
    DataFrame
        A row per detection, in random order within its frame: ``t, y, x, area, intensity``; truth: ``track_id`` (the
        cell, 0 for false detections; of a merged blob the larger cell), ``parent_track_id``, ``kind`` (cell, merged,
        piece, debris, speck).
    """
    world = _create(settings, np.random.default_rng(seed))
    frames = []
    for step in range(settings.frames * settings.every):
        if step:
            _live(world, step)
        if step % settings.every == 0:
            frames.append(_observe(world, step))
    table = pd.concat(frames, ignore_index=True)
    shuffled = np.lexsort((world.rng.random(len(table)), table["t"].to_numpy()))
    return table.iloc[shuffled].reset_index(drop=True)


def _create(s: Field, rng: np.random.Generator) -> _World:
    inner = np.sqrt(s.cells * s.area_per_cell)
    side = inner + 2 * _MARGIN
    n = round(s.cells * (side / inner) ** 2)
    packed = int(n * s.in_colonies)
    sizes: list[int] = []
    while sum(sizes) < packed:
        sizes.append(max(4, int(rng.lognormal(np.log(s.colony_cells) - 0.32, 0.8))))
    centres = rng.uniform(0, side, (len(sizes), 2))
    colony = np.full(n, -1)
    colony[:packed] = np.repeat(np.arange(len(sizes)), sizes)[:packed]
    x = rng.uniform(0, side, (n, 2))
    disc = 4.8 * np.sqrt(np.array(sizes, np.float64))
    angle, far = rng.uniform(0, 2 * np.pi, packed), np.sqrt(rng.random(packed))
    x[:packed] = centres[colony[:packed]] + (far * disc[colony[:packed]])[:, None] * np.c_[np.sin(angle), np.cos(angle)]
    speed = np.where(colony >= 0, s.speed_packed, s.speed_free) * rng.lognormal(0, 0.35, n)
    cycle = np.clip(rng.normal(s.cycle, 0.18 * s.cycle, n), 0.4 * s.cycle, None)
    cells = _Cells(
        x, rng.normal(0, 1, (n, 2)) * (speed / np.sqrt(2))[:, None], speed,
        np.where(colony >= 0, s.persistence_packed, s.persistence_free), colony, rng.lognormal(0, 0.35, n),
        rng.random(n) * cycle, cycle, np.arange(1, n + 1), np.zeros(n, np.int64), np.full(n, -100), np.full(n, -1),
        np.zeros(n, bool),
    )  # fmt: skip
    pieces = max(1, int(s.debris * s.cells / 0.7))
    debris = (
        rng.uniform(_MARGIN, side - _MARGIN, (pieces, 2)), rng.uniform(25, 70, pieces), rng.lognormal(0.2, 0.4, pieces)
    )  # fmt: skip
    _push(cells, 25)
    return _World(s, side, rng, cells, centres, rng.normal(0, 0.3, centres.shape), n + 1, debris)


def _push(cells: _Cells, rounds: int) -> None:
    """Move overlapping cells apart."""
    r = cells.radius
    for _ in range(rounds):
        pairs = cKDTree(cells.x).query_pairs(_REACH, output_type="ndarray")
        if len(pairs) == 0:
            return
        a, b = pairs.T
        way = cells.x[b] - cells.x[a]
        apart = np.sqrt((way**2).sum(1)) + 1e-6
        overlap = np.maximum(0.9 * (r[a] + r[b]) - apart, 0)
        shift = (0.3 * overlap / apart)[:, None] * way
        for axis in (0, 1):
            cells.x[:, axis] += np.bincount(b, shift[:, axis], len(r)) - np.bincount(a, shift[:, axis], len(r))


def _live(w: _World, step: int) -> None:
    """One step of 5 min: walk, pull together, push apart, die, divide."""
    c, rng = w.cells, w.rng
    kick = rng.normal(0, 1, c.v.shape) * (c.speed / np.sqrt(2))[:, None]
    c.v = c.persistence[:, None] * c.v + np.sqrt(1 - c.persistence**2)[:, None] * kick
    c.x = c.x + c.v
    w.centres = w.centres + w.drift
    packed = np.flatnonzero(c.colony >= 0)
    if len(packed):
        home = c.colony[packed]
        limit = 4.9 * np.sqrt(np.maximum(np.bincount(home, minlength=len(w.centres)), 1)) + 2
        out = c.x[packed] - w.centres[home]
        far = np.sqrt((out**2).sum(1)) + 1e-6
        c.x[packed] -= out / far[:, None] * (0.25 * np.clip(far - limit[home], 0, 20))[:, None]
    outside = (c.x < 0) | (c.x > w.side)
    c.x = np.where(c.x < 0, -c.x, np.where(c.x > w.side, 2 * w.side - c.x, c.x))
    c.v = np.where(outside, -c.v, c.v)
    _push(c, 4)
    c.age = c.age + 1
    c.dies = np.where((c.dies < 0) & (rng.random(len(c.age)) < w.settings.death), step + 3, c.dies)
    alive = ~((c.dies >= 0) & (c.dies <= step))
    dividing = alive & (c.age >= c.cycle) & (c.dies < 0)
    w.cells = c.take(alive & ~dividing)
    if dividing.any():
        w.cells = w.cells.join(_daughters(w, c.take(dividing), step))
        _push(w.cells, 2)


def _daughters(w: _World, mothers: _Cells, step: int) -> _Cells:
    rng, m = w.rng, len(mothers.name)
    angle = rng.uniform(0, 2 * np.pi, m)
    offset = np.c_[np.sin(angle), np.cos(angle)] * (0.6 * mothers.radius)[:, None]
    two = mothers.join(mothers)
    names = np.arange(w.names, w.names + 2 * m)
    w.names += 2 * m
    cycle = rng.normal(w.settings.cycle, 0.18 * w.settings.cycle, 2 * m).clip(0.4 * w.settings.cycle)
    return replace(
        two, x=two.x + np.r_[offset, -offset], v=0.5 * two.v, speed=two.speed * rng.lognormal(0, 0.15, 2 * m),
        brightness=two.brightness * rng.lognormal(0, 0.08, 2 * m), age=np.zeros(2 * m), cycle=cycle, name=names,
        mother=two.name, born=np.full(2 * m, step), dies=np.full(2 * m, -1), unseen=np.zeros(2 * m, bool),
    )  # fmt: skip


def _observe(w: _World, step: int) -> pd.DataFrame:
    s, c, rng = w.settings, w.cells, w.rng
    t = step // s.every
    jitter = rng.normal(0, s.stage_jitter, 2)
    rounding, dying = (c.cycle - c.age) <= 3, c.dies >= 0
    area = np.pi * c.radius**2 * np.where(rounding, 0.85, 1) * np.where(dying, 0.7, 1)
    light = c.brightness * np.where(rounding, 1.4, 1) * np.where(dying, 1.5, 1)
    inside = ((c.x >= _MARGIN) & (c.x < w.side - _MARGIN)).all(1)
    fresh = s.missed * (1 - s.missed_again) / (1 - s.missed)
    c.unseen = rng.random(len(c.name)) < np.where(c.unseen, s.missed_again, fresh)
    mate = _merges(w, inside, step)
    single = np.flatnonzero(inside & ~c.unseen & (mate < 0))
    broken = rng.random(len(single)) < s.broken
    whole, halves = single[~broken], single[broken]
    parts = [_rows(c.x[whole], area[whole], light[whole], c.name[whole], "cell")]
    angle = rng.uniform(0, 2 * np.pi, len(halves))
    off = np.c_[np.sin(angle), np.cos(angle)] * (0.5 * c.radius[halves])[:, None]
    nobody = np.zeros(len(halves), np.int64)
    parts.append(_rows(c.x[halves] + 0.4 * off, 0.6 * area[halves], light[halves], c.name[halves], "piece"))
    parts.append(_rows(c.x[halves] - 0.6 * off, 0.4 * area[halves], light[halves], nobody, "piece"))
    a = np.flatnonzero(mate > np.arange(len(mate)))
    b = mate[a]
    large, small = np.where(area[b] > area[a], b, a), np.where(area[b] > area[a], a, b)
    share = area[large] / (area[large] + area[small])
    blob = share[:, None] * c.x[large] + (1 - share)[:, None] * c.x[small]
    glow = share * light[large] + (1 - share) * light[small]
    parts.append(_rows(blob, area[large] + area[small], glow, c.name[large], "merged"))
    k = rng.poisson(s.specks * inside.sum())
    place = rng.uniform(_MARGIN, w.side - _MARGIN, (k, 2))
    parts.append(_rows(place, rng.uniform(15, 80, k), rng.lognormal(0, 0.5, k), np.zeros(k, np.int64), "speck"))
    seen = rng.random(len(w.debris[0])) < 0.7
    lying, size, shine = (part[seen] for part in w.debris)
    parts.append(_rows(lying, size, shine, np.zeros(int(seen.sum()), np.int64), "debris"))
    table = pd.concat(parts, ignore_index=True)
    n = len(table)
    table[["y", "x"]] += jitter - _MARGIN + rng.normal(0, s.place_noise, (n, 2))
    table["area"] *= rng.lognormal(0, s.area_noise, n)
    table["intensity"] *= rng.lognormal(0, s.intensity_noise, n)
    mother = dict(zip(c.name.tolist(), c.mother.tolist(), strict=True))
    table["parent_track_id"] = [mother.get(name, 0) for name in table["track_id"]]
    table.insert(0, "t", t)
    return table


def _rows(x: Floats, area: Floats, light: Floats, name: Ints, kind: str) -> pd.DataFrame:
    return pd.DataFrame({"y": x[:, 0], "x": x[:, 1], "area": area, "intensity": light, "track_id": name, "kind": kind})


def _merges(w: _World, inside: npt.NDArray[np.bool_], step: int) -> Ints:
    """Partner of each cell in a merged blob, -1 for none."""
    s, c = w.settings, w.cells
    mate = np.full(len(c.name), -1)
    pairs = cKDTree(c.x).query_pairs(_REACH, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    apart = np.sqrt(((c.x[a] - c.x[b]) ** 2).sum(1))
    touch = (apart < 0.95 * (c.radius[a] + c.radius[b])) & inside[a] & inside[b]
    a, b = a[touch], b[touch]
    sisters = (c.mother[a] == c.mother[b]) & (c.mother[a] > 0) & (step - np.minimum(c.born[a], c.born[b]) <= 2)
    chance = np.where(sisters, s.merged_sisters, s.merged)
    keys = [(int(min(p, q)), int(max(p, q))) for p, q in zip(c.name[a], c.name[b], strict=True)]
    again = np.array([key in w.together for key in keys], bool)
    chance = np.where(again, s.merged_again, chance)
    now = set()
    for k in np.flatnonzero(w.rng.random(len(a)) < chance):
        p, q = a[k], b[k]
        if mate[p] < 0 and mate[q] < 0 and not c.unseen[p] and not c.unseen[q]:
            mate[p], mate[q] = q, p
            now.add(keys[k])
    w.together = now
    return mate
