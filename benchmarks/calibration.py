"""Reliability of link and division probabilities on held simulated seeds and on real truth, with a figure.

Usage: ``python benchmarks/calibration.py [--seeds 2] [--data FOLDER] [--fit]
[--figure docs/images/link_reliability.png]``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.tracking import track_points
from napari_marrow.tracking.scores import links_of
from tracking import DATA, real_sets
from tracking_simulator import SETS, simulate

_BINS = 15
_FIRST_SEED = 900  # no other script and no test uses these


@dataclass
class Judged:
    """Probabilities of decisions, and whether each was right."""

    probability: np.ndarray
    right: np.ndarray

    def join(self, other: Judged) -> Judged:
        """Pool two sets."""
        return Judged(np.r_[self.probability, other.probability], np.r_[self.right, other.right])

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean distance of frequency and probability, over bins of equal width."""
        bins = np.minimum((self.probability * _BINS).astype(int), _BINS - 1)
        off = np.bincount(bins, self.right, _BINS) - np.bincount(bins, self.probability, _BINS)
        return float(np.abs(off).sum() / max(len(bins), 1))

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
    return Judged(p[known & ~division], right[known & ~division]), Judged(p[known & division], right[known & division])


def line(name: str, links: Judged, divisions: Judged) -> str:
    """One row of the table."""
    wrong = float((~links.right).mean())
    return (
        f"| {name} | {len(links.right)} | {100 * wrong:.2f} % | {links.calibration_error:.3f} | {links.area:.3f} | "
        f"{100 * links.errors_shown(0.05):.0f} % | {100 * links.errors_shown(0.1):.0f} % | {len(divisions.right)} | "
        f"{divisions.calibration_error:.3f} |"
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


def fit(seeds: range) -> None:
    """Print the logistic calibration that fits best on other seeds, given what the package has now."""
    from scipy.optimize import minimize

    parts = [judge(simulate(SETS[name], seed), ["area", "intensity"]) for name in ("tiny", "sparse") for seed in seeds]
    parts.append(judge(simulate(SETS["slow"], seeds.start), ["area", "intensity"]))
    for column, kind in enumerate(("links", "divisions")):
        p = np.clip(np.concatenate([part[column].probability for part in parts]), 1e-12, 1 - 1e-12)
        sign = 2.0 * np.concatenate([part[column].right for part in parts]) - 1
        z = np.log(p / (1 - p))
        found = minimize(lambda w, z=z, sign=sign: np.logaddexp(0, -sign * (w[0] * z + w[1])).mean(), [1.0, 0.0]).x
        print(f"{kind}: slope {found[0]:.3f} and offset {found[1]:.3f} on top of what stands (1 and 0: calibrated)")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--fit", action="store_true", help="fit the calibration on training seeds instead")
    options = parser.parse_args()
    if options.fit:
        fit(range(_FIRST_SEED - 100, _FIRST_SEED - 100 + options.seeds))
        return
    print(
        "| set | links | wrong | calibration error | area | 5 % show | 10 % show | division edges | calibration error |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    shown: dict[str, tuple[Judged, Judged]] = {}
    for name in ("tiny", "sparse", "slow"):
        parts = [
            judge(simulate(SETS[name], seed), ["area", "intensity"])
            for seed in range(_FIRST_SEED, _FIRST_SEED + (options.seeds if name != "slow" else 1))
        ]
        links, divisions = parts[0]
        for more in parts[1:]:
            links, divisions = links.join(more[0]), divisions.join(more[1])
        shown[f"simulated, {name}"] = links, divisions
        print(line(f"simulated, {name}", links, divisions), flush=True)
    pooled: list[tuple[Judged, Judged]] = []
    for name, (table, features) in real_sets(options.data).items():
        links, divisions = judge(table, features)
        pooled.append((links, divisions))
        print(line(name, links, divisions), flush=True)
    if pooled:
        links, divisions = pooled[0]
        for more in pooled[1:]:
            links, divisions = links.join(more[0]), divisions.join(more[1])
        shown["real truth"] = links, divisions
        print(line("real truth, pooled", links, divisions))
    else:
        print(f"No real sets in {options.data}.")
    if options.figure:
        draw(shown, options.figure)


if __name__ == "__main__":
    main()
