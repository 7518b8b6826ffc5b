"""Import, run and score real frames: HeLa nuclei of which a third of the true tracks are known.

    python benchmarks/real_frames.py SHARED_DATA/tracking/hela02_first10

prints the number of nuclei and tracks, and the recall of the known links.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd

from napari_marrow.ingest import import_files
from napari_marrow.pipeline import run
from napari_marrow.study import Study

PIXEL_UM = 0.645
INTERVAL_H = 0.5
MATCH_PX = 8.0


def link_recall(truth: pd.DataFrame, found: pd.DataFrame) -> tuple[int, int, int]:
    """Return known links, those whose two nuclei were both found, and those that were linked."""
    from scipy.spatial import cKDTree

    matched: dict[tuple[int, int], int] = {}
    for t, known in truth.groupby("t"):
        here = found[found["t"] == t]
        distance, nearest = cKDTree(here[["y", "x"]]).query(known[["y", "x"]])
        for track, d, i in zip(known["track"], distance, nearest, strict=True):
            if d < MATCH_PX:
                matched[int(track), int(t)] = int(here["track_id"].iloc[i])
    steps = truth.sort_values(["track", "t"])
    links = [
        (int(a.track), int(a.t), int(b.t))
        for a, b in zip(steps[:-1].itertuples(), steps[1:].itertuples(), strict=True)
        if a.track == b.track and b.t == a.t + 1
    ]
    seen = [(k, s, t) for k, s, t in links if (k, s) in matched and (k, t) in matched]
    return len(links), len(seen), sum(matched[k, s] == matched[k, t] for k, s, t in seen)


def main(folder: Path) -> None:
    """Run the default recipe on the frames and print the scores."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "hela.marrow"
        import_files(
            path, [folder / "img.tif"], layout=None, pixel_size=(PIXEL_UM, PIXEL_UM), frame_interval_h=INTERVAL_H
        )
        summary = run(path, until="track")
        study = Study.open(path)
        nodes = study.table("track_nodes").merge(study.table("cells")[["t", "label", "y", "x"]], on=["t", "label"])
        nodes[["y", "x"]] /= PIXEL_UM
        known, seen, linked = link_recall(pd.read_csv(folder / "partial_gold.csv"), nodes)
        print(f"{len(nodes)} nuclei in {nodes['t'].nunique()} frames, {nodes['track_id'].nunique()} tracks, "
              f"{summary.seconds:.1f} s")  # fmt: skip
        print(f"known links {known}: both nuclei found {seen / known:.3f}, linked {linked / known:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
