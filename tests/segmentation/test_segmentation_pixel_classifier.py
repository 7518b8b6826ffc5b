"""Pixel classifiers: learning from scribbles, blocks, scikit-learn as the oracle, and files that are none."""

import json

import numpy as np
import pytest

from napari_marrow.errors import Cancelled, ModelError, SettingsError
from napari_marrow.progress import CancelToken
from napari_marrow.segmentation.forest import Forest
from napari_marrow.segmentation.pixel_classifier_data import pixel_classifier_from_bytes, pixel_classifier_to_bytes
from napari_marrow.segmentation.pixel_features import PixelFeatures
from napari_marrow.segmentation.pixel_training import train_pixel_classifier


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def stripes(n=120, seed=0):
    """Texture that no threshold tells apart: both halves have the same mean and spread of brightness."""
    rng = np.random.default_rng(seed)
    _, x = np.mgrid[:n, :n]
    truth = np.zeros((n, n), bool)
    truth[:, n // 2 :] = True
    image = 100 + 40 * np.where(truth, np.sign(np.sin(x * np.pi / 4)), rng.choice([-1.0, 1.0], (n, n)))
    return image + rng.normal(0, 5, (n, n)), truth


def marks(truth, seed=0):
    """Four strokes of 12 px on either class."""
    rng = np.random.default_rng(seed)
    scribbles = np.zeros(truth.shape, np.uint8)
    for number, mask in ((1, ~truth), (2, truth)):
        places = np.argwhere(mask)
        for at in rng.choice(len(places), 4, replace=False):
            stroke = tuple(slice(p, p + (12 if k == truth.ndim - 1 else 1)) for k, p in enumerate(places[at]))
            scribbles[stroke] = np.where(mask[stroke], number, scribbles[stroke])
    return scribbles


@pytest.fixture(scope="module")
def trained():
    image, truth = stripes()
    return train_pixel_classifier(
        [image], [marks(truth)], spacing=(1, 1), classes=["background", "vessels"], channels=["CD31"],
        sigmas=(1, 2, 4), n_trees=20,
    )  # fmt: skip


def test_texture_is_learned_from_a_few_strokes(trained):
    image, truth = stripes(seed=1)
    found = trained.predict(image, spacing=(1, 1)) == 2
    assert dice(found, truth) > 0.9
    assert trained.card["accuracy_on_strokes_left_out"] > 0.8
    assert 0.8 < trained.card["accuracy_out_of_bag"] <= 1
    assert trained.card["strokes"] == {"background": 4, "vessels": 4}


def test_probabilities_add_up_and_blocks_change_nothing(trained):
    image, _ = stripes(seed=2)
    whole = trained.probabilities(image, spacing=(1, 1))
    np.testing.assert_allclose(whole.sum(axis=0), 1, atol=1e-5)
    parts = trained.probabilities(image, spacing=(1, 1), feature_values=1)
    assert np.abs(parts - whole).max() < 0.2
    assert (parts.argmax(axis=0) != whole.argmax(axis=0)).mean() < 0.002
    np.testing.assert_array_equal(
        trained.predict(image, spacing=(1, 1), threads=1), trained.predict(image, spacing=(1, 1), threads=3)
    )


def test_the_same_seed_gives_the_same_forest():
    image, truth = stripes()
    one, other, third = (
        train_pixel_classifier([image], [marks(truth)], spacing=(1, 1), sigmas=(1,), n_trees=5, seed=seed)
        for seed in (3, 3, 4)
    )
    for name, array in one.forest.arrays().items():
        np.testing.assert_array_equal(array, other.forest.arrays()[name])
    assert not np.array_equal(one.forest.threshold, third.forest.threshold)


def test_the_stored_forest_is_scikit_learns():
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, (400, 6)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int) + (x[:, 2] > 1)
    forest = RandomForestClassifier(n_estimators=12, random_state=0).fit(x, y)
    probe = np.concatenate([x, rng.normal(0, 1, (400, 6)).astype(np.float32)])
    found = Forest.from_sklearn(forest).probabilities(np.ascontiguousarray(probe.T))
    np.testing.assert_allclose(found.T, forest.predict_proba(probe), atol=1e-5)


def test_volumes_of_flat_voxels_and_two_channels():
    z, y, x = np.mgrid[:10, :40, :40]
    truth = (z * 3.0 - 15) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 12**2
    rng = np.random.default_rng(5)
    image = np.stack([rng.poisson(50, truth.shape), rng.poisson(50 + 60 * truth)])
    classifier = train_pixel_classifier([image], [marks(truth)], spacing=(3, 1, 1), sigmas=(1, 3), n_trees=20)
    assert dice(classifier.predict(image, spacing=(3, 1, 1)) == 2, truth) > 0.85
    assert classifier.features.names[0] == "channel 0 intensity at 1 µm"
    assert len(classifier.features.names) == 2 * 2 * 9


def test_a_classifier_knows_lengths_and_not_pixels():
    features = PixelFeatures(2, 1, sigmas=(4.0,))
    y, x = np.mgrid[:96, :96]
    fine = 100 * np.exp(-((y - 48) ** 2) / 200.0) + 20 * np.sin(x / 12)
    coarse = fine.reshape(48, 2, 48, 2).mean(axis=(1, 3))
    one = features.compute(fine[None].astype(np.float32), (1, 1)).reshape(-1, 48, 2, 48, 2).mean(axis=(2, 4))
    other = features.compute(coarse[None].astype(np.float32), (2, 2))
    inner = (slice(None), slice(12, -12), slice(12, -12))
    scale = np.abs(one[inner]).max(axis=(1, 2), keepdims=True)
    assert (np.abs(one[inner] - other[inner]) / scale).max() < 0.12


def test_a_file_brings_the_classifier_back(trained):
    image, _ = stripes(seed=6)
    content = pixel_classifier_to_bytes(trained)
    again = pixel_classifier_from_bytes(content)
    assert (again.classes, again.channels, again.card) == (trained.classes, trained.channels, trained.card)
    assert again.features == trained.features
    np.testing.assert_array_equal(again.predict(image, spacing=(1, 1)), trained.predict(image, spacing=(1, 1)))
    assert b"sklearn" not in content


def test_files_that_are_no_classifier_are_refused(trained):
    import pickle

    from safetensors.numpy import load, save

    content = pixel_classifier_to_bytes(trained)
    for bad in (b"", b"x" * 40, pickle.dumps(trained.card), save({"a": np.zeros(3)}), content[:200]):
        with pytest.raises(ModelError):
            pixel_classifier_from_bytes(bad, name="a.safetensors")
    arrays = load(content)
    length = int.from_bytes(content[:8], "little")
    card = json.loads(content[8 : 8 + length])["__metadata__"]["card"]

    def changed(key, change, text=card):
        other = {name: array.copy() for name, array in arrays.items()}
        change(other[key])
        return save(other, metadata={"card": text})

    def circle(left):
        left[np.flatnonzero(left)[0]] = 0

    def beyond(feature):
        feature[0] = 10_000

    with pytest.raises(ModelError, match="circle"):
        pixel_classifier_from_bytes(changed("left", circle))
    with pytest.raises(ModelError, match="a feature that there is not"):
        pixel_classifier_from_bytes(changed("feature", beyond))
    with pytest.raises(ModelError, match="not those that its card was made for"):
        pixel_classifier_from_bytes(changed("threshold", lambda t: t.__iadd__(1)))
    newer = json.dumps(json.loads(card) | {"version": 2})
    with pytest.raises(ModelError, match="version 2"):
        pixel_classifier_from_bytes(save(arrays, metadata={"card": newer}))


IMAGE, TRUTH = stripes(40)
SCRIBBLES = marks(TRUTH)


@pytest.mark.parametrize(
    ("images", "scribbles", "words"),
    [
        ([IMAGE], [np.where(SCRIBBLES == 1, 1, 0)], "only class 1"),
        ([IMAGE], [np.zeros((40, 40), int)], "show nothing"),
        ([IMAGE], [SCRIBBLES[:30]], "must fit"),
        ([IMAGE], [np.where(SCRIBBLES == 2, 3, SCRIBBLES)], "not class 2"),
        ([IMAGE], [SCRIBBLES.astype(float)], "whole numbers"),
        ([np.full((40, 40), np.nan)], [SCRIBBLES], "not finite"),
        ([IMAGE], [], "give one for each"),
        ([np.stack([IMAGE] * 2), IMAGE], [SCRIBBLES, SCRIBBLES], r"takes a plane of 2 channel"),
    ],
)
def test_scribbles_that_do_not_do_are_one_sentence(images, scribbles, words):
    with pytest.raises(SettingsError, match=words):
        train_pixel_classifier(images, scribbles, spacing=(1, 1), n_trees=2)


def test_an_image_of_other_channels_and_a_stop(trained):
    with pytest.raises(SettingsError, match="3 channel"):
        trained.predict(np.zeros((3, 20, 20)), spacing=(1, 1))
    with pytest.raises(SettingsError, match="a plane of 1 channel"):
        trained.predict(np.zeros((2, 3, 20, 20)), spacing=(1, 1))
    assert trained.predict(np.full((1, 1), 7), spacing=(1, 1)).shape == (1, 1)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        trained.predict(IMAGE, spacing=(1, 1), cancel=token)
    assert trained.class_number("vessels") == 2
