"""Structures in a study against the simulator's truth, and pixel classifiers on files and in recipes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_marrow import simulation
from napari_marrow.cli import app
from napari_marrow.errors import InputFileError, ModelError, PathExistsError, PathMissingError, SettingsError
from napari_marrow.pipeline import parse_recipe, run
from napari_marrow.pipeline.pixel_classes import read_pixel_classifier
from napari_marrow.pipeline.pixel_files import apply_pixels_files, train_pixels_files
from napari_marrow.study import Study

CHANNELS = ("nuclei", "CD31", "CD235a", "CD41", "scaffold")


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def experiment():
    """One organoid that leaves the corners of its field free: a session without scaffold, and one with it."""
    base = simulation.preset("tutorial", seed=12)
    return simulation.simulate(
        replace(
            base,
            sessions=(
                simulation.SessionPlan("sparse", 96.0, channels=CHANNELS[:4]),
                simulation.SessionPlan("dense", 144.0, 3, 1.0, CHANNELS),
            ),
            geometry=simulation.Geometry(radius_um=110.0, porosity=0.85),
            imaging=simulation.Imaging(shape=(1, 300, 300)),
            design=simulation.Design(),
        )
    )


@pytest.fixture(scope="module")
def study(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("structures") / "one.marrow"
    written = Study.create(path, layout=experiment.layout)
    for session in experiment.sessions(experiment.positions[0]):
        with written.add_session(
            session.position, session.session, channels=list(session.channels), spacing=session.spacing,
            shape=session.shape, dtype="uint16", start_h=session.start_h, time_s=session.time_s,
        ) as writer:  # fmt: skip
            for t in range(session.shape[0]):
                writer.write(t, session.frame(t))
    run(path, until="structures")
    return path


def test_label_images_agree_with_the_truth(study, experiment):
    opened = Study.open(study)
    position, key = experiment.positions[0], opened.active["structures"]
    table = opened.table("structures").set_index(["session", "t", "structure"])
    for session in experiment.sessions(position):
        t = session.shape[0] - 1
        truth = simulation.true_structures(experiment, session, t)
        masks = {n: opened.labels(n, key, position, session.session).read(t) > 0 for n in ("organoid", "vessels")}
        assert dice(masks["organoid"], truth.organoid) > 0.95
        assert dice(masks["vessels"], truth.vessels & ~truth.scaffold) > 0.7
        for name, mask in masks.items():
            row = table.loc[(session.session, t, name)]
            assert row["amount"] == pytest.approx(mask.sum() * 1.02**2)
            assert row["share"] == pytest.approx(mask.mean())
            assert row["contrast"] > 1
        if "scaffold" in session.channels:
            scaffold = opened.labels("scaffold", key, position, session.session).read(t) > 0
            assert dice(scaffold, truth.scaffold) > 0.93
        else:
            assert not opened.has_labels("scaffold", key, position, session.session)
    assert table["source"].loc[1, 0, "vessels"] == "CD31"
    assert opened.verify() == []


def test_a_session_has_one_threshold_of_the_scaffold(study):
    opened = Study.open(study)
    rows = opened.table("structures")
    used = rows.loc[rows["structure"] == "scaffold", "threshold"]
    (recorded,) = opened.table("scaffold_thresholds")["value"]
    assert len(used) == 2  # the dense session's first and last frame
    assert (used == recorded).all()


def test_pericytes_and_stroma_are_found_by_brightness_and_measured(study, experiment, tmp_path):
    """Vessels' own marker stands for pericytes (full bleed-through: all is covered), scaffold for stroma."""
    path = Path(shutil.copytree(study, tmp_path / "copy.marrow"))
    recipe = parse_recipe(
        {
            "structures": {"pericyte_channel": "CD31", "stroma_channel": "scaffold"},
            "niche": {"n_simulations": 19, "coverage_um": 4},
        }
    )
    run(path, recipe, until="niche")
    opened, key = Study.open(path), Study.open(path).active["structures"]
    position, last = experiment.positions[0], experiment.sessions(experiment.positions[0])[-1]
    found = opened.labels("pericytes", key, position, last.session).read(2) > 0
    truth = simulation.true_structures(experiment, last, 2)
    assert dice(found, truth.vessels & truth.organoid & ~truth.scaffold) > 0.7
    rows = opened.table("structures")
    used = rows[rows["structure"] == "pericytes"].groupby("session")["threshold"].nunique()
    assert used.tolist() == [1, 1]  # one threshold per session
    metrics = opened.table("niche_metrics").set_index(["session", "t", "metric"]).sort_index()
    (covered,) = metrics.loc[(last.session, 2, "vessel_coverage_pericytes")].itertuples()
    assert covered.value > 0.8
    assert covered.p_value <= 0.05
    around = opened.table("cell_surroundings")
    assert np.isfinite(around["distance_pericytes"]).all()
    assert (around["distance_stroma"].isna() == (around["session"] == 1)).all()
    assert not opened.has_labels("stroma", key, position, 1)  # a session without the channel
    assert opened.verify() == []


def stroked(truth):
    """Label three rows of either class."""
    marks = np.zeros(truth.shape, np.uint8)
    for y in np.linspace(20, len(truth) - 20, 12).astype(int):
        marks[y] = np.where(truth[y], 2, 1)
    return marks


@pytest.fixture(scope="module")
def files(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixels")
    session = experiment.sessions(experiment.positions[0])[1]
    for t in range(3):
        tifffile.imwrite(folder / f"frame{t}.tif", session.frame(t)[1, 0])
    truth = simulation.true_structures(experiment, session, 0).vessels[0]
    tifffile.imwrite(folder / "scribbles.tif", stroked(truth))
    return folder, simulation.true_structures(experiment, session, 2).vessels[0]


def test_train_and_apply_on_files_and_in_a_recipe(files, study, experiment):
    folder, truth = files
    out, runner = folder / "vessels.safetensors", CliRunner()
    options = {"scribbles": folder / "scribbles.tif", "out": out, "classes": "background,vessels",
               "channel-names": "CD31", "pixel-size": 1.02}  # fmt: skip
    named = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = ["pixels", "train", str(folder / "frame0.tif"), *named]
    done = runner.invoke(app, command, catch_exceptions=False)
    assert "accuracy on strokes that were left out: 0." in done.output
    assert read_pixel_classifier(out).card["spacing_um"] == [1.02, 1.02]
    with pytest.raises(PathExistsError, match="exists already"):
        runner.invoke(app, command, catch_exceptions=False)
    runner.invoke(
        app, ["pixels", "apply", str(folder / "frame2.tif"), "--classifier", str(out), "--out", str(folder / "masks"),
              "--only", "vessels"], catch_exceptions=False
    )  # fmt: skip
    mask = tifffile.imread(folder / "masks" / "frame2.tif")
    assert mask.dtype == np.uint8
    assert dice(mask == 1, truth) > 0.8
    (shares,) = apply_pixels_files([folder / "frame2.tif"], out, folder / "shares", probabilities=True)
    assert tifffile.imread(shares).shape == (2, 300, 300)
    assert '"vessels"' in runner.invoke(app, ["pixels", "show", str(out)]).output

    before = Study.open(study).active["structures"]
    run(study, parse_recipe({"structures": {"vessel_classifier": str(out)}}), until="structures")
    opened = Study.open(study)
    assert opened.active["structures"] != before
    found = opened.labels("vessels", opened.active["structures"], experiment.positions[0], 2).read(2)[0] > 0
    assert dice(found, truth) > 0.75
    table = opened.table("structures")
    assert set(table.loc[table["structure"] == "vessels", "source"]) == {"classifier vessels.safetensors"}
    with pytest.raises(PathMissingError, match="no pixel classifier at 'none"):
        run(study, parse_recipe({"structures": {"vessel_classifier": "none.safetensors"}}), until="structures")


def test_files_that_do_not_fit_are_one_sentence(files, tmp_path):
    folder, _ = files
    small = tmp_path / "small.tif"
    tifffile.imwrite(small, np.ones((20, 20), np.uint8))
    with pytest.raises(InputFileError, match="scribbles have the shape of their image"):
        train_pixels_files([folder / "frame0.tif"], [small], tmp_path / "a.safetensors")
    tifffile.imwrite(small, np.zeros((300, 300), np.uint8))
    with pytest.raises(SettingsError, match="holds no scribble"):
        train_pixels_files([folder / "frame0.tif"], [small], tmp_path / "a.safetensors")
    with pytest.raises(SettingsError, match="give one each"):
        train_pixels_files([folder / "frame0.tif"], [], tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="no pixel classifier"):
        apply_pixels_files([folder / "frame0.tif"], tmp_path / "b.safetensors", tmp_path)
    assert not (tmp_path / "a.safetensors").exists()
