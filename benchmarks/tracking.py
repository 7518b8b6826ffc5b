"""Link and division scores of cell tracking on simulated and real truth, one automatic setting for all.

Usage: ``python benchmarks/tracking.py [--full] [--sets NAME ...] [--data FOLDER] [--seeds N] [--peers FOLDER]``.
Real sets that are absent are left out, saying so. Peers (trackpy, laptrack, btrack, tracksdata, motile) are installed
into environments of their own in FOLDER and run at the best of the settings in `tracking_peers`: on simulated sets the
best on a smaller field of another seed, on real ones the best on the set itself. ``--limit TUNING CHOSEN`` stops a
setting after so many CPU seconds. ``--keep FILE`` writes the row of each peer to FILE as it comes; a run with the same
FILE goes on after the rows that stand there.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_marrow.tracking import TrackingSettings, label_points, score_tracks, track_points
from napari_marrow.tracking.scores import links_of, tracks_of
from tracking_biology import NAMES as BIOLOGY
from tracking_biology import biology, with_errors
from tracking_peers import EXACT, PEERS, environment, run_peer, settings
from tracking_simulator import SETS, simulate

DATA = Path(__file__).parents[2] / "shared" / "data" / "tracking"
Tracks = tuple[np.ndarray, np.ndarray]


class KeptRows:
    """Rows of peers in a file, so that a run that was stopped need not begin again."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        stand = path.read_text().splitlines() if path is not None and path.is_file() else []
        self.rows = {key: row for key, _, row in (line.partition("\t") for line in stand)}

    def add(self, key: str, row: str) -> None:
        """Print a row, and keep it."""
        print(row, flush=True)
        if self.path is not None and key not in self.rows:
            with self.path.open("a") as file:
                file.write(f"{key}\t{row}\n")
        self.rows[key] = row


def ours(points: pd.DataFrame) -> tuple[Tracks, np.ndarray, pd.DataFrame]:
    """Track with the automatic setting: tracks, link probabilities by child row, edges."""
    found = track_points(points)
    return (found.track_id, found.parent_track_id), found.link_probability, found.edges


def complete_names(truth: pd.DataFrame, track: np.ndarray, max_gap: int = 3) -> set[int]:
    """Return the true tracks whose links were all found and that no wrong link touches."""
    t, true = truth["t"].to_numpy(), truth["track_id"].to_numpy()
    nobody = np.zeros(len(t), np.int64)
    links, _ = links_of(t, true, nobody)
    links = links[t[links[:, 1]] - t[links[:, 0]] <= max_gap]
    found, _ = links_of(t, track.astype(np.int64), nobody)
    n = len(t)
    key, found_key = links[:, 0] * n + links[:, 1], found[:, 0] * n + found[:, 1]
    wrong = found[~np.isin(found_key, key)]
    missed = links[~np.isin(key, found_key)]
    spoiled = set(true[wrong.ravel()].tolist()) | set(true[missed[:, 0]].tolist()) | {0}
    return set(true[links[:, 0]].tolist()) - spoiled


def complete_tracks(truth: pd.DataFrame, track: np.ndarray, max_gap: int = 3) -> float:
    """Share of the true tracks of two detections and more that are complete."""
    t, true = truth["t"].to_numpy(), truth["track_id"].to_numpy()
    links, _ = links_of(t, true, np.zeros(len(t), np.int64))
    asked = set(true[links[t[links[:, 1]] - t[links[:, 0]] <= max_gap, 0]].tolist()) - {0}
    return len(complete_names(truth, track, max_gap) & asked) / max(len(asked), 1)


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


def whole_divisions(truth: pd.DataFrame, tracks: Tracks, max_gap: int = 3) -> float:
    """Share of the true divisions that were found, and both of whose daughters' tracks are complete."""
    t, true, parent = (truth[c].to_numpy() for c in ("t", "track_id", "parent_track_id"))
    whole = complete_names(truth, tracks[0], max_gap)
    _, born = links_of(t, true, parent)
    _, found = links_of(t, tracks[0].astype(np.int64), tracks[1].astype(np.int64))
    kids: dict[int, list[int]] = {}
    for source, target in found:
        kids.setdefault(int(source), []).append(int(true[target]))
    predicted = {frozenset(k) for k in kids.values() if len(k) == 2}
    families: dict[int, list[int]] = {}
    for source, target in born:
        families.setdefault(int(source), []).append(int(true[target]))
    pairs = [frozenset(k) for k in families.values() if len(k) == 2]
    good = sum(pair in predicted and pair <= whole for pair in pairs)
    return good / len(pairs) if pairs else float("nan")


HEAD = (
    "| set | method | detections | precision | recall | link F1 | division F1 | complete tracks | divisions with whole "
    "daughters | CPU s | calibration error |\n" + "|---" * 11 + "|"
)


def row(name: str, method: str, truth: pd.DataFrame, tracks: Tracks, seconds: float, error: float | None) -> str:
    """Return one row of the table."""
    predicted = pd.DataFrame({"t": truth["t"], "track_id": tracks[0], "parent_track_id": tracks[1]})
    s = score_tracks(truth, predicted, max_gap=3)
    return (
        f"| {name} | {method} | {len(truth)} | {s.precision:.4f} | {s.recall:.4f} | {s.f1:.4f} | {s.division_f1:.3f} | "
        f"{complete_tracks(truth, tracks[0]):.3f} | {whole_divisions(truth, tracks):.3f} | {seconds:.1f} | "
        f"{'' if error is None else f'{error:.3f}'} |"
    )


def measure(name: str, table: pd.DataFrame, features: list[str]) -> None:
    """Track one set with and without features."""
    points = table[["t", "y", "x", *features]]
    for method, given in (("marrow", points), *((("marrow, positions", points[["t", "y", "x"]]),) if features else ())):
        begin = time.process_time()
        tracks, _, edges = ours(given)
        seconds = time.process_time() - begin
        print(row(name, method, table, tracks, seconds, calibration_error(table, edges)), flush=True)


@dataclass(frozen=True)
class Peers:
    """How other trackers are run.

    Attributes
    ----------
    interpreters : dict of str to Path
        Of each peer's environment.
    scratch : Path
        Folder for the files between the processes.
    limits : (float, float)
        CPU seconds for a setting on the tuning set, and for the chosen one.
    kept : KeptRows
    """

    interpreters: dict[str, Path]
    scratch: Path
    limits: tuple[float, float]
    kept: KeptRows


def measure_peers(
    key: str, name: str, tuning: pd.DataFrame, table: pd.DataFrame, features: list[str], how: Peers
) -> None:
    """Run every peer at the setting with the best link F1 on the tuning set; `key` names set and seed."""
    for peer, python in how.interpreters.items():
        own = f"{key} {peer}"
        found = how.kept.rows.get(own) or _peer_row(peer, python, name, tuning, table, features, how)
        how.kept.add(own, found)


def _peer_row(
    peer: str, python: Path, name: str, tuning: pd.DataFrame, table: pd.DataFrame, features: list[str], how: Peers
) -> str:
    columns = ["t", "y", "x", *features]
    step = float(np.quantile(_steps(tuning), 0.95))
    few = tuning[tuning["t"] < tuning["t"].min() + 20].reset_index(drop=True) if peer in EXACT else tuning
    tried = list(settings(peer, step, features=bool(features)))
    results, why = run_peer(peer, python, few[columns], tried, how.scratch, how.limits[0])
    scores = {}
    for number, result in results.items():
        found = pd.DataFrame({"t": few["t"], "track_id": result.track, "parent_track_id": result.parent})
        scores[number] = score_tracks(few, found, max_gap=3).f1
    if not scores:
        return f"| {name} | {peer} | {len(table)} | no setting: {why} |"
    best = max(scores, key=lambda number: scores[number])
    if table is not tuning or few is not tuning:
        results, why = run_peer(peer, python, table[columns], [tried[best]], how.scratch, how.limits[1])
        chosen = results.get(0)
    else:
        chosen = results[best]
    line = f"{peer}, {', '.join(f'{key} {value:.3g}' for key, value in tried[best].items())}"
    if chosen is None:
        return f"| {name} | {line} | {len(table)} | {why} |"
    return row(name, line, table, (chosen.track, chosen.parent), chosen.seconds, None)


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
            out[f"{name}-01"] = _of_format(_with_parents(table, dict(parents[:, [0, 3]]))), ["area"]
    folder = data / "ctc_sim01" / "TRA"
    if folder.is_dir():
        import tifffile

        frames = [tifffile.imread(path) for path in sorted(folder.glob("man_track*.tif"))]
        table = label_points(frames, spacing=(1.0, 1.0))
        table["track_id"] = table["label"]
        parents = np.loadtxt(folder / "man_track.txt", dtype=np.int64)
        out["SIM+ 01"] = _of_format(_with_parents(table, dict(parents[:, [0, 3]]))), ["area"]
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


def _of_format(table: pd.DataFrame) -> pd.DataFrame:
    """Unite the pieces of tracks.

    In the format of the Cell Tracking Challenge a cell that was not seen for a frame goes on under a new name, with the
    piece before as its parent: a parent with a single child is no mother.
    """
    t, track, parent = (table[c].to_numpy(np.int64) for c in ("t", "track_id", "parent_track_id"))
    whole, mother = tracks_of(t, np.concatenate(links_of(t, track, parent)))
    return table.assign(track_id=np.where(track > 0, whole, 0), parent_track_id=np.where(track > 0, mother, 0))


def measure_biology(sets: dict[str, tuple[pd.DataFrame, list[str]]]) -> None:
    """Print the challenge's biological scores on given detections, and on detections with errors."""
    print(f"\n| set | detections | method | link F1 | {' | '.join(BIOLOGY)} |\n" + "|---" * (4 + len(BIOLOGY)) + "|")
    for name in ("HSC-01", "MuSC-01", "SIM+ 01"):
        if name not in sets:
            continue
        truth, known = sets[name]
        for said, seeds, (missed, false) in (
            ("given", (0,), (0.0, 0.0)), ("3 % missed, 1 % false", (1, 2, 3), (0.03, 0.01)),
        ):  # fmt: skip
            rows: dict[str, list[list[float]]] = {}
            for seed in seeds:
                table = with_errors(truth, missed=missed, false=false, seed=seed)
                answers = {"marrow": ours(table[["t", "y", "x", *known]])[0]}
                answers["marrow, positions"] = ours(table[["t", "y", "x"]])[0]
                answers["true links"] = (table["track_id"].to_numpy(), table["parent_track_id"].to_numpy())
                for method, (track, parent) in answers.items():
                    found = table[["t", "y", "x"]].assign(track_id=track, parent_track_id=parent)
                    scores = biology(truth, found)
                    link = score_tracks(table, found, max_gap=3).f1
                    rows.setdefault(method, []).append([link, *(scores[key] for key in BIOLOGY)])
            for method, values in rows.items():
                print(f"| {name} | {said} | {method} | {' | '.join(f'{v:.3f}' for v in np.mean(values, axis=0))} |")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="larger simulated sets")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--peers", type=Path, help="folder for the environments of other trackers")
    parser.add_argument("--limit", type=float, nargs=2, default=(60, 600), help="CPU s of a setting, of the chosen one")
    parser.add_argument("--keep", type=Path, help="file for the rows of other trackers")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sets", nargs="+", choices=[*SETS, "real"], help="only these")
    options = parser.parse_args()
    wanted = options.sets or [*(("sparse", "crowded", "slow", "large") if options.full else ("tiny", "sparse")), "real"]
    track_points(simulate(SETS["tiny"], 0)[["t", "y", "x"]], settings=TrackingSettings(rounds=1))  # compile
    interpreters: dict[str, Path] = {}
    for peer in PEERS if options.peers else ():
        try:
            interpreters[peer] = environment(peer, options.peers)
        except RuntimeError as error:
            print(error)
    how = Peers(interpreters, (options.peers or Path()) / "scratch", tuple(options.limit), KeptRows(options.keep))
    print(HEAD)
    features = ["area", "intensity"]
    for name in (n for n in wanted if n != "real"):
        for seed in range(101, 101 + options.seeds):
            table = simulate(SETS[name], seed)
            measure(name, table, features)
            if interpreters:
                # tuned on a smaller field of the same kind and other seeds
                smaller = replace(SETS[name], cells=min(SETS[name].cells, 150), frames=min(SETS[name].frames, 60))
                measure_peers(f"{name} {seed}", name, simulate(smaller, 55), table, features, how)
    sets = real_sets(options.data) if "real" in wanted else {}
    if "real" in wanted and not sets:
        print(f"No real sets in {options.data}.")
    for name, (table, known) in sets.items():
        measure(name, table, known)
        if interpreters:
            measure_peers(name, name, table, table, known, how)  # the best on the set itself
    measure_biology(sets)


if __name__ == "__main__":
    main()
