"""Hand-made labels checked and mended, and a real network trained on with a few of them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_marrow.errors import Cancelled, InputFileError, SettingsError
from napari_marrow.progress import CancelToken
from napari_marrow.segmentation.annotation import AnnotatedImage, annotate, prepare
from napari_marrow.segmentation.fine_tuning import FineTuningSettings, fine_tune
from napari_marrow.segmentation.held_out import score_held_out, segmenter_of
from napari_marrow.segmentation.registry import find_model
from napari_marrow.segmentation.scoring import pool_scores, score_labels
from napari_marrow.segmentation.segmenter import Segmentation
from napari_marrow.segmentation.weights import read_weights


def cores(seed: int, side: int = 128) -> AnnotatedImage:
    """An image of cells of which only the core shines: the bundled model takes the core for the whole cell."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image, labels = np.full((side, side), 60.0), np.zeros((side, side), np.int32)
    for k, (cy, cx) in enumerate(((cy, cx) for cy in range(18, side - 12, 32) for cx in range(18, side - 12, 32)), 1):
        cy, cx, r = cy + rng.uniform(-3, 3), cx + rng.uniform(-3, 3), rng.uniform(8, 11)
        distance = np.hypot(y - cy, x - cx)
        labels[distance < r] = k
        image[distance < r - 4] = 180
    image += rng.normal(0, 6, image.shape)
    return annotate(f"cores {seed}", image.astype(np.float32), labels)[0]


@pytest.fixture(scope="module")
def base():
    return read_weights(find_model("marrow-nuclei").path)


def discs(*places: tuple[int, int, int], side: int = 60) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    for k, (cy, cx, r) in enumerate(places, 1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = k
    return labels


def noise(side: int = 60) -> np.ndarray:
    return np.random.default_rng(0).random((side, side)).astype(np.float32)


def test_holes_are_filled_and_slips_are_not_learned():
    labels = discs((20, 20, 8), (40, 40, 6)) * 10
    labels[20, 20] = 0
    labels[2, 2] = 10  # a piece of the first cell far from it
    labels[50, 5:8] = 77  # a slip of three pixels
    annotated, notes = annotate("a.tif", noise(), labels)
    assert annotated.n_cells == 2
    assert annotated.labels[20, 20] == annotated.labels[20, 22] > 0
    assert len(notes) == 3
    assert any("holes of 1 px" in n for n in notes)
    assert any("1 piece(s)" in n for n in notes)
    assert any("1 label(s) of less than" in n for n in notes)
    assert annotated.ignored is not None
    assert set(zip(*np.nonzero(annotated.ignored), strict=True)) == {(2, 2), (50, 5), (50, 6), (50, 7)}


def test_good_labels_stay_as_they_are():
    labels = discs((20, 20, 8), (20, 36, 8))  # touching
    labels[18:21, 18:21] = 3  # a cell within a cell
    annotated, notes = annotate("a.tif", noise(), np.where(labels == 3, 0, labels) + 0)
    assert annotated.ignored is None
    assert len(notes) == 1
    full = np.ones((20, 20), np.int32)
    full[:, 10:] = 2
    whole, notes = annotate("full.tif", noise(20), full)
    assert not notes
    assert whole.n_cells == 2
    np.testing.assert_array_equal(whole.labels, full)


def test_negative_labels_are_not_annotated():
    labels = discs((20, 20, 8))
    labels[:, 40:] = -1
    annotated, _ = annotate("a.tif", noise(), labels)
    assert annotated.ignored is not None
    assert annotated.ignored[:, 40:].all()
    assert not annotated.ignored[:, :40].any()


@pytest.mark.parametrize(
    ("image", "labels", "sentence"),
    [
        (noise(60), discs((20, 20, 8), side=50), r"a\.tif has shape \(60, 60\), its labels \(50, 50\)"),
        (np.ones((60, 60)), discs((20, 20, 8)), "a.tif is constant"),
        (np.full((60, 60), np.nan), discs((20, 20, 8)), "NaN"),
        (noise(), discs(*[(10 * i, 10 * i, 3) for i in range(1, 6)]).clip(0, 1), "a mask and no labels"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(image, labels, sentence):
    with pytest.raises(InputFileError, match=sentence):
        annotate("a.tif", image, labels)


def test_large_cells_are_reduced_once():
    y, x = np.mgrid[:400, :300]
    labels = ((y - 200) ** 2 + (x - 150) ** 2 < 100**2).astype(np.int32)
    annotated, _ = annotate("a.tif", labels + np.random.default_rng(0).normal(0, 0.1, labels.shape), labels)
    prepared = prepare(annotated, 17.0)
    assert prepared.diameter == pytest.approx(200, rel=0.01)
    assert prepared.example.diameter == pytest.approx(34)
    area = prepared.example.target[2].sum()
    assert 2 * np.sqrt(area / np.pi) == pytest.approx(34, rel=0.03)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"minutes": 0}, {"minutes": float("nan")}, {"rate": -1.0}, {"freeze": "decoder"}, {"batch": 0}],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(SettingsError):
        FineTuningSettings(**wrong)


def test_held_out_labels_where_nobody_annotated_do_not_count():
    truth = discs((15, 15, 8))
    truth[:, 35:] = -1
    annotated, _ = annotate("a.tif", noise(), truth)

    class Finds:
        def segment(self, image, **_):
            return Segmentation(discs((15, 15, 8), (15, 48, 8)), 16, False)

    score, found = score_held_out(Finds(), [annotated])
    assert (score.n_predicted, score.average_precision[0.9]) == (1, 1.0)
    assert found[0].max() == 2


def test_training_makes_a_network_better_at_what_it_did_not_know(base):
    pytest.importorskip("torch", reason="torch is not installed")
    settings = FineTuningSettings(steps=20, batch=2, checks=2, threads=1, diameter=20, rate=2e-3)
    said = []
    tuning = fine_tune(base, [cores(s) for s in range(3)], [cores(7)], settings, progress=lambda *a: said.append(a))
    assert tuning.improved
    assert tuning.after.value > tuning.before.value + 0.3
    assert tuning.losses[-1][1] < tuning.losses[0][1]
    assert said[-1][:2] == (20, 20)
    assert "loss" in said[-1][2]
    assert "left" in said[-1][2]
    # What is returned is what was scored.
    held_out = cores(7)
    labels = segmenter_of(tuning.weights, threads=1).segment(held_out.image, diameter=20).labels
    assert pool_scores([score_labels(held_out.labels, labels)]) == tuning.after.score
    # The base is as it was.
    assert read_weights(find_model("marrow-nuclei").path).sha256 == base.sha256
    np.testing.assert_array_equal(
        read_weights(find_model("marrow-nuclei").path).arrays["output.2.weight"], base.arrays["output.2.weight"]
    )


def test_the_same_seed_gives_the_same_weights_and_a_frozen_encoder_stays(base):
    pytest.importorskip("torch", reason="torch is not installed")
    images = [cores(0)]
    settings = FineTuningSettings(steps=3, batch=1, freeze="encoder", threads=1)
    first, second = (fine_tune(base, images, settings=settings).weights.arrays for _ in range(2))
    other = fine_tune(base, images, settings=FineTuningSettings(steps=3, batch=1, seed=1, threads=1)).weights.arrays
    assert first.keys() == second.keys() == other.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
        if name.startswith("downsample"):  # its normalisation's running mean and variance, too
            np.testing.assert_array_equal(value, base.arrays[name])
    assert any(not np.array_equal(first[n], base.arrays[n]) for n in first if n.startswith("upsample"))
    assert any(not np.array_equal(other[n], base.arrays[n]) for n in first if n.startswith("downsample"))
    assert first["diam_labels"][0] == pytest.approx(prepare(images[0], 17.0).diameter)


def test_what_nobody_annotated_does_not_matter(base):
    pytest.importorskip("torch", reason="torch is not installed")
    from napari_marrow.segmentation.augmentation import AugmentationSettings

    image = cores(0)
    hidden = np.zeros(image.image.shape, bool)
    hidden[:, 64:] = True
    blind, _ = annotate("left half", image.image, np.where(hidden, -1, image.labels))
    garbage, _ = annotate("garbage", image.image, np.where(hidden, 5, image.labels), hidden)
    settings = AugmentationSettings(p_empty=0.0)
    for seed in range(3):
        crops = [prepare(a, 17.0).random_crop(np.random.default_rng(seed), settings) for a in (blind, garbage)]
        for a, b in zip(*crops, strict=True):
            np.testing.assert_array_equal(a, b)
        _, target, known = crops[0]
        assert 0 < known.mean() < 1
        assert not target[2][known == 0].any()
    for name, value in fine_tune(
        base, [blind], settings=FineTuningSettings(steps=1, batch=1, threads=1)
    ).weights.arrays.items():
        assert np.isfinite(value).all(), name


def test_cancelled_and_empty(base):
    pytest.importorskip("torch", reason="torch is not installed")
    token = CancelToken()
    with pytest.raises(Cancelled, match="no model was written"):
        fine_tune(
            base,
            [cores(0)],
            settings=FineTuningSettings(batch=1, threads=1),
            progress=lambda *_: token.cancel(),
            cancel=token,
        )
    empty = AnnotatedImage("empty", noise(), np.zeros((60, 60), np.int32))
    with pytest.raises(SettingsError, match="no label"):
        fine_tune(base, [empty])
