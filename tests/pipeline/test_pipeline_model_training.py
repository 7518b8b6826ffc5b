"""`marrow models train`: annotated images in every layout, a model file with its card, or one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import pickle

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from napari_marrow.__main__ import main
from napari_marrow.errors import InputFileError, PathExistsError, PathMissingError, SettingsError
from napari_marrow.pipeline.annotated_files import find_files, read_files, split
from napari_marrow.pipeline.cellpose_files import read_cellpose_masks
from napari_marrow.pipeline.model_training import train_model
from napari_marrow.segmentation.fine_tuning import FineTuningSettings

QUICK = FineTuningSettings(steps=2, batch=1, checks=1, threads=1, freeze="encoder")


def cells(seed: int, side: int = 72) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint16)
    for k, (cy, cx) in enumerate([(16, 16), (18, 52), (52, 16), (54, 52)], 1):
        labels[(y - cy - rng.uniform(-3, 3)) ** 2 + (x - cx - rng.uniform(-3, 3)) ** 2 < 70] = k
    return rng.poisson(20 + 150 * gaussian_filter((labels > 0).astype(float), 1)).astype(np.uint16), labels


@pytest.fixture
def folder(tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for i in range(3):
        image, labels = cells(i)
        tifffile.imwrite(tmp_path / "data" / "images" / f"{i}.tif", image)
        tifffile.imwrite(tmp_path / "data" / "labels" / f"{i}.tif", labels)
    return tmp_path / "data"


def test_layouts(folder, tmp_path):
    inside = find_files([folder])
    assert [(f.image.name, f.labels.parent.name) for f in inside] == [(f"{i}.tif", "labels") for i in range(3)]
    assert find_files([folder / "images"], folder / "labels") == inside
    assert find_files([folder / "images" / "2.tif"], folder / "labels") == inside[2:]
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    image, labels = cells(0)
    for name in ("a", "b", "c_1"):
        tifffile.imwrite(pairs / f"{name}.tif", image)
    tifffile.imwrite(pairs / "a_masks.tif", labels)
    np.save(pairs / "b_seg.npy", {"masks": labels, "filename": "b.tif", "flows": [labels * 0.5], "est_diam": 3.0})
    tifffile.imwrite(pairs / "c_1_cp_masks.tif", labels)
    tifffile.imwrite(pairs / "a_masks_ignore.tif", np.uint8(labels == 1))
    found = find_files([pairs])
    assert [(f.image.name, f.labels.name) for f in found] == [
        ("a.tif", "a_masks.tif"),
        ("b.tif", "b_seg.npy"),
        ("c_1.tif", "c_1_cp_masks.tif"),
    ]
    data = read_files(found)
    assert [p.annotated.n_cells for p in data.planes] == [3, 4, 4]  # one of the first is ignored
    np.testing.assert_array_equal(data.planes[0].annotated.ignored, labels == 1)
    np.testing.assert_array_equal(data.planes[1].annotated.labels > 0, labels > 0)
    assert data.files[0]["sha256"] == hashlib.sha256((pairs / "a.tif").read_bytes()).hexdigest()
    (folder / "labels" / "1.tif").unlink()
    with pytest.raises(PathMissingError, match=r"1\.tif has no labels"):
        find_files([folder])
    with pytest.raises(PathMissingError, match="nothing at"):
        find_files([tmp_path / "gone"])
    with pytest.raises(SettingsError, match="both take their labels"):
        find_files([pairs / "a.tif", pairs / "a.tif"])


def test_stacks_give_the_frames_that_were_annotated(tmp_path):
    images, labels = zip(*(cells(i) for i in range(4)), strict=True)
    stack = np.stack(labels)
    stack[1] = 0
    tifffile.imwrite(tmp_path / "s.tif", np.stack(images), photometric="minisblack")
    tifffile.imwrite(tmp_path / "s_labels.tif", stack, photometric="minisblack")
    corrected = np.zeros(stack.shape, np.uint8)
    corrected[:3, 40:] = 1
    found = find_files([tmp_path])
    assert [p.annotated.name for p in read_files(found).planes] == [
        "s.tif, frame 0",
        "s.tif, frame 2",
        "s.tif, frame 3",
    ]
    assert [p.annotated.name for p in read_files(found, frames=[0, 3]).planes] == ["s.tif, frame 0", "s.tif, frame 3"]
    with pytest.raises(SettingsError, match="no frame 9"):
        read_files(found, frames=[9])
    training, held_out = split(read_files(found), 0.3, 0)
    assert [i.name for i in held_out] == ["s.tif, frame 3"]
    assert len(training) == 2
    tifffile.imwrite(tmp_path / "s_corrected.tif", corrected, photometric="minisblack")
    partly = read_files(find_files([tmp_path])).planes
    assert partly[0].annotated.ignored[:40].all()
    assert not partly[0].annotated.ignored[40:].any()
    assert partly[0].annotated.n_cells == 2


def test_a_single_image_is_cut_and_no_cell_is_on_both_sides(tmp_path):
    image, labels = cells(0)
    tifffile.imwrite(tmp_path / "a.tif", image)
    tifffile.imwrite(tmp_path / "a_masks.tif", labels)
    data = read_files(find_files([tmp_path]))
    training, held_out = split(data, 0.5, 0)
    assert training[0].n_cells + held_out[0].n_cells == 4
    assert training[0].image.shape == (36, 72)
    everything, nothing = split(data, 0, 0)
    assert (len(everything), nothing) == (1, [])
    with pytest.raises(SettingsError, match="too few labels to hold some back"):
        split(data, 0.05, 0)
    with pytest.raises(SettingsError, match=r"fraction of 0\.9"):
        split(data, 0.9, 0)


def test_labels_that_are_none_are_refused(folder):
    def refused(labels, sentence):
        tifffile.imwrite(folder / "labels" / "1.tif", labels)
        with pytest.raises(InputFileError, match=sentence):
            read_files(find_files([folder]))

    refused(np.zeros((72, 70), np.uint16), r"shape \(72, 70\), its image 1\.tif \(72, 72\)")
    refused(np.full((72, 72), 0.5, np.float32), "labels are whole numbers")
    refused(np.zeros((72, 72, 3), np.uint8), "colour picture")
    (folder / "labels" / "1.tif").write_bytes(b"no image")
    with pytest.raises(InputFileError, match=r"1\.tif is no TIFF image"):
        read_files(find_files([folder]))
    for i in range(3):
        tifffile.imwrite(folder / "labels" / f"{i}.tif", np.zeros((72, 72), np.uint8))
    with pytest.raises(SettingsError, match="every label image is empty"):
        train_model([folder], folder / "m", settings=QUICK)


def test_masks_of_cellpose_run_no_code(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    labels = cells(0)[1]
    path = tmp_path / "a_seg.npy"
    for content in ({"masks": Hostile()}, {"masks": labels, "more": Hostile()}, Hostile()):
        np.save(path, np.array(content, dtype=object), allow_pickle=True)
        with pytest.raises(InputFileError, match="nothing of it was run"):
            read_cellpose_masks(path)
    assert not (tmp_path / "harm").exists()
    np.save(path, {"masks": np.asfortranarray(labels.astype(">i4")), "ismanual": np.zeros(3, bool), "d": np.float32(1)})
    np.testing.assert_array_equal(read_cellpose_masks(path), labels)
    old = pickle.dumps(np.array({"masks": labels}, dtype=object), protocol=2).replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core.multiarray" in old  # as numpy 1 writes it
    np.save(path, np.array({}, dtype=object))
    path.write_bytes(path.read_bytes()[:128] + old)
    np.testing.assert_array_equal(read_cellpose_masks(path), labels)
    for rest in (b"", b"abc", path.read_bytes()[:300], b"\x93NUMPY\x01\x00" + pickle.dumps({})):
        path.write_bytes(rest)
        with pytest.raises(InputFileError, match="damaged"):
            read_cellpose_masks(path)
    np.save(path, {"outlines": labels})
    with pytest.raises(InputFileError, match="holds no masks"):
        read_cellpose_masks(path)


def test_a_model_with_its_card_that_segments(folder, tmp_path, capsys):
    pytest.importorskip("torch", reason="torch is not installed")
    out = tmp_path / "models" / "mine"
    command = ["models", "train", str(folder), "--out", str(out), "--steps", "1", "--threads", "1", "--keep-anyway"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "before AP.5" in printed
    assert "after AP.5" in printed
    assert sorted(p.name for p in out.parent.iterdir()) == ["mine.json", "mine.png", "mine.safetensors"]
    assert (out.parent / "mine.png").read_bytes().startswith(b"\x89PNG")
    card = json.loads((out.parent / "mine.json").read_text())
    weights = out.parent / "mine.safetensors"
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert card["base"]["name"] == "marrow-nuclei"
    assert len(card["data"]) == 3
    assert card["held_out"]["cells"] == card["held_out_before"]["cells"] == 4
    assert set(card["held_out"]["average_precision"]) == {"0.5", "0.75", "0.9"}
    assert len(card["training"]["planes"]) == 2
    assert not set(card["training"]["planes"]) & set(card["training"]["held_out_planes"])
    assert card["training"]["settings"]["seed"] == 0
    # the same command again would overwrite it; the model runs
    assert main(command) == 2
    assert "exists" in capsys.readouterr().err
    image = str(folder / "images" / "0.tif")
    assert main(["segment", image, "--out", str(tmp_path / "o"), "--model", str(weights), "--diameter", "17"]) == 0
    settings = json.loads((tmp_path / "o" / "segment.json").read_text())
    assert (settings["model"], settings["model_sha256"]) == ("mine", card["sha256"])


def test_what_is_no_better_is_not_written(folder, tmp_path, capsys):
    pytest.importorskip("torch", reason="torch is not installed")
    out = tmp_path / "mine"
    quick = ["--steps", "1", "--rate", "1e-9", "--threads", "1", "--freeze", "encoder"]
    assert main(["models", "train", str(folder), "--out", str(out), *quick]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("Error: ")
    assert "no better" in error
    assert "--keep-anyway" in error
    assert not list(tmp_path.glob("mine*"))
    trained = train_model([folder], out, settings=QUICK, validation=0)
    assert trained.weights == tmp_path / "mine.safetensors"
    assert trained.card["held_out"] is None
    assert any("Nothing is held back" in note for note in trained.notes)


def test_refused_before_any_training(folder, tmp_path, capsys):
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(PathExistsError, match=r"m\.json' exists"):
        train_model([folder], tmp_path / "m")
    for arguments, sentence in [
        (["--minutes", "0"], "0 minutes"),
        (["--minutes", "1", "--steps", "3"], "not both"),
        (["--freeze", "all"], "'all' cannot be frozen"),
        (["--base", "cpsam_v2"], "no Cellpose 1-3 network"),
        (["--base", "none-such"], "no model 'none-such'"),
        (["--frames", "a"], "Frames 'a'"),
        (["--labels", str(tmp_path / "gone")], "no folder of labels"),
    ]:
        assert main(["models", "train", str(folder), "--out", str(tmp_path / "n"), *arguments]) == 2
        assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("n.*"))


def test_frames_of_a_study(tiny_study, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    from napari_marrow.study import Study

    with pytest.raises(SettingsError, match="no cell labels yet"):
        train_model([tiny_study], tmp_path / "m", frames=["B02_f00:0:0"])
    study = Study.open(tiny_study, mode="a")
    position, session = study.positions[0], study.sessions(study.positions[0])[0]
    labels = np.zeros(study.image(position, session).shape[2:], np.int32)
    labels[0, 20:34, 20:34], labels[0, 60:75, 60:75] = 1, 2
    for t in (0, 1):
        study.write_labels("cells", "a" * 16, position, session, t, labels)
    document = json.loads((tiny_study / "study.json").read_text())
    from napari_marrow.study.durable import write_document

    document = {k: v for k, v in document.items() if k != "crc32c"} | {"active": {"segment": "a" * 16}}
    write_document(tiny_study / "study.json", document)
    channel = study.image(position, session).channel_names[0]
    frames = [f"{position}:{session}:0", f"{position}:{session}:1"]
    trained = train_model(
        [tiny_study], tmp_path / "m", frames=frames, channel=channel, settings=QUICK, keep_anyway=True
    )
    assert [entry["frame"] for entry in trained.card["data"]] == frames
    assert [entry["cells"] for entry in trained.card["data"]] == [2, 2]
    assert trained.card["training"]["held_out_planes"] == frames[1:]
    for wrong, sentence in [
        (None, "Say which frames"),
        (["B02"], "names no frame"),
        ([f"{position}:{session}:999"], "has frames 0 to"),
        (["Z09:0:0"], "no session 0 of position 'Z09'"),
    ]:
        with pytest.raises(SettingsError, match=sentence):
            train_model([tiny_study], tmp_path / "x", frames=wrong, channel=channel)
