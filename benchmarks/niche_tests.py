"""How often every test of niche structure rejects, and every interval holds, where nothing is going on.

    python benchmarks/niche_tests.py [--studies 400] [--organoids 8]

Each study has organoids whose cells clump, whose classes, marks, vessels and markers are independent of all else. A
test of one organoid compares it with its null model; over organoids the values minus their nulls are tested by flipping
signs, as the step *niche_over_time* does.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_marrow.niche import (
    length_density_interval,
    mark_correlation,
    neighbour_pairs,
    neighbourhood_enrichment,
    niche_dwell,
    proximity_effect,
    ratio_interval,
    read_at,
    relabelled_cross_l,
    selection_index,
    set_covariance,
    signed_distance,
    surface_coverage,
    tissue_blocks,
    uniform_cross_l,
    uniform_positions,
    vessel_remodelling,
)
from napari_marrow.niche.null_models import monte_carlo_p
from napari_marrow.niche.orientation import isotropic_anisotropies, orientation_tensor
from napari_marrow.statistics import trends, unit_mean
from niche import window_of

SIDE = 160.0
PIXEL = (1.0, 1.0)
R = 20
"""µm: where L is read."""
Found = dict[str, tuple[float, float]]
"""Per test: what the value is above its null, and the p of this organoid alone."""


def clumped(window: np.ndarray, rng: np.random.Generator, n: int = 220) -> np.ndarray:
    """Return points around a few centres, inside the window."""
    centres = uniform_positions(window, PIXEL, 25, rng)
    points = centres[rng.integers(0, 25, 4 * n)] + rng.normal(0, 8, (4 * n, 2))
    at = np.round(points).astype(int)
    held = ((at >= 0) & (at < window.shape)).all(axis=1)
    held[held] = window[tuple(at[held].T)]
    return points[held][:n]


def lines(rng: np.random.Generator, sigma: float = 6.0, share: float = 0.08) -> np.ndarray:
    """Return winding lines, the zeros of a random field."""
    field = ndimage.gaussian_filter(rng.normal(size=(int(SIDE), int(SIDE))), sigma, mode="wrap")
    return np.abs(field) < np.quantile(np.abs(field), share)


def organoid(rng: np.random.Generator, window: np.ndarray, covariance: object, n_simulations: int) -> Found:
    """Test one organoid in which nothing is going on."""
    seed = int(rng.integers(1 << 31))
    points = clumped(window, rng)
    classes = rng.choice(["a", "b", "c"], len(points), p=[0.3, 0.2, 0.5])
    a, b = classes == "a", classes == "b"
    found: Found = {}
    vessel = lines(rng)
    field = signed_distance(vessel, PIXEL)
    d = read_at(field, points, PIXEL)
    near = proximity_effect(d, a, r_max=40, n_r=41, n_simulations=n_simulations, seed=seed)
    found["proximity to vessels"] = near.effect, near.p_value
    inside = signed_distance(vessel, PIXEL)[window] <= 10
    used = selection_index(
        (d > 10).astype(int), a, [inside.sum(), (~inside).sum()], n_simulations=n_simulations, seed=seed
    )
    found["selection of a compartment"] = float(used.index[0] - used.null_mean[0]), float(used.p_value[0])
    pairs = neighbour_pairs(points, 15.0)
    mix = neighbourhood_enrichment(classes, pairs, n_simulations=n_simulations, seed=seed)
    found["neighbours within a class"] = float(mix.z[0, 0]), float(mix.p_value[0, 0])
    found["neighbours of two classes"] = float(mix.z[0, 1]), float(mix.p_value[0, 1])
    for name, (first, second) in {"one class": (a, a), "two classes": (a, b)}.items():
        cross = relabelled_cross_l(points, first, second, covariance, n_simulations=n_simulations, seed=seed, n_r=30)
        at = int(np.argmin(np.abs(cross.r - R)))
        found[f"cross L of {name}, whole curve"] = float(cross.l[at] - cross.l_null[at]), cross.p_value
        found[f"cross g of {name}, whole curve"] = np.nan, cross.g_p_value  # its values are not tested over organoids
    scattered = uniform_positions(window, PIXEL, 150, rng)
    random = uniform_cross_l(scattered, window, PIXEL, covariance, n_simulations=39, seed=seed, n_r=30)
    at = int(np.argmin(np.abs(random.r - R)))
    found["L against random places"] = float(random.l[at] - random.l_null[at]), random.p_value
    marks = rng.gamma(4.0, 50.0, len(points))
    marked = mark_correlation(points, marks, covariance, PIXEL, n_r=30, n_simulations=n_simulations, seed=seed)
    found["mark correlation, whole curve"] = float(marked.correlation[at] - 1), marked.p_value
    length = rng.gamma(2.0, 20.0, 15)
    angle = rng.uniform(0, np.pi, 15)
    directed = orientation_tensor(length[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)).anisotropy
    null = isotropic_anisotropies(length, 2, n_simulations=n_simulations, seed=seed)
    found["orientation of vessels"] = float(directed - null.mean()), monte_carlo_p(directed, null)
    cover = surface_coverage(vessel, lines(rng, 4.0, 0.2), PIXEL, delta=3.0, n_simulations=39, seed=seed)
    found["coverage of vessels"] = cover.fraction - cover.null_mean, cover.p_value
    return found


def sizes(n_studies: int, n_organoids: int, n_simulations: int = 99) -> None:
    """Print the share of null studies, and of single null organoids, that each test rejects at .05."""
    window = window_of(PIXEL, SIDE)
    covariance = set_covariance(window, PIXEL, 30.0)
    alone, together = defaultdict(list), defaultdict(list)
    for k in range(n_studies):
        rng = np.random.default_rng([21, k])
        organoids = [organoid(rng, window, covariance, n_simulations) for _ in range(n_organoids)]
        for name in organoids[0]:
            values = np.array([found[name][0] for found in organoids])
            if np.isfinite(values).any():
                together[name].append(unit_mean(values).p_value <= 0.05)
            alone[name] += [found[name][1] <= 0.05 for found in organoids]
        weeks = pd.DataFrame(
            {"organoid": np.repeat(np.arange(n_organoids), 4), "time_h": np.tile(np.arange(4) * 168.0, n_organoids)}
        )
        level = np.repeat(rng.normal(0, 1, n_organoids), 4)
        weeks["value"] = level + np.concatenate([rng.normal(0, 0.5, 4).cumsum() for _ in range(n_organoids)])
        slope = trends(weeks.assign(condition="a"), ["condition"]).iloc[0]
        together["change over weeks"].append(slope["p_value"] <= 0.05)
    error = np.sqrt(0.05 * 0.95 / n_studies)
    print(f"rejected at .05 (nominal .05 ± {error:.3f}): n = {n_organoids} organoids   one organoid   studies")
    for name in [*alone, "change over weeks"]:
        share = [f"{np.mean(part[name]):.3f}" if part[name] else "     " for part in (together, alone)]
        print(f"{name:38s} {share[0]}                    {share[1]}          {n_studies}")


def _pieces(rng: np.random.Generator, n: int, size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return middles, lengths and branch of the pieces of n straight branches, of a stationary process."""
    middle, angle = rng.uniform(-100, size + 100, (n, 2)), rng.uniform(0, np.pi, n)
    length = rng.gamma(4.0, 15.0, n)
    along = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    count = np.ceil(length / 2).astype(int)
    of = np.repeat(np.arange(n), count)
    place = (np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count) + 0.5) / count[of] - 0.5
    return middle[of] + (place * length[of])[:, None] * along[of], (length / count)[of], of


def coverages(n_runs: int) -> None:
    """Print how often the 95 % intervals of vessels, trends and dwell hold the truth."""
    held: dict[str, list[bool]] = defaultdict(list, {"length density of vessels": []})
    size = 500.0
    window = window_of(PIXEL, size)
    blocks = tissue_blocks(window, PIXEL)
    for k in range(n_runs):
        rng = np.random.default_rng([22, k])
        n = rng.poisson(120)
        middles, lengths, of = _pieces(rng, n, size)
        at = np.round(middles).astype(int)
        inside = ((at >= 0) & (at < window.shape)).all(axis=1)
        inside[inside] = window[tuple(at[inside].T)]
        low, high = ratio_interval(blocks.count(middles[inside], lengths[inside]), blocks.measure)
        held["the same, by blocks alone"].append(low <= 120 * 60 / (size + 200) ** 2 <= high)
        per_branch = np.bincount(of[inside], lengths[inside], minlength=n)
        low, high = length_density_interval(blocks.count(middles[inside], lengths[inside]), blocks.measure, per_branch)
        held["length density of vessels"].append(low <= 120 * 60 / (size + 200) ** 2 <= high)
        radius = rng.gamma(9.0, 0.5, n)
        weight = np.bincount(of, lengths, minlength=n)
        low, high = ratio_interval(weight * radius, weight)
        held["mean radius of branches"].append(low <= 4.5 <= high)
        _remodelled(rng, held)
        _dwelt(rng, held)
        weeks = pd.DataFrame({"organoid": np.repeat(np.arange(6), 4), "time_h": np.tile(np.arange(4) * 168.0, 6)})
        slope = 0.3 + np.repeat(rng.normal(0, 0.2, 6), 4)
        weeks["value"] = slope * weeks["time_h"] / 168 + rng.normal(0, 0.5, 24)
        found = trends(weeks.assign(condition="a"), ["condition"]).iloc[0]
        held["change over weeks, 6 organoids"].append(found["low"] <= 0.3 <= found["high"])
    print("\n95 % interval                           coverage   runs")
    for name, values in held.items():
        print(f"{name:38s}  {np.mean(values):.3f}      {len(values)}")


def _remodelled(rng: np.random.Generator, held: dict[str, list[bool]]) -> None:
    """Of 40 branches each is lost with probability .3."""
    tables = []
    kept = rng.random(40) < 0.7
    for chosen in (np.ones(40, bool), kept):
        rows = [
            {"branch": b, "y": 30.0 * b, "x": x}
            for b in np.flatnonzero(chosen)
            for x in np.arange(0, 20 + 10 * (b % 7), 2.0)
        ]
        tables.append(pd.DataFrame(rows, columns=["branch", "y", "x"]))
    found = vessel_remodelling(*tables, tolerance=5.0)
    held["share of vessels lost"].append(found.lost_low <= 0.3 <= found.lost_high)


def _dwelt(rng: np.random.Generator, held: dict[str, list[bool]], rate: float = 0.05) -> None:
    """Cells that enter and leave a niche at constant rates, seen every quarter of an hour for a day."""
    n, frames, step = 40, 97, 0.25
    turns = rng.random((frames, n)) < 1 - np.exp(-rate * step)
    state = (rng.random(n) < 0.5) ^ (np.cumsum(turns, axis=0) % 2).astype(bool)
    table = pd.DataFrame(
        {
            "track_id": np.tile(np.arange(n), frames),
            "time_h": np.repeat(np.arange(frames) * step, n),
            "distance": np.where(state, 1.0, 30.0).ravel(),
        }
    )
    found = niche_dwell(table, r_in=5.0, r_out=8.0)
    held["rate of leaving a niche"].append(found.exit_low <= rate <= found.exit_high)


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--organoids", type=int, default=8)
    chosen = parser.parse_args()
    sizes(chosen.studies, chosen.organoids)
    coverages(2 * chosen.studies)


if __name__ == "__main__":
    main()
