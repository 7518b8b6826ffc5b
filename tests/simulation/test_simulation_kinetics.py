"""Fates against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from napari_marrow.simulation import Effect, Kinetics, cumulative_incidence
from napari_marrow.simulation.appearance import cell_types
from napari_marrow.simulation.kinetics import ALIVE, DEAD, DIVIDED, Population, seed_founders, step_fates

STILL = {"commitment_per_h": (0.0,), "death_per_h": (0.0, 0.0, 0.0), "mature_at_start": 0.0}


def grow(kinetics, n, hours, *, dt=1.0, seed=1, effect=None, factor=(1.0, 1.0, 1.0)):
    rng = np.random.default_rng(seed)
    cells = seed_founders(kinetics, n, rng)
    alive = np.arange(n)
    for step in range(round(hours / dt)):
        _, _, daughters = step_fates(
            cells, alive, step * dt, dt, kinetics, effect or Effect(),
            niche_factor=np.broadcast_to(factor, (len(alive), 3)), commitment_factor=1.0, crowding=1.0, rng=rng,
        )  # fmt: skip
        alive = np.concatenate([alive[cells.fate[alive] == ALIVE], daughters])
    return cells, alive


def durations(cells, which):
    return cells.end[which] - cells.birth[which]


def test_first_division_has_its_mean_and_cv():
    cells, _ = grow(Kinetics(**STILL, cycle_mean_h=1e4), 4000, 600, dt=2.0)
    first = durations(cells, (cells.generation == 0) & (cells.fate == DIVIDED))
    assert len(first) > 3990
    assert first.mean() == pytest.approx(75.0, rel=0.03)
    assert first.std() / first.mean() == pytest.approx(0.5, rel=0.06)


def test_sisters_are_alike_and_cycles_have_their_mean():
    kinetics = Kinetics(**STILL, first_division_mean_h=10.0, first_division_cv=0.01, sister_correlation=0.7)
    cells, _ = grow(kinetics, 2500, 110)
    daughters = np.flatnonzero(cells.generation == 1)
    assert (cells.fate[daughters] == DIVIDED).mean() > 0.99
    cycle = np.log(cells.cycle[daughters])
    order = np.argsort(cells.parent[daughters], kind="stable")
    pairs = cycle[order].reshape(-1, 2)
    assert (np.diff(cells.parent[daughters][order].reshape(-1, 2)) == 0).all()
    assert np.corrcoef(np.r_[pairs[:, 0], pairs[:, 1]], np.r_[pairs[:, 1], pairs[:, 0]])[0, 1] == pytest.approx(
        0.7, abs=0.04
    )
    done = durations(cells, daughters[cells.fate[daughters] == DIVIDED])
    assert done.mean() == pytest.approx(28.0, rel=0.02)
    assert done.std() / done.mean() == pytest.approx(0.3, rel=0.06)


def test_erythroblasts_have_their_own_cycle():
    kinetics = Kinetics(
        death_per_h=(0.0, 0.0, 0.0), mature_at_start=1.0, lineage_weights=(1.0, 0.0, 0.0), first_division_mean_h=10.0
    )
    cells, _ = grow(kinetics, 1500, 90)
    cycles = durations(cells, (cells.generation == 1) & (cells.fate == DIVIDED))
    assert cycles.mean() == pytest.approx(23.3, rel=0.02)
    assert cycles.std() == pytest.approx(4.8, rel=0.08)


def test_death_is_exponential_and_independent_of_the_step():
    for dt in (0.5, 4.0):
        kinetics = Kinetics(
            commitment_per_h=(0.0,), death_per_h=(0.01, 0, 0), mature_at_start=0, first_division_mean_h=1e5
        )
        cells, _ = grow(kinetics, 4000, 100, dt=dt)
        for t in (20.0, 60.0, 100.0):
            expected = 1.0 - np.exp(-0.01 * t)
            observed = (cells.end <= t).mean()
            assert observed == pytest.approx(expected, abs=3.5 * np.sqrt(expected * (1 - expected) / 4000))


def test_cumulative_incidence_agrees_with_constant_hazards():
    """λk/Λ (1 - exp(-Λt)), with onset made to follow commitment without a generation between."""
    hazards, death, n = np.array([0.01, 0.004, 0.006]), 0.005, 5000
    kinetics = Kinetics(
        commitment_per_h=(0.02,), lineage_weights=(0.5, 0.2, 0.3), death_per_h=(death, death, 0.0), mature_at_start=0.0,
        first_division_mean_h=1e6,
    )  # fmt: skip
    cells, _ = grow(kinetics, n, 120, dt=0.5)
    cells.onset = cells.commit.copy()
    cells.end[np.isfinite(cells.onset)] = np.nan
    cells.fate[np.isfinite(cells.onset)] = ALIVE
    times = np.array([20.0, 60.0, 110.0])
    curves = cumulative_incidence(cells, 0.0, times)
    total = hazards.sum() + death
    for name, hazard in zip(
        ["erythroid", "megakaryocytic", "granulo-monocytic", "death"], [*hazards, death], strict=True
    ):
        expected = hazard / total * -np.expm1(-total * times)
        assert curves[name] == pytest.approx(expected, abs=4 * np.sqrt(0.25 / n))


def test_cumulative_incidence_of_a_hand_made_organoid():
    """Four cells: onsets at 2 h and at 6 h (in a cell that enters at 4 h), a death at 3 h, one divides at 4 h."""
    cells = Population()
    nan = np.nan
    cells.append(
        parent=np.array([0, 0, 0, 3]), founder=np.array([1, 2, 3, 3]), generation=np.array([0, 0, 0, 1]),
        since_commitment=np.zeros(4, int), since_onset=np.zeros(4, int), birth=np.array([0.0, 0, 0, 4.0]),
        end=np.array([nan, 3.0, 4.0, nan]), fate=np.array([ALIVE, DEAD, DIVIDED, ALIVE]),
        lineage=np.array([0, -1, -1, 1]),
        commit=np.array([0.5, nan, nan, 5.0]), onset=np.array([2.0, nan, nan, 6.0]), age=np.zeros(4), cycle=np.ones(4),
        brightness=np.ones(4),
    )  # fmt: skip
    curves = cumulative_incidence(cells, 0.0, np.array([1.0, 2.0, 3.0, 5.0, 7.0]))
    assert curves["erythroid"] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 1 / 3])
    assert curves["death"] == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3])
    assert curves["megakaryocytic"] == pytest.approx([0, 0, 0, 0, 1 / 3])


def test_fractions_by_day_are_those_of_healthy_marrow():
    cells, _ = grow(Kinetics(), 1500, 168)
    for day, stem, mature in ((1, 0.90, 0.07), (3, 0.62, 0.09), (5, 0.24, 0.45), (7, 0.07, 0.79)):
        alive = np.flatnonzero((cells.birth <= 24.0 * day) & ~(cells.end <= 24.0 * day))
        share = np.bincount(cell_types(cells, alive, 24.0 * day), minlength=3) / len(alive)
        assert share[0] == pytest.approx(stem, abs=0.07)
        assert share[2] == pytest.approx(mature, abs=0.07)


def test_marker_comes_one_to_three_generations_after_the_decision():
    cells, _ = grow(Kinetics(mature_at_start=0.0), 300, 200)
    mother = cells.parent - 1
    own_commit = np.isfinite(cells.commit) & ((mother < 0) | ~np.isfinite(cells.commit[mother]))
    began = np.full(len(cells), -1)
    for i in range(len(cells)):
        inherited = began[mother[i]] if mother[i] >= 0 else -1
        began[i] = cells.generation[i] if own_commit[i] else inherited
    first = (mother < 0) | ~np.isfinite(cells.onset[mother])
    own_onset = np.isfinite(cells.onset) & (cells.onset >= cells.birth) & first
    delay = (cells.generation - began)[own_onset]
    assert len(delay) > 500
    assert set(delay) == {1, 2, 3}


def test_a_factor_of_the_niche_shifts_lineages_as_hazards_say():
    kinetics = Kinetics(commitment_per_h=(0.01,), death_per_h=(0, 0, 0), mature_at_start=0, first_division_mean_h=1e6)
    cells, _ = grow(kinetics, 4000, 80, factor=(1.0, 5.0, 1.0), effect=Effect(commitment=(2.0, 1.0, 1.0)))
    share = np.bincount(cells.lineage[cells.lineage >= 0], minlength=3) / (cells.lineage >= 0).sum()
    expected = np.array([0.5 * 2, 0.2 * 5, 0.3])
    assert share == pytest.approx(expected / expected.sum(), abs=0.03)
    assert (cells.lineage >= 0).mean() == pytest.approx(-np.expm1(-0.01 * 2.3 * 80), abs=0.03)


def test_every_event_lies_within_the_life_of_its_cell():
    cells, _ = grow(Kinetics(), 200, 240, dt=1.0)
    assert (cells.end[cells.fate != ALIVE] >= cells.birth[cells.fate != ALIVE]).all()
    mother = cells.parent - 1
    born = mother >= 0
    assert (cells.birth[born] == cells.end[mother[born]]).all()
    on = np.isfinite(cells.onset)
    assert (cells.onset[on] >= cells.commit[on]).all()
    inside = on & (cells.fate != ALIVE) & (cells.onset >= cells.birth)
    assert (cells.onset[inside] <= cells.end[inside]).all()
