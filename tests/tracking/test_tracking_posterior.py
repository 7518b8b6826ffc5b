"""Marginals of links and divisions against the sum over every packing of small scenes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from napari_marrow.progress import CancelToken, no_progress
from napari_marrow.tracking.divisions import Triples
from napari_marrow.tracking.hypotheses import Links, Solution
from napari_marrow.tracking.points import read_points
from napari_marrow.tracking.posterior import posterior
from napari_marrow.tracking.reliability import alone, division_probability
from napari_marrow.tracking.settings import TrackingSettings
from napari_marrow.tracking.solver import solve


@dataclass
class Scene:
    """Hypotheses (source, targets, gain); sources and targets are detections 0..n-1."""

    n: int
    hypotheses: list[tuple[int, tuple[int, ...], float]]

    def packings(self):
        """Every set of hypotheses that takes no end twice, with the log of its weight."""
        out = [((), 0.0, frozenset())]
        for k, (source, targets, gain) in enumerate(self.hypotheses):
            ends = {("from", source), *(("to", t) for t in targets)}
            out += [
                ((*chosen, k), weight + gain, taken | ends) for chosen, weight, taken in out if not taken & ends
            ]  # fmt: skip
        return [(chosen, weight) for chosen, weight, _ in out]

    def oracle(self):
        """Best packing, and the probability of every (source, target) pair and of every end being open."""
        packings = self.packings()
        log_weight = np.array([weight for _, weight in packings])
        share = np.exp(log_weight - log_weight.max())
        share /= share.sum()
        pairs, starts, ends = {}, np.ones(self.n), np.ones(self.n)
        for (chosen, _), p in zip(packings, share, strict=True):
            for k in chosen:
                source, targets, _ = self.hypotheses[k]
                ends[source] -= p
                for target in targets:
                    starts[target] -= p
                    pairs[source, target] = pairs.get((source, target), 0.0) + p
        return packings[int(log_weight.argmax())][0], pairs, starts, ends

    def judge(self):
        """Largest distance of a chosen pair's, an open end's probability from the oracle, and the pairs' themselves."""
        best, pairs, starts, ends = self.oracle()
        rows = {m: [k for k, h in enumerate(self.hypotheses) if len(h[1]) == m] for m in (1, 2)}
        column = {m: np.array([[h[0], *h[1]] for h in (self.hypotheses[k] for k in rows[m])], np.int64) for m in (1, 2)}
        one, two = column[1].reshape(-1, 2), column[2].reshape(-1, 3)
        gain = {m: np.array([self.hypotheses[k][2] for k in rows[m]], np.float64) for m in (1, 2)}
        links = Links(one[:, 0], one[:, 1], np.ones(len(one), np.int64), gain[1])
        triples = Triples(*two.T)
        chosen, divided = (np.flatnonzero(np.isin(rows[m], best)) for m in (1, 2))
        none = Triples(*np.zeros((3, 0), np.int64))
        found = posterior(
            self.n, Solution(links, triples, gain[2], chosen, divided, none, np.zeros(0)), calibrated=False
        )
        off = [found.links - [pairs[i, j] for i, j in one[chosen]]]
        off += [found.divisions[:, k] - [pairs[row[0], row[1 + k]] for row in two[divided]] for k in (0, 1)]
        off += [found.start - starts, found.end - ends]
        return float(np.abs(np.concatenate(off)).max()), found


def square(stay: float, exchanged: float) -> Scene:
    """Two cells that may have exchanged their places: gains of both links of either solution."""
    return Scene(4, [(0, (2,), stay / 2), (1, (3,), stay / 2), (0, (3,), exchanged / 2), (1, (2,), exchanged / 2)])


@pytest.mark.parametrize(("stay", "exchanged"), [(24.0, 24.0), (24.4, 24.0), (25.0, 24.0), (50.2, 50.0)])
def test_two_links_that_could_as_well_be_exchanged_share_their_probability(stay, exchanged):
    off, found = square(stay, exchanged).judge()
    assert off < 1e-9
    assert found.links == pytest.approx(1 / (1 + np.exp(exchanged - stay)), abs=1e-4)


def test_three_links_that_could_be_moved_round_in_a_ring():
    gain = [12.0, 12.1, 12.2]
    scene = Scene(6, [(k, (3 + (k + step) % 3,), gain[k]) for k in range(3) for step in (0, 1)])
    off, found = scene.judge()
    assert off < 1e-9
    assert found.links == pytest.approx(0.5, abs=1e-3)


def test_a_pair_belongs_together_by_link_or_division():
    """A link and a division that holds it vouch for the same daughter."""
    scene = Scene(3, [(0, (1,), 8.0), (0, (1, 2), 8.5), (0, (2,), -2.0)])
    off, found = scene.judge()
    assert off < 1e-9
    assert found.divisions[0, 0] > 0.999
    assert found.divisions[0, 1] == pytest.approx(np.exp(8.5) / (np.exp(8.5) + np.exp(8.0)), abs=1e-3)


@pytest.mark.parametrize("seed", range(40))
def test_random_scenes_agree_with_the_sum_over_all_packings(seed):
    rng = np.random.default_rng(seed)
    sources, targets = rng.integers(2, 5, 2)
    usual, spread = rng.choice([3.0, 10.0, 18.0]), rng.choice([0.3, 2.0, 5.0])
    hypotheses = [
        (i, (sources + j,), float(rng.normal(usual, spread)))
        for i in range(sources) for j in range(targets) if rng.random() < 0.8
    ]  # fmt: skip
    for i in range(sources):
        first, second = sorted(rng.choice(targets, 2, replace=False).tolist())
        if rng.random() < 0.5:
            hypotheses.append((i, (sources + first, sources + second), float(rng.normal(1.6 * usual, 2.0))))
    hypotheses = [h for h in hypotheses if h[2] > -5] or [(0, (sources,), 1.0)]
    off, _ = Scene(int(sources + targets), hypotheses).judge()
    assert off < 2e-3


def test_a_row_that_is_longer_than_a_group_is_off_at_the_edges_of_groups_only():
    """Ten cells in a row, each nearly as likely at its neighbour's place."""
    hypotheses = [(k, (10 + k,), 9.0) for k in range(10)]
    hypotheses += [(k, (11 + k,), 8.0) for k in range(9)] + [(k + 1, (10 + k,), 8.0) for k in range(9)]
    scene = Scene(20, hypotheses)
    _, found = scene.judge()
    _, pairs, _, _ = scene.oracle()
    off = np.sort(np.abs(found.links - [pairs[k, 10 + k] for k in range(10)]))
    assert off[6] < 0.03
    assert off[-1] < 0.35


def test_windows_of_a_large_data_set_leave_probabilities_as_they_are():
    rng = np.random.default_rng(4)
    walk = np.cumsum(rng.normal(0, 2.0, (30, 60, 2)), axis=0) + rng.uniform(0, 120, (60, 2))
    table = pd.DataFrame({"t": np.repeat(np.arange(30), 60), "y": walk[..., 0].ravel(), "x": walk[..., 1].ravel()})
    settings = TrackingSettings()
    detections = read_points(table, settings)
    solution, _ = solve(detections, settings, progress=no_progress, cancel=CancelToken())
    whole, cut = (posterior(len(table), solution, calibrated=True, at_once=n).links for n in (len(table), 400))
    off = np.abs(cut - whole)
    assert np.quantile(off, 0.9) < 1e-3
    assert off.max() > 0  # the windows were made


def test_detections_that_nothing_touches_are_counted_for_each_division():
    # ten detections: 0 -> 1 -> 2, 3 divides into 4 and 5, 6 to 9 stay alone
    lonely = alone(10, np.array([0, 1, 3]), np.array([1, 2, 4, 5]), 1)
    assert lonely == pytest.approx(np.log((4 + 1) / (1 + 3)))
    assert alone(10_000, np.zeros(0, np.int64), np.zeros(0, np.int64), 0) == 2.5  # held within limits
    assert alone(2, np.array([0]), np.array([1]), 1000) == -2.0


def test_divisions_are_surer_where_fewer_detections_are_false():
    odds = np.array([-2.0, 0.0, 4.0, 8.0])
    among_false, among_few = (division_probability(odds, 8.0, lonely) for lonely in (2.0, -1.5))
    assert (among_few > among_false).all()
    assert (np.diff(among_false) > 0).all()
