"""Networks of Cellpose 4: its own class with one block of random parameters, through its own `eval`."""

from __future__ import annotations

import copy
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from napari_marrow.errors import Cancelled, MissingExtraError, ModelError, SettingsError, SlowDeviceWarning
from napari_marrow.progress import CancelToken
from napari_marrow.segmentation import Segmenter, load_segmenter, score_labels
from napari_marrow.segmentation.flows import labels_to_flows
from napari_marrow.segmentation.registry import find_model

pytestmark = [
    pytest.mark.skipif(not (find_spec("torch") and find_spec("cellpose")), reason="Cellpose 4 is not installed"),
    pytest.mark.filterwarnings("ignore::napari_marrow.errors.SlowDeviceWarning"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks"),
]


@pytest.fixture(scope="module")
def network():
    """Cellpose-SAM of one block instead of 24, with random parameters."""
    import torch
    from cellpose.vit import CPSAM

    torch.set_num_threads(2)
    with torch.device("meta"):
        small = CPSAM()
    small.encoder.blocks = small.encoder.blocks[:1]
    small.to_empty(device="cpu")
    numbers = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=numbers) * (1 if name.startswith("out") else 0.03))
        small.W2.copy_(torch.eye(192).reshape(192, 3, 8, 8))
        small.diam_mean.fill_(30)
        small.diam_labels.fill_(30)
    return small.eval()


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("cellpose4") / "cpsam_small"
    network.save_model(path)
    return path


@pytest.fixture(scope="module")
def segmenter(file):
    return load_segmenter(file, precision="f32", threads=2)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).gamma(2, 50, (270, 150)).astype(np.float32)


def test_the_file_is_recognised_and_fulfils_the_protocol(segmenter, file):
    assert find_model(file).kind == "cellpose4"
    assert isinstance(segmenter, Segmenter)
    assert isinstance(load_segmenter(threads=2), Segmenter)
    assert (segmenter.device, segmenter.precision, segmenter.needs_diameter) == ("cpu", "f32", False)
    assert len(segmenter.card.sha256) == 64


def cellpose_eval(network, image, **options):
    """Return labels and logit as Cellpose's own eval gives them."""
    import torch
    from cellpose.models import CellposeModel

    model = CellposeModel.__new__(CellposeModel)
    model.net, model.backbone, model.device, model.gpu = network, "sam_vitl", torch.device("cpu"), False
    masks, flows, _ = model.eval(image, batch_size=1, **options)
    return masks.astype(np.int32), flows[2]


@pytest.mark.parametrize(("channels", "diameter"), [(1, None), (2, 40.0)])
def test_the_networks_output_is_cellposes(channels, diameter, segmenter, network, image):
    stack = np.stack([image, image[::-1] ** 2][:channels], axis=-1)
    _, logit = cellpose_eval(network, stack, channel_axis=2, diameter=diameter, compute_masks=False)
    second = stack[..., 1] if channels == 2 else None
    found = segmenter.segment(image, second=second, diameter=diameter, return_probability=True)
    assert np.ptp(found.probability) > 0.3
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-logit)), atol=2e-4)


def test_bfloat16_is_near(file, segmenter, image):
    half = load_segmenter(file, precision="bf16", threads=2)
    assert half.precision == "bf16"
    planes = (image / image.max())[None, :100, :100]
    difference = np.abs(half.network(planes) - segmenter.network(planes))
    assert 0 < difference.mean() < 0.02 * np.abs(segmenter.network(planes)).mean()


def test_progress_and_cancel_per_tile(segmenter, image):
    seen = []
    segmenter.segment(image, progress=lambda *report: seen.append(report))
    assert seen == [(0, 2, "network"), (1, 2, "network")]
    token = CancelToken()
    with pytest.raises(Cancelled):
        segmenter.segment(image, progress=lambda *report: token.cancel(), cancel=token)
    seen.clear()
    segmenter.segment(image[:60, :60], progress=lambda *report: seen.append(report))  # the hook of before is gone
    assert seen == [(0, 1, "network")]


def test_the_cpu_is_warned_of_with_a_time(file, image):
    fresh = load_segmenter(file, precision="f32", threads=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fresh.segment(image)
        fresh.segment(image)
    sentences = [str(w.message) for w in said if w.category is SlowDeviceWarning]
    assert len(sentences) == 1
    assert "'cpsam_small' is a large network: on this CPU a tile takes" in sentences[0]
    assert "(2 tiles)" in sentences[0]


def drawn_network():
    """Return what has the interface of Cellpose's networks and gives the flows of whatever is bright in a tile."""
    import torch
    from scipy.ndimage import label

    class DrawnNetwork(torch.nn.Module):
        backbone, dtype, device = "sam_vitl", torch.float32, torch.device("cpu")

        def forward(self, tiles):
            labels = [label(tile[0] > 0.5)[0].astype(np.int32) for tile in tiles.numpy()]
            logits = [np.where(plane > 0, 6, -6).astype(np.float32)[None] for plane in labels]
            flows = [5 * labels_to_flows(plane) for plane in labels]
            output = [np.concatenate(pair) for pair in zip(flows, logits, strict=True)]
            return torch.from_numpy(np.stack(output)), torch.zeros((len(tiles), 256))

    return DrawnNetwork()


def test_a_network_with_the_interface_finds_what_it_sees():
    from napari_marrow.segmentation.cellpose4_network import Cellpose4Network
    from napari_marrow.segmentation.cellpose4_segmenter import Cellpose4Segmenter

    y, x = np.mgrid[:300, :290]
    centres = [(40 + 55 * i, 35 + 55 * j) for i in range(5) for j in range(5)]
    truth = np.zeros((300, 290), np.int32)
    for k, (cy, cx) in enumerate(centres, start=1):
        truth[(y - cy) ** 2 + (x - cx) ** 2 < 15**2] = k
    network = Cellpose4Network(drawn_network(), device="cpu", precision="f32")
    segmenter = Cellpose4Segmenter(find_model("marrow-nuclei"), network, 3)
    found = segmenter.segment(100.0 * (truth > 0))
    assert found.estimated
    assert found.diameter == pytest.approx(30, abs=1)
    assert score_labels(truth, found.labels).average_precision[0.9] == 1
    theirs, _ = cellpose_eval(drawn_network(), 100.0 * (truth > 0))
    assert score_labels(theirs, found.labels).average_precision[0.9] == 1
    volume = np.stack([100.0 * (truth > 0)] * 2)
    stitched = segmenter.segment(volume)
    assert stitched.n_cells == 25
    assert segmenter.estimate_diameter(volume[0]) == pytest.approx(30, abs=1)


def test_tiny_and_constant_images(segmenter):
    assert segmenter.segment(np.arange(5.0)[None]).labels.shape == (1, 5)
    assert not segmenter.segment(np.full((30, 30), 3)).labels.any()
    with pytest.raises(SettingsError, match="diameter of 0 px"):
        segmenter.segment(np.arange(25.0).reshape(5, 5), diameter=0)


def test_wrong_files_are_refused(network, tmp_path):
    import torch

    from napari_marrow.segmentation.cellpose4_network import read_cellpose4

    state = copy.copy(network.state_dict())

    def refused(changed, sentence, error=ModelError):
        torch.save(changed, tmp_path / "changed")
        with pytest.raises(error, match=sentence):
            load_segmenter(tmp_path / "changed", precision="f32")

    refused({k: v for k, v in state.items() if k != "out.bias"}, r"changed lacks the parameter 'out\.bias'")
    refused(state | {"out.bias": torch.zeros(7)}, r"'out\.bias' has shape \(7,\), a network of its kind \(192,\)")
    refused(state | {"out.bias": torch.full((192,), torch.nan)}, "not finite")
    refused(state | {"encoder.cls_token": torch.zeros(1, 1, 1024)}, "needs the package dinov3", MissingExtraError)
    torch.save({f"module.{k}": v for k, v in state.items() if not k.startswith("diam")}, tmp_path / "parallel")
    found, _ = read_cellpose4(tmp_path / "parallel")
    planes = np.random.default_rng(0).uniform(size=(1, 40, 40)).astype(np.float32)
    np.testing.assert_array_equal(found(planes), read_cellpose4(tmp_path / "parallel")[0](planes))


def test_a_missing_gpu_is_a_sentence(file):
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="torch finds no CUDA GPU"):
            load_segmenter(file, device="cuda")
    if not torch.backends.mps.is_available():
        with pytest.raises(SettingsError, match="torch finds no Apple GPU"):
            load_segmenter(device="mps")
    with pytest.raises(ModelError, match=r"'cpsam_v2' are not in this package.*marrow models fetch cpsam_v2"):
        load_segmenter("cpsam_v2")
