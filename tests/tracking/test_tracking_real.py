"""Floors on real truth with the automatic setting; left out where the data are not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_marrow.pipeline.evaluate_files import evaluate_tracks
from napari_marrow.pipeline.track_files import track_points_file
from napari_marrow.tracking import label_points, score_tracks, track_points

DATA = Path(__file__).parents[3] / "shared" / "data" / "tracking"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real tracking data in {DATA}")


def with_parents(table, parents):
    return table.assign(parent_track_id=[int(parents.get(k, 0)) for k in table["track_id"]])


def contours(name):
    folder = DATA / f"BFC2DL{name}_01"
    table = pd.read_csv(folder / "nodes.csv.gz").rename(columns={"track": "track_id", "area_px": "area"})
    parents = np.loadtxt(folder / "man_track_derived.txt", dtype=int)
    return with_parents(table, dict(parents[:, [0, 3]]))


def simulated_nuclei():
    folder = DATA / "ctc_sim01" / "TRA"
    frames = [tifffile.imread(path) for path in sorted(folder.glob("man_track*.tif"))]
    table = label_points(frames, spacing=(1.0, 1.0))
    parents = np.loadtxt(folder / "man_track.txt", dtype=int)
    return with_parents(table.assign(track_id=table["label"]), dict(parents[:, [0, 3]]))


def epithelium(name):
    raw = pd.read_csv(DATA / "mcf10a" / f"{name}.csv")
    table = raw.rename(columns={"ypixel": "y", "xpixel": "x", "TID": "track_id"})
    table["t"] = (raw["tmin"] / 30).round().astype(int)
    return with_parents(table[["t", "y", "x", "track_id"]], dict(raw.groupby("TID")["motherID"].first().items()))


SETS = {
    "blood stem cells": (lambda: contours("HSC"), 0.995, 0.7),
    "muscle stem cells": (lambda: contours("MuSC"), 0.975, 0.45),
    "simulated nuclei": (simulated_nuclei, 0.997, 0.95),
    "epithelium with EGF": (lambda: epithelium("EGF_2"), 0.993, 0.85),
    "epithelium without": (lambda: epithelium("PBS_2"), 0.997, 0.9),
}


@pytest.mark.parametrize("name", SETS)
def test_real_truth_is_reached(name):
    load, links, divisions = SETS[name]
    table = load()
    columns = [c for c in ("t", "y", "x", "area") if c in table.columns]
    found = track_points(table[columns])
    tracks = table[["t"]].assign(track_id=found.track_id, parent_track_id=found.parent_track_id)
    score = score_tracks(table, tracks)
    assert score.f1 >= links
    assert score.division_f1 >= divisions


def test_known_links_in_segmented_hela_cells(tmp_path):
    folder = DATA / "hela02_first10"
    label_points(tifffile.imread(folder / "err_seg.tif"), spacing=(1.0, 1.0)).to_csv(tmp_path / "in.csv", index=False)
    track_points_file(tmp_path / "in.csv", tmp_path / "out.csv")
    scores = evaluate_tracks(folder / "partial_gold.csv", tmp_path / "out.csv")
    assert scores["detection_recall"] > 0.99
    assert scores["link_recall"] > 0.93
