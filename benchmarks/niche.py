"""Niche statistics: oracles, coverage, type-I error, power, speed beside a direct implementation, and squidpy.

    python benchmarks/niche.py statistics          # oracles, coverage, size, power: a few minutes
    python benchmarks/niche.py speed               # the large ones: 9 GB of memory, run alone
    python benchmarks/niche.py speed --side 512    # the same on a smaller field
    python benchmarks/niche.py squidpy --python VENV/bin/python
    python benchmarks/niche.py spatstat            # needs Rscript and spatstat.explore

Times are CPU seconds of this process on one thread unless the row says otherwise.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_marrow.niche import (
    UniformPlaces,
    cross_k,
    distance_interval,
    edge_distance,
    kaplan_meier_cdf,
    nearest_functions,
    neighbour_pairs,
    neighbourhood_enrichment,
    proximity_effect,
    ratio_interval,
    read_at,
    set_covariance,
    signed_distance,
    tissue_blocks,
    uniform_positions,
)
from napari_marrow.statistics import unit_mean

SPACINGS = {"2D": (1.0, 1.0), "2D 4:1": (4.0, 1.0), "3D": (2.0, 2.0, 2.0), "3D 4:1": (4.0, 1.0, 1.0)}


def window_of(spacing: tuple[float, ...], size: float) -> np.ndarray:
    """Return an irregular window with a hole."""
    axes = np.meshgrid(*[np.arange(int(size / s)) * s - size / 2 for s in spacing], indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    wobble = 1 + 0.15 * np.sin(3 * np.arctan2(axes[-1], axes[-2]))
    return (radius < 0.42 * size * wobble) & (np.hypot(axes[-1] - 0.15 * size, axes[-2]) > 0.08 * size)


def oracles(n_runs: int = 60) -> None:
    """Print estimate over truth and its Monte-Carlo error, for random points in irregular windows."""
    print("oracle                            spacing   estimate/truth   error   off by (errors)")
    for name, spacing in SPACINGS.items():
        flat = len(spacing) == 2
        size, n = (200.0, 200) if flat else (90.0, 400)
        window = window_of(spacing, size)
        covariance = set_covariance(window, spacing, 25.0)
        measure = window.sum() * np.prod(spacing)
        # Where half of the points have a neighbour: G, F and J say most there.
        half = np.log(2) * measure / n
        r = np.asarray([np.sqrt(half / np.pi) if flat else np.cbrt(0.75 * half / np.pi)])
        rows: dict[str, list[float]] = {k: [] for k in ("K(25)", "g(20)", "K(10) border", "G", "F", "J")}
        rng = np.random.default_rng(1)
        for k in range(n_runs):
            x, y = (uniform_positions(window, spacing, n, rng) for _ in range(2))
            found = cross_k(x, y, covariance, spacing, n_r=25)
            ball = np.pi * 25**2 if flat else 4 / 3 * np.pi * 25**3
            rows["K(25)"].append(found.k[-1] / ball)
            rows["g(20)"].append(found.g[19])
            border = cross_k(x, y, window, spacing, r_max=10, n_r=2, correction="border")
            rows["K(10) border"].append(border.k[-1] / (np.pi * 100 if flat else 4 / 3 * np.pi * 1000))
            near = nearest_functions(x, y, window, spacing, r=r, n_test_points=4000, seed=k)
            rows["G"].append(near.g[0] / 0.5)
            rows["F"].append(near.f[0] / 0.5)
            rows["J"].append(near.j[0])
        for what, values in rows.items():
            mean, error = np.nanmean(values), np.nanstd(values, ddof=1) / np.sqrt(n_runs)
            print(f"{what:32s}  {name:8s}  {mean:8.4f}         {error:.4f}   {(mean - 1) / error:+.1f}")


def coverage(n_runs: int = 600) -> None:
    """Print how often 95 % intervals hold the truth."""
    rng = np.random.default_rng(2)
    held: dict[str, list[bool]] = {"cell density, random cells": [], "cell density, clustered cells": []}
    window = window_of((1.0, 1.0), 300.0)
    blocks = tissue_blocks(window, (1.0, 1.0))
    measure = window.sum()
    for _ in range(n_runs):
        random = uniform_positions(window, (1.0, 1.0), rng.poisson(400), rng)
        low, high = ratio_interval(blocks.count(random), blocks.measure)
        held["cell density, random cells"].append(low <= 400 / measure <= high)
        parents = rng.uniform(-20, 320, (rng.poisson(40 * 340**2 / measure), 2))
        children = np.repeat(parents, rng.poisson(10, len(parents)), axis=0)
        cells = children + rng.normal(0, 5, children.shape)
        inside = window[tuple(np.clip(np.round(cells), 0, 299).astype(int).T)]
        inside &= ((cells >= 0) & (cells < 299)).all(axis=1)
        low, high = ratio_interval(blocks.count(cells[inside]), blocks.measure)
        held["cell density, clustered cells"].append(low <= 400 / measure <= high)
    held |= distance_coverage(n_runs // 2)
    means = [unit_mean(0.3 + rng.normal(0, 0.2, 6)) for _ in range(4 * n_runs)]
    held["mean of 6 organoids"] = [m.low <= 0.3 <= m.high for m in means]
    print("\n95 % interval                       coverage   runs")
    for name, values in held.items():
        print(f"{name:34s}  {np.mean(values):.3f}      {len(values)}")


def distance_coverage(n_runs: int) -> dict[str, list[bool]]:
    """Organoids of one kind, each with vessels of its own: the truth is the mean over all of them."""
    blocks = tissue_blocks(np.ones((200, 200), bool), (1, 1))
    values, limits = [], []
    for k in range(n_runs):
        points, subject, d, b = organoid(np.random.default_rng([9, k]), 1.0)
        found = proximity_effect(d, subject, edge_distances=b, r_max=40, n_r=41, n_simulations=19, seed=k)
        bound = distance_interval(d, b, subject, blocks.of(points), reach=found.reach, r=found.r, seed=k)
        values.append((found.median, found.effect))
        limits.append((bound.median_low, bound.median_high, bound.effect_low, bound.effect_high))
    truth, ends = np.mean(values, axis=0), np.asarray(limits)
    return {
        name: list((ends[:, 2 * k] <= truth[k]) & (truth[k] <= ends[:, 2 * k + 1]))
        for k, name in enumerate(("median distance, one organoid", "proximity effect, one organoid"))
    }


def organoid(rng: np.random.Generator, attraction: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return points, subjects, distances and edge distances of an organoid whose cells cluster and whose vessels vary.

    A class seeks vessels with weight 1 + attraction exp(-distance / 15 µm); colonies are of one class, so that cells of
    an organoid are no replicates of each other.
    """
    size = 200
    vessel = ndimage.gaussian_filter(rng.normal(size=(size, size)), 6, mode="wrap")
    vessel = np.abs(vessel) < np.quantile(np.abs(vessel), 0.08)
    field, depth = signed_distance(vessel, (1, 1)), edge_distance(np.ones_like(vessel), (1, 1))
    points = uniform_positions(~vessel, (1, 1), 400, rng)
    d, b = (read_at(f, points, (1, 1)) for f in (field, depth))
    known = np.isfinite(d)
    points, d, b = points[known], d[known], b[known]
    preference = ndimage.gaussian_filter(rng.normal(size=(size, size)), 12, mode="wrap")
    preference = preference / preference.std()
    patch = preference[tuple(np.clip(np.round(points), 0, size - 1).astype(int).T)]
    odds = np.exp(0.8 * patch - 1.1) * (1 + attraction * np.exp(-np.maximum(d, 0) / 15))
    return points, rng.random(len(points)) < odds / (1 + odds), d, b


def size_and_power(n_studies: int = 200, n_organoids: int = 8) -> None:
    """Print how often the test over organoids and the test on one organoid's cells reject."""
    print(f"\nattraction   rejected at .05: n = {n_organoids} organoids   cells of one organoid   studies")
    for attraction in (0.0, 0.5, 1.0, 2.0):
        by_organoid, by_cell = [], []
        for k in range(n_studies):
            effects = []
            for o in range(n_organoids):
                rng = np.random.default_rng([k, o, int(10 * attraction)])
                _, subject, d, b = organoid(rng, attraction)
                found = proximity_effect(d, subject, edge_distances=b, r_max=40, n_r=41, n_simulations=99, seed=k)
                effects.append(found.effect)
                by_cell.append(found.p_value <= 0.05)
            by_organoid.append(unit_mean(effects).p_value <= 0.05)
        print(f"{attraction:6.1f}       {np.mean(by_organoid):.3f}                            "
              f"{np.mean(by_cell):.3f}                   {n_studies}")  # fmt: skip


def timed(work: Callable[[], object], *, wall: bool = False) -> float:
    """Return the CPU seconds (or wall seconds) that a call takes."""
    clock = time.perf_counter if wall else time.process_time
    start = clock()
    work()
    return clock() - start


def peak() -> float:
    """Return the most memory that this process has held, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def speed(side: int, threads: int) -> None:
    """Print the large ones."""
    rng = np.random.default_rng(0)
    direct_k(rng)
    coarse = ndimage.gaussian_filter(rng.normal(size=(64, 64, 64)), 4)
    window = np.kron(coarse > np.quantile(coarse, 0.4), np.ones((8, 8, 8), bool))
    x, y = (uniform_positions(window, (1, 1, 1), 100_000, rng) for _ in range(2))
    cross_k(x[:50], y[:50], window[:60], (1, 1, 1), r_max=9.0)  # compile
    wall = time.perf_counter()
    cpu = timed(lambda: cross_k(x, y, window, (1, 1, 1), r_max=100.0, n_r=100, threads=threads))
    wall = time.perf_counter() - wall
    print(f"cross-K 3D, 1e5 x 1e5 points, 512^3 window of 60 %, r to 100 um, {threads} threads: "
          f"{cpu:.1f} CPU s, wall {wall:.1f} s; peak of the process {peak():.2f} GB")  # fmt: skip
    fields(side, rng)


def fields(side: int, rng: np.random.Generator) -> None:
    """Distance field beside edt's own time, and random placements against it."""
    import edt

    coarse = ndimage.gaussian_filter(rng.normal(size=(side // 16,) * 3), 2)
    coarse = np.abs(coarse) < np.quantile(np.abs(coarse), 0.06)
    vessel = np.repeat(np.repeat(np.repeat(coarse, 16, 0), 16, 1), 16, 2)
    # Each way twice, in turn, the faster time of each: the first transform also fetches its memory.
    ours, own, walls = [], [], []
    for _ in range(2):
        outside = ~vessel
        own.append(timed(lambda m=outside: edt.edt(m, anisotropy=(2.0, 1.0, 1.0), parallel=1)))
        del outside
        start = time.perf_counter()
        ours.append(timed(lambda: signed_distance(vessel, (2.0, 1.0, 1.0))))
        walls.append(time.perf_counter() - start)
    print(f"signed distance field of {side}^3: {min(ours):.1f} CPU s, wall {min(walls):.1f} s; edt of one side alone: "
          f"{min(own):.1f} CPU s (ratio {min(ours) / min(own):.2f}); peak of the process {peak():.2f} GB")  # fmt: skip
    field = signed_distance(vessel, (2.0, 1.0, 1.0))
    places = UniformPlaces(~vessel, (2.0, 1.0, 1.0))
    r = np.linspace(0, 60, 61)
    read_at(field, places.draw(10, rng), (2.0, 1.0, 1.0))  # compile

    def placements() -> None:
        for _ in range(999):
            kaplan_meier_cdf(read_at(field, places.draw(10_000, rng), (2.0, 1.0, 1.0)), None, r)

    start = time.perf_counter()
    cpu = timed(placements)
    print(f"999 random placements of 1e4 cells in {side}^3, with their curves: {cpu:.1f} CPU s, wall "
          f"{time.perf_counter() - start:.1f} s; peak of the process {peak():.2f} GB")  # fmt: skip


def direct_k(rng: np.random.Generator) -> None:
    """Cross-K beside a direct sum over all pairs with the same correction."""
    window = window_of((2.0, 2.0, 2.0), 300.0)
    covariance = set_covariance(window, (2.0, 2.0, 2.0), 40.0)
    x, y = (uniform_positions(window, (2.0, 2.0, 2.0), 6000, rng) for _ in range(2))
    cross_k(x[:50], y[:50], covariance, (2.0, 2.0, 2.0), n_r=40)

    def direct() -> np.ndarray:
        centre = (np.asarray(covariance.table.shape) - 1) / 2
        total = np.zeros(40)
        for start in range(0, len(x), 500):
            lag = x[start : start + 500, None] - y[None]
            distance = np.linalg.norm(lag, axis=-1)
            near = distance <= 40
            place = (lag[near] / 2.0 + centre).T
            weight = 1 / ndimage.map_coordinates(covariance.table.astype(np.float64), place, order=1)
            index = np.maximum(np.ceil(distance[near]).astype(int) - 1, 0)
            total += np.bincount(index, weight, minlength=40)[:40]
        return np.cumsum(total) * covariance.measure**2 / (len(x) * len(y))

    slow = timed(direct)
    fast = min(timed(lambda: cross_k(x, y, covariance, (2.0, 2.0, 2.0), n_r=40)) for _ in range(3))
    off = np.abs(cross_k(x, y, covariance, (2.0, 2.0, 2.0), n_r=40).k / direct() - 1)[1:].max()
    print(f"cross-K, 6000 x 6000 points in 3D: {fast:.3f} CPU s; numpy over all pairs {slow:.2f} ({slow / fast:.0f} "
          f"times); largest relative difference {off:.1e}")  # fmt: skip


SQUIDPY = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import anndata, numpy as np, scipy.sparse as sp, squidpy as sq
data = np.load(sys.argv[1])
n = len(data["code"])
adata = anndata.AnnData(np.zeros((n, 1), np.float32))
adata.obs["class"] = data["code"].astype(str)
adata.obs["class"] = adata.obs["class"].astype("category")
pairs = data["pairs"]
one = sp.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
adata.obsp["spatial_connectivities"] = (one + one.T).tocsr()
run = lambda: sq.gr.nhood_enrichment(adata, "class", n_perms=1000, seed=0, copy=True, show_progress_bar=False, n_jobs=1)
run()
seconds = []
for _ in range(3):
    start = time.process_time()
    found = run()
    seconds.append(time.process_time() - start)
z, count = found[0], found[1]
out = {"seconds": min(seconds), "z": np.asarray(z).tolist(), "count": np.asarray(count).tolist()}
print("RESULT" + json.dumps(out))
"""


def squidpy(python: Path) -> None:
    """Neighbourhood enrichment beside squidpy's, same graph, 1000 shuffles, one thread."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 2000, (20_000, 2))
    pairs, code = neighbour_pairs(points, 25.0), rng.integers(0, 6, 20_000)
    neighbourhood_enrichment(code, pairs, n_simulations=19)
    ours = min(timed(lambda: neighbourhood_enrichment(code, pairs, n_simulations=1000)) for _ in range(3))
    found = neighbourhood_enrichment(code, pairs, n_simulations=1000)
    plain = timed(lambda: direct_enrichment(code, pairs, 1000))
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "data.npz", code=code, pairs=pairs)
        text = subprocess.run(
            [str(python), "-c", SQUIDPY, str(Path(folder) / "data.npz")], check=True, capture_output=True, text=True
        ).stdout
    theirs = json.loads(text[text.index("RESULT") + 6 :])
    same = np.array_equal(np.asarray(theirs["count"]), found.count)
    apart = np.abs(np.asarray(theirs["z"]) - found.z).max()
    print(f"neighbourhood enrichment, 20 000 cells, {len(pairs)} pairs, 1000 shuffles: {ours:.3f} CPU s; squidpy "
          f"{theirs['seconds']:.2f} ({theirs['seconds'] / ours:.1f} times); numpy, a shuffle at a time, {plain:.2f} "
          f"({plain / ours:.1f} times); counts equal: {same}; largest difference of z {apart:.2f}")  # fmt: skip


def direct_enrichment(code: np.ndarray, pairs: np.ndarray, n_simulations: int) -> np.ndarray:
    """Neighbourhood enrichment's z as it is defined, one shuffle after the other."""
    rng, k = np.random.default_rng(1), int(code.max()) + 1

    def count(label: np.ndarray) -> np.ndarray:
        one = np.bincount(label[pairs[:, 0]] * k + label[pairs[:, 1]], minlength=k * k).reshape(k, k)
        return one + one.T

    shuffled = np.stack([count(rng.permutation(code)) for _ in range(n_simulations)])
    return (count(code) - shuffled.mean(axis=0)) / shuffled.std(axis=0)


SPATSTAT = """
suppressMessages({library(spatstat.geom); library(spatstat.explore)})
d <- read.csv(commandArgs(TRUE)[1]); m <- as.matrix(read.csv(commandArgs(TRUE)[2], header=FALSE)) > 0
w <- owin(mask=m, xrange=c(-0.5, ncol(m)-0.5), yrange=c(-0.5, nrow(m)-0.5))
p <- ppp(d$x, d$y, window=w, marks=factor(d$m), check=FALSE)
r <- seq(0, 20, by=0.5)
k <- Kcross(p, "a", "b", r=r, correction=c("translate", "border"))
g <- Gcross(p, "a", "b", r=r, correction=c("km", "rs", "han"))
at <- match(c(5, 10, 15, 20), r)
write.csv(data.frame(r=r[at], translate=k$trans[at], border=k$border[at], km=g$km[at], rs=g$rs[at], han=g$han[at]),
          row.names=FALSE)
"""


def spatstat() -> None:
    """Cross K and G beside spatstat's, in an irregular mask."""
    rng = np.random.default_rng(4)
    window = window_of((1.0, 1.0), 160.0)
    x, y = (uniform_positions(window, (1.0, 1.0), 250, rng) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        points = np.concatenate([x, y])
        table = pd.DataFrame({"x": points[:, 1], "y": points[:, 0], "m": ["a"] * 250 + ["b"] * 250})
        table.to_csv(Path(folder) / "p.csv", index=False)
        np.savetxt(Path(folder) / "m.csv", window.astype(int), fmt="%d", delimiter=",")
        script = Path(folder) / "s.R"
        script.write_text(SPATSTAT, encoding="utf-8")
        done = subprocess.run(
            ["Rscript", str(script), f"{folder}/p.csv", f"{folder}/m.csv"], check=True, capture_output=True, text=True
        )
        theirs = pd.read_csv(io.StringIO(done.stdout))
    r = theirs["r"].to_numpy()
    ours = {
        "translate": cross_k(x, y, window, (1, 1), r_max=20, n_r=4).k,
        "border": cross_k(x, y, window, (1, 1), r_max=20, n_r=4, correction="border").k,
        **{
            name: nearest_functions(x, y, window, (1, 1), r=r, correction=kind).g
            for name, kind in (("km", "km"), ("rs", "rs"), ("han", "hanisch"))
        },
    }
    print("\nspatstat                 r   ours       theirs     ratio")
    for name, values in ours.items():
        for radius, a, b in zip(r, values, theirs[name], strict=True):
            print(f"{name:20s} {radius:5.0f}   {a:9.4f}  {b:9.4f}  {a / b:.4f}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["statistics", "speed", "squidpy", "spatstat"])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--python", type=Path)
    chosen = parser.parse_args()
    if chosen.what == "statistics":
        oracles(chosen.runs)
        coverage(10 * chosen.runs)
        size_and_power(chosen.studies)
    elif chosen.what == "speed":
        speed(chosen.side, chosen.threads)
    elif chosen.what == "squidpy":
        squidpy(chosen.python)
    else:
        spatstat()


if __name__ == "__main__":
    main()
