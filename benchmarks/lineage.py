"""Lineage emergence against exact values: bias, coverage, error rates, agreement with other packages, and speed.

    python benchmarks/lineage.py oracles        exact values and Monte-Carlo errors
    python benchmarks/lineage.py coverage       bias and coverage: 20 % of cells lost, sessions with gaps of 24 and 72 h
    python benchmarks/lineage.py organoids      coverage with 3, 4, 6 and 12 organoids, common and rare lineages, none
    python benchmarks/lineage.py limits         the limits of few organoids alone, without trees
    python benchmarks/lineage.py errors         type-I error by organoid and by cell
    python benchmarks/lineage.py tracking       coverage where some divisions that tracks show are none
    python benchmarks/lineage.py agreement      statsmodels, lifelines, scipy
    python benchmarks/lineage.py speed          10^4, 10^5, 10^6 cells, and the forest figure

Trees are those of `benchmarks/lineage_trees.py`: hazards along a line of descent are known, and with them every
incidence.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from lineage_trees import MARKERS, Hazards, doubtful_divisions, followed, grow, layout_of, organoids
from napari_marrow import lineage, statistics

Floats = npt.NDArray[np.float64]
SPREAD = 0.4  # SD of the log of an organoid's factor on all hazards, where organoids differ


def _mean_incidence(hazards: Hazards, t: float, spread: float) -> dict[str, float]:
    """Exact mean incidence over organoids whose hazards have a log-normal factor of mean 1."""
    if not spread:
        return hazards.incidence(t)
    share = (np.arange(400) + 0.5) / 400
    factors = np.exp(norm.ppf(share) * spread - spread**2 / 2)
    all_ = [Hazards(tuple(r * f for r in hazards.rates), hazards.death * f, hazards.doubling_h) for f in factors]
    values = [h.incidence(t) for h in all_]
    return {name: float(np.mean([v[name] for v in values])) for name in values[0]}


def _experiments(
    label: str,
    hazards: Hazards,
    sessions: Sequence[tuple[float, float]],
    at: float,
    number: int,
    *,
    look: int = 1,
    n: int = 12,
    spread: float = 0.0,
    session: object = None,
    method: str = "auto",
) -> None:
    """Simulate experiments and print bias and coverage of the mean over organoids."""
    true = _mean_incidence(hazards, at, spread)
    layout, found, used = layout_of(n), {name: [] for name in true}, ""
    for e in range(number):
        rng = np.random.default_rng([e, look, n])
        onsets = organoids(n, 40, hazards, rng, sessions=sessions, look=look, spread=spread)
        curve = lineage.emergence(
            onsets, layout, times_h=[at], lineages=list(MARKERS), bootstrap=1, session=session, method=method,
        )  # fmt: skip
        used = str(curve["method"].iloc[0])
        pooled = curve[curve["organoid"] == "all"].set_index("lineage")
        for name, value in true.items():
            row = pooled.loc[name]
            found[name].append((row["cumulative_incidence"], row["low"] <= value <= row["high"]))
    for name, values in found.items():
        estimate, inside = np.array(values, dtype=float).T
        # No value where an organoid has no negative cell left that long.
        known = np.isfinite(estimate)
        estimate, inside = estimate[known], inside[known]
        line = f"{label}, {used:9s} {name:15s} true {true[name]:.3f}"
        if true[name] > 0:
            bias = estimate / true[name] - 1
            line += f", bias {100 * bias.mean():+5.1f} % (± {100 * bias.std() / np.sqrt(known.sum()):.1f})"
        print(f"{line}, coverage {inside.mean():.3f} of {known.sum()}", flush=True)


def coverage() -> None:
    """Bias and coverage with 12 organoids of 40 founders, 20 % of cells lost before division, late entry."""
    constant, rising = Hazards(), Hazards(doubling_h=60.0)
    _experiments("one session of 60 h, looks every hour", constant, [(0, 60)], 48, 400)
    three, two = [(0, 24), (48, 72), (96, 120)], [(0, 24), (96, 120)]
    _experiments("sessions of 24 h, gaps of 24 h", constant, three, 110, 400, session="bridged")
    _experiments("sessions of 24 h, gap of 72 h", constant, two, 110, 400, session="bridged")
    _experiments("the same, hazards double in 60 h", rising, three, 110, 400, session="bridged")
    _experiments("gap of 72 h, hazards double in 60 h", rising, two, 110, 400, session="bridged")
    _experiments("markers every 24 h, nuclei every hour", constant, [(0, 96)], 72, 400, look=24)
    _experiments("markers every 24 h, middle of the gap", constant, [(0, 96)], 72, 100, look=24, method="midpoint")
    _experiments("markers every 72 h, nuclei every hour", constant, [(0, 144)], 120, 300, look=72)
    _experiments("markers every 72 h, middle of the gap", constant, [(0, 144)], 120, 60, look=72, method="midpoint")


def few_organoids() -> None:
    """Coverage of the mean by number of organoids, alike and different, for common, rare and absent lineages."""
    for n in (3, 4, 6, 12):
        for spread in (0.0, SPREAD):
            for label, rates in (("common", (0.02, 0.01)), ("rare", (0.02, 0.0005)), ("absent", (0.02, 0.0))):
                differ = "that differ" if spread else "alike"
                hazards = Hazards(rates=rates)
                _experiments(f"{n:2d} organoids {differ}, {label}", hazards, [(0, 48)], 40, 400, n=n, spread=spread)


def limits() -> None:
    """Coverage of the limits of a condition, shares of 60 independent clones per organoid instead of trees."""
    share = (np.arange(2000) + 0.5) / 2000
    for n in (3, 4, 6, 12):
        for spread in (0.0, SPREAD):
            line = []
            for rate in (0.005, 0.02):
                rng = np.random.default_rng([11, n, int(1000 * rate)])

                def incidence(factor: Floats, rate: float = rate) -> Floats:
                    return rate / 0.0255 * -np.expm1(-0.0255 * factor * 40.0)

                true = float(incidence(np.exp(norm.ppf(share) * spread - spread**2 / 2)).mean())
                factor = np.exp(rng.normal(-(spread**2) / 2, spread, (n, 20_000)))
                events = rng.binomial(60, incidence(factor))
                low, high = lineage.clustered_proportion_limits(events / 60, events, np.full_like(events, 60))
                line.append(f"of {true:.3f} {((low <= true) & (true <= high)).mean():.3f} "
                            f"(above {(low > true).mean():.3f}, below {(high < true).mean():.3f})")  # fmt: skip
            print(f"{n:2d} organoids {'that differ' if spread else 'alike'}: coverage {'; '.join(line)}", flush=True)


def errors(experiments: int = 400) -> None:
    """Type-I error of a comparison of 5 + 5 organoids that differ at random, by organoid and by cell."""
    from scipy.stats import fisher_exact

    by_organoid, by_cell = [], []
    layout = layout_of(10, 2)
    for e in range(experiments):
        rng = np.random.default_rng([7, e])
        onsets = organoids(10, 30, Hazards(), rng, sessions=[(0, 60)], spread=SPREAD)
        tables = [onsets[onsets["position"] == p] for p in layout["position"]]
        rates = [lineage.transition_rates(t, lineages=["erythroid"]).iloc[0]["rate"] for t in tables]
        drug = (layout["condition"] == "drug").to_numpy()
        by_organoid.append(statistics.permutation_test(rates, drug).p_value <= 0.05)
        counts = np.array([[(t["lineage"] == "erythroid").sum(), (t["lineage"] != "erythroid").sum()] for t in tables])
        by_cell.append(fisher_exact([counts[~drug].sum(axis=0), counts[drug].sum(axis=0)])[1] <= 0.05)
    error = np.sqrt(0.05 * 0.95 / experiments)
    print(
        f"type-I error by organoid {np.mean(by_organoid):.3f}, by cell (Fisher) {np.mean(by_cell):.3f}; "
        f"nominal .05 ± {error:.3f}"
    )


def _rates(hazards: Hazards, experiments: int = 120) -> None:
    """Print how far N / T is off on average, looks every hour, an onset confirmed by the next look."""
    found = []
    for e in range(experiments):
        onsets = organoids(10, 100, hazards, np.random.default_rng([5, e]), sessions=[(0, 60)])
        found.append(lineage.transition_rates(onsets).set_index("to")["rate"])
    for name, rate in zip([*MARKERS, "death"], [*hazards.rates, hazards.death], strict=True):
        off = np.array([rates[name] / rate - 1 for rates in found])
        error = 100 * off.std(ddof=1) / np.sqrt(experiments)
        print(f"rate of {name}: off by {100 * off.mean():+.1f} ± {error:.1f} %")


def oracles() -> None:
    """Exact values beside estimates of one large simulation each."""
    rng = np.random.default_rng(0)
    hazards = Hazards()
    onsets = organoids(10, 300, hazards, rng, sessions=[(0, 60)])
    curve = lineage.emergence(onsets, None, times_h=[40.0], bootstrap=0)
    pooled = curve[curve["organoid"] == "all"].set_index("lineage")["cumulative_incidence"]
    for name, true in hazards.incidence(40.0).items():
        print(f"incidence of {name} at 40 h: {pooled[name]:.3f}, exact {true:.3f}")
    _rates(hazards)
    n = np.arange(1, 60)
    sizes = _yule(20_000, 0.05, 40.0, rng)
    seen = np.array([(sizes == k).mean() for k in n])
    away = np.abs(seen - lineage.yule_pmf(n, rate=0.05, time=40.0)).max()
    print(f"Yule clone sizes: largest difference to the formula {away:.4f}"
          f" (Monte-Carlo error {np.sqrt(0.25 / len(sizes)):.4f})")  # fmt: skip
    true = 60.5
    onset = rng.gamma(9, true / 9, 20_000)
    for gap in (24.0, 72.0):
        left = np.floor(onset / gap) * gap
        curve_t = lineage.turnbull(left, left + gap)
        print(f"onset mean with looks every {gap:.0f} h: first positive look {np.mean(left + gap):.1f}, "
              f"interval-censored {curve_t.mean():.1f}, true {true}")  # fmt: skip
    print(f"P(isolated) at 5 per mm², R = .1 mm: {lineage.isolation_probability(5, 0.1):.3f} (.53)")


def _yule(n: int, rate: float, until: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    size, clock = np.ones(n, dtype=np.int64), np.zeros(n)
    going = np.ones(n, dtype=bool)
    while going.any():
        clock[going] += rng.exponential(1 / (rate * size[going]))
        going &= clock < until
        size[going] += 1
    return size


def tracking() -> None:
    """Coverage of divisions per clone where a known share of the divisions that tracks show are none."""
    truth = 0.4
    for wrong, apart in ((0.0, 2.0), (0.1, 2.0), (0.2, 2.0), (0.3, 2.0), (0.2, 0.0)):
        rng = np.random.default_rng([9, int(100 * wrong)])
        tracks, nodes, edges, layout = doubtful_divisions(rng, 400, 60, truth=truth, wrong=wrong, apart=apart)

        def compute(table: pd.DataFrame, layout: pd.DataFrame = layout) -> dict[str, pd.DataFrame]:
            clones = lineage.clone_table(lineage.Pedigree.from_tracks(table))
            return {"clone_summary": lineage.clone_summary(clones, layout)}

        draws = lineage.PedigreeDraws(tracks, nodes, edges, reach=0.0)
        base = compute(tracks)
        out = lineage.repeated_over_pedigrees(base, draws, lambda d, f=compute: f(d.tracks))["clone_summary"]
        found = out[out["quantity"] == "divisions"]
        inside = [((found[a] <= truth) & (truth <= found[b])).mean() for a, b in (("low", "high"), _TOTAL)]
        how = "learned" if apart else "known"
        print(f"{100 * wrong:2.0f} % of divisions are none, probabilities {how}: coverage without tracking error "
              f"{inside[0]:.3f}, with it {inside[1]:.3f} of {len(found)}; estimate {found['value'].mean():.3f}, "
              f"mean over pedigrees {found['drawn_mean'].mean():.3f}, true {truth:.3f}", flush=True)  # fmt: skip


_TOTAL = ("low_total", "high_total")


def agreement() -> None:
    """Largest differences to other packages on the same data."""
    import lifelines
    from statsmodels.duration.hazard_regression import PHReg
    from statsmodels.duration.survfunc import CumIncidenceRight, SurvfuncRight
    from statsmodels.stats.power import TTestIndPower

    rng = np.random.default_rng(1)
    n = 2000
    t = np.ceil(rng.exponential(30, n))
    cause = rng.choice([0, 1, 2], n, p=[0.3, 0.4, 0.3])
    entry = t * rng.uniform(0, 0.9, n)  # no tie with an event: whether such a cell is at risk is a matter of convention
    ours, peer = lineage.aalen_johansen(t, cause), CumIncidenceRight(t, cause)
    difference = max(np.abs(ours.at(peer.times)[k] - peer.cinc[k]).max() for k in range(2))
    print(f"Aalen-Johansen, statsmodels: {difference:.1e}")
    km = lineage.kaplan_meier(t, cause > 0, entry=entry)
    other = SurvfuncRight(t, cause > 0, entry=entry)
    print(f"Kaplan-Meier with late entry, statsmodels: {np.abs(km.at(other.surv_times) - other.surv_prob).max():.1e}")
    life = lifelines.KaplanMeierFitter().fit(t, cause > 0)
    plain = lineage.kaplan_meier(t, cause > 0)
    theirs = life.survival_function_at_times(plain.times).to_numpy()
    print(f"Kaplan-Meier, lifelines: {np.abs(plain.survival - theirs).max():.1e}")
    hazard = lifelines.NelsonAalenFitter(nelson_aalen_smoothing=False).fit(t, cause == 1)
    aalen = lineage.nelson_aalen(t, cause, 1)
    theirs = hazard.cumulative_hazard_at_times(aalen.times).to_numpy()
    print(f"Nelson-Aalen, lifelines (which breaks ties): {np.abs(aalen.hazard - theirs).max():.1e}")
    x = rng.normal(size=(n, 2))
    fit = lineage.cox_regression(entry, t, cause == 1, x)
    ph = PHReg(t, x, status=cause == 1, entry=entry, ties="efron").fit()
    print(f"Cox with ties and late entry, statsmodels: {np.abs(fit.coefficient - ph.params).max():.1e}")
    power = statistics.two_group_power(6, 6, 1.5, 1.0) - TTestIndPower().power(1.5, 6, 0.05)
    print(f"power, statsmodels: {abs(power):.1e}")


def speed() -> None:
    """CPU seconds of every metric and of the forest figure, by number of cells; frames every four hours."""
    from napari_marrow.report.figures.pedigrees import pedigree_forest
    from napari_marrow.report.style import drawing

    for n in (10**4, 10**5, 10**6):
        rng = np.random.default_rng(2)
        hazards = Hazards(rates=(0.009, 0.0045), death=0.00225)
        parts = [followed(grow(n // 60, hazards, rng, until=72.0), f"B{i:02d}_f00", rng) for i in range(6)]
        tracks, nodes = (pd.concat([p[k] for p in parts], ignore_index=True) for k in (0, 1))
        layout = layout_of(6, 2)
        clock = _Clock()
        settings = lineage.OnsetSettings(thresholds=dict.fromkeys(MARKERS.values(), 50.0), consecutive=1)
        losses = lineage.death_probabilities(tracks, nodes, settings=lineage.DeathSettings(dying_h=8.0))
        tracks = lineage.with_deaths(tracks, losses)
        clock.lap("deaths")
        onsets, _ = lineage.marker_onsets(tracks, nodes, markers=MARKERS, settings=settings)
        clock.lap("onsets")
        pedigree = lineage.Pedigree.from_tracks(tracks)
        lineage.tree_statistics(pedigree, onsets, layout)
        clock.lap("trees")
        curves = lineage.emergence(onsets, layout)
        lineage.organoid_endpoints(onsets, curves, None, None, tracks, layout)
        clock.lap("emergence")
        for exposure in ("current", "history"):
            spans = lineage.exposure_spans(pedigree, nodes, onsets, ["distance"], exposure=exposure)
            lineage.niche_coupling(spans, layout, covariate="distance")
            lineage.lineage_choice(spans, layout, covariate="distance")
        clock.lap("coupling")
        founders = int((pedigree.mother < 0).sum())
        print(f"{len(tracks):8d} cells in {founders:7d} trees, {len(nodes)} frames of cells: {clock}", end="")
        if n <= 10**5:
            begin = time.process_time()
            with drawing():
                pedigree_forest(pedigree.tracks, onsets, layout).savefig("/dev/null", format="png")
            print(f"; forest figure {time.process_time() - begin:.1f} s", end="")
        print(flush=True)


class _Clock:
    """CPU seconds by part."""

    def __init__(self) -> None:
        self.last, self.parts = time.process_time(), {}

    def lap(self, name: str) -> None:
        """Book the time since the last lap."""
        now = time.process_time()
        self.parts[name], self.last = now - self.last, now

    def __str__(self) -> str:
        each = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.parts.items())
        return f"all {sum(self.parts.values()):.1f} s ({each})"


PARTS: dict[str, Callable[[], None]] = {
    "oracles": oracles, "coverage": coverage, "organoids": few_organoids, "limits": limits, "errors": errors,
    "tracking": tracking, "agreement": agreement, "speed": speed,
}  # fmt: skip


def main() -> None:
    """Run the parts that are named, or all."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all by default")
    given = arguments.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        arguments.error(f"there is no part '{unknown[0]}': choose any of {', '.join(PARTS)}")
    for part in given.parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
