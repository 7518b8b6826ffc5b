"""Identity of colonies over remounted sessions: ours, simpler ways, and laptrack.

Usage: ``python benchmarks/colonies.py [--seeds N] [--first SEED]``; with ``--peers`` laptrack alone, in the environment
where it is installed. Places and sizes only unless the line says more. Each score is the mean over the seeds, the least
one in brackets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from colony_simulator import COURSES, Plate, simulate

Links = set[tuple[int, int, int]]
"""Session of the parent, its number, the child's number."""


def _places(plate: Plate) -> list[np.ndarray]:
    return [table[["y", "x"]].to_numpy() for table in plate.tables]


def marrow(plate: Plate, *, traits: bool = False, scaffold: bool = False):
    """Our links, with the identity result."""
    from napari_marrow.tracking import link_colonies

    columns = ["colony", "y", "x", "radius"]
    columns += ["aspect", "fraction_erythroid", "fraction_megakaryocytic"] if traits else []
    return link_colonies(
        [table[columns] for table in plate.tables],
        plate.times_h,
        **({"landmarks": plate.landmarks} if scaffold else {}),
    )


def links_of(edges: pd.DataFrame) -> Links:
    """Links between neighbouring sessions that were not refused."""
    firm = edges[(edges["kind"] != "refused") & (edges["session_child"] - edges["session_parent"] == 1)]
    return set(firm[["session_parent", "colony_parent", "colony_child"]].itertuples(index=False, name=None))


def nearest(plate: Plate, radius: float = 250.0) -> Links:
    """Link every colony with the nearest of the next session."""
    found: Links = set()
    places = _places(plate)
    for s in range(len(places) - 1):
        distance, j = cKDTree(places[s + 1]).query(places[s])
        found |= {(s, i + 1, int(k) + 1) for i, (d, k) in enumerate(zip(distance, j, strict=True)) if d < radius}
    return found


def shifted(plate: Plate, radius: float = 200.0) -> Links:
    """Assign by least squared distance after the most frequent shift."""
    found: Links = set()
    places = _places(plate)
    for s in range(len(places) - 1):
        a, b = places[s], places[s + 1]
        difference = (b[None] - a[:, None]).reshape(-1, 2)
        difference = difference[np.abs(difference).max(1) < 700]
        tree = cKDTree(difference)
        votes = [len(v) for v in tree.query_ball_point(difference, 60.0)]
        moved = a + difference[int(np.argmax(votes))]
        squared = ((moved[:, None] - b[None]) ** 2).sum(2)
        i, j = linear_sum_assignment(np.minimum(squared, radius**2))
        found |= {(s, int(p) + 1, int(q) + 1) for p, q in zip(i, j, strict=True) if squared[p, q] < radius**2}
    return found


def laptrack(plate: Plate, radius: float = 300.0) -> Links:
    """Laptrack with gap closing, splitting and merging."""
    from laptrack import LapTrack

    tracker = LapTrack(
        cutoff=radius**2, gap_closing_cutoff=radius**2, gap_closing_max_frame_count=1,
        splitting_cutoff=(0.7 * radius) ** 2, merging_cutoff=(0.7 * radius) ** 2,
    )  # fmt: skip
    found: Links = set()
    for edge in tracker.predict(_places(plate)).edges():
        (s, i), (t, j) = sorted(edge)
        if t - s == 1:
            found.add((int(s), int(i) + 1, int(j) + 1))
    return found


def merges_of(links: Iterable[tuple[int, int, int]]) -> Links:
    """Links into a colony with several parents."""
    links = list(links)
    count = pd.Series([(s, c) for s, _, c in links]).value_counts() if links else {}
    return {(s, p, c) for s, p, c in links if count[(s, c)] > 1}


def histories(plate: Plate, truth: Links, found: Links) -> tuple[int, int]:
    """Colonies of the first session that go on as one to the last, and those of them with every link right."""
    children: dict[tuple[int, int], set[int]] = {}
    for s, p, c in truth:
        children.setdefault((s, p), set()).add(c)
    own: dict[tuple[int, int], set[int]] = {}
    for s, p, c in found:
        own.setdefault((s, p), set()).add(c)
    asked = right = 0
    last = len(plate.tables) - 1
    for colony in plate.tables[0]["colony"]:
        at, good = int(colony), True
        for s in range(last):
            heirs = children.get((s, at), set())
            if len(heirs) != 1:
                break
            good = good and own.get((s, at), set()) == heirs
            at = next(iter(heirs))
        else:
            asked += 1
            right += good
    return asked, right


def f1(found: Links, truth: Links) -> float:
    """F1 of a set of links, NaN where there are none."""
    return 2 * len(found & truth) / (len(found) + len(truth)) if found or truth else float("nan")


METHODS: dict[str, Callable[[Plate], Links]] = {
    "nearest neighbour": nearest,
    "assignment after a shift": shifted,
}
OURS = {
    "marrow": {},
    "marrow, + shape and composition": {"traits": True},
    "marrow, + scaffold": {"traits": True, "scaffold": True},
}


class Tally:
    """Scores over the seeds."""

    def __init__(self) -> None:
        self.scores: list[tuple[float, float, float]] = []
        self.seconds = 0.0
        self.chance: list[tuple[float, bool]] = []
        self.merges: list[tuple[float, bool]] = []
        self.ceiling: list[tuple[float, float]] = []

    def add(self, plate: Plate, found: Links, seconds: float) -> None:
        """Score one plate."""
        truth = set(plate.links.itertuples(index=False, name=None))
        asked, right = histories(plate, truth, found)
        scores = f1(found, truth), f1(merges_of(found), merges_of(truth)), right / max(asked, 1)
        self.scores.append(scores)
        self.seconds += seconds

    def line(self, name: str) -> str:
        """Return the line of the table."""
        means, least = np.nanmean(self.scores, axis=0), np.nanmin(self.scores, axis=0)
        cells = "  ".join(f"{m:5.3f} ({low:5.3f})" for m, low in zip(means, least, strict=True))
        return f"  {name:34s} {cells}  {self.seconds / len(self.scores):6.2f}"


def calibration(chance: list[tuple[float, bool]]) -> str:
    """Return the reliability of P(same): stated and true share in bins, and the expected calibration error."""
    p, right = np.array([c for c, _ in chance]), np.array([r for _, r in chance], float)
    bins = np.digitize(p, [0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
    parts, error = [], 0.0
    for b in np.unique(bins):
        mine = bins == b
        error += abs(p[mine].mean() - right[mine].mean()) * mine.mean()
        parts.append(f"{p[mine].mean():.2f} -> {right[mine].mean():.2f} ({mine.sum()})")
    stated, spread = (1 - p).sum(), 1.96 * np.sqrt((p * (1 - p)).sum())
    wrong = (
        f"  wrong links: {(1 - right).sum():.0f} of {len(p)}; P(same) states {stated:.0f} "
        f"({max(stated - spread, 0):.0f} to {stated + spread:.0f})"
    )
    return f"{wrong}\n  P(same) stated -> true (links): {', '.join(parts)}; calibration error {error:.3f}"


def ceilings(plate: Plate, sessions: Iterable) -> list[tuple[float, float]]:
    """Return, for every colony that went on alone, the ceiling and whether the nearest after registration was it."""
    out = []
    truth = set(plate.links.itertuples(index=False, name=None))
    parents = pd.Series([(s, c) for s, _, c in truth]).value_counts()
    children = pd.Series([(s, p) for s, p, _ in truth]).value_counts()
    for s, link in enumerate(sessions):
        if not link.accepted:
            continue
        nearest_row = cKDTree(plate.tables[s + 1][["y", "x"]].to_numpy()).query(link.moved)[1]
        out += [
            (link.ceiling, float(nearest_row[p - 1] + 1 == c))
            for t, p, c in truth
            if t == s and parents[(s, c)] == 1 and children[(s, p)] == 1
        ]
    return out


def ceiling_line(found: list[tuple[float, float]]) -> str:
    """Return the wrong identities that the ceilings state for the nearest colony, and those there were."""
    stated = sum(1 - c for c, _ in found)
    spread = 1.96 * np.sqrt(sum(c * (1 - c) for c, _ in found))
    wrong = sum(1 - right for _, right in found)
    return (
        f"  nearest colony after registration: {wrong:.0f} of {len(found)} wrong; the ceiling states {stated:.0f} "
        f"({max(stated - spread, 0):.0f} to {stated + spread:.0f})"
    )


def swaps(plates: list[Plate]) -> str:
    """Exchange a session between neighbouring plates, and count which swaps are told; and what is told without any."""
    from napari_marrow.tracking import swapped_wells

    def told(tables: dict[str, list[pd.DataFrame]]) -> set[tuple[str, int, str]]:
        found = swapped_wells({name: [t.assign(session=k) for k, t in enumerate(s)] for name, s in tables.items()})
        return set(found[["position", "session", "looks_like"]].itertuples(index=False, name=None))

    wells = {f"A{k + 1:02d}_f00": plate.tables for k, plate in enumerate(plates)}
    names, last = list(wells), len(plates[0].tables) - 1
    mixed, truth = {name: list(tables) for name, tables in wells.items()}, set()
    for k, (a, b) in enumerate(zip(names[::2], names[1::2], strict=False)):
        session = 1 + k % last
        mixed[a][session], mixed[b][session] = wells[b][session], wells[a][session]
        truth |= {(a, session, b), (b, session, a)}
    found, false = told(mixed), told(wells)
    # a swap breaks the session after it as well: what is said of that one is right, too
    after = {(name, session + 1, other) for name, session, other in truth}
    return (
        f"  wells swapped for a session: {len(truth & found)} of {len(truth)} told; {len(found - truth - after)} "
        f"others suspected; without a swap {len(false)} of {len(wells) * last}"
    )


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=201)
    parser.add_argument("--peers", action="store_true", help="laptrack only, in the environment where it is installed")
    parser.add_argument("--swaps", action="store_true", help="swapped wells only: which are told")
    parser.add_argument("--course", choices=sorted(COURSES), help="this one only")
    parser.add_argument("--method", help="only lines that begin like this")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    for course_name, course in COURSES.items():
        if options.course not in (None, course_name):
            continue
        plates = [simulate(course, seed) for seed in seeds]
        merging = np.mean([len(merges_of(plate.links.itertuples(index=False, name=None))) for plate in plates])
        print(f"{course_name}: {len(plates)} plates, {np.mean([len(p.links) for p in plates]):.0f} links each, "
              f"{merging:.0f} of them merges")  # fmt: skip
        print(f"  {'':34s} {'link F1':13s}  {'merge F1':13s}  {'history':13s}  CPU s")
        methods = {"laptrack, 300 µm": laptrack} if options.peers else METHODS
        for name, method in () if options.swaps else methods.items():
            if options.method and not name.startswith(options.method):
                continue
            tally = Tally()
            for plate in plates:
                begin = time.process_time()
                tally.add(plate, method(plate), time.process_time() - begin)
            print(tally.line(name), flush=True)
        if options.swaps:
            print(swaps(plates), flush=True)
            continue
        for name, what in [] if options.peers else OURS.items():
            if options.method and options.method != name:
                continue
            tally = Tally()
            for plate in plates:
                begin = time.process_time()
                linked = marrow(plate, **what)
                found = links_of(linked.edges)
                tally.add(plate, found, time.process_time() - begin)
                tally.ceiling += ceilings(plate, linked.sessions)
                truth = set(plate.links.itertuples(index=False, name=None))
                firm = linked.edges[linked.edges["kind"] != "refused"]
                for row in firm.itertuples():
                    if row.session_child - row.session_parent == 1:
                        right = (row.session_parent, row.colony_parent, row.colony_child) in truth
                        tally.chance.append((row.probability, right))
                        if row.kind == "merge":
                            tally.merges.append((row.probability, right))
            print(tally.line(name), flush=True)
            print(calibration(tally.chance), flush=True)
            print(f"  of these, links into merged colonies:\n{calibration(tally.merges)}", flush=True)
            print(ceiling_line(tally.ceiling), flush=True)


if __name__ == "__main__":
    main()
