from __future__ import annotations

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.lineage import (
    OnsetSettings,
    Pedigree,
    bias_null,
    birth_death_pmf,
    clone_table,
    dirichlet_multinomial_rho,
    division_scores,
    entropy,
    kin_correlation,
    marker_onsets,
    output_bias,
    yule_pmf,
)


def test_clone_table_of_a_hand_made_tree(family):
    clones = clone_table(Pedigree.from_tracks(family)).set_index("founder_track_id")
    assert clones.loc[1, ["n_tracks", "n_divisions", "depth", "n_end", "n_dead", "n_escaped"]].tolist() == [
        7,
        3,
        2,
        2,
        1,
        1,
    ]
    assert clones.loc[8, ["n_tracks", "n_end", "n_escaped"]].tolist() == [1, 0, 1]
    assert not clones["extinct"].any()


def test_a_clone_is_extinct_only_if_every_cell_was_seen_to_die(make_tracks):
    rows = [
        (1, 0, 0, 1, "start", "division"), (2, 1, 2, 3, "division", "death"), (3, 1, 2, 3, "division", "death"),
        (4, 0, 0, 1, "start", "death"),
        (5, 0, 0, 1, "start", "division"), (6, 5, 2, 3, "division", "death"), (7, 5, 2, 3, "division", "loss"),
        (8, 0, 0, 1, "start", "division"), (9, 8, 2, 3, "division", "death"),
    ]  # fmt: skip
    clones = clone_table(Pedigree.from_tracks(make_tracks(rows))).set_index("founder_track_id")
    assert clones["extinct"].to_dict() == {1: True, 4: True, 5: False, 8: False}


def test_outputs_count_the_last_cells_by_lineage(simulate_clones):
    tracks, nodes = simulate_clones(60, seed=1)
    markers = {"erythroid": "CD235a", "megakaryocytic": "CD41"}
    settings = OnsetSettings(thresholds={"CD235a": 80.0, "CD41": 80.0})
    onsets, _ = marker_onsets(tracks, nodes, markers=markers, settings=settings)
    tree = Pedigree.from_tracks(tracks)
    clones = clone_table(tree, onsets, lineages=["erythroid", "megakaryocytic", "granulo-monocytic"])
    tips = clones[["n_erythroid", "n_megakaryocytic", "n_granulo-monocytic", "n_negative"]]
    assert tips.to_numpy().sum() == (~tracks["fate"].isin(["division", "death"])).sum()
    assert clones["n_granulo-monocytic"].eq(0).all()
    assert clones["n_erythroid"].sum() > clones["n_megakaryocytic"].sum() > 0


@pytest.mark.parametrize(("birth", "death"), [(0.05, 0.0), (0.05, 0.02), (0.02, 0.05), (0.03, 0.03), (0.0, 0.04)])
def test_birth_death_sums_to_one_and_has_the_right_mean(birth, death):
    n = np.arange(4000)
    p = birth_death_pmf(n, birth=birth, death=death, time=40.0)
    assert p.sum() == pytest.approx(1.0, abs=1e-9)
    assert (p * n).sum() == pytest.approx(np.exp((birth - death) * 40), rel=1e-6)


def test_yule_is_birth_without_death_and_meets_a_simulation():
    n = np.arange(200)
    np.testing.assert_allclose(
        yule_pmf(n, rate=0.03, time=50), birth_death_pmf(n, birth=0.03, death=0, time=50), atol=1e-12
    )
    rng = np.random.default_rng(0)
    size, clock = np.ones(20_000, int), np.zeros(20_000)
    alive = np.ones(20_000, bool)
    while alive.any():
        clock[alive] += rng.exponential(1 / (0.05 * size[alive]))
        alive &= (clock <= 50) & (size > 0)
        born = rng.random(20_000) < 0.03 / 0.05
        size[alive] += np.where(born, 1, -1)[alive]
        alive &= size > 0
    expected = birth_death_pmf(np.arange(8), birth=0.03, death=0.02, time=50)
    observed = np.bincount(size, minlength=8)[:8] / 20_000
    np.testing.assert_allclose(observed, expected, atol=4 * np.sqrt(0.25 / 20_000))


def test_bias_entropy_and_overdispersion_of_known_counts():
    counts = [[8, 0], [4, 4], [0, 0]]
    bias = output_bias(counts, pseudo_count=0.5, reference=[0.5, 0.5])
    np.testing.assert_allclose(bias[0], np.log2([8.5 / 9 / 0.5, 0.5 / 9 / 0.5]))
    np.testing.assert_allclose(bias[1], 0)
    assert np.isnan(bias[2]).all()
    np.testing.assert_allclose(entropy(counts), [0, 1, np.nan])
    rng = np.random.default_rng(0)
    same = rng.multinomial(10, [0.6, 0.3, 0.1], 400)
    assert dirichlet_multinomial_rho(same) < 0.02
    theta = 4.0
    apart = np.stack([rng.multinomial(10, rng.dirichlet(theta * np.array([0.6, 0.3, 0.1]))) for _ in range(600)])
    assert dirichlet_multinomial_rho(apart) == pytest.approx(1 / (1 + theta), abs=0.03)
    assert np.isnan(dirichlet_multinomial_rho([[5, 0], [3, 0]]))


def test_under_the_null_few_clones_look_biased_by_p_though_small_ones_do_by_size():
    rng = np.random.default_rng(1)
    counts = np.stack([rng.multinomial(n, [0.7, 0.3]) for n in np.repeat([3, 30], 100)])
    bias = np.abs(output_bias(counts)).max(axis=1)
    assert bias[:100].mean() > bias[100:].mean()
    p = bias_null(counts, n_draws=199)
    assert (p <= 0.05).mean() < 0.1


def test_impossible_counts_are_refused():
    for bad in ([[-1, 2]], [1, 2], [[np.nan, 1]]):
        with pytest.raises(SettingsError):
            output_bias(bad)
    with pytest.raises(SettingsError):
        output_bias([[1, 2]], pseudo_count=0)
    with pytest.raises(SettingsError):
        birth_death_pmf(1, birth=-1, death=0, time=1)


def inherited_values(tree: Pedigree, theta: float, rho: float, rng: np.random.Generator) -> np.ndarray:
    """AR(1) down the tree: x = θ mother + e, var(x) = 1, the sisters' e correlated by rho."""
    x = rng.normal(size=len(tree))
    noise = np.sqrt(1 - theta**2)
    shared = rng.normal(size=len(tree))  # by mother
    for level in tree.levels()[1:]:
        mother = tree.mother[level]
        own = rng.normal(size=len(level))
        x[level] = theta * x[mother] + noise * (np.sqrt(rho) * shared[mother] + np.sqrt(1 - rho) * own)
    return x


def test_kin_correlations_of_an_inherited_quantity_are_those_of_the_ar1_model(full_tree):
    tree = Pedigree.from_tracks(full_tree(1500, 3))
    theta, rho = 0.6, 0.4
    x = inherited_values(tree, theta, rho, np.random.default_rng(0))
    found = kin_correlation(tree, x, permutations=19).set_index("kind")
    sister = theta**2 + (1 - theta**2) * rho
    assert found.loc["mother-daughter", "pooled"] == pytest.approx(theta, abs=0.02)
    assert found.loc["sister", "pooled"] == pytest.approx(sister, abs=0.02)
    assert found.loc["cousin", "pooled"] == pytest.approx(theta**2 * sister, abs=0.03)
    assert (found["p_value"] == 0.05).all()
    assert found.loc["sister", "n_pairs"] == 1500 * 7
    assert found.loc["sister", "excess"] > found.loc["cousin", "excess"]


def test_differences_between_clones_alone_correlate_sisters_but_not_within_clones(full_tree):
    tree = Pedigree.from_tracks(full_tree(400, 3))
    rng = np.random.default_rng(1)
    share = 0.48
    x = np.sqrt(share) * rng.normal(size=len(tree))[tree.founder] + np.sqrt(1 - share) * rng.normal(size=len(tree))
    found = kin_correlation(tree, x, permutations=99, seed=3).set_index("kind")
    assert found.loc["sister", "pooled"] == pytest.approx(share, abs=0.05)
    assert abs(found.loc["sister", "excess"]) < 0.03
    assert (found["p_value"] > 0.05).all()


def test_a_drift_with_generation_is_no_kinship(full_tree):
    tree = Pedigree.from_tracks(full_tree(100, 3))
    x = -3.0 * tree.generation + np.random.default_rng(0).normal(size=len(tree))
    plain = kin_correlation(tree, x, kinds=["sister"], permutations=19)
    adjusted = kin_correlation(tree, x, kinds=["sister"], permutations=19, adjust_generation=True)
    assert plain["excess"][0] > 0.5
    assert abs(adjusted["excess"][0]) < 0.08


def test_kinship_of_too_little_says_why(family, full_tree):
    tree = Pedigree.from_tracks(family)
    x = np.full(len(tree), np.nan)
    assert kin_correlation(tree, x)["note"].str.contains("fewer than 3 pairs").all()
    assert kin_correlation(tree, np.ones(len(tree)))["note"].str.contains("all values are equal").all()
    with pytest.raises(SettingsError, match="one value per track"):
        kin_correlation(tree, [1.0])
    with pytest.raises(SettingsError, match="Unknown kinship"):
        kin_correlation(tree, x, kinds=["aunt"])


def test_completed_cycles_correlate_without_kinship_and_their_scores_do_not(simulate_clones):
    tracks, _ = simulate_clones(2500, until=90.0, seed=8)
    tree = Pedigree.from_tracks(tracks)
    life = tree.lifetimes()
    raw = np.where(life["birth_seen"] & (life["event"] == "division"), life["age_h"], np.nan)
    kinds = ["sister", "cousin"]
    naive = kin_correlation(tree, raw, kinds=kinds, permutations=39).set_index("kind")
    scores = kin_correlation(tree, division_scores(tree), kinds=kinds, permutations=39).set_index("kind")
    assert naive.loc["sister", "pooled"] > 0.03
    assert abs(scores.loc["sister", "pooled"]) < 0.02
    assert abs(scores.loc["sister", "excess"]) < 0.02
    assert np.isnan(division_scores(Pedigree.from_tracks(tracks[:3].assign(fate="end", parent_track_id=0)))).all()
