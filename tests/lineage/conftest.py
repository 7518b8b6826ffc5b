from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from napari_marrow.schemas import TRACKS

TracksFactory = Callable[..., pd.DataFrame]


def build_tracks(rows: list[tuple], *, position: str = "B02_f00", session: int = 1, dt: float = 1.0) -> pd.DataFrame:
    """(track_id, parent, start_h, end_h, birth, fate) -> TRACKS table."""
    table = pd.DataFrame(rows, columns=["track_id", "parent_track_id", "start_h", "end_h", "birth", "fate"])
    table["position"], table["session"] = position, session
    table["founder_track_id"], table["generation"] = table["track_id"], 0
    table["t_start"] = np.round(table["start_h"] / dt).astype(int)
    table["t_end"] = np.round(table["end_h"] / dt).astype(int)
    table["n_nodes"] = table["t_end"] - table["t_start"] + 1
    table["mean_probability"] = 1.0
    return TRACKS.conform(table)


@pytest.fixture
def make_tracks() -> TracksFactory:
    return build_tracks


@pytest.fixture
def family(make_tracks: TracksFactory) -> pd.DataFrame:
    """A founder whose daughters both divide: 1 -> (2, 3); 2 -> (4, 5); 3 -> (6, 7); 8 alone; frames every hour."""
    return make_tracks(
        [
            (1, 0, 0, 9, "start", "division"),
            (2, 1, 10, 19, "division", "division"),
            (3, 1, 10, 21, "division", "division"),
            (4, 2, 20, 30, "division", "end"),
            (5, 2, 20, 25, "division", "death"),
            (6, 3, 22, 30, "division", "end"),
            (7, 3, 22, 24, "division", "loss"),
            (8, 0, 5, 12, "entry", "exit"),
        ]
    )


@pytest.fixture
def full_tree(make_tracks: TracksFactory) -> Callable[[int, int], pd.DataFrame]:
    """Complete binary trees: n clones of g generations behind the founder, every cycle 10 h."""

    def build(n_clones: int, generations: int) -> pd.DataFrame:
        size = 2 ** (generations + 1) - 1
        node = np.arange(1, size + 1)
        generation = np.floor(np.log2(node)).astype(int)
        rows = []
        for clone in range(n_clones):
            base = clone * size
            for i, g in zip(node, generation, strict=True):
                mother = 0 if i == 1 else base + i // 2
                fate = "division" if g < generations else "end"
                rows.append((base + i, mother, 10.0 * g, 10.0 * g + 9, "division" if mother else "start", fate))
        return make_tracks(rows)

    return build


@pytest.fixture
def simulate_clones() -> Callable[..., tuple[pd.DataFrame, pd.DataFrame]]:
    return simulate


def simulate(
    n_founders: int,
    *,
    until: float = 60.0,
    dt: float = 0.5,
    hazards: dict[str, float] | None = None,
    death: float = 0.005,
    loss: float = 0.0,
    cycle: tuple[float, float] = (28.0, 0.3),
    position: str = "B02_f00",
    session: int = 1,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Dividing cells with constant hazards of onset, death and loss, seen in frames; all start at random phase,
    negative.

    Returns TRACKS and nodes with intensities (negative 0 ± 10 counts, positive 200 and more).
    """
    markers = hazards or {"erythroid": 0.02, "megakaryocytic": 0.01}
    names = list(markers)
    rng = np.random.default_rng(seed)
    mean, cv = cycle
    tracks, nodes = [], []
    next_id = n_founders + 1
    born = np.zeros(n_founders)
    mothers = np.zeros(n_founders, dtype=int)
    ids = np.arange(1, n_founders + 1)
    lineage = np.full(n_founders, -1)  # of the mother
    while len(born):
        n = len(born)
        life = rng.gamma(1 / cv**2, mean * cv**2, n) * (rng.uniform(0.2, 1, n) if mothers[0] == 0 else 1)
        life = np.maximum(life, 3 * dt)
        dies = rng.exponential(1 / death, n) if death else np.full(n, np.inf)
        lost = rng.exponential(1 / loss, n) if loss else np.full(n, np.inf)
        stop = np.minimum.reduce([life, dies, lost])
        fate = np.where(stop == life, "division", np.where(stop == dies, "death", "loss")).astype(object)
        end = born + np.maximum(stop, 1.01 * dt)
        fate[end >= until] = "end"
        end = np.minimum(end, until)
        draws = rng.exponential(1 / np.array([markers[m] for m in names])[:, None], (len(names), n))
        turns = np.where(lineage < 0, born + draws.min(axis=0), -1.0)
        which = np.where(lineage < 0, draws.argmin(axis=0), lineage)
        first, last = np.ceil(born / dt).astype(int), np.floor(end / dt + 1e-9).astype(int)
        first[mothers > 0] = np.floor(born[mothers > 0] / dt + 1e-9).astype(int) + 1
        keep = last >= first
        for i in np.flatnonzero(keep):
            tracks.append(
                (ids[i], mothers[i], first[i] * dt, last[i] * dt, "division" if mothers[i] else "start", fate[i])
            )
        length = (last - first + 1)[keep]
        owner = np.repeat(np.flatnonzero(keep), length)
        frame = np.concatenate([np.arange(a, b + 1) for a, b in zip(first[keep], last[keep], strict=True)])
        on = np.where(frame * dt > turns[owner], which[owner], -1)
        nodes.append(np.column_stack([ids[owner], frame, on]))
        divides = keep & (fate == "division") & (np.floor(end / dt + 1e-9) + 1 <= until / dt)
        state = np.where(end > turns, which, -1)
        mothers = np.repeat(ids[divides], 2)
        born, lineage = np.repeat(end[divides], 2), np.repeat(state[divides], 2)
        ids = next_id + np.arange(len(born))
        next_id += len(born)
    flat = np.concatenate(nodes)
    table = pd.DataFrame({"position": position, "session": session, "t": flat[:, 1], "time_h": flat[:, 1] * dt})
    table["track_id"] = flat[:, 0]
    channels = {"erythroid": "CD235a", "megakaryocytic": "CD41"}
    for number, name in enumerate(names):
        positive = flat[:, 2] == number
        value = rng.normal(0, 10, len(table)) + positive * rng.lognormal(np.log(300), 0.3, len(table))
        table[f"intensity_{channels[name]}"] = value
    tracks_table = build_tracks(tracks, position=position, session=session, dt=dt)
    # A division at the very end has no daughters in the movie.
    has = tracks_table["track_id"].isin(tracks_table["parent_track_id"])
    tracks_table.loc[(tracks_table["fate"] == "division") & ~has, "fate"] = "end"
    return tracks_table, table
