"""Classes by rules on several markers: by hand, with stains that were not imaged, and on simulated intensities."""

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.lineage import control_positivity, given_positivity, mixture_positivity
from napari_marrow.niche import DEFAULT_RULES, classify_by_rules, parse_rules

RULES = parse_rules(DEFAULT_RULES)


def classes(**columns):
    return classify_by_rules(pd.DataFrame(columns), RULES)["cell_class"].tolist()


def test_default_rules_by_hand():
    named = classes(
        CD34=[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.5],
        CD45=[1.0, 0.0, 0.0, 0.0, 0.6, 1.0, 1.0],
        CD31=[0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        CD144=[0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    )
    assert named == ["HSPC", "endothelial", "endothelial", "ambiguous CD34+", "ambiguous CD34+", "other", "ambiguous"]


def test_a_stain_that_was_not_imaged_leaves_its_class_open():
    # Without CD144, CD31 stands for it in the rule of HSPC, but endothelium cannot be sure.
    assert classes(CD34=[1.0], CD45=[1.0], CD31=[0.0]) == ["HSPC"]
    assert classes(CD34=[0.0], CD45=[0.0], CD31=[1.0]) == ["ambiguous"]
    # Missing in one session only: those cells, and only those.
    mixed = classes(CD34=[1.0, 1.0], CD45=[1.0, np.nan], CD31=[0.0, 0.0], CD144=[0.0, 0.0])
    assert mixed == ["HSPC", "ambiguous CD34+"]
    # Neither endothelial stain: nothing excludes endothelium.
    assert classes(CD34=[1.0], CD45=[1.0]) == ["ambiguous CD34+"]
    assert classify_by_rules(pd.DataFrame(index=range(3)), RULES)["cell_class"].tolist() == ["ambiguous"] * 3


def test_probabilities_multiply_and_two_classes_are_ambiguous():
    rules = parse_rules({"A": "X+ Y+", "B": "X+ Z+"})
    found = classify_by_rules(pd.DataFrame({"X": [0.98, 0.98, 1.0], "Y": [0.97, 0.9, 1.0], "Z": [0, 0, 1.0]}), rules)
    assert found["cell_class"].tolist() == ["A", "ambiguous", "ambiguous"]
    assert found["class_probability"].tolist() == pytest.approx([0.98 * 0.97, 0.98 * 0.9, 1.0])


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"HSPC": "CD34+"}, "never one"),
        ({"HSPC": "CD34+ CD45"}, "sign"),
        ({"HSPC": "CD34+ CD34-"}, "no cell is both"),
        ({"other": "CD34+ CD45+"}, "cannot be the name"),
        ({"HSPC": ""}, "never one"),
    ],
)
def test_rules_that_cannot_be_read(rules, words):
    with pytest.raises(SettingsError, match=words):
        parse_rules(rules)
    with pytest.raises(SettingsError, match="min_probability"):
        classify_by_rules(pd.DataFrame({"CD34": [1.0]}), RULES, min_probability=0.5)
    with pytest.raises(SettingsError, match="outside"):
        classify_by_rules(pd.DataFrame({"CD34": [1.5]}), RULES)


def test_positivity_is_calibrated_and_unsure_near_the_threshold():
    rng = np.random.default_rng(0)
    on = rng.random(4000) < 0.3
    intensity = np.where(on, 260 * np.exp(0.6 * rng.normal(size=4000)), 0) + 30 * rng.normal(size=4000)
    found = mixture_positivity(intensity, clusters=rng.integers(0, 8, 4000), n_draws=10)
    assert found.method == "mixture"
    assert found.low < found.threshold < found.high
    bins = np.digitize(found.probability, [0.05, 0.25, 0.75, 0.95])
    for k in range(5):
        part = bins == k
        # Binomial error .05 in a bin of 90 cells, and positives that are not quite normal on the transformed scale.
        assert on[part].mean() == pytest.approx(found.probability[part].mean(), abs=0.12)
    assert 0.005 < np.mean(np.abs(found.probability - 0.5) < 0.4) < 0.25
    lone = mixture_positivity(rng.normal(size=500))
    assert lone.method == "none"
    assert np.isnan(lone.probability).all()
    assert "one population" in lone.note


def test_control_gives_a_quantile_with_its_interval():
    rng = np.random.default_rng(1)
    covered = []
    for k in range(120):
        found = control_positivity([0.0, 10.0, np.nan], rng.normal(size=1500), seed=k, n_draws=99)
        covered.append(found.low <= 2.3263 <= found.high)
    assert (
        np.mean(covered) > 0.95 - 3.5 * np.sqrt(0.05 * 0.95 / 120) - 0.02
    )  # a quantile's bootstrap is a little narrow
    assert found.probability[:2].tolist() == [0.0, 1.0]
    assert np.isnan(found.probability[2])
    few = control_positivity([1.0], rng.normal(size=20))
    assert "200 are needed" in few.note
    # Wells differ: drawn as wholes they widen the interval.
    shift = np.repeat(rng.normal(size=6), 300)
    pool = shift + rng.normal(size=1800)
    by_well = control_positivity([2.0], pool, clusters=np.repeat(np.arange(6), 300))
    singly = control_positivity([2.0], pool)
    assert by_well.high - by_well.low > 2 * (singly.high - singly.low)
    with pytest.raises(SettingsError, match="quantile"):
        control_positivity([1.0], pool, quantile=1.0)


def test_given_threshold_is_sharp():
    found = given_positivity([1.0, 2.0, np.nan], 2.0)
    assert found.probability[:2].tolist() == [0.0, 1.0]
    assert "no uncertainty" in found.note
    with pytest.raises(SettingsError, match="number"):
        given_positivity([1.0], np.nan)
