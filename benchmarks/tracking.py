"""Link and division scores of cell tracking on simulated and real truth, one automatic setting for all.

Usage: ``python benchmarks/tracking.py [--full] [--data FOLDER] [--peers]``. Real sets that are absent are left out,
saying so; peers run if they are installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_marrow.tracking import TrackingSettings, label_points, score_tracks, track_points
from napari_marrow.tracking.scores import links_of
from tracking_simulator import SETS, simulate

DATA = Path(__file__).parents[2] / "shared" / "data" / "tracking"
Tracks = tuple[np.ndarray, np.ndarray]


def ours(points: pd.DataFrame) -> tuple[Tracks, np.ndarray, pd.DataFrame]:
    """Track with the automatic setting: tracks, link probabilities by child row, edges."""
    found = track_points(points)
    return (found.track_id, found.parent_track_id), found.link_probability, found.edges


def trackpy_tracks(points: pd.DataFrame, radius: float) -> Tracks:
    """Tracks of trackpy with a memory of two frames."""
    import trackpy

    trackpy.quiet()
    linked = trackpy.link(points.assign(frame=points["t"]), radius, memory=2, pos_columns=["y", "x"])
    track = linked["particle"].reindex(points.index).to_numpy() + 1
    return track, np.zeros(len(track), np.int64)


def laptrack_tracks(points: pd.DataFrame, radius: float) -> Tracks:
    """Tracks of laptrack with gap closing and splitting."""
    from laptrack import LapTrack

    tracker = LapTrack(
        cutoff=radius**2, gap_closing_cutoff=radius**2, gap_closing_max_frame_count=2, splitting_cutoff=radius**2
    )
    result = tracker.predict_dataframe(points, ["y", "x"], frame_col="t", index_offset=0)
    table, split = result[0], result[1]
    mother = dict(zip(split["child_track_id"], split["parent_track_id"], strict=True)) if len(split) else {}
    track = table["track_id"].to_numpy() + 1
    return track, np.array([mother.get(k - 1, -1) + 1 for k in track])


PEERS: dict[str, Callable[[pd.DataFrame, float], Tracks]] = {"trackpy": trackpy_tracks, "laptrack": laptrack_tracks}


def complete_tracks(truth: pd.DataFrame, track: np.ndarray, max_gap: int = 3) -> float:
    """Share of true tracks whose links were all found and that no wrong link touches."""
    t, true = truth["t"].to_numpy(), truth["track_id"].to_numpy()
    nobody = np.zeros(len(t), np.int64)
    links, _ = links_of(t, true, nobody)
    links = links[t[links[:, 1]] - t[links[:, 0]] <= max_gap]
    found, _ = links_of(t, track.astype(np.int64), nobody)
    n = len(t)
    key, found_key = links[:, 0] * n + links[:, 1], found[:, 0] * n + found[:, 1]
    wrong = found[~np.isin(found_key, key)]
    size = int(true.max()) + 1
    need = np.bincount(true[links[:, 0]], minlength=size)
    got = np.bincount(true[links[np.isin(key, found_key), 0]], minlength=size)
    touched = np.zeros(size, bool)
    touched[true[wrong.ravel()]] = True
    touched[0] = True
    asked = need > 0
    asked[0] = False
    return float((asked & (need == got) & ~touched).sum() / max(asked.sum(), 1))


def calibration_error(truth: pd.DataFrame, edges: pd.DataFrame, max_gap: int = 3) -> float:
    """Return the expected calibration error of the edges' probabilities in 15 bins."""
    t = truth["t"].to_numpy()
    within, born = links_of(t, truth["track_id"].to_numpy(), truth["parent_track_id"].to_numpy())
    links = np.concatenate([within, born])
    links = links[t[links[:, 1]] - t[links[:, 0]] <= max_gap]
    n = len(t)
    right = np.isin(
        edges["parent_row"].to_numpy() * n + edges["child_row"].to_numpy(), links[:, 0] * n + links[:, 1]
    ).astype(float)
    p = edges["probability"].to_numpy()
    bins = np.minimum((p * 15).astype(int), 14)
    count = np.bincount(bins, minlength=15)
    gap = np.abs(np.bincount(bins, right, 15) - np.bincount(bins, p, 15))
    return float(gap[count > 0].sum() / len(p))


def report(name: str, method: str, truth: pd.DataFrame, tracks: Tracks, seconds: float, more: str = "") -> None:
    """Print one line."""
    predicted = pd.DataFrame({"t": truth["t"], "track_id": tracks[0], "parent_track_id": tracks[1]})
    s = score_tracks(truth, predicted, max_gap=3)
    print(
        f"{name:10s} {method:12s} {len(truth):8d} {s.precision:9.4f} {s.recall:7.4f} {s.f1:7.4f} {s.division_f1:7.3f} "
        f"{complete_tracks(truth, tracks[0]):8.3f} {seconds:7.1f} {more}",
        flush=True,
    )


def measure(name: str, table: pd.DataFrame, features: list[str], peers: bool) -> None:
    """Track one set with ours (with and without features) and with the peers at several radii."""
    points = table[["t", "y", "x", *features]]
    for method, given in (("marrow", points), *((("marrow, pos.", points[["t", "y", "x"]]),) if features else ())):
        begin = time.perf_counter()
        tracks, _, edges = ours(given)
        seconds = time.perf_counter() - begin
        error = calibration_error(table, edges)
        report(name, method, table, tracks, seconds, f"calibration error {error:.3f}")
    for peer, function in PEERS.items() if peers else ():
        step = np.quantile(_steps(table), 0.95)
        for factor in (1.0, 1.5, 2.5):
            begin = time.perf_counter()
            try:
                tracks = function(points, float(factor * step))
            except Exception as error:  # a peer's own failure is its result
                print(f"{name:10s} {peer:12s} {type(error).__name__}: {error}")
                break
            report(name, f"{peer} {factor}", table, tracks, time.perf_counter() - begin)


def _steps(table: pd.DataFrame) -> np.ndarray:
    links, _ = links_of(table["t"].to_numpy(), table["track_id"].to_numpy(), np.zeros(len(table), np.int64))
    x = table[["y", "x"]].to_numpy()
    return np.sqrt(((x[links[:, 1]] - x[links[:, 0]]) ** 2).sum(1))


def real_sets(data: Path) -> dict[str, tuple[pd.DataFrame, list[str]]]:
    """Return detections and truth of the real sets that are there."""
    out: dict[str, tuple[pd.DataFrame, list[str]]] = {}
    for name in ("HSC", "MuSC"):
        folder = data / f"BFC2DL{name}_01"
        if folder.is_dir():
            table = pd.read_csv(folder / "nodes.csv.gz").rename(columns={"track": "track_id", "area_px": "area"})
            parents = np.loadtxt(folder / "man_track_derived.txt", dtype=np.int64)
            out[f"{name}-01"] = _with_parents(table, dict(parents[:, [0, 3]])), ["area"]
    folder = data / "ctc_sim01" / "TRA"
    if folder.is_dir():
        import tifffile

        frames = [tifffile.imread(path) for path in sorted(folder.glob("man_track*.tif"))]
        table = label_points(frames, spacing=(1.0, 1.0))
        table["track_id"] = table["label"]
        parents = np.loadtxt(folder / "man_track.txt", dtype=np.int64)
        out["SIM+ 01"] = _with_parents(table, dict(parents[:, [0, 3]])), ["area"]
    for path in sorted((data / "mcf10a").glob("*.csv")):
        raw = pd.read_csv(path)
        table = raw.rename(columns={"ypixel": "y", "xpixel": "x", "TID": "track_id"})
        table["t"] = (raw["tmin"] / 30).round().astype(int)
        mothers = raw.groupby("TID")["motherID"].first()
        out[path.stem] = _with_parents(table[["t", "y", "x", "track_id"]], dict(mothers.items())), []
    return out


def _with_parents(table: pd.DataFrame, parents: dict[Any, Any]) -> pd.DataFrame:
    out = table.reset_index(drop=True)
    out["parent_track_id"] = [int(parents.get(k, 0)) for k in out["track_id"]]
    return out


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="larger simulated sets")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--peers", action="store_true", help="trackpy and laptrack, if installed")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    track_points(simulate(SETS["tiny"], 0)[["t", "y", "x"]], settings=TrackingSettings(rounds=1))  # compile
    print(
        f"{'set':10s} {'method':12s} {'rows':>8s} {'precision':>9s} {'recall':>7s} {'link F1':>7s} {'div F1':>7s} "
        f"{'complete':>8s} {'s':>7s}"
    )
    for name in ("sparse", "crowded", "slow", "large") if options.full else ("tiny", "sparse"):
        for seed in range(101, 101 + options.seeds):
            measure(name, simulate(SETS[name], seed), ["area", "intensity"], options.peers)
    sets = real_sets(options.data)
    if not sets:
        print(f"No real sets in {options.data}.")
    for name, (table, features) in sets.items():
        measure(name, table, features, options.peers)


if __name__ == "__main__":
    main()
