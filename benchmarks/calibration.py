"""Reliability of link and division probabilities on held simulated seeds and on real truth, with a figure.

Usage: ``python benchmarks/calibration.py [--seeds 1] [--sets NAME ...] [--data FOLDER] [--fit]
[--figure docs/images/link_reliability.png]``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from napari_marrow.progress import CancelToken, no_progress
from napari_marrow.tracking import TrackingSettings, track_points
from napari_marrow.tracking.points import read_points
from napari_marrow.tracking.posterior import lonely_detections, posterior
from napari_marrow.tracking.reliability import division_evidence, link_evidence, usual_division, usual_link
from napari_marrow.tracking.scores import links_of
from napari_marrow.tracking.solver import solve
from tracking import DATA, real_sets
from tracking_simulator import SETS, simulate

_BINS = 15
_FIRST_SEED = 900  # no other script and no test uses these
_MEASURED = ["area", "intensity"]
_HELD: list[tuple[str, list[str], int]] = [
    ("tiny", _MEASURED, 48), ("sparse", _MEASURED, 12), ("slow", _MEASURED, 3), ("crowded", _MEASURED, 3),
    ("sparse", [], 2), ("slow", [], 2),
]  # fmt: skip
"""Sets, what is measured beside places, and how many seeds."""
_HELD_NAMES = list(dict.fromkeys(name for name, _, _ in _HELD))


@dataclass
class Judged:
    """Probabilities of decisions, and whether each was right; decisions of one `group` stand and fall together."""

    probability: np.ndarray
    right: np.ndarray
    group: np.ndarray

    def join(self, other: Judged) -> Judged:
        """Pool two sets."""
        group = np.r_[self.group, other.group + self.group.max(initial=-1) + 1]
        return Judged(np.r_[self.probability, other.probability], np.r_[self.right, other.right], group)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean distance of frequency and probability, over bins of equal width."""
        bins = np.minimum((self.probability * _BINS).astype(int), _BINS - 1)
        off = np.bincount(bins, self.right, _BINS) - np.bincount(bins, self.probability, _BINS)
        return float(np.abs(off).sum() / max(len(bins), 1))

    @property
    def by_chance(self) -> float:
        """Calibration error of probabilities that are true, in samples of this size (mean of 50 draws).

        The two daughters of a division are right or wrong together, as they nearly always are.
        """
        rng, groups = np.random.default_rng(0), int(self.group.max(initial=-1)) + 1
        drawn = [
            Judged(self.probability, rng.random(groups)[self.group] < self.probability, self.group) for _ in range(50)
        ]
        return float(np.mean([one.calibration_error for one in drawn]))

    @property
    def area(self) -> float:
        """Area under the curve: chance that a right decision has the larger probability than a wrong one."""
        order = np.argsort(self.probability, kind="stable")
        p, right = self.probability[order], self.right[order]
        _, first, count = np.unique(p, return_index=True, return_counts=True)
        rank = np.repeat(first + 0.5 * (count + 1), count)
        n_right, n_wrong = right.sum(), (~right).sum()
        if n_right == 0 or n_wrong == 0:
            return float("nan")
        return float((rank[right].sum() - n_right * (n_right + 1) / 2) / (n_right * n_wrong))

    def errors_shown(self, share: float) -> float:
        """Share of the wrong decisions among the least certain ones."""
        order = np.argsort(self.probability, kind="stable")[: round(share * len(self.right))]
        return float((~self.right[order]).sum() / max((~self.right).sum(), 1))


def judge(truth: pd.DataFrame, features: list[str]) -> tuple[Judged, Judged]:
    """Track one set and judge its links and its divisions."""
    edges = track_points(truth[["t", "y", "x", *features]]).edges
    t, track = truth["t"].to_numpy(), truth["track_id"].to_numpy()
    within, born = links_of(t, track, truth["parent_track_id"].to_numpy())
    true = np.concatenate([within, born])
    true = true[t[true[:, 1]] - t[true[:, 0]] <= 3]
    n = len(t)
    key = edges["parent_row"].to_numpy() * n + edges["child_row"].to_numpy()
    right = np.isin(key, true[:, 0] * n + true[:, 1])
    p = edges["probability"].to_numpy()
    # a link between two false detections has no truth: debris that stays is followed as well as a cell
    known = (track[edges["parent_row"]] > 0) | (track[edges["child_row"]] > 0)
    division = (edges["kind"] == "division").to_numpy()
    links, divisions = known & ~division, known & division
    mother = np.unique(edges["parent_row"].to_numpy()[divisions], return_inverse=True)[1]
    return (
        Judged(p[links], right[links], np.arange(np.count_nonzero(links))),
        Judged(p[divisions], right[divisions], mother),
    )


def line(name: str, links: Judged, divisions: Judged) -> str:
    """One row of the table."""
    wrong = float((~links.right).mean())
    return (
        f"| {name} | {len(links.right)} | {100 * wrong:.2f} % | {links.calibration_error:.3f} | {links.area:.3f} | "
        f"{100 * links.errors_shown(0.05):.0f} % | {100 * links.errors_shown(0.1):.0f} % | {len(divisions.right)} | "
        f"{divisions.calibration_error:.3f} | {divisions.by_chance:.3f} |"
    )


def draw(sets: dict[str, tuple[Judged, Judged]], path: Path) -> None:
    """Reliability diagram: frequency of right decisions against their probability, with the counts below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True, height_ratios=(3, 1), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(sets)))
    for column, title in enumerate(("links", "divisions")):
        top, bottom = axes[:, column]
        top.plot([0, 1], [0, 1], color="0.7", lw=1)
        for (name, judged), colour in zip(sets.items(), colours, strict=True):
            one = judged[column]
            bins = np.minimum((one.probability * 10).astype(int), 9)
            count = np.bincount(bins, minlength=10)
            there = count >= 10
            p = np.bincount(bins, one.probability, 10)[there] / count[there]
            f = np.bincount(bins, one.right, 10)[there] / count[there]
            top.errorbar(
                p, f, np.sqrt(np.maximum(f * (1 - f), 0.01) / count[there]), marker="o", ms=4, lw=1.2, color=colour,
                label=name,
            )  # fmt: skip
            bottom.step(np.linspace(0.05, 0.95, 10), np.maximum(count, 0.5), where="mid", color=colour, lw=1.2)
        top.set(title=title, ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
        bottom.set(xlabel="probability", ylabel="number", yscale="log")
    axes[0, 0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


@dataclass
class Evidence:
    """What the probability of decisions is logistic in, and whether each was right."""

    columns: np.ndarray
    right: np.ndarray


def evidence(truth: pd.DataFrame, features: list[str]) -> tuple[Evidence, Evidence]:
    """Track one set and return what the calibration of links and of divisions is fitted to."""
    detections = read_points(truth[["t", "y", "x", *features]], TrackingSettings())
    solution, _ = solve(detections, TrackingSettings(), progress=no_progress, cancel=CancelToken())
    chances = posterior(detections.n, solution, calibrated=False)
    t, track = truth["t"].to_numpy(), truth["track_id"].to_numpy()
    true = np.concatenate(links_of(t, track, truth["parent_track_id"].to_numpy()))
    true = true[t[true[:, 1]] - t[true[:, 0]] <= 3]
    n, order, divisions, late = len(t), detections.order, solution.divisions, solution.late

    def judged(parent: np.ndarray, child: np.ndarray, columns: np.ndarray) -> Evidence:
        known = (track[order[parent]] > 0) | (track[order[child]] > 0)
        right = np.isin(order[parent] * n + order[child], true[:, 0] * n + true[:, 1])
        return Evidence(columns[known], right[known])

    daughters = np.concatenate([divisions.first, divisions.second, late.second])
    mothers = np.concatenate([divisions.mother, divisions.mother, late.mother])
    linked, divided = _log_odds(chances.links), _log_odds(np.concatenate([*chances.divisions.T, chances.late]))
    return (
        judged(solution.i, solution.j, link_evidence(linked, usual_link(linked))),
        judged(mothers, daughters, division_evidence(divided, usual_division(divided), lonely_detections(n, solution))),
    )


def _log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-15, 1 - 1e-15)
    return np.log(p / (1 - p))


_TIDY = {"missed": 0.002, "merged": 0.0, "merged_sisters": 0.0, "broken": 0.0, "specks": 0.0, "debris": 0.0}
"""Detections nearly without errors."""


def fit() -> None:
    """Print the numbers of `napari_marrow.tracking.reliability`; every kind of set counts alike for links.

    For divisions a kind counts by the root of their number: small sets have few.
    """
    fields = SETS | {
        "slow": replace(SETS["slow"], cells=250),
        "crowded": replace(SETS["crowded"], cells=300, frames=60),
        "tiny, tidy": replace(SETS["tiny"], **_TIDY),
    }
    fields["slow, tidy"] = replace(fields["slow"], **_TIDY)
    both, first = ["area", "intensity"], _FIRST_SEED - 100
    kinds = [("tiny", both, 24), ("sparse", both, 6), ("slow", both, 6), ("crowded", both, 8), ("tiny", [], 8)]
    kinds += [
        ("sparse", [], 2),
        ("slow", [], 4),
        ("tiny, tidy", both, 8),
        ("tiny, tidy", [], 8),
        ("slow, tidy", both, 3),
    ]
    links, divisions = [], []
    for name, features, seeds in kinds:
        sets = [evidence(simulate(fields[name], first + k), features) for k in range(seeds)]
        many, few = (sum(len(one[kind].right) for one in sets) for kind in (0, 1))
        if "tidy" not in name:
            links += [(one.right, one.columns, np.full(len(one.right), 1 / many)) for one, _ in sets]
        divisions += [(one.right, one.columns, np.full(len(one.right), few**-0.5)) for _, one in sets]
        print(f"{name}{'' if features else ', positions'}: {many} links, {few} division edges", flush=True)
    print("links: offset, slope, per usual", *_fitted(links))
    print("divisions: offset, slope, per log usual, slope per log usual, per lonely", *_fitted(divisions))


def _fitted(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[float]:
    """Logistic regression on (right, columns, weight)."""
    right, columns, weight = (np.concatenate(each) for each in zip(*parts, strict=True))
    sign, weight = 2.0 * right - 1, weight / weight.sum()

    def loss(found: np.ndarray) -> float:
        return float((weight * np.logaddexp(0, -sign * (columns @ found))).sum())

    return [round(float(value), 3) for value in minimize(loss, np.zeros(columns.shape[1])).x]


def _pooled(parts: list[tuple[Judged, Judged]]) -> tuple[Judged, Judged]:
    links, divisions = parts[0]
    for more in parts[1:]:
        links, divisions = links.join(more[0]), divisions.join(more[1])
    return links, divisions


def _simulated(names: list[str], times: int) -> dict[str, tuple[Judged, Judged]]:
    """Judge held seeds of these sets, with and without measurements, and print a row of each and of all."""
    shown: dict[str, tuple[Judged, Judged]] = {}
    both: list[tuple[Judged, Judged]] = []
    for name, features, seeds in _HELD:
        if name not in names:
            continue
        said = f"simulated, {name}" + ("" if features else ", positions")
        parts = [judge(simulate(SETS[name], _FIRST_SEED + k), features) for k in range(seeds * times)]
        shown[said] = _pooled(parts)
        print(line(said, *shown[said]), flush=True)
        both += parts if features else []
    if both:
        print(line("simulated with measurements, pooled", *_pooled(both)), flush=True)
    return shown


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="of each large set; smaller ones get more")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=[*_HELD_NAMES, "real"], help="only these")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--fit", action="store_true", help="fit the calibration on training seeds instead")
    options = parser.parse_args()
    if options.fit:
        fit()
        return
    print(
        "| set | links | wrong | calibration error | area | 5 % show | 10 % show | division edges | calibration error "
        "| by chance |"
    )
    print("|---" * 10 + "|")
    wanted = options.sets or [*_HELD_NAMES, "real"]
    shown = _simulated([name for name in wanted if name != "real"], options.seeds)
    real = real_sets(options.data) if "real" in wanted else {}
    pooled = {name: judge(table, features) for name, (table, features) in real.items()}
    for name, judged in pooled.items():
        print(line(name, *judged), flush=True)
    if pooled:
        shown["real truth"] = _pooled(list(pooled.values()))
        print(line("real truth, pooled", *shown["real truth"]))
    elif "real" in wanted:
        print(f"No real sets in {options.data}.")
    if options.figure:
        draw(shown, options.figure)


if __name__ == "__main__":
    main()
