"""The whole way from an image to labels, on drawn nuclei."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_marrow.errors import Cancelled, InputFileError, SettingsError
from napari_marrow.progress import CancelToken
from napari_marrow.segmentation import CPnetSegmenter, load_segmenter, score_labels
from napari_marrow.segmentation.registry import find_model


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter(threads=2)


def nuclei(diameter, shape=(200, 220), n=20, seed=0, noise=6.0):
    """Blurred ellipses of about this diameter that do not overlap, with Poisson noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    centres = []
    for _ in range(2000):
        c = rng.uniform(diameter * 0.6, np.array(shape) - diameter * 0.6)
        if len(centres) < n and all(np.hypot(*(c - d)) > 1.35 * diameter for d in centres):
            centres.append(c)
    for k, (cy, cx) in enumerate(centres, start=1):
        ratio, angle = rng.uniform(0.85, 1.2), rng.uniform(0, np.pi)
        u = (y - cy) * np.cos(angle) + (x - cx) * np.sin(angle)
        v = (x - cx) * np.cos(angle) - (y - cy) * np.sin(angle)
        labels[(u * ratio) ** 2 + (v / ratio) ** 2 < (diameter / 2) ** 2] = k
    signal = gaussian_filter((labels > 0) * rng.uniform(80, 200, len(centres) + 1)[labels], diameter / 15)
    return labels, np.clip(rng.poisson(20 + signal) + rng.normal(0, noise, shape), 0, None).astype(np.uint16)


@pytest.mark.parametrize(("diameter", "shape", "n"), [(9, (150, 150), 30), (17, (200, 220), 20), (40, (300, 320), 14)])
def test_nuclei_of_many_sizes_with_the_diameter_estimated(segmenter, diameter, shape, n):
    truth, image = nuclei(diameter, shape, n)
    found = segmenter.segment(image)
    assert found.estimated
    assert found.diameter == pytest.approx(diameter, rel=0.25)
    assert found.labels.dtype == np.int32
    assert found.labels.shape == image.shape
    assert score_labels(truth, found.labels).average_precision[0.5] > 0.85


def test_given_diameter_is_used(segmenter):
    truth, image = nuclei(17)
    found = segmenter.segment(image, diameter=17, return_probability=True)
    assert (found.diameter, found.estimated) == (17.0, False)
    assert score_labels(truth, found.labels).average_precision[0.5] > 0.85
    assert found.probability[truth > 0].mean() > 0.8
    assert found.probability[truth == 0].mean() < 0.2


def test_a_second_channel_is_normalised_on_its_own_and_reaches_the_network():
    seen = []

    def network(tiles):
        seen.append(tiles.copy())
        return np.zeros((1, 3, *tiles.shape[2:]), np.float32)

    segmenter = CPnetSegmenter(replace(find_model("marrow-nuclei"), second_channel=True), network)
    rng = np.random.default_rng(1)
    image, second = rng.uniform(0, 10, (48, 64)), rng.uniform(500, 90_000, (48, 64))
    segmenter.segment(image, second=second, diameter=17)
    inside = seen[0][0, :, 8:56, 8:72]
    for channel, values in zip(inside, (image, second), strict=True):
        low, high = np.percentile(values, (1, 99))
        np.testing.assert_allclose(channel, (values - low) / (high - low), atol=1e-4)
    segmenter.segment(image, second=np.full_like(image, 7), diameter=17)
    assert not seen[1][0, 1].any()
    segmenter.segment(np.stack([image] * 2), second=np.stack([second] * 2), diameter=17)
    assert len(seen) == 4
    with pytest.raises(InputFileError, match=r"second channel has shape \(48, 63\), the first \(48, 64\)"):
        segmenter.segment(image, second=second[:, :63])
    with pytest.raises(SettingsError, match="single input channel"):
        replace(segmenter, n_channels=1).segment(image, second=second)
    with pytest.raises(SettingsError, match="'marrow-nuclei' was trained on one channel"):
        load_segmenter(threads=1).segment(image, second=second)


def test_intensity_unit_and_type_do_not_matter(segmenter):
    _, image = nuclei(17)
    labels = segmenter.segment(image, diameter=17).labels
    for other in (image.astype(np.float64), image.astype(np.int32) - 500):
        np.testing.assert_array_equal(segmenter.segment(other, diameter=17).labels, labels)
    scaled = segmenter.segment(image.astype(np.float32) * 1e-6, diameter=17).labels
    assert score_labels(labels, scaled).average_precision[0.9] > 0.95


def test_same_again_and_with_one_thread(segmenter):
    _, image = nuclei(17)
    labels = segmenter.segment(image).labels
    np.testing.assert_array_equal(segmenter.segment(image).labels, labels)
    np.testing.assert_array_equal(load_segmenter(threads=1).segment(image).labels, labels)


def test_tiled_plane_finds_what_small_planes_find(segmenter):
    truth, image = nuclei(17, (160, 160), 16)
    large = np.tile(image, (5, 5))  # more than fits into the network at once
    found = segmenter.segment(large, diameter=17)
    copies = np.tile(truth, (5, 5))
    cells = np.kron(np.arange(25).reshape(5, 5), np.ones((160, 160), int)) * 100
    assert score_labels(np.where(copies > 0, copies + cells, 0), found.labels).average_precision[0.5] > 0.85


def test_volume_is_stitched(segmenter):
    z = np.arange(7)
    y, x = np.mgrid[:100, :100]
    truth = np.zeros((7, 100, 100), np.int32)
    for k, (cz, cy, cx) in enumerate([(2, 25, 25), (3, 70, 30), (4, 40, 75), (3, 80, 80)], start=1):
        r = np.sqrt(np.clip(9.0**2 - (3.0 * (z - cz)) ** 2, 0, None))
        truth[((y - cy) ** 2 + (x - cx) ** 2)[None] < (r**2)[:, None, None]] = k
    image = np.random.default_rng(0).poisson(20 + gaussian_filter(150.0 * (truth > 0), (0, 1, 1)))
    found = segmenter.segment(image.astype(np.uint16), diameter=17, spacing=(3, 1, 1), min_size=60)
    assert found.labels.shape == truth.shape
    assert found.n_cells == 4
    assert score_labels(truth, found.labels).average_precision[0.5] == 1


def test_pixels_that_are_not_square(segmenter):
    truth, image = nuclei(16)
    found = segmenter.segment(image[::2], diameter=16, spacing=(2.0, 1.0))
    assert score_labels(truth[::2], found.labels).average_precision[0.5] > 0.8


@pytest.mark.parametrize("image", [np.full((60, 60), 7, np.uint8), np.zeros((3, 40, 40)), np.zeros((1, 1))])
def test_constant_images_have_no_cells(segmenter, image):
    found = segmenter.segment(image, return_probability=True)
    assert found.labels.shape == image.shape
    assert not found.labels.any()
    assert not found.probability.any()


def test_noise_has_hardly_a_cell(segmenter):
    noise = np.random.default_rng(0).normal(100, 10, (200, 200))
    assert (segmenter.segment(noise).labels > 0).mean() < 0.02


def test_tiny_and_odd_images(segmenter):
    ramp = np.arange(25.0).reshape(5, 5)
    assert segmenter.segment(ramp).labels.shape == (5, 5)
    assert segmenter.segment(ramp > 12, diameter=5).labels.shape == (5, 5)  # 1 bit
    assert segmenter.segment(np.arange(300)[None, :]).labels.shape == (1, 300)


def test_bad_images_are_refused(segmenter):
    image = np.random.default_rng(0).uniform(size=(20, 20))
    image[3, 4] = np.nan
    with pytest.raises(InputFileError, match="1 of 400 pixels are NaN"):
        segmenter.segment(image)
    with pytest.raises(InputFileError, match="Pixels of type complex128"):
        segmenter.segment(np.zeros((20, 20), complex))
    with pytest.raises(InputFileError, match="one channel of one frame"):
        segmenter.segment(np.zeros((2, 2, 20, 20)))
    with pytest.raises(InputFileError, match="has no pixels"):
        segmenter.segment(np.zeros((0, 20)))


@pytest.mark.parametrize("diameter", [0, -3, np.nan, np.inf, 1e6])
def test_impossible_diameters_are_refused(segmenter, diameter):
    with pytest.raises(SettingsError, match="diameter"):
        segmenter.segment(np.arange(400.0).reshape(20, 20), diameter=diameter)


def test_cancel_and_progress(segmenter):
    _, image = nuclei(17)
    seen = []
    segmenter.segment(image, progress=lambda done, total, message: seen.append((done, total, message)))
    assert seen
    token = CancelToken()

    def stop(done, total, message):
        token.cancel()

    big = np.tile(image, (4, 4))
    with pytest.raises(Cancelled):
        segmenter.segment(big, diameter=17, progress=stop, cancel=token)


def test_default_path_imports_no_torch_cellpose_or_telemetry():
    code = (
        "import sys, numpy as np\n"
        "from napari_marrow.segmentation import load_segmenter\n"
        "assert 'openvino' not in sys.modules and 'numba' in sys.modules\n"
        "load_segmenter(threads=1).segment(np.random.default_rng(0).uniform(size=(40, 40)))\n"
        "bad = {'torch', 'cellpose', 'matplotlib', 'skimage', 'zarr', 'openvino_telemetry'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=environment)
