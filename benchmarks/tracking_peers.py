"""Other trackers, each in an environment of its own, on the same detections.

`run_peer` is called by ``benchmarks/tracking.py --peers FOLDER``; this file is also what the peer's interpreter runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PEERS = {"trackpy": ["trackpy", "pandas"], "laptrack": ["laptrack", "pandas"]}
"""What is installed for each. Trackastra and Ultrack need weights from elsewhere, motile a solver to be licensed."""

RADII = (0.8, 1.2, 2.0)
"""Largest step, in 95th percentiles of the true steps of the tuning set."""
WEIGHTS = (0.0, 10.0, 30.0)
"""Length that one unit of log area or log intensity counts for."""


def settings(usual_step: float, *, features: bool) -> Iterator[dict[str, float]]:
    """Return what every peer is tried with on the tuning set."""
    for factor, weight in product(RADII, WEIGHTS if features else (0.0,)):
        yield {"radius": factor * usual_step, "weight": weight}


def environment(name: str, folder: Path) -> Path:
    """Return the interpreter of a peer's environment, made where it is missing.

    Raises
    ------
    RuntimeError
        If the packages cannot be installed.
    """
    home = folder / name
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    done = subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[name]], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return python


def run_peer(
    name: str, python: Path, points: pd.DataFrame, chosen: dict[str, float], scratch: Path
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Run a peer: track and parent of every row (0 for none), CPU seconds, peak memory in MB.

    Raises
    ------
    RuntimeError
        If the peer fails.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    source, result = scratch / "points.csv", scratch / "tracks.json"
    points.to_csv(source, index=False)
    done = subprocess.run(
        [python, __file__, name, str(source), str(result), json.dumps(chosen)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1][:200]}")
    found = json.loads(result.read_text())
    return np.array(found["track"]), np.array(found["parent"]), found["seconds"], found["megabytes"]


def _coordinates(points: pd.DataFrame, weight: float) -> pd.DataFrame:
    """Return the columns that distances are taken in: places, and logs of measurements if they count."""
    table = points[["y", "x"]].copy()
    for name in ("area", "intensity") if weight > 0 else ():
        if name in points.columns:
            table[name] = weight * np.log(points[name])
    return table


def _trackpy(points: pd.DataFrame, chosen: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    import trackpy

    trackpy.quiet()
    table = _coordinates(points, chosen["weight"])
    columns = list(table.columns)
    linked = trackpy.link(table.assign(frame=points["t"]), chosen["radius"], memory=2, pos_columns=columns)
    track = linked["particle"].reindex(points.index).to_numpy() + 1
    return track, np.zeros(len(track), np.int64)


def _laptrack(points: pd.DataFrame, chosen: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    from laptrack import LapTrack

    table = _coordinates(points, chosen["weight"])
    columns = list(table.columns)
    limit = chosen["radius"] ** 2
    tracker = LapTrack(cutoff=limit, gap_closing_cutoff=limit, gap_closing_max_frame_count=2, splitting_cutoff=limit)
    # laptrack returns rows sorted by frame: carry the row number through
    carried = table.assign(t=points["t"], row=np.arange(len(points)))
    found, split, *_ = tracker.predict_dataframe(carried, columns, frame_col="t", only_coordinate_cols=False)
    found = found.sort_values("row")
    mother = dict(zip(split["child_track_id"], split["parent_track_id"], strict=True)) if len(split) else {}
    track = found["track_id"].to_numpy()
    return track + 1, np.array([int(mother.get(k, -1)) + 1 for k in track])


def _main(name: str, source: str, result: str, chosen: dict[str, float]) -> None:
    import resource

    points = pd.read_csv(source)
    begin = time.process_time()
    function: Any = {"trackpy": _trackpy, "laptrack": _laptrack}[name]
    track, parent = function(points, chosen)
    out = {
        "track": np.asarray(track, np.int64).tolist(),
        "parent": np.asarray(parent, np.int64).tolist(),
        "seconds": time.process_time() - begin,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    Path(result).write_text(json.dumps(out))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
