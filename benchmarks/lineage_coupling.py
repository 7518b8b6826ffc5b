"""Power and type-I error of the test of niche-lineage coupling, by number of organoids, from the simulator's truth.

    python benchmarks/lineage_coupling.py coupled OUT --pool 96
    python benchmarks/lineage_coupling.py null OUT --pool 96

simulates a pool of organoids without images: true positions, pedigrees and marker onsets at the frames of the dense
session. Experiments of 4 to 24 organoids are drawn from the pool and each question that can be asked of them is tested
as the step *lineage* tests the first of these. Tracking and segmentation are left out (`benchmarks/lineage_images.py`
has them). OUT is kept and used again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow import lineage
from napari_marrow.lineage.coupling import random_signs
from napari_marrow.schemas import TRACKS
from napari_marrow.simulation import Effect, preset, simulate
from napari_marrow.simulation.scenario import LINEAGE_MARKERS, LINEAGES

DISTANCE = "log(1 + vessel distance / 10 µm)"
NUMBERS = (6, 8, 12, 16, 24)
QUESTIONS = {
    "hazard, history": [("history", "hazard")], "hazard, current": [("current", "hazard")],
    "choice, history": [("history", "choice")], "both, history": [("history", "hazard"), ("history", "choice")],
}  # fmt: skip


def pool(name: str, out: Path, organoids: int, seed: int) -> pd.DataFrame:
    """Return the spans of so many organoids, simulated as far as OUT does not hold them."""
    file = out / f"{name}_{organoids}_{seed}.parquet"
    if file.exists():
        return pd.read_parquet(file)
    out.mkdir(parents=True, exist_ok=True)
    parts = []
    scenario = preset(name, seed=seed)
    dense = tuple(s for s in scenario.sessions if s.kind == "dense")
    design = replace(scenario.design, conditions={"control": Effect()}, organoids_per_condition=organoids, donors=1)
    experiment = simulate(replace(scenario, sessions=dense, design=design))
    for position in experiment.positions:
        tracks, nodes = true_tracks(experiment.history(position), position)
        markers = dict(LINEAGE_MARKERS)
        settings = lineage.OnsetSettings(thresholds=dict.fromkeys(markers.values(), 50.0))
        onsets = lineage.marker_onsets(tracks, nodes, markers=markers, settings=settings)[0]
        for exposure in ("current", "history"):
            spans = lineage.exposure_spans(tracks, nodes, onsets, [DISTANCE], exposure=exposure)
            parts.append(spans.assign(exposure=exposure))
    table = pd.concat(parts, ignore_index=True)
    table.to_parquet(file)
    return table


def true_tracks(history: object, position: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return TRACKS and nodes of an organoid as an ideal tracker would have them."""
    cells = history.population  # type: ignore[attr-defined]
    rows = []
    for t, (time_h, snapshot) in enumerate(sorted(history.snapshots.items())):  # type: ignore[attr-defined]
        distance = np.maximum(
            history.tissue.sample(history.vessel_distance, snapshot.positions),  # type: ignore[attr-defined]
            0.0,
        )
        on = cells.onset[snapshot.cells] <= time_h
        table = pd.DataFrame({"track_id": snapshot.cells + 1, "t": t, "time_h": time_h})
        table[DISTANCE] = np.log1p(distance / 10.0)
        for number, name in enumerate(LINEAGES):
            table[f"intensity_{LINEAGE_MARKERS[name]}"] = 100.0 * (on & (cells.lineage[snapshot.cells] == number))
        rows.append(table)
    nodes = pd.concat(rows, ignore_index=True).assign(position=position, session=1)
    seen = nodes.groupby("track_id")
    tracks = pd.DataFrame({"t_start": seen["t"].min(), "t_end": seen["t"].max(), "start_h": seen["time_h"].min(),
                           "end_h": seen["time_h"].max(), "n_nodes": seen.size()}).reset_index()  # fmt: skip
    who = tracks["track_id"].to_numpy() - 1
    known = set(tracks["track_id"])
    parent = cells.parent[who]
    tracks["parent_track_id"] = np.where([p in known for p in parent], parent, 0)
    tracks["birth"] = np.where(tracks["parent_track_id"] > 0, "division", "start")
    last = int(nodes["t"].max())
    divided = tracks["track_id"].isin(tracks["parent_track_id"])
    tracks["fate"] = np.select([divided, tracks["t_end"] == last], ["division", "end"], "death")
    tracks["founder_track_id"], tracks["generation"], tracks["mean_probability"] = tracks["track_id"], 0, 1.0
    return TRACKS.conform(tracks.assign(position=position, session=1)), nodes


def organoid_scores(spans: pd.DataFrame) -> pd.DataFrame:
    """Score of every organoid (rows) by exposure, question and lineage."""
    out = {}
    for exposure, mine in spans.groupby("exposure"):
        mine = mine[np.isfinite(mine[DISTANCE])]
        positions = sorted(set(mine["position"]))
        clusters = pd.Categorical(mine["position"], positions).codes.astype(np.int64)
        onsets = mine[mine["lineage"] != ""]
        away = onsets[DISTANCE] - onsets.groupby("position")[DISTANCE].transform("mean")
        for name in LINEAGES:
            event = (mine["lineage"] == name).to_numpy()
            scores = lineage.cox_scores(
                mine["entry_h"], mine["stop_h"], event, mine[DISTANCE], strata=clusters, clusters=clusters
            )
            out[exposure, "hazard", name] = pd.Series(scores, positions)
            part = (away * (onsets["lineage"] == name)).groupby(onsets["position"]).sum()
            out[exposure, "choice", name] = part.reindex(positions).fillna(0.0)
    return pd.DataFrame(out).sort_index(axis=1)


def rejections(scores: pd.DataFrame, experiments: int, seed: int) -> None:
    """Print the share of experiments that are told from chance, by number of organoids and question."""
    rng = np.random.default_rng(seed)
    for n in NUMBERS:
        found: dict[str, list[bool]] = {name: [] for name in QUESTIONS}
        for _ in range(experiments):
            drawn = scores.iloc[rng.choice(len(scores), n, replace=False)]
            signs = random_signs(n, 999, int(rng.integers(2**31)))
            for name, keys in QUESTIONS.items():
                values = np.concatenate([drawn[key].to_numpy() for key in keys], axis=1)
                size = np.sqrt((values**2).sum(axis=0))
                largest = np.abs(signs @ (values / np.where(size > 0, size, np.inf))).max(axis=1)
                found[name].append(bool((largest >= largest[0] - 1e-9).mean() <= 0.05))
        print(f"{n:2d} organoids: " + ", ".join(f"{k} {np.mean(v):.3f}" for k, v in found.items()), flush=True)


def main() -> None:
    """Print power (coupled) or error (null)."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("preset", choices=["coupled", "null"])
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--pool", type=int, default=240, help="organoids to simulate")
    arguments.add_argument("--experiments", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=900)
    given = arguments.parse_args()
    spans = pool(given.preset, given.out, given.pool, given.seed)
    came = spans[(spans["lineage"] != "") & (spans["exposure"] == "history")]
    print(f"{given.pool} organoids with " + ", ".join(f"{n} {k}" for k, n in came["lineage"].value_counts().items()))
    rejections(organoid_scores(spans), given.experiments, given.seed)


if __name__ == "__main__":
    main()
