"""Division trees with competing onsets and death, simulated in continuous time, and how a microscope sees them.

Hazards are the same for every line of descent at a time, so that the cumulative incidence is known exactly. Cells go on
dividing and dying after a marker has come on. A microscope sees nuclei every hour within sessions and markers every
hour or more rarely, loses cells before they divide, and never follows a cell from one session into the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow import lineage
from napari_marrow.schemas import TRACKS

Floats = npt.NDArray[np.float64]
MARKERS = {"erythroid": "CD235a", "megakaryocytic": "CD41"}
LAYOUT_COLUMNS = ("position", "well", "organoid", "donor", "batch", "condition", "dose", "replicate")


@dataclass(frozen=True)
class Hazards:
    """Hazards [1/h] at time t: of lineage k `rates[k]` (1 + t / `doubling_h`), of death `death`.

    `doubling_h` is infinite for constant hazards.
    """

    rates: tuple[float, ...] = (0.02, 0.01)
    death: float = 0.005
    doubling_h: float = float("inf")

    def waiting(self, begin: Floats, rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return the time of the first onset after `begin` and which lineage it is."""
        total = sum(self.rates)
        if total == 0:
            return np.full(len(begin), np.inf), np.zeros(len(begin), dtype=np.int64)
        target = rng.exponential(1 / total, len(begin))
        if np.isfinite(self.doubling_h):
            # total ((t - b) + (t² - b²) / 2d) = exponential(1), solved for t
            d = self.doubling_h
            time = -d + np.sqrt((d + begin) ** 2 + 2 * d * target)
        else:
            time = begin + target
        which = rng.choice(len(self.rates), len(begin), p=np.array(self.rates) / total)
        return time, which

    def incidence(self, t: float) -> dict[str, float]:
        """Return the exact cumulative incidence of every lineage and of death at t."""
        u = np.linspace(0.0, t, 20_001)
        grow = 1 + u / self.doubling_h
        total = sum(self.rates) * (u + u**2 / (2 * self.doubling_h)) + self.death * u
        survival = np.exp(-total)
        names = list(MARKERS)[: len(self.rates)]
        out = {n: float(np.trapezoid(survival * r * grow, u)) for n, r in zip(names, self.rates, strict=True)}
        return {**out, "death": float(np.trapezoid(survival * self.death, u))}


def grow(n: int, hazards: Hazards, rng: np.random.Generator, *, until: float, factor: float = 1.0) -> pd.DataFrame:
    """Simulate n founders, negative, half there at 0 and half appearing in the first fifth; `factor` scales hazards.

    Returns a row per cell: cell, mother (0 for none), born, end, cycle [h], fate (division, death, end), on_h
    (inherited or own; inf), lineage (index).
    """
    mine = Hazards(tuple(r * factor for r in hazards.rates), hazards.death * factor, hazards.doubling_h)
    born, mother = rng.uniform(0, 0.2 * until, n), np.zeros(n, dtype=np.int64)
    born[: n // 2] = 0.0
    on, lineage_of = np.full(n, np.inf), np.zeros(n, dtype=np.int64)
    parts: list[pd.DataFrame] = []
    next_id, first = 1, True
    while len(born):
        m = len(born)
        cycle = rng.gamma(11, 28 / 11, m) * (rng.uniform(0.2, 1, m) if first else 1)
        dies = born + (rng.exponential(1 / mine.death, m) if mine.death else np.full(m, np.inf))
        end = np.minimum.reduce([born + cycle, dies, np.full(m, until)])
        fate = np.select([end == until, end == dies], ["end", "death"], "division")
        when, which = mine.waiting(born, rng)
        own = np.isinf(on) & (when < end)
        on, lineage_of = np.where(own, when, on), np.where(own, which, lineage_of)
        ids = next_id + np.arange(m)
        next_id += m
        columns = {"cell": ids, "mother": mother, "born": born, "end": end, "cycle": cycle, "fate": fate}
        parts.append(pd.DataFrame({**columns, "on_h": on, "lineage": lineage_of}))
        divides = fate == "division"
        born, mother = np.repeat(end[divides], 2), np.repeat(ids[divides], 2)
        on, lineage_of = np.repeat(on[divides], 2), np.repeat(lineage_of[divides], 2)
        first = False
    return pd.concat(parts, ignore_index=True)


def observe(
    cells: pd.DataFrame,
    sessions: Sequence[tuple[float, float]],
    rng: np.random.Generator,
    *,
    look: int = 1,
    lost: float = 0.2,
    position: str = "B02_f00",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Follow nuclei every hour in each session and read markers every `look` hours; TRACKS and ONSETS tables.

    `lost` is the share of cells that are lost at a random time of their life, whatever they do; a lost cell's
    descendants are found again as founders in the next session only.
    """
    tracks, nodes = [], []
    for number, (a, b) in enumerate(sessions, start=1):
        seen, frames = _session(cells, a, b, rng, look, lost)
        tracks.append(seen.assign(session=number))
        nodes.append(frames.assign(session=number))
    table = pd.concat(tracks, ignore_index=True).assign(position=position, mean_probability=1.0)
    settings = lineage.OnsetSettings(
        thresholds=dict.fromkeys(MARKERS.values(), 50.0), consecutive=2 if look == 1 else 1
    )
    nodes_table = pd.concat(nodes, ignore_index=True).assign(position=position)
    table = TRACKS.conform(table)
    return table, lineage.marker_onsets(table, nodes_table, markers=MARKERS, settings=settings)[0]


def _session(
    cells: pd.DataFrame, a: float, b: float, rng: np.random.Generator, look: int, lost: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    cells = cells[(cells["born"] < b) & (cells["end"] > a)]
    born, end = cells["born"].to_numpy(), cells["end"].to_numpy()
    # Lost at a time of the cycle that does not depend on what else becomes of the cell.
    leaves = born + np.where(rng.random(len(cells)) < lost, rng.random(len(cells)) * cells["cycle"], np.inf)
    loses = leaves < end
    leaves = np.where(loses, leaves, end)
    # Frames at whole hours of the session; a daughter is seen from the first frame after her mother's division.
    first = np.where(born <= a, a, np.floor(born) + 1)
    last = np.minimum(np.ceil(leaves) - 1, b)
    mother = cells["mother"].to_numpy()
    keep = last >= first
    names = cells["cell"].to_numpy()
    at = np.minimum(np.searchsorted(names, mother), max(len(names) - 1, 0))
    inside = names[at] == mother
    # Whoever descends from a cell that was lost in this session is not followed.
    gone = loses & (leaves >= a)
    for _ in range(30):
        gone |= inside & gone[at]
    keep &= ~(inside & gone[at])
    known = inside & keep[at]
    # A mother that lived between two frames leaves daughters of unknown birth.
    parent = np.where(known, mother, 0)[keep]
    table = pd.DataFrame({"track_id": names[keep], "parent_track_id": parent, "founder_track_id": names[keep],
                          "generation": 0, "start_h": first[keep], "end_h": last[keep]})  # fmt: skip
    table["t_start"], table["t_end"] = (table["start_h"] - a).astype(int), (table["end_h"] - a).astype(int)
    table["n_nodes"] = table["t_end"] - table["t_start"] + 1
    table["birth"] = np.where(parent > 0, "division", np.where(first[keep] <= a, "start", "appearance"))
    divided = table["track_id"].isin(parent).to_numpy()
    died = (cells["fate"].to_numpy() == "death")[keep] & ~loses[keep] & (last[keep] < b)
    at_end = last[keep] >= b
    table["fate"] = np.select([divided, at_end, died], ["division", "end", "death"], "loss")
    return table, _frames(cells[keep], table, a, look)


def _frames(cells: pd.DataFrame, table: pd.DataFrame, a: float, look: int) -> pd.DataFrame:
    """Intensities of every cell at every look: 100 where its marker is on, else 0."""
    t0, t1 = (-(-table["t_start"].to_numpy() // look) * look, table["t_end"].to_numpy())
    count = np.maximum((t1 - t0) // look + 1, 0)
    row = np.repeat(np.arange(len(table)), count)
    t = np.repeat(t0, count) + look * (np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count))
    on = cells["on_h"].to_numpy()[row] <= a + t
    which = cells["lineage"].to_numpy()[row]
    out = pd.DataFrame({"track_id": table["track_id"].to_numpy()[row], "t": t, "time_h": a + t})
    for number, channel in enumerate(MARKERS.values()):
        out[f"intensity_{channel}"] = 100.0 * (on & (which == number))
    return out


def layout_of(n: int, conditions: int = 1) -> pd.DataFrame:
    """Organoids in one batch, split over conditions."""
    positions = [f"B{i:02d}_f00" for i in range(n)]
    condition = [("control", "drug")[i * conditions // n] for i in range(n)]
    rows = [(p, p, f"o{i}", "d", "b", c, np.nan, 1) for i, (p, c) in enumerate(zip(positions, condition, strict=True))]
    return pd.DataFrame(rows, columns=LAYOUT_COLUMNS)


def organoids(
    n: int, founders: int, hazards: Hazards, rng: np.random.Generator, *, sessions: Sequence[tuple[float, float]],
    look: int = 1, lost: float = 0.2, spread: float = 0.0,
) -> pd.DataFrame:  # fmt: skip
    """ONSETS of so many organoids; `spread` is the SD of the log of a factor on the hazards of each, mean 1."""
    parts = []
    for position in layout_of(n)["position"]:
        factor = float(np.exp(rng.normal(-(spread**2) / 2, spread))) if spread else 1.0
        cells = grow(founders, hazards, rng, until=float(sessions[-1][1]) + 1e-6, factor=factor)
        parts.append(observe(cells, sessions, rng, look=look, lost=lost, position=position)[1])
    return pd.concat(parts, ignore_index=True)


def followed(
    cells: pd.DataFrame, position: str, rng: np.random.Generator, *, every: int = 4
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Follow all cells without a loss; TRACKS and nodes with marker, nuclear brightness, shape and a distance.

    A tenth of the tracks that end early are lost cells that look as they did; the others shrink before they die.
    """
    seen, frames = _session(cells, 0.0, float(cells["end"].max()), rng, every, 0.0)
    seen["fate"] = seen["fate"].replace("death", "loss")
    row = np.searchsorted(seen["track_id"].to_numpy(), frames["track_id"].to_numpy())
    dying = (seen["fate"] == "loss").to_numpy()[row] & (seen["t_end"].to_numpy()[row] - frames["t"].to_numpy() < 6)
    dying &= (frames["track_id"].to_numpy() % 10) > 0
    n = len(frames)
    frames["area"] = rng.normal(80, 6, n) * np.where(dying, 0.6, 1.0)
    frames["intensity_nuclei"] = rng.normal(500, 30, n) * np.where(dying, 1.5, 1.0)
    frames["eccentricity"] = rng.uniform(0.2, 0.6, n)
    frames["distance"] = rng.gamma(2.0, 15.0, len(seen))[row] + rng.normal(0, 4, n)
    table = seen.assign(session=1, position=position, mean_probability=1.0)
    return TRACKS.conform(table), frames.assign(session=1, position=position)


def doubtful_divisions(
    rng: np.random.Generator, experiments: int, clones: int, *, truth: float, wrong: float, apart: float = 2.0
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Clones of which a share `truth` divides once; a share `wrong` of the divisions shown are cells that came by.

    TRACKS, nodes, edges (the second daughter's with the probability that she is one) and a layout in which each
    experiment is a condition. Each division shown has a normal score, `apart` deviations higher where it is one; its
    probability is learned from the scores of its experiment, as a tracker learns it from its study. With `apart` 0 the
    probability is the same for all and known from elsewhere.
    """
    came_by = truth * wrong / (1 - wrong) / (1 - truth)
    divides = rng.random((experiments, clones)) < truth
    shown = divides | (rng.random((experiments, clones)) < came_by)
    probability = np.where(shown, 1 - wrong, 0.0)
    if apart:
        ratio = np.exp(apart * (rng.normal(size=shown.shape) + apart * divides) - apart**2 / 2)
        share = np.full((experiments, 1), 0.5)
        for _ in range(2000):
            probability = np.where(shown, share * ratio / (share * ratio + 1 - share), 0.0)
            share = np.minimum(probability.sum(axis=1, keepdims=True) / shown.sum(axis=1, keepdims=True), 1.0)
    place, clone = np.nonzero(np.ones_like(shown))
    first = pd.DataFrame({"position": place, "track_id": 3 * clone + 1, "parent_track_id": 0, "t_start": 0})
    splits = shown.ravel()
    first["t_end"], first["fate"] = np.where(splits, 3, 7), np.where(splits, "division", "end")
    first["birth"] = "start"
    daughters = [
        first[splits].assign(track_id=lambda d, k=k: d["track_id"] + k, parent_track_id=first["track_id"][splits],
                             t_start=4, t_end=7, fate="end", birth="division")
        for k in (1, 2)
    ]  # fmt: skip
    tracks = pd.concat([first, *daughters], ignore_index=True)
    tracks["position"] = "E" + tracks["position"].astype(str).str.zfill(3)
    tracks = tracks.assign(session=1, generation=0, founder_track_id=tracks["track_id"], mean_probability=1.0)
    tracks["start_h"], tracks["end_h"] = tracks["t_start"].astype(float), tracks["t_end"].astype(float)
    tracks["n_nodes"] = tracks["t_end"] - tracks["t_start"] + 1
    nodes = tracks.loc[tracks.index.repeat(tracks["n_nodes"]), ["position", "session", "track_id", "t_start"]]
    nodes = nodes.reset_index(drop=True)
    nodes["t"] = nodes["t_start"] + nodes.groupby(["position", "track_id"]).cumcount()
    nodes["time_h"], nodes["label"] = nodes["t"].astype(float), nodes["track_id"]
    link = nodes[nodes["t"] > nodes["t_start"]]
    links = link[["position", "session"]].assign(
        t_parent=link["t"] - 1, label_parent=link["label"], t_child=link["t"], label_child=link["label"], kind="link",
        probability=1.0,
    )  # fmt: skip
    born = tracks[tracks["parent_track_id"] > 0]
    second = (born["track_id"] - born["parent_track_id"]) == 2
    of_clone = (born["position"].str[1:].astype(int), (born["parent_track_id"] - 1) // 3)
    divisions = born[["position", "session"]].assign(
        t_parent=3, label_parent=born["parent_track_id"], t_child=4, label_child=born["track_id"], kind="division",
        probability=np.where(second, np.minimum(probability[of_clone], 1.0), 1.0),
    )  # fmt: skip
    names = sorted(set(tracks["position"]))
    layout = pd.DataFrame({"position": names, "organoid": names, "condition": names})
    return TRACKS.conform(tracks), nodes, pd.concat([links, divisions], ignore_index=True), layout
