"""Learning and solving in turns: links from costs, costs from links."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.progress import CancelToken, Progress
from napari_marrow.tracking.appearance import AppearanceModel, fit_appearance
from napari_marrow.tracking.blobs import Blobs, find_blobs
from napari_marrow.tracking.candidates import FrameTree
from napari_marrow.tracking.cell_cycle import ages, log_readiness
from napari_marrow.tracking.chains import Chains, build_chains, no_chains, without_future
from napari_marrow.tracking.division_geometry import Heading, heading
from napari_marrow.tracking.divisions import (
    DivisionModel,
    Triples,
    division_log_ratio,
    first_division_model,
    fit_divisions,
    join_triples,
    lives,
    no_triples,
    onset_change,
    propose,
)
from napari_marrow.tracking.drift import steady_shifts, sudden_shifts, without
from napari_marrow.tracking.exchanges import exchange
from napari_marrow.tracking.hypotheses import Links, Solution, no_links
from napari_marrow.tracking.matching import assign, assign_forward
from napari_marrow.tracking.motion import MotionModel, first_motion, fit_motion
from napari_marrow.tracking.points import Detections, Floats, Ints, local_spacing, nearest_neighbour
from napari_marrow.tracking.posterior import link_marginals
from napari_marrow.tracking.rates import Rates, first_rates, fit_rates
from napari_marrow.tracking.settings import TrackingSettings
from napari_marrow.tracking.speeds import SpeedModel, fit_speeds
from napari_marrow.tracking.threads import in_parts

_SAMPLE = 12_000
_NEIGHBOURS = 3
_AT_ONCE = 125_000  # detections whose candidates are weighed at once: bounds the memory
_HOPELESS = -7.0  # gain below which a candidate is neither chosen nor a rival
_FIRST_TRUST = 0.8  # in links of the first assignments, whose probabilities are not known yet


@dataclass
class Learner:
    """State of the learning; every round replaces the parts it learns anew.

    `chains` is what links are scored with, `full` what divisions are scored with: in rounds that look at the past only
    they differ.
    """

    detections: Detections
    settings: TrackingSettings
    spacing: Floats
    density: Floats
    chains: Chains
    full: Chains
    motion: MotionModel
    rates: Rates
    appearance: AppearanceModel | None = None
    speeds: SpeedModel | None = None
    division: DivisionModel | None = None
    blobs: Blobs | None = None
    life: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    change: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    age: Floats = field(default_factory=lambda: np.zeros(0))
    beside: tuple[Ints, Ints] = field(default_factory=lambda: (np.zeros(0, np.int64), np.zeros(0, np.int64)))

    @property
    def time(self) -> Floats:
        """Time of every detection in frame intervals."""
        return np.asarray(self.detections.time[self.detections.frame])

    @property
    def before(self) -> Heading:
        """How every detection moved up to here."""
        return heading(self.detections, self.full, self.motion)

    def log_ratio(self, i: Ints, j: Ints) -> Floats:
        """Log-likelihood ratio of "the same cell" against "another cell"."""
        duration = self.time[j] - self.time[i]
        out = self.motion.pair_log_density(self.detections, self.chains, i, j, duration) - np.log(self.density[j])
        if self.appearance is not None:
            out = out + self.appearance.log_ratio(self.chains, i, j, duration)
        if self.speeds is not None:
            out = out + self.speeds.log_ratio(i, j)
        return np.asarray(out)

    def candidate_links(self, max_gap: int) -> Links:
        """Candidates for every gap with their gains."""
        x, frame, time = self.detections.xyz, self.detections.frame, self.detections.time
        longest = _longest(time, max_gap)
        fixed = self.settings.search_radius
        every = np.arange(self.detections.n)
        parts: list[Links] = []
        widest = fixed or float(self.motion.limit(every, np.full(len(every), max(1.0, longest))).max(initial=0.0))
        tree = FrameTree(self.detections, widest)
        for gap in range(1, min(max_gap, self.detections.n_frames - 1) + 1):
            duration = _durations(time, gap)[frame]
            predicted = x + self.motion.ahead(self.chains, duration)
            k = self.settings.candidates if gap == 1 else max(self.settings.candidates - 2, 2)

            def weighed(
                rows: Ints, gap: int = gap, k: int = k, predicted: Floats = predicted, duration: Floats = duration
            ) -> Links:
                i, j, distance = tree.pairs(gap, k, predicted, rows=rows)
                limit = np.full(len(i), fixed) if fixed else self.motion.limit(i, np.maximum(duration[i], 1.0))
                i, j = i[distance <= limit], j[distance <= limit]
                base = self.rates.link_gain(i, j, gap)
                if self.blobs is not None:
                    base = base + self.blobs.gain(i, j)
                gain = self.log_ratio(i, j) + base
                keep = gain > _HOPELESS
                return Links(i[keep], j[keep], np.full(int(keep.sum()), gap), gain[keep])

            parts += in_parts(weighed, _row_blocks(self.detections.n))
        if not parts:
            return no_links()
        columns = [[getattr(part, name) for part in parts] for name in ("i", "j", "gap", "gain")]
        parts.clear()
        return Links(*(_emptied(column) for column in columns))

    def candidate_divisions(self) -> tuple[Triples, Floats]:
        """Candidate divisions with their gains."""
        if self.division is None:
            return no_triples(), np.zeros(0)
        tree = FrameTree(self.detections, self.division.geometry.reach * 1.5)
        before, k = self.before, self.settings.candidates

        def weighed(rows: Ints) -> tuple[Triples, Floats]:
            assert self.division is not None
            triples = propose(self.detections, tree, self.division, before, k, rows)
            gain = self.triple_gain(triples, before)
            return triples.take(gain > _HOPELESS), gain[gain > _HOPELESS]

        found = [(no_triples(), np.zeros(0)), *in_parts(weighed, _row_blocks(self.detections.n))]
        return join_triples([triples for triples, _ in found]), np.concatenate([gain for _, gain in found])

    def triple_gain(self, triples: Triples, before: Heading) -> Floats:
        """Gain of divisions over leaving the mother and both daughters open."""
        assert self.division is not None
        ratio = division_log_ratio(
            self.detections,
            self.full,
            triples,
            self.division,
            self.density,
            self.appearance,
            self.life,
            self.change,
            before,
        )
        if len(self.age):
            ratio = ratio + log_readiness(self.age[triples.mother], self.division.rate)
        return ratio + self.rates.division_gain(triples, self.division.rate)


def _emptied(column: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return the parts of a column as one, and give the parts back: of a large data set they are a gigabyte."""
    whole = np.concatenate(column)
    column.clear()
    return whole


def _row_blocks(n: int) -> list[Ints]:
    """Return the rows 0..n in blocks: their number bounds the memory."""
    return [np.arange(low, min(low + _AT_ONCE, n)) for low in range(0, n, _AT_ONCE)]


def _durations(time: Floats, gap: int) -> Floats:
    """Time from every frame to the one `gap` frames later (the last ones get 1)."""
    out = np.ones(len(time))
    out[: len(time) - gap] = time[gap:] - time[:-gap]
    return out


def _longest(time: Floats, gap: int) -> float:
    gap = min(gap, len(time) - 1)
    return float(np.max(time[gap:] - time[:-gap])) if gap > 0 else 1.0


def start(detections: Detections, settings: TrackingSettings) -> Learner:
    """Learn displacements from mutual nearest neighbours, then displacement and appearance from assignments."""
    spacing, density = local_spacing(detections)
    i, j, distance = _mutual_neighbours(detections)
    motion = first_motion(detections, distance**2, spacing)
    if settings.drift and len(i):
        jumps = sudden_shifts(detections, float(motion.sigma[0, 1]), float(np.median(spacing)))
        if jumps.any():
            detections = without(detections, jumps)
            i, j, distance = _mutual_neighbours(detections)
            motion = first_motion(detections, distance**2, spacing)
    learner = Learner(
        detections,
        settings,
        spacing,
        density,
        no_chains(detections),
        no_chains(detections),
        motion,
        first_rates(detections, settings.max_gap),
        life=np.zeros(detections.n, np.int64),
        change=np.full(detections.features.shape, np.nan),
        beside=_neighbours(detections),
    )
    for _ in range(3):
        links = learner.candidate_links(1)
        chosen = assign(detections.n, links.i, links.j, links.gain)
        i, j = links.i[chosen], links.j[chosen]
        if len(i) == 0:
            break
        learner.motion = fit_motion(detections, learner.chains, i, j, spacing, second_order=False)
        if detections.features.shape[1]:
            learner.appearance = fit_appearance(
                detections.features, learner.chains, i, j, learner.time[j] - learner.time[i]
            )
    if settings.drift and len(i):
        learner.detections = without(learner.detections, steady_shifts(learner.detections, i, j))
    _learn(learner, i, j, np.full(len(i), _FIRST_TRUST), causal=settings.rounds >= 2)
    return learner


def _mutual_neighbours(detections: Detections) -> tuple[Ints, Ints, Floats]:
    """Pairs of neighbouring frames in which each is the other's nearest."""
    extent = float(np.ptp(detections.xyz, axis=0).max()) if detections.n else 1.0
    reach = 2 * max(extent, 1e-9) * np.sqrt(detections.ndim)
    tree = FrameTree(detections, reach)
    i, j, distance = tree.pairs(1, 1, detections.xyz)
    j_back, i_back, _ = tree.pairs(-1, 1, detections.xyz, rows=np.flatnonzero(detections.frame > 0))
    nearest = np.full(detections.n, -1, np.int64)
    nearest[j_back] = i_back
    mutual = nearest[j] == i
    return i[mutual], j[mutual], distance[mutual]


def _neighbours(detections: Detections) -> tuple[Ints, Ints]:
    """Pair detections, a sample of those of large data sets, with their nearest ones of the same frame."""
    rows = np.unique(np.linspace(0, detections.n - 1, _SAMPLE).astype(np.int64))
    extent = float(np.ptp(detections.xyz, axis=0).max()) if detections.n else 1.0
    tree = FrameTree(detections, 2 * max(extent, 1e-9) * np.sqrt(detections.ndim))
    i, k, _ = tree.pairs(0, _NEIGHBOURS + 1, detections.xyz, rows=rows)
    return i[i != k], k[i != k]


def _learn(learner: Learner, i: Ints, j: Ints, probability: Floats, *, causal: bool = False) -> None:
    """Refit everything but divisions from links (no division edges among them)."""
    detections, settings = learner.detections, learner.settings
    shared = learner.blobs.shared if learner.blobs is not None else None
    learner.chains = learner.full  # frees those of the past alone
    learner.full = build_chains(detections, i, j, probability, shared=shared)
    learner.chains = without_future(detections, learner.full, shared=shared) if causal else learner.full
    one = detections.frame[j] - detections.frame[i] == 1
    if not one.any():
        return
    learner.motion = fit_motion(
        detections, learner.chains, i[one], j[one], learner.spacing, second_order=settings.second_order
    )
    if detections.features.shape[1]:
        learner.appearance = fit_appearance(
            detections.features, learner.chains, i[one], j[one], learner.time[j[one]] - learner.time[i[one]]
        )
    learner.speeds = None
    if settings.second_order and not causal:
        at, beside = learner.beside
        after = learner.full.following[beside]
        near = (after >= 0) & (detections.frame[np.maximum(after, 0)] - detections.frame[at] == 1)
        learner.speeds = fit_speeds(
            learner.full, learner.motion.crowding, learner.motion.speed, (i[one], j[one]), (at[near], after[near])
        )
    learner.life = lives(detections, learner.full)
    learner.change = onset_change(detections, learner.full)


def _contact_distance(learner: Learner) -> float:
    """How far two young cells lie apart: the nearest neighbours of tracks that begin amid the movie."""
    detections, chains = learner.detections, learner.chains
    near = nearest_neighbour(detections)
    born = (chains.previous < 0) & (detections.frame > 0) & (chains.future_count >= 3) & np.isfinite(near)
    usual = float(np.quantile(near[np.isfinite(near)], 0.2)) if np.isfinite(near).any() else 1.0
    if born.sum() < 4:
        return max(usual, 1e-9)
    return max(float(np.quantile(near[born], 0.4)), 1e-9)


def solve(
    detections: Detections, settings: TrackingSettings, *, progress: Progress, cancel: CancelToken
) -> tuple[Solution, Learner]:
    """Learn and solve in rounds.

    Parameters
    ----------
    detections : Detections
        At least two frames.
    settings : TrackingSettings
    progress : Progress
    cancel : CancelToken

    Returns
    -------
    Solution
    Learner
        With the learned models.
    """
    total = settings.rounds + 2
    progress(0, total, "learning displacements")
    learner = start(detections, settings)
    detections = learner.detections
    if settings.divisions:
        step = float(np.median(learner.motion.sigma[:, 0]))
        learner.division = first_division_model(
            detections, learner.appearance, _contact_distance(learner), step, settings.division_rate
        )
    solution: Solution | None = None
    for done in range(settings.rounds):
        cancel.raise_if_cancelled()
        progress(done + 1, total, "linking")
        solution = None  # its candidates need not stand beside the new ones
        # Rounds that know the past only come first: two swaps in a row vouch for each other once the future counts as
        # well.
        solution = _round(learner, causal=done + 1 < settings.rounds // 2, last=done + 1 == settings.rounds)
    assert solution is not None
    cancel.raise_if_cancelled()
    progress(total - 1, total, "late daughters")
    solution = _late_daughters(learner, solution)
    progress(total, total, "tracked")
    return solution, learner


def _round(learner: Learner, *, causal: bool, last: bool) -> Solution:
    """Solve all frames in one forward pass, then learn anew (`causal`: for a round that looks at the past only)."""
    detections, settings = learner.detections, learner.settings
    links = learner.candidate_links(settings.max_gap)
    triples, gain = learner.candidate_divisions()
    frame = detections.frame
    chosen, divided = assign_forward(
        detections.n,
        (links.i, links.j, links.gain, frame[links.j]),
        (triples.mother, triples.first, triples.second, gain, frame[triples.first]),
    )
    solution = Solution(
        links, triples, gain, np.flatnonzero(chosen), np.flatnonzero(divided), no_triples(), np.zeros(0)
    )
    if last:
        solution = exchange(detections.n, solution, links.gain + learner.rates.over_later(links.gap))
    i, j, divisions = solution.i, solution.j, solution.divisions
    chances = link_marginals(detections.n, solution)
    if settings.blobs:
        shared = learner.blobs.shared if learner.blobs is not None else None
        chains = build_chains(detections, i, j, chances, shared=shared)
        trust = np.zeros(detections.n)
        trust[j] = chances
        learner.blobs = find_blobs(detections, chains, links, learner.motion, trust)
        del chains
    _learn(learner, i, j, chances, causal=causal)
    learner.rates = fit_rates(detections, i, j, divisions, learner.motion, settings.max_gap)
    if learner.division is not None:
        learner.age = ages(detections, learner.full, divisions)
        rate = np.clip((len(divisions) + 1) / max(detections.n, 1), 2e-4, 0.05)
        learner.division = fit_divisions(
            detections, learner.full, divisions, learner.division, learner.life, learner.change, learner.before
        ).with_rate(float(rate))
    return solution


def _late_daughters(learner: Learner, solution: Solution) -> Solution:
    """Give open starts to mothers whose first daughter is linked already: in the same frame or a frame later."""
    if learner.division is None:
        return solution
    detections, chains = learner.detections, learner.full
    taken = np.zeros(detections.n, bool)
    for part in (solution.divisions.first, solution.divisions.second, solution.j):
        taken[part] = True
    open_start = ~taken & (detections.frame > 0)
    divided = np.zeros(detections.n, bool)
    divided[solution.divisions.mother] = True
    tree = FrameTree(detections, learner.division.geometry.reach, rows=open_start)
    rows = np.flatnonzero((chains.following >= 0) & ~divided)
    before = learner.before
    found, gains = [], []
    for gap in (1, 2):
        i, k, _ = tree.pairs(gap, learner.settings.candidates, detections.xyz, rows=rows)
        first = chains.following[i]
        j = first if gap == 1 else np.where(first >= 0, chains.following[first], -1)
        keep = (j >= 0) & (detections.frame[np.maximum(j, 0)] == detections.frame[k])
        triples = Triples(i[keep], j[keep], k[keep])
        gain = learner.triple_gain(triples, before) - learner.rates.link_gain(triples.mother, first[keep], 1)
        gain -= learner.log_ratio(triples.mother, first[keep])
        found.append(Triples(triples.mother, first[keep], triples.second))
        gains.append(gain + (0.0 if gap == 1 else np.log(0.1)))
    late = join_triples(found)
    gain = np.concatenate(gains)
    chosen = assign(detections.n, late.mother, late.second, gain)
    return replace(solution, late=late.take(chosen), late_gain=gain[chosen])
