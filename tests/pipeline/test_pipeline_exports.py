"""A finished study in other programs' formats, read back by other programs' libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from napari_marrow.__main__ import main
from napari_marrow.export.geff import read_geff
from napari_marrow.study import Study

PLACE = ("B02_f00", 1)


@pytest.fixture(scope="module")
def exported(whole_run, tmp_path_factory) -> Path:
    """Folder with an export of each kind."""
    folder = tmp_path_factory.mktemp("exports")
    study = str(whole_run[0])
    one = ["--position", PLACE[0], "--session", str(PLACE[1])]
    for kind, name, more in [
        ("ome-zarr-0.4", "plate.ome.zarr", []),
        ("csv", "tables", []),
        ("anndata", "cells.h5ad", []),
        ("ctc", "ctc", one),
        ("geff", "tracks.geff", one),
        ("trackmate", "tracks.xml", one),
        ("ro-crate", "crate.json", ["--license", "https://creativecommons.org/licenses/by/4.0/", "--author", "A. B."]),
    ]:
        assert main(["export", study, "--as", kind, "--out", str(folder / name), *more]) == 0, kind
    return folder


def test_the_plate_of_ome_zarr_04_is_valid_and_holds_the_same_pixels(exported, whole_run):
    from ome_zarr_models.v04 import HCS, Image

    study, root = Study.open(whole_run[0]), zarr.open_group(exported / "plate.ome.zarr", mode="r")
    assert root.metadata.zarr_format == 2
    plate = HCS.from_zarr(root)
    assert [well.path for well in plate.ome_attributes.plate.wells] == ["B/02", "C/02"]
    path = "B/02/s01f00"
    image = Image.from_zarr(root[path])
    assert image.ome_attributes.multiscales[0].version == "0.4"
    stored = study.image(*PLACE)
    for t in range(stored.shape[0]):
        np.testing.assert_array_equal(root[f"{path}/0"][t], stored.read(t))
        expected = study.labels("cells", study.active["segment"], *PLACE).read(t)
        np.testing.assert_array_equal(root[f"{path}/labels/cells/0"][t, 0], expected)
    assert {"cells", "colonies", "organoid"} <= set(root[f"{path}/labels"].attrs["labels"])
    assert (exported / "plate.ome.zarr" / path / "0" / "0" / "0" / "0" / "0" / "0").is_file(), "separator /"


def test_tables_as_csv_come_with_their_units(exported, whole_run):
    study = Study.open(whole_run[0])
    cells = pd.read_csv(exported / "tables" / "cells.csv")
    pd.testing.assert_frame_equal(cells, study.table("cells"), check_dtype=False)
    columns = pd.read_csv(exported / "tables" / "columns.csv", keep_default_na=False)
    unit = columns.set_index(["table", "column"])["unit"]
    assert unit["cells", "y"] == "µm"
    assert unit["cells", "time_h"] == "h"
    names = {path.stem for path in (exported / "tables").glob("*.csv")} - {"columns"}
    assert (
        names == set(columns["table"]) == {"layout", "frames", *(t for t in study.active_tables if study.has_table(t))}
    )


def test_cells_as_anndata(exported, whole_run):
    anndata = pytest.importorskip("anndata", reason="needs napari-marrow[anndata]")
    study = Study.open(whole_run[0])
    data, cells = anndata.read_h5ad(exported / "cells.h5ad"), study.table("cells")
    assert data.shape[0] == len(cells)
    assert data.obs_names.is_unique
    np.testing.assert_array_equal(np.asarray(data[:, "area"].X).ravel(), cells["area"])
    np.testing.assert_array_equal(data.obsm["spatial"], cells[["x_reg", "y_reg"]])
    assert data.var.loc["area", "unit"].startswith("µm²")
    tracked = data.obs.loc["B02_f00-1-0-1"]
    nodes = study.table("track_nodes").set_index(["position", "session", "t", "label"])
    assert tracked["track_id"] == nodes.loc[(*PLACE, 0, 1), "track_id"]
    assert set(data.obs["condition"]) == set(study.layout["condition"])
    assert json.loads(data.uns["napari_marrow"]["recipe"])["niche"]["n_simulations"] == 39


def test_tracks_as_masks_of_the_cell_tracking_challenge(exported, whole_run):
    study = Study.open(whole_run[0])
    files = sorted((exported / "ctc").glob("mask*.tif"))
    masks = [tifffile.imread(file) for file in files]
    assert len(masks) == study.image(*PLACE).shape[0]
    rows = np.loadtxt(exported / "ctc" / "res_track.txt", dtype=int, ndmin=2)
    for number, first, last, parent in rows:
        present = [t for t, mask in enumerate(masks) if (mask == number).any()]
        assert present == list(range(first, last + 1))
        if parent:
            assert rows[rows[:, 0] == parent][0, 2] < first
    nodes = study.table("track_nodes")
    nodes = nodes[(nodes["position"] == PLACE[0]) & (nodes["session"] == PLACE[1])]
    for t, mask in enumerate(masks):
        labels = study.labels("cells", study.active["segment"], *PLACE).read(t)[0]
        assert len(np.unique(mask[mask > 0])) == (nodes["t"] == t).sum()
        assert set(np.unique(labels[mask > 0])) == set(nodes.loc[nodes["t"] == t, "label"])


def test_tracks_as_a_graph(exported, whole_run):
    study = Study.open(whole_run[0])
    nodes, edges = read_geff(exported / "tracks.geff")
    own = study.table("track_edges")
    own = own[(own["position"] == PLACE[0]) & (own["session"] == PLACE[1])]
    assert len(edges) == len(own)
    by_id = nodes.set_index("node_id")
    found = {
        (int(by_id.loc[a, "t"]), int(by_id.loc[a, "label"]), int(by_id.loc[b, "t"]), int(by_id.loc[b, "label"]))
        for a, b in zip(edges["source"], edges["target"], strict=True)
    }
    names = ["t_parent", "label_parent", "t_child", "label_child"]
    assert found == set(map(tuple, own[names].to_numpy().tolist()))
    assert (nodes["area"] > 0).all()


def test_the_same_tracks_in_every_format(exported, tmp_path):
    """Graph, TrackMate file and masks of one session, each brought to a table: cell by cell the same tracks."""
    tables = []
    for name in ("tracks.geff", "tracks.xml", "ctc"):
        assert main(["convert", str(exported / name), "--out", str(tmp_path / f"{name}.csv")]) == 0
        table = pd.read_csv(tmp_path / f"{name}.csv")
        tables.append(table.sort_values(["t", "track_id"], ignore_index=True))
    graph, spots, _ = tables
    for column in ("t", "track_id", "parent_track_id"):
        assert graph[column].tolist() == spots[column].tolist()
    assert np.allclose(graph[["y", "x"]], spots[["y", "x"]])
    for table in tables:  # masks count pixels and number in another order: what has to agree is the shape of the trees
        assert table["track_id"].nunique() == graph["track_id"].nunique()
        assert sorted(table.groupby("track_id").size()) == sorted(graph.groupby("track_id").size())
        assert (table["parent_track_id"] > 0).sum() == (graph["parent_track_id"] > 0).sum()


def test_the_crate_names_what_is_there(exported, whole_run):
    path, _ = whole_run
    crate = json.loads((exported / "crate.json").read_text(encoding="utf-8"))
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    root = entities["./"]
    for part in root["hasPart"]:
        assert (path / part["@id"]).exists(), part
    nested = [
        v for e in entities.values() for value in e.values() for v in (value if isinstance(value, list) else [value])
    ]
    assert all(set(v) == {"@id"} for v in nested if isinstance(v, dict)), "the format knows no nested entities"
    assert {"./", "#napari-marrow", "ro-crate-metadata.json", "#A.-B."} <= set(entities)

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["@id"]] if set(value) == {"@id"} else []
            return own + [r for v in value.values() for r in references(v)]
        return [r for v in value for r in references(v)] if isinstance(value, list) else []

    inside = [r for entity in entities.values() for r in references(entity) if not r.startswith("http")]
    assert set(inside) <= set(entities)
    segment = next(e for e in entities.values() if e.get("name") == "Step segment")
    assert any(name.startswith("openvino") for name in segment["softwareRequirements"])


def test_a_crate_in_the_study_is_no_problem_and_may_be_written_again(finished_copy):
    for _ in range(2):
        assert main(["export", str(finished_copy), "--as", "ro-crate"]) == 0
    assert (finished_copy / "ro-crate-metadata.json").is_file()
    assert Study.open(finished_copy).verify() == []


def test_what_cannot_be_exported_is_one_sentence(exported, whole_run, capsys):
    study = str(whole_run[0])
    for arguments, wanted in [
        (["--as", "png"], "no format 'png': choose one of ome-zarr-0.4"),
        (["--as", "ctc"], "give --position and --session"),
        (["--as", "ctc", "--position", "H01_f00", "--session", "1"], "has no session 1 of 'H01_f00'"),
        (["--as", "csv", "--out", str(exported / "tables")], "exists"),
        (["--as", "anndata", "--out", str(exported / "cells.h5ad")], "exists"),
    ]:
        capsys.readouterr()
        assert main(["export", study, *arguments]) == 2, arguments
        assert wanted in capsys.readouterr().err
    assert not [p for p in exported.iterdir() if "partial" in p.name]
