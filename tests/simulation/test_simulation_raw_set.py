"""The raw set on disk."""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_marrow import simulation
from napari_marrow.errors import Cancelled, PathExistsError, StorageError
from napari_marrow.export.raw_set import raw_name, write_raw_set
from napari_marrow.progress import CancelToken


def tiny():
    return replace(
        simulation.preset("sample", seed=2),
        sessions=(
            simulation.SessionPlan("dense", 100.0, 3, 1.5, ("nuclei", "CD31", "CD41")),
            simulation.SessionPlan("sparse", 150.0, channels=("nuclei", "scaffold")),
        ),
        imaging=simulation.Imaging(shape=(1, 80, 96), spacing_um=(1.0, 1.1, 1.02)),
        geometry=simulation.Geometry(radius_um=50.0, founders_per_mm2=700.0),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    seen = []
    experiment = simulation.simulate(tiny())
    folder = write_raw_set(experiment, tmp_path_factory.mktemp("set") / "raw set", progress=lambda *a: seen.append(a))
    return experiment, folder, seen


def test_files_are_those_a_microscope_would_leave(written):
    _, folder, seen = written
    names = sorted(p.name for p in (folder / "raw").iterdir())
    assert names == [raw_name(p, s) for p in ("B02_f00", "C02_f00") for s in (1, 2)]
    assert not list(folder.parent.glob(".*partial"))
    assert [s[:2] for s in seen if s[2].startswith("writing")] == [(k, 8) for k in range(1, 9)]


def test_pixels_and_metadata_come_back(written):
    experiment, folder, _ = written
    session = experiment.sessions("C02_f00")[0]
    with tifffile.TiffFile(folder / "raw" / raw_name("C02_f00", 1)) as tif:
        pixels = tif.series[0].asarray().reshape(session.shape)
        root = ElementTree.fromstring(tif.ome_metadata)
    assert np.array_equal(pixels[2], session.frame(2))
    ome = {"o": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}
    element = root.find(".//o:Pixels", ome)
    assert (element.get("PhysicalSizeX"), element.get("PhysicalSizeY")) == ("1.02", "1.1")
    assert [c.get("Name") for c in root.findall(".//o:Channel", ome)] == ["nuclei", "CD31", "CD41"]
    assert [float(p.get("DeltaT")) for p in root.findall(".//o:Plane", ome)] == [0.0] * 3 + [5400.0] * 3 + [10800.0] * 3
    assert root.find(".//o:AcquisitionDate", ome).text == "2026-03-06T13:00:00"


def test_truth_and_layout_come_back(written):
    experiment, folder, _ = written
    layout = pd.read_csv(folder / "layout.csv")
    assert layout["organoid"].tolist() == ["organoid-01", "organoid-02"]
    labels = tifffile.imread(folder / "truth" / "labels" / "B02_f00_session01_labels.tif").reshape(3, 1, 80, 96)
    assert np.array_equal(labels[1], experiment.sessions("B02_f00")[0].labels(1))
    scenario = json.loads((folder / "truth" / "scenario.json").read_text(encoding="utf-8"))
    assert scenario["geometry"]["radius_um"] == 50.0
    assert scenario["design"]["conditions"]["control"]["dose"] == "nan"
    fresh = simulation.simulate(tiny()).truth
    for name in fresh:
        table = pd.read_csv(folder / "truth" / f"{name}.csv")
        assert len(table) == len(fresh[name]), name
        assert list(table.columns) == list(fresh[name].columns)


def test_same_experiment_same_bytes(written, tmp_path):
    _, folder, _ = written
    again = write_raw_set(simulation.simulate(tiny()), tmp_path / "again")
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for path in files:
        digest = [hashlib.sha256((root / path).read_bytes()).hexdigest() for root in (folder, again)]
        assert digest[0] == digest[1], path


def test_an_existing_set_is_not_overwritten(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(PathExistsError, match="not empty"):
            write_raw_set(simulation.simulate(tiny()), tmp_path / name)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_cancelling_leaves_nothing(tmp_path):
    token = CancelToken()
    with pytest.raises(Cancelled):
        write_raw_set(simulation.simulate(tiny()), tmp_path / "set", progress=lambda *a: token.cancel(), cancel=token)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="is a file"):
        write_raw_set(simulation.simulate(tiny()), tmp_path / "file" / "set")
