"""A large plane through percentiles, resizing, network and reconstruction in strips: the same as at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import gaussian_filter

from napari_marrow.errors import Cancelled, SettingsError
from napari_marrow.progress import CancelToken
from napari_marrow.segmentation import dynamics, finding, intensities, load_segmenter, tiles
from napari_marrow.segmentation.dynamics import masks_of_whole
from napari_marrow.segmentation.intensities import exact_percentiles, scale_channels
from napari_marrow.segmentation.resizing import resize, resize_strips, resized_rows
from napari_marrow.segmentation.tiles import TILE, network_rows, run_network, taper, tile_starts


@settings(max_examples=60, deadline=None)
@given(
    image=st.sampled_from([np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64]).flatmap(
        lambda dtype: arrays.arrays(
            dtype,
            arrays.array_shapes(min_dims=2, max_dims=3, max_side=9),
            elements=(
                st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False) | st.sampled_from([0.0, -0.0, 1.5])
                if np.dtype(dtype).kind == "f"
                else arrays.from_dtype(np.dtype(dtype))
            ),
        )
    ),
    percents=st.lists(st.integers(0, 100), min_size=1, max_size=3),
)
def test_percentiles_are_numpys(image, percents):
    expected = np.percentile(image.astype(np.float32), percents)
    np.testing.assert_array_equal(exact_percentiles(image, percents), expected)


def test_percentiles_of_many_blocks(monkeypatch):
    image = np.random.default_rng(0).lognormal(5, 1, (300, 70))
    monkeypatch.setattr(intensities, "_BLOCK", 1000)
    for part in (image, image[::2, 5:], image.reshape(3, 100, 70), image.astype(np.uint16)):
        np.testing.assert_array_equal(exact_percentiles(part, (1, 99)), np.percentile(part.astype(np.float32), (1, 99)))


@pytest.mark.parametrize("shape", [(37, 90), (80, 33), (160, 70), (1, 1)])
@pytest.mark.parametrize("sigma", [0.0, 1.7])
def test_resized_rows_are_those_of_the_resized_plane(shape, sigma):
    image = np.random.default_rng(0).uniform(0, 200, (80, 70)).astype(np.float32)
    scaled = scale_channels(image, image.T.reshape(80, 70).copy())
    whole = scaled.part(...)
    if sigma:
        whole = gaussian_filter(whole, (0, sigma, sigma), mode="nearest")
    whole = resize(whole, shape)
    source = resized_rows(scaled, shape, sigma=sigma)
    for n in (1, 7, shape[0]):
        strips = [source(y, min(y + n, shape[0])) for y in range(0, shape[0], n)]
        np.testing.assert_array_equal(np.concatenate(strips, axis=1), whole)


@pytest.mark.parametrize("shape", [(37, 90), (80, 70), (160, 70), (1, 3)])
@pytest.mark.parametrize("n", [1, 9, 80])
def test_strips_are_resized_as_the_plane_is(shape, n):
    plane = np.random.default_rng(0).normal(size=(3, 80, 70)).astype(np.float32)
    strips = (plane[:, y : y + n] for y in range(0, 80, n))
    np.testing.assert_array_equal(np.concatenate(list(resize_strips(strips, 80, shape)), axis=1), resize(plane, shape))


def at_once(network, plane):
    """Tiles of a whole plane, blended over the whole plane: the plain way."""
    height, width = plane.shape
    padded_height, padded_width = (16 * (-(-side // 16)) + 16 for side in (height, width))
    top, left = (padded_height - height) // 2, (padded_width - width) // 2
    padded = np.zeros((2, padded_height, padded_width), dtype=np.float32)
    padded[0, top : top + height, left : left + width] = plane
    h, w = min(TILE, padded_height), min(TILE, padded_width)
    total, weight = np.zeros((3, padded_height, padded_width), np.float32), np.zeros(padded.shape[1:], np.float32)
    for y in tile_starts(padded_height):
        for x in tile_starts(padded_width):
            place = (slice(y, y + h), slice(x, x + w))
            total[:, *place] += network(padded[None, :, *place])[0] * taper(h, w)
            weight[place] += taper(h, w)
    return (total / weight)[:, top : top + height, left : left + width]


def net(tiles):
    """Depends on every pixel's place in its tile, so that a tile at another place shows."""
    y, x = np.mgrid[: tiles.shape[2], : tiles.shape[3]]
    one = tiles[:, :1] * (1 + 0.01 * np.sin(y / 9) + 0.02 * np.cos(x / 7)).astype(np.float32)
    return np.concatenate([one, one * one, tiles[:, :1]], axis=1)


@pytest.mark.parametrize("shape", [(700, 130), (225, 500), (460, 460), (40, 900)])
def test_tiles_in_strips_are_the_tiles_of_the_plane(shape):
    plane = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    asked, seen = [], []

    def source(first, last):
        asked.append((first, last))
        return plane[None, first:last]

    strips = list(network_rows(net, source, shape, whole_pixels=0, on_tile=lambda *a: seen.append(a)))
    np.testing.assert_array_equal(np.concatenate(strips, axis=1), at_once(net, plane))
    assert [first for first, _ in asked] == [0, *(last for _, last in asked[:-1])]  # from the top, each row once
    assert asked[-1][1] == shape[0]
    assert [done for done, _ in seen] == list(range(seen[0][1]))


def nuclei(shape, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for cy in range(9, shape[0], 19):
        for cx in range(9, shape[1], 19):
            dy, dx = rng.uniform(-2, 2, 2)
            image += 150 * ((y - cy - dy) ** 2 + (x - cx - dx) ** 2 < rng.uniform(5, 8) ** 2)
    return rng.poisson(20 + gaussian_filter(image, 1)).astype(np.uint16)


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter(precision="f32", threads=2)


@pytest.fixture
def small_is_large(monkeypatch):
    """As if planes of more than 60 000 px were too large to be held."""
    for module in (dynamics, finding):
        monkeypatch.setattr(module, "LARGE_PLANE", 60_000)
        monkeypatch.setattr(module, "STRIP_PIXELS", 9_000)
    monkeypatch.setattr(tiles, "WHOLE_PIXELS", 0)


@pytest.mark.parametrize("diameter", [13, 24])
def test_large_plane_is_segmented_as_the_whole(segmenter, small_is_large, monkeypatch, diameter):
    image = nuclei((700, 160))
    out = np.zeros(image.shape, np.int32)
    found = segmenter.segment(image, diameter=diameter, out=out, return_probability=True)
    assert found.labels is out
    scale = segmenter.card.diameter_px / diameter
    plane = intensities.normalise(image)
    if scale < 0.8:
        plane = gaussian_filter(plane, 0.35 / scale, mode="nearest")
    small = resize(plane[None], (int(700 * scale), int(160 * scale)))
    output = resize(run_network(segmenter.network, small), image.shape)
    whole = masks_of_whole(output[:2], output[2], n_steps=int(200 / scale), least_steps=int(200 / scale))
    assert whole.max() > 150
    np.testing.assert_array_equal(out, whole)
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-output[2])), rtol=1e-5)


def test_large_plane_counts_what_the_plane_counts(segmenter, request):
    image = nuclei((700, 160), seed=3)
    whole = segmenter.segment(image)
    request.getfixturevalue("small_is_large")
    large = segmenter.segment(image)
    assert large.diameter == pytest.approx(whole.diameter, rel=0.05)
    assert large.n_cells == whole.n_cells > 200


def test_large_plane_stops_within_a_tile(segmenter, small_is_large):
    token, seen = CancelToken(), []

    def stop(done, total, message):
        seen.append(done)
        if done >= 3:
            token.cancel()

    with pytest.raises(Cancelled):
        segmenter.segment(nuclei((700, 160)), diameter=15, progress=stop, cancel=token)
    assert seen[-2] < 3 <= seen[-1]  # not asked again after it


def test_labels_are_written_where_they_are_wanted(segmenter):
    image = nuclei((60, 70))
    with pytest.raises(SettingsError, match="int32 array of that shape, not int64"):
        segmenter.segment(image, diameter=15, out=np.zeros((60, 70), np.int64))
    out = np.full((60, 70), 9, np.int32)
    assert segmenter.segment(np.full((60, 70), 5), diameter=15, out=out).labels is out
    assert not out.any()
