"""What tracking learns of speeds, divisions and gaps, each against an answer worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from napari_marrow.tracking import TrackingSettings
from napari_marrow.tracking.cell_cycle import ages, log_readiness
from napari_marrow.tracking.chains import build_chains
from napari_marrow.tracking.division_geometry import DivisionGeometry, Heading
from napari_marrow.tracking.divisions import Triples, no_triples
from napari_marrow.tracking.exchanges import exchange
from napari_marrow.tracking.hypotheses import Links, Solution
from napari_marrow.tracking.motion import fit_mixture
from napari_marrow.tracking.points import read_points
from napari_marrow.tracking.rates import Rates
from napari_marrow.tracking.speeds import SpeedModel

NONE = np.zeros(0, np.int64)


def solution_of(i, j, gap, gain, chosen):
    links = Links(np.array(i), np.array(j), np.array(gap), np.array(gain, float))
    return Solution(links, no_triples(), np.zeros(0), np.array(chosen), NONE, no_triples(), np.zeros(0))


@pytest.mark.parametrize(("own", "right"), [(1.0, [0, 1]), (6.0, [2, 3])])
def test_two_links_exchange_their_ends_only_where_that_pays(own, right):
    """Cells 0 and 1 were each unseen in one frame; the links 0 -> 3 and 1 -> 2 stand at a gain of 5 together."""
    stands = solution_of([0, 1, 0, 1], [3, 2, 2, 3], [1, 3, 2, 2], [4.0, 1.0, own, own], [0, 1])
    assert exchange(4, stands, stands.links.gain).chosen.tolist() == right


def test_a_division_is_not_exchanged_away():
    links = Links(np.array([0]), np.array([1]), np.array([1]), np.array([50.0]))
    divided = Triples(np.array([0]), np.array([1]), np.array([2]))
    stands = Solution(links, divided, np.array([1.0]), NONE, np.array([0]), no_triples(), np.zeros(0))
    assert len(exchange(3, stands, links.gain).chosen) == 0


def test_a_link_gains_over_losing_the_cell_for_good():
    """Of lost cells half are seen after two frames, of the others a fifth after three: .4 never."""
    rates = Rates(np.full(1, 0.1), np.full(1, 0.1), np.array([0.5, 0.2]))
    assert rates.found_again == pytest.approx(0.6)
    assert np.exp(rates.over_later(np.array([1, 2, 3]))) == pytest.approx([1 / 0.4, 0.5 / 0.4, 1.0])
    odds = rates.link_gain(np.zeros(1, np.int64), np.zeros(1, np.int64), 3) + np.log(0.1)
    assert np.exp(odds) == pytest.approx(0.2 / 0.8)


def test_speed_ratio_is_half_that_of_two_normal_distributions():
    same, other = np.zeros((6, 6)), np.zeros((6, 6))
    same[5, 3], other[5, 3] = 0.7, 0.2
    model = SpeedModel(np.array([1.2]), np.array([-0.4]), np.array([5]), np.array([3]), same, other)
    at = [1.2, -0.4]
    expected = 0.5 * (
        multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]]).logpdf(at)
        - multivariate_normal([0, 0], [[1, 0.2], [0.2, 1]]).logpdf(at)
    )
    assert model.log_ratio(np.array([0]), np.array([0])) == pytest.approx([expected])


def test_a_widest_step_that_was_not_seen_stays_rare():
    r2 = (np.random.default_rng(0).normal(0, 2.0, (20_000, 2)) ** 2).sum(1)
    sigma, weight = fit_mixture(r2, 2)
    assert weight[2] < 0.0025
    assert sigma[2] >= 2 * sigma[1]
    assert np.sqrt((weight[:2] * sigma[:2] ** 2).sum() / weight[:2].sum()) == pytest.approx(2.0, rel=0.03)


def test_age_counts_from_a_division_only():
    table = pd.DataFrame({"t": [0, 1, 1, 2, 2, 3], "y": [0.0, 0.0, 9.0, 0.0, 9.0, 9.0], "x": 0.0})
    detections = read_points(table, TrackingSettings())
    chains = build_chains(detections, np.array([0, 2, 4]), np.array([1, 4, 5]), np.full(3, 0.99))
    born = Triples(np.array([0]), np.array([2]), np.array([3]))  # row 3 has no chain of its own
    assert ages(detections, chains, born).tolist() == [np.inf, np.inf, 0.0, 0.0, 1.0, 2.0]


def test_a_young_cell_seldom_divides():
    """At one division in 100 cells and frames half a cycle is 34.7 frames; half of that counts an eighth."""
    half = 0.5 * np.log(2) / 0.01
    found = log_readiness(np.array([np.inf, 2 * half, half, half / 2, 1.0]), 0.01)
    assert np.exp(found) == pytest.approx([1.0, 1.0, 1.0, 1 / 8, 0.02])


def divisions_of(m, steering, pace, seed=3):
    """Mothers at 0 that were moving at (ahead, quick), and daughters about the place they were heading for."""
    rng = np.random.default_rng(seed)
    quick = rng.lognormal(0, 0.5, m)
    ahead = rng.normal(0, 4.0, (m, 2)) * quick[:, None]
    place = steering * ahead + rng.normal(0, 1.5, (m, 2)) * quick[:, None] ** pace
    angle, apart = rng.uniform(0, 2 * np.pi, m), rng.normal(8.0, 1.2, m)
    half = 0.5 * apart[:, None] * np.column_stack([np.sin(angle), np.cos(angle)])
    x = np.concatenate([np.zeros((m, 2)), place + half, place - half])
    table = pd.DataFrame({"t": np.repeat([0, 1], [m, 2 * m]), "y": x[:, 0], "x": x[:, 1]})
    detections = read_points(table, TrackingSettings())
    rank = np.argsort(detections.order)
    before = Heading(np.zeros((3 * m, 2)), np.ones(3 * m))
    before.ahead[rank[:m]], before.quick[rank[:m]] = ahead, quick
    return detections, before, rank[:m], rank[m : 2 * m], rank[2 * m :]


@pytest.mark.parametrize(("steering", "pace"), [(0.0, 0.0), (0.5, 1.0)])
def test_where_daughters_lie_is_learned(steering, pace):
    found = DivisionGeometry(3.0, 6.0, 2.0).learned(*divisions_of(2000, steering, pace))
    assert found.steering == pytest.approx(steering, abs=0.08)  # the longest ways are left out
    assert found.pace == pytest.approx(pace, abs=0.1)
    assert (found.middle, found.apart, found.apart_width) == pytest.approx((1.5, 8.0, 1.2), rel=0.08)
    assert found.far < 0.02


def test_few_divisions_teach_little_of_motion():
    found = DivisionGeometry(3.0, 6.0, 2.0).learned(*divisions_of(10, 0.5, 1.0))
    assert found.steering < 0.15


def test_the_places_of_daughters_have_a_density_of_one():
    """The midpoint over the plane times the distance of the daughters over its ring."""
    geometry = DivisionGeometry(1.5, 8.0, 0.7, far=0.1)
    middle, apart = np.meshgrid(np.linspace(0.01, 25, 800), np.linspace(4, 12, 400), indexing="ij")
    density = np.exp(geometry.log_density(middle, apart, np.ones_like(middle), 2))
    step = (middle[1, 0] - middle[0, 0]) * (apart[0, 1] - apart[0, 0])
    assert (density * 2 * np.pi * middle * 2 * np.pi * apart).sum() * step == pytest.approx(1.0, rel=0.01)
