"""Lineage emergence against exact values: bias, coverage, error rates, agreement with other packages, and speed.

    python benchmarks/lineage.py oracles        exact values and Monte-Carlo errors
    python benchmarks/lineage.py coverage       bias and coverage with loss, late entry and gaps of 24 and 72 h
    python benchmarks/lineage.py errors         type-I error by organoid and by cell
    python benchmarks/lineage.py agreement      statsmodels, lifelines, scipy
    python benchmarks/lineage.py speed          10^4, 10^5, 10^6 cells, and the forest figure

All simulated with constant hazards, for which cumulative incidence is λk/Λ (1 - exp(-Λt)) along a line of descent.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow import lineage, statistics
from napari_marrow.schemas import ONSETS, TRACKS

Floats = npt.NDArray[np.float64]
HAZARDS = {"erythroid": 0.02, "megakaryocytic": 0.01}
DEATH = 0.005
TOTAL = sum(HAZARDS.values()) + DEATH
LAYOUT = ("position", "well", "organoid", "donor", "batch", "condition", "dose", "replicate")


def clones(
    n: int,
    rng: np.random.Generator,
    *,
    until: float = 60.0,
    look: float = 1.0,
    loss_before_division: float = 0.0,
    position: str = "B02_f00",
    organoid_effect: float = 0.0,
    deepest: int = 12,
    scale: float = 1.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate dividing cells with competing onsets and death, looked at every `look` hours; TRACKS and ONSETS.

    `loss_before_division` is the share of cells that are lost at a random time of their life, whatever they do.
    `organoid_effect` is the SD of a log factor on all hazards of the organoid, `scale` a factor on them.
    """
    factor = scale * float(np.exp(rng.normal(0, organoid_effect) - organoid_effect**2 / 2))
    names = list(HAZARDS)
    rates = np.array([*HAZARDS.values(), DEATH]) * factor
    born = rng.uniform(0, 0.2 * until, n)
    mother = np.zeros(n, dtype=np.int64)
    founder = np.arange(1, n + 1)
    next_id, tracks, onsets = 1, [], []
    for generation in range(deepest):
        n = len(born)
        if n == 0:
            break
        ids = next_id + np.arange(n)
        next_id += n
        founder = ids if generation == 0 else founder
        cycle = rng.gamma(11, 28 / 11, n) * (rng.uniform(0.2, 1, n) if generation == 0 else 1)
        wait = rng.exponential(1 / rates[:, None], (3, n))
        first, kind = wait.min(axis=0), wait.argmin(axis=0)
        lost = np.where(rng.random(n) < loss_before_division, rng.uniform(0, 1, n) * cycle, np.inf)
        stop = np.minimum.reduce([born + cycle, born + lost, np.full(n, until)])
        event = born + first <= stop
        end = np.where(event, born + first, stop)
        fate = np.select(
            [event & (kind == 2), stop == until, stop < born + cycle], ["death", "end", "loss"], "division"
        ).astype(object)
        on = event & (kind < 2)
        # Looks come at fixed times for all; an onset is seen at the first look after it, if the movie lasts so long.
        left = np.maximum(np.floor(end / look) * look, born)
        right = (np.floor(end / look) + 1) * look
        seen = on & (right <= until + 1e-9)
        fate[on] = "end"
        tracks.append(pd.DataFrame({"track_id": ids, "parent_track_id": mother, "founder_track_id": founder,
                                    "generation": generation, "start_h": born, "end_h": end,
                                    "birth": "division" if generation else "start", "fate": fate}))  # fmt: skip
        onsets.append(pd.DataFrame({
            "track_id": ids, "founder_track_id": founder, "generation": generation,
            "lineage": np.where(seen, np.array([*names, ""], dtype=object)[np.minimum(kind, 2)], ""),
            "event": np.where(seen, "onset", np.where(on, "end", fate)), "entry_h": born,
            "left_h": np.where(on, left, end), "right_h": np.where(seen, right, np.inf),
        }))  # fmt: skip
        divides = fate == "division"
        divides &= ~on
        born, mother, founder = np.repeat(end[divides], 2), np.repeat(ids[divides], 2), np.repeat(founder[divides], 2)
    table = pd.concat(tracks, ignore_index=True).assign(position=position, session=1, t_start=0, t_end=1, n_nodes=2)
    # A division of the last generation that is simulated has no daughters.
    has = table["track_id"].isin(table["parent_track_id"])
    table.loc[(table["fate"] == "division") & ~has, "fate"] = "end"
    table["mean_probability"] = 1.0
    out = pd.concat(onsets, ignore_index=True).assign(position=position, session=1)
    return TRACKS.conform(table), ONSETS.conform(out)


def exact(name: str, t: Floats, *, factor: float = 1.0) -> Floats:
    """Cumulative incidence along a line of descent."""
    rate = {**HAZARDS, "death": DEATH}[name]
    return np.asarray(rate / TOTAL * -np.expm1(-TOTAL * factor * t), dtype=np.float64)


def layout_of(n: int, conditions: int = 1) -> pd.DataFrame:
    """Organoids in one batch, split over conditions."""
    positions = [f"B{i:02d}_f00" for i in range(n)]
    condition = [("control", "drug")[i * conditions // n] for i in range(n)]
    rows = [(p, p, f"o{i}", "d", "b", c, np.nan, 1) for i, (p, c) in enumerate(zip(positions, condition, strict=True))]
    return pd.DataFrame(rows, columns=LAYOUT)


def coverage(experiments: int = 200, organoids: int = 12, founders: int = 40) -> None:
    """Bias and coverage of the incidence at 48 h, with wide gaps at 72 h; late entry, 20 % lost before division."""
    for look, method in (
        (1.0, "midpoint"),
        (24.0, "midpoint"),
        (24.0, "piecewise"),
        (72.0, "midpoint"),
        (72.0, "piecewise"),
    ):
        until, at = (60.0, 48.0) if look == 1 else (144.0, 72.0)
        found: dict[str, list[tuple[float, bool]]] = {name: [] for name in HAZARDS}
        layout = layout_of(organoids)
        for e in range(experiments if look == 1 else experiments // 2):
            rng = np.random.default_rng([e, int(look)])
            onsets = pd.concat([clones(founders, rng, until=until, look=look, loss_before_division=0.2, position=p,
                                       deepest=12 if look == 1 else 6)[1] for p in layout["position"]])  # fmt: skip
            curve = lineage.emergence(onsets, layout, times_h=[at], bootstrap=200, seed=e, method=method)
            pooled = curve[curve["organoid"] == "all"].set_index("lineage")
            for name in HAZARDS:
                row, true = pooled.loc[name], float(exact(name, np.array([at]))[0])
                found[name].append((row["cumulative_incidence"] / true - 1, bool(row["low"] <= true <= row["high"])))
        for name, values in found.items():
            bias, inside = np.array(values, dtype=float).T
            error = 100 * bias.std() / np.sqrt(len(bias))
            print(f"looks every {look:4.0f} h, {method:9s} {name:15s} bias {100 * bias.mean():+5.1f} % (± {error:.1f})"
                  f", coverage {inside.mean():.3f} of {len(bias)}", flush=True)  # fmt: skip


def errors(experiments: int = 400) -> None:
    """Type-I error of a comparison of 5 + 5 organoids that differ at random, by organoid and by cell."""
    from scipy.stats import fisher_exact

    by_organoid, by_cell = [], []
    layout = layout_of(10, 2)
    for e in range(experiments):
        rng = np.random.default_rng([7, e])
        tables = [clones(30, rng, position=p, organoid_effect=0.4)[1] for p in layout["position"]]
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


def oracles() -> None:
    """Exact values beside estimates of one large simulation each."""
    rng = np.random.default_rng(0)
    onsets = pd.concat([clones(300, rng, position=f"B{i:02d}_f00")[1] for i in range(10)])
    curve = lineage.emergence(onsets, None, times_h=[40.0], bootstrap=0)
    pooled = curve[curve["organoid"] == "all"].set_index("lineage")["cumulative_incidence"]
    for name in (*HAZARDS, "death"):
        print(f"incidence of {name} at 40 h: {pooled[name]:.3f}, exact {exact(name, np.array([40.0]))[0]:.3f}")
    rates = lineage.transition_rates(onsets).set_index("to")
    for name, rate in {**HAZARDS, "death": DEATH}.items():
        row = rates.loc[name]
        print(f"rate of {name}: {row['rate']:.4f} ({row['low']:.4f} to {row['high']:.4f}), exact {rate:.4f}")
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
    """CPU seconds of every metric and the forest figure, by number of cells (a tenth as many trees)."""
    from napari_marrow.report.figures.pedigrees import pedigree_forest
    from napari_marrow.report.style import drawing

    for n in (10**4, 10**5, 10**6):
        rng = np.random.default_rng(2)
        parts = [clones(n // 60, rng, until=260.0, position=f"B{i:02d}_f00", deepest=6, scale=0.45) for i in range(6)]
        tracks, onsets = (pd.concat([p[k] for p in parts], ignore_index=True) for k in (0, 1))
        layout = layout_of(6, 2)
        begin = time.process_time()
        pedigree = lineage.Pedigree.from_tracks(tracks)
        built = time.process_time() - begin
        lineage.tree_statistics(pedigree, onsets, layout)
        trees = time.process_time() - begin - built
        curves = lineage.emergence(onsets, layout)
        lineage.organoid_endpoints(onsets, curves, None, None, tracks, layout)
        total = time.process_time() - begin
        founders = int((pedigree.mother < 0).sum())
        line = f"{len(tracks):8d} cells in {founders:7d} trees: pedigree {built:.1f} s, trees {trees:.1f} s, "
        line += f"all {total:.1f} s"
        if n <= 10**5:
            begin = time.process_time()
            with drawing():
                pedigree_forest(tracks, onsets, layout).savefig("/dev/null", format="png")
            line += f", forest figure {time.process_time() - begin:.1f} s"
        print(line, flush=True)


PARTS = {"oracles": oracles, "coverage": coverage, "errors": errors, "agreement": agreement, "speed": speed}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
