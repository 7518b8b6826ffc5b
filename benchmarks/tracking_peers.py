"""Other trackers, each in an environment of its own, on the same detections.

`run_peer` is called by ``benchmarks/tracking.py --peers FOLDER``; what a peer does stands in `tracking_peer_programs`.

What each is tried with on the tuning set (lengths in 95th percentiles of the true steps there; weights are the length
that one unit of log area or log intensity counts for):

* trackpy, laptrack: radii of .8, 1.2, 2, 3; weights of 0, 10, 30; memory of two frames, trackpy with adaptive search,
  laptrack with splitting.
* btrack: radii of 1.2, 2; coordinates scaled so that such a step is 5 or 10 of its own units; with and without its
  use of measurements.
* tracksdata: nearest neighbours with the radii and weights of trackpy, two children or two missing frames allowed at
  1.2; its integer programme at 1.2 and 2 with a weight of 10.
* motile: radius of 1.2; weights of 0, 10, 30.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.tracking.scores import tracks_of

PEERS = {
    "trackpy": ["trackpy", "pandas"],
    "laptrack": ["laptrack", "pandas"],
    # 0.7 needs a newer libstdc++ than Debian 12 has
    "btrack": ["btrack==0.6.5", "numpy<2", "pandas"],
    "tracksdata": ["tracksdata", "pandas"],
    "motile": ["motile", "pandas", "scipy"],
}
"""What is installed for each. Trackastra and Ultrack need weights from elsewhere."""
EXACT = ("motile",)
"""Peers that are tuned on the first frames only, because they solve all frames in one integer programme."""

_PROGRAMS = Path(__file__).with_name("tracking_peer_programs.py")
_RADII = (0.8, 1.2, 2.0, 3.0)
_WEIGHTS = (0.0, 10.0, 30.0)


def settings(peer: str, usual_step: float, *, features: bool) -> Iterator[dict[str, float]]:
    """Return what a peer is tried with on the tuning set; see above."""
    weights = _WEIGHTS if features else (0.0,)
    usual = 1.2 * usual_step
    if peer == "btrack":
        for factor, units, weight in product((1.2, 2.0), (5.0, 10.0), weights[:2]):
            yield {"radius": factor * usual_step, "scale": units / usual_step, "weight": weight}
    elif peer == "motile":
        for weight in weights:
            yield {"radius": usual, "weight": weight, "division": 1.0}
    elif peer == "tracksdata":
        nearest = {"exact": 0.0, "gap": 1.0, "children": 1.0}
        for factor, weight in product(_RADII, weights):
            yield {"radius": factor * usual_step, "weight": weight, **nearest}
        yield {"radius": usual, "weight": weights[-1], **nearest, "children": 2.0}
        yield {"radius": usual, "weight": weights[-1], **nearest, "gap": 3.0}
        for factor in (1.2, 2.0):
            yield {"radius": factor * usual_step, "weight": weights[len(weights) // 2], "exact": 1.0, "gap": 1.0,
                   "division": 1.0}  # fmt: skip
    else:
        for factor, weight in product(_RADII, weights):
            yield {"radius": factor * usual_step, "weight": weight}


def environment(name: str, folder: Path) -> Path:
    """Return the interpreter of a peer's environment, made where it is missing.

    Raises
    ------
    RuntimeError
        If the packages cannot be installed.
    """
    home = folder / name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = home / "installed.json"
    if python.is_file() and done.is_file() and json.loads(done.read_text()) == PEERS[name]:
        return python
    print(f"Making an environment for {' and '.join(PEERS[name])} in {home} ...", file=sys.stderr)
    if not python.is_file():
        venv.create(home, with_pip=True)
    made = subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[name]], capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(f"{name} cannot be installed: {made.stderr.strip().splitlines()[-1]}")
    done.write_text(json.dumps(PEERS[name]))
    return python


@dataclass(frozen=True)
class PeerResult:
    """What a peer found with one setting.

    Attributes
    ----------
    track, parent : (n,) int64
        Per row, 0 for none.
    seconds, megabytes : float
        CPU seconds of the tracking itself, peak memory of its process.
    """

    track: np.ndarray
    parent: np.ndarray
    seconds: float
    megabytes: float


def run_peer(
    name: str, python: Path, points: pd.DataFrame, chosen: Sequence[dict[str, float]], scratch: Path, limit: float
) -> tuple[dict[int, PeerResult], str]:
    """Run a peer with each of some settings, in one process as long as none takes too long.

    Parameters
    ----------
    name : str
    python : Path
        Interpreter of its environment.
    points : DataFrame
    chosen : sequence of dict
        Its settings.
    scratch : Path
        Folder for the files between the processes.
    limit : float
        CPU seconds per setting after which it is stopped.

    Returns
    -------
    found : dict of int to PeerResult
        By the number of the setting; what failed or was not reached is missing.
    reason : str
        Why something is missing.
    """
    folder = scratch / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    points.to_csv(folder / "points.csv", index=False)
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    reason, left = "", list(enumerate(chosen))
    while left:  # one that takes too long ends its process, and another one goes on
        done = subprocess.run(
            [python, str(_PROGRAMS), name, str(folder / "points.csv"), str(folder), json.dumps(left), str(limit)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", env=own,
        )  # fmt: skip
        said = [line for line in done.stderr.splitlines() if line.strip()]
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            reason = f"stopped after {limit:.0f} CPU s"
        elif said or done.returncode:
            reason = said[-1].strip()[:160] if said else f"ended with code {done.returncode}"
        tried = [number for number, _ in left if (folder / f"{number}.tried").is_file()]
        left = [one for one in left if one[0] > max(tried)] if tried else []
    found = {}
    for number in range(len(chosen)):
        if (folder / f"{number}.npz").is_file():
            found[number] = _result(folder / f"{number}.npz", points)
    return found, reason


def _result(path: Path, points: pd.DataFrame) -> PeerResult:
    with np.load(path) as found:
        if "links" in found:
            track, parent = tracks_of(points["t"].to_numpy(np.int64), found["links"])
        else:
            track, parent = found["track"], found["parent"]
        return PeerResult(track, parent, float(found["seconds"]), float(found["megabytes"]))
