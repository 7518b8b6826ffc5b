"""The network: OpenVINO and torch against Cellpose 3.1.1.2 (stored outputs of a small network with random weights)."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation import CPnetSegmenter, load_segmenter
from napari_marrow.segmentation.intensities import normalise
from napari_marrow.segmentation.openvino_network import OpenVINONetwork
from napari_marrow.segmentation.resizing import resize
from napari_marrow.segmentation.tiles import TILE, run_network, taper, tile_starts
from napari_marrow.segmentation.weights import check_weights

REFERENCE = Path(__file__).parent / "data" / "cellpose3_reference.npz"
GOLDEN = Path(__file__).parent / "data" / "cellpose3_network.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def weights(golden):
    return check_weights({k[2:]: v for k, v in golden.items() if k.startswith("w:")}, name="golden")


@pytest.fixture(scope="module")
def network(weights):
    return OpenVINONetwork(weights, precision="f32", threads=2)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(7).normal(size=(250, 270)).astype(np.float32)


def test_widths_and_diameter_are_read(weights):
    assert weights.widths == (2, 4, 6, 8, 10)
    assert weights.diam_mean == 17


def test_openvino_equals_cellpose_3(network, golden):
    difference = np.abs(network(golden["x"]) - golden["y"]).max()
    assert difference < 1e-5 * np.abs(golden["y"]).max()


def test_torch_equals_cellpose_3(weights, golden):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from napari_marrow.segmentation.torch_network import TorchNetwork

    torch.set_num_threads(2)
    difference = np.abs(TorchNetwork(weights, device="cpu")(golden["x"]) - golden["y"]).max()
    assert difference < 1e-5 * np.abs(golden["y"]).max()


def test_bundled_weights_openvino_equals_torch():
    pytest.importorskip("torch", reason="torch is not installed")
    from napari_marrow.segmentation.registry import find_model
    from napari_marrow.segmentation.torch_network import TorchNetwork
    from napari_marrow.segmentation.weights import read_weights

    bundled = read_weights(find_model("marrow-nuclei").path)
    tiles = np.random.default_rng(0).uniform(0, 1, (1, 2, TILE, TILE)).astype(np.float32)
    tiles[:, 1] = 0
    difference = OpenVINONetwork(bundled, precision="f32", threads=2)(tiles) - TorchNetwork(bundled, device="cpu")(
        tiles
    )
    assert np.abs(difference).max() < 1e-4


def test_tiles_resizing_and_blending_equal_cellpose_3(network, golden, noise):
    small = resize(noise[None], (300, 324))[0]
    output = run_network(network, small, whole_pixels=0)
    assert np.abs(output[:, ::9, ::9] - golden["tiled"]).max() < 1e-4 * np.abs(golden["tiled"]).max()
    back = resize(output, (250, 270))
    assert np.abs(back[:, ::9, ::9] - golden["back"]).max() < 1e-4 * np.abs(golden["back"]).max()


def test_plane_smaller_than_a_tile_equals_cellpose_3(network, golden, noise):
    output = run_network(network, noise[:100, :150])
    assert np.abs(output[:, ::5, ::5] - golden["small"]).max() < 1e-5 * np.abs(golden["small"]).max()


@pytest.fixture(scope="module")
def equality():
    """The module that writes (and states) the larger references: `benchmarks/cellpose3_equality.py`."""
    path = Path(__file__).parents[2] / "benchmarks" / "cellpose3_equality.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        spec = importlib.util.spec_from_file_location("cellpose3_equality", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("width", ["full", "half", "narrow"])
@pytest.mark.parametrize("runtime", ["OpenVINO", "torch"])
def test_any_width_equals_cellpose_3(width, runtime, equality):
    """Output and style; tiling, blending, resizing and normalisation of two channels (narrow network)."""
    with np.load(REFERENCE) as file:
        theirs = {k.partition(":")[2]: v for k, v in file.items() if k.startswith(width)}
    weights = check_weights(equality.random_arrays(equality.WIDTHS[width]), name=width)
    if runtime == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
        from napari_marrow.segmentation.torch_network import TorchNetwork

        network = TorchNetwork(weights, device="cpu")
    else:
        network = OpenVINONetwork(weights, precision="f32", threads=2)
    given = equality.inputs(weights.widths)
    if width == "narrow":
        ours = equality.ours_of(network, given)
    else:
        ours = dict(zip(("y", "style"), network.with_style(given["x"]), strict=True))
    assert theirs.keys() == set(equality.STORED[width])
    for name, reference in theirs.items():
        limit = 3e-5 if name == "eval" else 1e-5  # resizing by OpenCV rounds its weights
        assert equality.relative(equality.thinned(name, ours[name]), reference) < limit, name


def test_style_of_an_image():
    segmenter = load_segmenter(precision="f32", threads=2)
    segmenter = replace(segmenter, card=replace(segmenter.card, second_channel=True))
    image = np.random.default_rng(0).gamma(2, 20, (120, 130))
    style = segmenter.style(image, diameter=17)
    assert style.shape == (128,)
    assert np.linalg.norm(style) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(segmenter.style(image * 7 + 3, diameter=17), style, atol=1e-5)
    assert np.abs(segmenter.style(image, second=image[::-1] ** 2, diameter=17) - style).max() > 1e-4
    assert np.abs(segmenter.style(image) - style).max() < 1
    assert not segmenter.style(np.ones((30, 30))).any()
    with pytest.raises(SettingsError, match="style is that of a plane"):
        segmenter.style(np.zeros((2, 30, 30)))
    plain = CPnetSegmenter(segmenter.card, lambda tiles: tiles)
    with pytest.raises(SettingsError, match="no style vector"):
        plain.style(image)


def test_streams_and_threads_change_nothing(weights, golden):
    from concurrent.futures import ThreadPoolExecutor

    network = OpenVINONetwork(weights, precision="f32", threads=2, streams=2)
    alone = OpenVINONetwork(weights, precision="f32", threads=1)(golden["x"])
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(network, [golden["x"]] * 6):
            np.testing.assert_array_equal(result, alone)


def test_tiles_side_by_side_change_nothing(weights, noise):
    planes = resize(noise[None], (500, 700))
    several, one = (OpenVINONetwork(weights, precision="f32", threads=3) for _ in range(2))
    assert several.batch == 3
    one.batch = 1
    seen = []
    together = run_network(several, planes, whole_pixels=0, on_tile=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(together, run_network(one, planes, whole_pixels=0))
    assert seen == [(4 * row + m, 12) for row in range(3) for m in (0, 3)]


def test_blending_is_a_partition_of_unity():
    plane = np.random.default_rng(0).normal(size=(500, 390)).astype(np.float32)
    seen = []

    def identity(tiles):
        seen.append(tiles.shape)
        return np.repeat(tiles[:, :1], 3, axis=1)

    np.testing.assert_allclose(run_network(identity, plane, whole_pixels=0)[2], plane, atol=1e-5)
    assert set(seen) == {(1, 2, TILE, TILE)}
    assert len(seen) == len(tile_starts(528)) * len(tile_starts(416))
    np.testing.assert_allclose(run_network(identity, plane)[0], plane, atol=1e-6)


def test_taper_weighs_the_middle_fully_and_is_symmetric():
    mask = taper(TILE, TILE)
    np.testing.assert_allclose(mask, mask[::-1, ::-1], rtol=1e-5)
    assert mask[112, 112] > 0.99
    assert mask[0, 0] < 0.01


def test_resize_is_linear_interpolation_between_pixel_centres():
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32), (1, 10, 20))
    larger = resize(ramp, (30, 60))[0]
    inside = (np.arange(60) + 0.5) / 3 - 0.5
    np.testing.assert_allclose(larger[7], np.clip(inside, 0, 19), atol=1e-5)
    assert resize(ramp, (1, 1)).shape == (1, 1, 1)


def test_normalisation():
    image = np.arange(1001, dtype=np.uint16).reshape(7, 143)
    scaled = normalise(image)
    assert np.percentile(scaled, 1) == pytest.approx(0, abs=1e-6)
    assert np.percentile(scaled, 99) == pytest.approx(1, abs=1e-6)
    assert normalise(np.full((9, 9), 7)) is None
    sparse = np.zeros((100, 100), np.uint8)
    sparse[:3, :3] = 200  # less than 1 % of the pixels
    assert normalise(sparse).max() == 1
