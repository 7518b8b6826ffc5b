"""Training data, augmentation and a few real steps."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from napari_marrow.errors import PathMissingError, SettingsError
from napari_marrow.pipeline.training import TrainingSettings, main
from napari_marrow.pipeline.training_data import (
    image_name,
    is_held_out,
    list_files,
    read_pair,
    simulated_examples,
    split,
)
from napari_marrow.segmentation.diameter import median_diameter
from napari_marrow.segmentation.flows import labels_to_flows
from napari_marrow.segmentation.learning_rate import one_cycle


def test_the_held_out_fifth_depends_on_the_name_alone():
    names = [f"image{i:04d}.tif" for i in range(2000)]
    held_out = [is_held_out(name) for name in names]
    assert 0.17 < np.mean(held_out) < 0.23
    assert held_out[:8] == [is_held_out(name) for name in names[:8]]


def test_one_cycle_rises_and_falls():
    rates = [one_cycle(f, 1.0) for f in np.linspace(0, 1, 101)]
    assert np.argmax(rates) == 12
    assert max(rates) == pytest.approx(1)
    assert rates[0] < 0.05
    assert rates[-1] <= 0.001


def folder_with(tmp_path, n=12):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for i in range(n):
        labels = np.zeros((64, 64), np.uint16)
        for k, (cy, cx) in enumerate([(16, 16), (20, 46), (46, 30)], start=1):
            labels[(y - cy - rng.uniform(-2, 2)) ** 2 + (x - cx) ** 2 < 50] = k
        tifffile.imwrite(tmp_path / "images" / f"{i}.tif", rng.poisson(20 + 100 * (labels > 0)).astype(np.uint8))
        tifffile.imwrite(tmp_path / "labels" / f"{i}.tif", labels)
    return tmp_path


def test_files_are_paired_and_a_missing_mask_is_named(tmp_path):
    with pytest.raises(PathMissingError, match="no images"):
        list_files(tmp_path)
    folder = folder_with(tmp_path, 3)
    assert [image.name for image, _ in list_files(folder)] == ["0.tif", "1.tif", "2.tif"]
    (folder / "labels" / "1.tif").unlink()
    with pytest.raises(PathMissingError, match=r"labels.1\.tif is missing"):
        list_files(folder)


def test_median_diameter_of_discs():
    y, x = np.mgrid[:60, :60]
    labels = ((y - 15) ** 2 + (x - 15) ** 2 < 100) + 5 * ((y - 40) ** 2 + (x - 40) ** 2 < 100)
    assert median_diameter(labels) == pytest.approx(20, rel=0.02)
    assert median_diameter(np.zeros((4, 4), int)) == 0


def test_turned_and_scaled_flows_are_flows_of_the_turned_labels():
    pytest.importorskip("torch", reason="torch is not installed")
    from napari_marrow.segmentation.augmentation import AugmentationSettings, Example, _warp

    y, x = np.mgrid[:120, :120]
    labels = (((y - 60) / 30) ** 2 + ((x - 50) / 18) ** 2 < 1).astype(np.int32)
    target = np.concatenate([labels_to_flows(labels), (labels > 0)[None].astype(np.float32)])
    example = Example(labels.astype(np.float32), target, 40.0)
    settings = AugmentationSettings(crop=128, diam_mean=36.0, scale=1.2, wide_scale=1.2)
    for seed in range(4):
        _, warped, inside = _warp(example, np.random.default_rng(seed), settings)
        cell = warped[2] > 0
        assert inside[cell].all()
        expected = labels_to_flows(cell.astype(np.int32))
        # Away from the centre, where the direction turns quickly, both must point the same way.
        cosine = (warped[:2] * expected).sum(axis=0)[cell] / np.maximum(np.hypot(*warped[:2])[cell], 1e-6)
        assert np.median(cosine) > 0.99
        assert np.percentile(cosine, 10) > 0.9


def test_training_lowers_the_loss_and_can_be_resumed_and_scored(tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from napari_marrow.pipeline.training import train
    from napari_marrow.pipeline.training_data import load_examples
    from napari_marrow.segmentation.augmentation import AugmentationSettings

    torch.set_num_threads(1)
    folder = folder_with(tmp_path)
    pairs = list_files(folder)
    training, _ = split(pairs)
    assert 0 < len(training) < len(pairs)
    examples = load_examples(training)
    settings = TrainingSettings(steps=50, batch=2, widths=(2, 4, 8, 8, 8))
    augmentation = AugmentationSettings(crop=32)
    out = tmp_path / "out"
    weights = out / "marrow-nuclei.safetensors"
    first = train(examples, settings, augmentation, weights)
    more = TrainingSettings(steps=100, batch=2, widths=(2, 4, 8, 8, 8))
    second = train(examples, more, augmentation, weights, resume=True)
    assert second["steps"] == 100
    assert second["loss"][0] == first["loss"][0]
    assert second["loss"][1] < first["loss"][0]
    assert not list(out.glob("*.partial"))
    assert main(["--data", str(folder), "--evaluate", str(weights), "--card"]) == 0
    assert '"average_precision"' in capsys.readouterr().out
    assert (out / "marrow-nuclei.json").exists()


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from napari_marrow.pipeline.training import train
    from napari_marrow.segmentation.augmentation import AugmentationSettings

    class InterruptedTrainingError(Exception):
        pass

    def interrupt(step: int) -> None:
        if step == 7:
            raise InterruptedTrainingError

    torch.set_num_threads(1)
    examples = simulated_examples(3, 0)
    settings, augmentation = TrainingSettings(steps=12, batch=2, widths=(2, 4, 8, 8, 8)), AugmentationSettings(crop=32)
    whole, broken = tmp_path / "whole" / "a.safetensors", tmp_path / "broken" / "a.safetensors"
    train(examples, settings, augmentation, whole)
    with pytest.raises(InterruptedTrainingError):
        train(examples, settings, augmentation, broken, checkpoint_minutes=0, on_step=interrupt)
    assert broken.read_bytes() != whole.read_bytes()
    train(examples, settings, augmentation, broken, resume=True)
    assert broken.read_bytes() == whole.read_bytes()


def test_normalisation_is_measured_without_the_images_that_are_far_too_bright():
    pytest.importorskip("torch", reason="torch is not installed")
    from dataclasses import replace

    from napari_marrow.pipeline.training import calibrate
    from napari_marrow.segmentation.augmentation import AugmentationSettings
    from napari_marrow.segmentation.torch_network import CPnet

    examples = simulated_examples(3, 0)
    glaring = replace(examples[0], image=1000 * examples[0].image)
    augmentation = AugmentationSettings(crop=32, p_intensity_simulated=0.0)
    network = CPnet((2, 4, 8))
    calibrate(network, [*examples, glaring], augmentation, 0, batches=4)
    layer = network.downsample.down[0].proj[0]
    assert 0.01 < float(layer.running_var[0]) < 4
    assert 0 < float(layer.running_mean[0]) < 1
    assert layer.momentum == 0.05
    assert not network.training


def test_training_starts_from_weights_of_the_same_widths_only(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    from napari_marrow.pipeline.training import train
    from napari_marrow.segmentation.augmentation import AugmentationSettings
    from napari_marrow.segmentation.weights import read_weights

    examples, augmentation = simulated_examples(1, 0), AugmentationSettings(crop=32)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train(examples, TrainingSettings(steps=1, batch=1, widths=(2, 4, 8)), augmentation, first)
    other = AugmentationSettings(crop=32, diam_mean=30.0)
    train(examples, TrainingSettings(steps=0, widths=(2, 4, 8), seed=9), other, second, start=first)
    assert read_weights(second).diam_mean == 30
    name = "output.2.weight"
    np.testing.assert_array_equal(read_weights(first).arrays[name], read_weights(second).arrays[name])
    with pytest.raises(SettingsError, match="other widths"):
        train(examples, TrainingSettings(steps=1, widths=(2, 4, 4)), augmentation, second, start=first)


def test_a_folder_per_image_is_read_as_well(tmp_path):
    pairs = folder_with(tmp_path, 2)
    for n in range(2):
        (tmp_path / f"set{n}").mkdir()
        (pairs / "images" / f"{n}.tif").rename(tmp_path / f"set{n}" / "raw.tif")
        labels = tifffile.imread(pairs / "labels" / f"{n}.tif").astype(np.uint8)
        imagecodecs.imwrite(tmp_path / f"set{n}" / "instances_ids.png", labels)
    found = list_files(tmp_path)
    assert [image_name(image) for image, _ in found] == ["set0", "set1"]
    image, labels = read_pair(found[1])
    assert image.shape == labels.shape == (64, 64)
    assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_command_line_says_what_is_missing(tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no images" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path)])


@pytest.mark.skipif(
    not (Path(__file__).parents[3] / "shared" / "data" / "nuclei_dsb2018").exists(),
    reason="the shared DSB 2018 images are not here",
)
def test_bundled_model_on_held_out_images():
    from napari_marrow.pipeline.training import evaluate
    from napari_marrow.segmentation.registry import find_model

    pairs = list_files(Path(__file__).parents[3] / "shared" / "data" / "nuclei_dsb2018")
    held_out = split(pairs)[1][::6]
    result = evaluate(held_out, find_model("marrow-nuclei").path, threads=2)
    assert result["average_precision"]["0.5"] > 0.75
