"""Fates of cells: cycles, latent commitment, marker onset, death; vectorised over a population."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_marrow.simulation.scenario import Effect, Kinetics

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

ALIVE, DIVIDED, DEAD = 0, 1, 2
FATES = ("end", "division", "death")
"""Names of `ALIVE`, `DIVIDED`, `DEAD`."""


def log_normal(mean: float, cv: float, normal: Float) -> Float:
    """Turn standard normal numbers into log-normal ones of the given mean and coefficient of variation."""
    variance = np.log1p(cv * cv)
    result: Float = np.exp(np.log(mean) - 0.5 * variance + np.sqrt(variance) * normal)
    return result


def hazard_by_step(values: tuple[float, ...], step: Int) -> Float:
    """Hazard of step 0, 1, ... where the last value holds on."""
    table = np.asarray(values, dtype=float)
    result: Float = table[np.minimum(step, len(table) - 1)]
    return result


@dataclass
class Population:
    """All cells that ever lived in one organoid; a cell's number is its index + 1.

    Attributes
    ----------
    parent, founder : (n,) int64
        Numbers of the mother (0 for none) and of the founder.
    generation, since_commitment, since_onset : (n,) int64
        Divisions since the founder, since the commitment, since the onset.
    birth, end : (n,) float64
        Times, h; `end` is NaN while the cell lives.
    fate : (n,) int64
        `ALIVE`, `DIVIDED` or `DEAD`.
    lineage : (n,) int64
        Index of the latent lineage, -1 while uncommitted.
    commit, onset : (n,) float64
        Times of commitment and onset, inherited by daughters; NaN for not (yet).
    age, cycle : (n,) float64
        Progress through the cycle and its length, h; an infinite cycle never divides.
    brightness : (n,) float64
        Expression level of the cell's markers, about 1.
    """

    parent: Int = field(default_factory=lambda: np.zeros(0, np.int64))
    founder: Int = field(default_factory=lambda: np.zeros(0, np.int64))
    generation: Int = field(default_factory=lambda: np.zeros(0, np.int64))
    since_commitment: Int = field(default_factory=lambda: np.zeros(0, np.int64))
    since_onset: Int = field(default_factory=lambda: np.zeros(0, np.int64))
    birth: Float = field(default_factory=lambda: np.zeros(0))
    end: Float = field(default_factory=lambda: np.zeros(0))
    fate: Int = field(default_factory=lambda: np.zeros(0, np.int64))
    lineage: Int = field(default_factory=lambda: np.zeros(0, np.int64))
    commit: Float = field(default_factory=lambda: np.zeros(0))
    onset: Float = field(default_factory=lambda: np.zeros(0))
    age: Float = field(default_factory=lambda: np.zeros(0))
    cycle: Float = field(default_factory=lambda: np.zeros(0))
    brightness: Float = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.parent)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.__dataclass_fields__)

    def append(self, **columns: npt.NDArray[np.generic]) -> Int:
        """Add cells (every column is needed) and return their indices."""
        before = len(self)
        for name in self.names:
            setattr(self, name, np.concatenate([getattr(self, name), columns[name]]))
        return np.arange(before, len(self))


def seed_founders(kinetics: Kinetics, n: int, rng: np.random.Generator) -> Population:
    """Return n founders at time 0, of which a share is marker-positive already."""
    population = Population()
    mature = rng.random(n) < kinetics.mature_at_start
    lineage = rng.choice(3, n, p=_weights(kinetics, Effect()))
    cycle = log_normal(kinetics.first_division_mean_h, kinetics.first_division_cv, rng.standard_normal(n))
    zeros = np.zeros(n, np.int64)
    population.append(
        parent=zeros,
        founder=np.arange(1, n + 1),
        generation=zeros,
        since_commitment=np.where(mature, 1, 0),
        since_onset=zeros,
        birth=np.zeros(n),
        end=np.full(n, np.nan),
        fate=zeros,
        lineage=np.where(mature, lineage, -1),
        commit=np.where(mature, 0.0, np.nan),
        onset=np.where(mature, 0.0, np.nan),
        age=np.zeros(n),
        cycle=cycle,
        brightness=log_normal(1.0, 0.25, rng.standard_normal(n)),
    )
    return population


def _weights(kinetics: Kinetics, effect: Effect) -> Float:
    weights = np.asarray(kinetics.lineage_weights) * np.asarray(effect.commitment)
    return weights / weights.sum()


def step_fates(
    cells: Population,
    alive: Int,
    now: float,
    dt: float,
    kinetics: Kinetics,
    effect: Effect,
    *,
    niche_factor: Float,
    commitment_factor: float,
    crowding: float,
    rng: np.random.Generator,
) -> tuple[Int, Int, Int]:
    """Advance the living cells from `now` to `now + dt` (changes `cells`).

    Parameters
    ----------
    cells : Population
    alive : (m,) int64
        Indices of living cells.
    now, dt : float
        h.
    kinetics : Kinetics
    effect : Effect
        What the condition does.
    niche_factor : (m, 3) float64
        Factor of each lineage's commitment hazard at the cells' places.
    commitment_factor : float
        Random effect of the organoid on commitment.
    crowding : float
        Speed of cycles, 1 for free and 0 for arrested.
    rng : numpy.random.Generator

    Returns
    -------
    dead, mothers, daughters : (d,), (k,), (2k,) int64
        Indices; the daughters of ``mothers[i]`` are ``daughters[i]`` and ``daughters[i + k]``.

    Notes
    -----
    Hazards act by thinning, exact for hazards that are constant over a step: an event happens with probability
    1 - exp(-h dt) at a time that is uniform within the step. Cycle times are exact whatever the step.
    """
    committed = cells.lineage[alive] >= 0
    mature = np.isfinite(cells.onset[alive])
    kind = np.where(mature, 2, np.where(committed, 1, 0))
    dead = alive[_strikes(np.asarray(kinetics.death_per_h)[kind] * effect.death, dt, rng)]
    cells.end[dead] = now + dt * rng.random(len(dead))
    cells.fate[dead] = DEAD

    stem = (kind == 0) & (cells.fate[alive] == ALIVE)
    _commit(cells, alive[stem], now, dt, kinetics, effect, niche_factor[stem] * commitment_factor, rng)
    latent = alive[(kind == 1) & (cells.fate[alive] == ALIVE)]
    hazard = hazard_by_step(kinetics.onset_per_h, cells.since_commitment[latent])
    starting = latent[_strikes(hazard, dt, rng)]
    _switch_on(cells, starting, now + dt * rng.random(len(starting)), kinetics, rng)

    living = alive[cells.fate[alive] == ALIVE]
    cells.age[living] += dt * crowding * effect.speed
    mothers = living[cells.age[living] >= cells.cycle[living]]
    late = (cells.age[mothers] - cells.cycle[mothers]) / max(crowding * effect.speed, 1e-9)
    # A cell cannot divide before what happened to it in this step.
    earliest = np.fmax(np.fmax(cells.onset[mothers], cells.commit[mothers]), cells.birth[mothers])
    when = np.fmax(now + dt - late, np.nan_to_num(earliest, nan=0.0))
    return dead, mothers, _divide(cells, mothers, when, now + dt, kinetics, rng, crowding * effect.speed)


def _strikes(hazard: Float, dt: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    result: npt.NDArray[np.bool_] = rng.random(len(hazard)) < -np.expm1(-hazard * dt)
    return result


def _commit(
    cells: Population, stem: Int, now: float, dt: float, kinetics: Kinetics, effect: Effect, factor: Float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    base = hazard_by_step(kinetics.commitment_per_h, cells.generation[stem])
    share = np.asarray(kinetics.lineage_weights) / np.sum(kinetics.lineage_weights)
    hazards = base[:, None] * (share * np.asarray(effect.commitment))[None, :] * factor
    total = hazards.sum(axis=1)
    hit = _strikes(total, dt, rng)
    chosen = stem[hit]
    cumulative = np.cumsum(hazards[hit] / np.maximum(total[hit], 1e-300)[:, None], axis=1)
    lineage = np.minimum((rng.random((len(chosen), 1)) >= cumulative).sum(axis=1), 2)
    cells.lineage[chosen] = lineage
    cells.commit[chosen] = np.fmax(now + dt * rng.random(len(chosen)), cells.birth[chosen])
    cells.since_commitment[chosen] = 0


def _switch_on(cells: Population, index: Int, when: Float, kinetics: Kinetics, rng: np.random.Generator) -> None:
    """Marker onset; erythroblasts take up their own cycle for what remains of it."""
    cells.onset[index] = np.fmax(when, cells.birth[index])
    cells.since_onset[index] = 0
    erythroid = index[cells.lineage[index] == 0]
    faster = kinetics.erythroid_cycle_mean_h / kinetics.cycle_mean_h
    started = cells.generation[erythroid] > 0
    left = cells.cycle[erythroid] - cells.age[erythroid]
    cells.cycle[erythroid] = np.where(started, cells.age[erythroid] + left * faster, cells.cycle[erythroid])
    done = np.asarray(kinetics.mature_divisions)[cells.lineage[index]] <= 0
    cells.cycle[index[done]] = np.inf


def _divide(
    cells: Population, mothers: Int, when: Float, until: float, kinetics: Kinetics, rng: np.random.Generator,
    progress: float,
) -> Int:  # fmt: skip
    """Replace mothers by two daughters each, whose age counts from their birth."""
    k = len(mothers)
    cells.end[mothers] = when
    cells.fate[mothers] = DIVIDED
    if k == 0:
        return np.zeros(0, np.int64)
    twice = np.concatenate([mothers, mothers])
    common, own = np.tile(rng.standard_normal(k), 2), rng.standard_normal(2 * k)
    rho = kinetics.sister_correlation
    draw = np.sqrt(rho) * common + np.sqrt(1.0 - rho) * own
    mature = np.isfinite(cells.onset[twice])
    erythroid = mature & (cells.lineage[twice] == 0)
    ery = log_normal(
        kinetics.erythroid_cycle_mean_h, kinetics.erythroid_cycle_sd_h / kinetics.erythroid_cycle_mean_h, draw
    )
    cycle = np.where(erythroid, ery, log_normal(kinetics.cycle_mean_h, kinetics.cycle_cv, draw))
    since_onset = np.where(mature, cells.since_onset[twice] + 1, 0)
    allowed = np.asarray(kinetics.mature_divisions)[np.maximum(cells.lineage[twice], 0)]
    cycle = np.where(mature & (since_onset >= allowed), np.inf, cycle)
    birth = np.concatenate([when, when])
    since_commitment = np.where(cells.lineage[twice] >= 0, cells.since_commitment[twice] + 1, 0)
    daughters = cells.append(
        parent=twice + 1,
        founder=cells.founder[twice],
        generation=cells.generation[twice] + 1,
        since_commitment=since_commitment,
        since_onset=since_onset,
        birth=birth,
        end=np.full(2 * k, np.nan),
        fate=np.zeros(2 * k, np.int64),
        lineage=cells.lineage[twice],
        commit=cells.commit[twice],
        onset=cells.onset[twice],
        age=(until - birth) * progress,
        cycle=cycle,
        brightness=cells.brightness[twice] * log_normal(1.0, 0.1, rng.standard_normal(2 * k)),
    )
    overdue = (cells.lineage[daughters] >= 0) & ~mature & (since_commitment >= kinetics.latest_onset)
    _switch_on(cells, daughters[overdue], birth[overdue], kinetics, rng)
    return daughters
