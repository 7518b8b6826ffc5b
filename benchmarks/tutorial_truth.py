"""What a finished `marrow demo` found, against what was true.

    python benchmarks/tutorial_truth.py demo

prints the mean error over organoids of the cumulative incidence of each lineage and of death at the end of the dense
session, the share of cells whose lineage was named rightly, how many of the tracks that end were told rightly to end in
death, and the largest registration error of each session.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.study import Study

PLACE = ["position", "session", "t"]


def emergence_error(study: Study, truth: Path) -> pd.DataFrame:
    """Return per organoid and lineage the estimated and the true incidence at the end of observation."""
    true = pd.read_csv(truth / "metrics.csv").query("metric == 'cumulative_incidence'")
    true = true.merge(study.layout[["position", "organoid"]], on="position")
    true = true.sort_values("argument").pivot_table(index="organoid", columns="subject", values="value", aggfunc="last")
    found = study.table("emergence").query("organoid != 'all'")
    found = found.sort_values("time_h").pivot_table(
        index="organoid", columns="lineage", values="cumulative_incidence", aggfunc="last"
    )
    return (found - true).abs()


def naming(study: Study, truth: Path) -> float:
    """Return the share of matched cells (within 3 µm) whose lineage is the one that shows in truth, or none."""
    from scipy.spatial import cKDTree

    cells = study.table("cells").merge(study.table("cell_lineages"), on=[*PLACE, "label"])
    groups = dict(tuple(pd.read_csv(truth / "cells.csv").groupby(PLACE)))
    right = total = 0
    for place, found in cells.groupby(PLACE):
        true = groups[place]
        distance, nearest = cKDTree(true[["y", "x"]]).query(found[["y", "x"]])
        shown = np.where(true["marker_on"], true["lineage"], "")[nearest]
        near = distance < 3
        right += int((shown == found["lineage"].to_numpy())[near].sum())
        total += int(near.sum())
    return right / total


def death_calls(study: Study, truth: Path) -> str:
    """Return how many of the lost cells that died were called dead (probability above one half), and wrong calls.

    A track is the true cell nearest (within 3 µm) to its last place, and that cell died if its fate within the session
    is death.
    """
    from scipy.spatial import cKDTree

    losses = study.table("losses")
    nodes = study.table("track_nodes").merge(study.table("cells")[[*PLACE, "label", "y", "x"]], on=[*PLACE, "label"])
    last = nodes.sort_values("t").groupby(["position", "session", "track_id"], as_index=False).last()
    groups = dict(tuple(pd.read_csv(truth / "cells.csv").groupby(PLACE)))
    fates = pd.read_csv(truth / "pedigree.csv").set_index(["position", "cell_id"])["fate"]
    died, called = [], []
    for loss in losses.merge(last, on=["position", "session", "track_id"]).itertuples():
        true = groups[loss.position, loss.session, loss.t]
        distance, nearest = cKDTree(true[["y", "x"]]).query((loss.y, loss.x))
        if distance < 3:
            died.append(fates.get((loss.position, true["cell_id"].iloc[nearest])) == "death")
            called.append(loss.death_probability > 0.5)
    dead, said = np.array(died), np.array(called)
    return f"{(dead & said).sum()} of {dead.sum()} called dead, {(said & ~dead).sum()} of {said.sum()} calls wrong"


def registration_error(study: Study, truth: Path) -> pd.Series:
    """Return the largest error in µm at the corners of the field, per session."""
    both = study.table("transforms").merge(pd.read_csv(truth / "transforms.csv"), on=PLACE, suffixes=("", "_true"))
    corners = np.array([[0, 0], [0, 260], [260, 0], [260, 260]], dtype=float)

    def moved(suffix: str) -> np.ndarray:
        matrix = both[[f"{name}{suffix}" for name in ("m00", "m01", "m10", "m11")]].to_numpy().reshape(-1, 2, 2)
        shift = both[[f"ty{suffix}", f"tx{suffix}"]].to_numpy()
        return np.einsum("nij,kj->nki", matrix, corners) + shift[:, None]

    error = np.linalg.norm(moved("") - moved("_true"), axis=2).max(axis=1)
    return both.assign(error=error).groupby("session")["error"].max()


def main(demo: Path) -> None:
    """Print the comparisons."""
    study, truth = Study.open(next(demo.glob("*.marrow"))), demo / "raw" / "truth"
    print("mean error of the cumulative incidence, over organoids")
    print(emergence_error(study, truth).mean().round(3).to_string())
    print(f"lineage named rightly: {naming(study, truth):.3f} of cells")
    print(f"lost cells that died: {death_calls(study, truth)}, of {len(study.table('losses'))} losses")
    print("largest registration error, µm, per session")
    print(registration_error(study, truth).round(2).to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
