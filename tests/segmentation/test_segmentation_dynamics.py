"""Labels from flows: against Cellpose 4's own labels (stored, and live where it is installed) and by construction."""

from pathlib import Path

import numpy as np
import pytest

from napari_marrow.segmentation import load_segmenter, pool_scores, score_labels
from napari_marrow.segmentation.dynamics import compute_masks, tidy
from napari_marrow.segmentation.flows import labels_to_flows
from napari_marrow.segmentation.intensities import normalise
from napari_marrow.segmentation.tiles import run_network

GOLDEN = Path(__file__).parent / "data" / "cellpose4_masks.npz"
DSB = Path(__file__).parents[3] / "shared" / "data" / "nuclei_dsb2018" / "images"


def crowded_labels(seed=3, shape=(150, 170), n=45):
    """Ellipses of many sizes, later ones cover earlier ones; a few have holes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for k in range(1, n + 1):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        a, b, angle = rng.uniform(4, 14), rng.uniform(4, 9), rng.uniform(0, np.pi)
        u = (y - cy) * np.cos(angle) + (x - cx) * np.sin(angle)
        v = (x - cx) * np.cos(angle) - (y - cy) * np.sin(angle)
        labels[(u / a) ** 2 + (v / b) ** 2 < 1] = k
    return labels


def noisy_output(labels, seed=4, noise=0.7):
    """A network's output as a poor network would give it: flows with noise, some of them wrong, and a ragged logit."""
    rng = np.random.default_rng(seed)
    flows = 5 * labels_to_flows(labels) + rng.normal(0, noise, (2, *labels.shape)).astype(np.float32)
    wrong = np.isin(labels, [5, 17, 23])
    flows[:, wrong] = rng.normal(0, 2, (2, wrong.sum()))
    logit = np.where(labels > 0, 4, -4) + rng.normal(0, 2, labels.shape)
    return flows.astype(np.float32), logit.astype(np.float32)


def test_same_labels_as_cellpose_stored():
    flows, logit = noisy_output(crowded_labels())
    golden = np.load(GOLDEN)
    for name, options in {
        "default": {},
        "all": {"flow_threshold": 0.0, "min_size": 0},
        "strict": {"flow_threshold": 0.3, "cellprob_threshold": 1.0, "min_size": 40},
        "few_steps": {"n_steps": 60},
    }.items():
        ours = compute_masks(flows, logit, **options)
        score = score_labels(golden[name], ours, thresholds=(0.9,))
        assert 5 < score.n_true < 50
        assert score.average_precision[0.9] >= 0.995, name
        assert np.mean((golden[name] > 0) != (ours > 0)) < 1e-3, name


@pytest.mark.skipif(not DSB.exists(), reason="the shared DSB 2018 images are not here")
def test_same_labels_as_cellpose_on_real_frames():
    dynamics = pytest.importorskip("cellpose.dynamics", reason="cellpose is not installed")
    import warnings

    import tifffile

    segmenter = load_segmenter(precision="f32", threads=2)
    scores = []
    for path in sorted(DSB.glob("*.tif"))[::150]:
        image = normalise(tifffile.imread(path))[:160, :160]
        output = run_network(segmenter.network, image)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = dynamics.compute_masks(output[:2], output[2], niter=200, min_size=15).astype(np.int32)
        scores.append(score_labels(theirs, compute_masks(output[:2], output[2])))
    pooled = pool_scores(scores)
    assert pooled.n_true > 5
    assert pooled.average_precision[0.9] >= 0.99


def test_flows_are_cellposes():
    dynamics = pytest.importorskip("cellpose.dynamics", reason="cellpose is not installed")
    labels = crowded_labels()
    present = np.unique(labels)
    labels = np.searchsorted(present, labels).astype(np.int64)
    import torch

    theirs, _ = dynamics.masks_to_flows_gpu(labels, device=torch.device("cpu"))
    differ = np.abs(theirs - labels_to_flows(labels)).max(axis=0) > 1e-4
    assert differ.mean() < 1e-3  # where heat is level, the direction is rounding noise


def test_flow_of_a_disc_points_to_its_centre():
    y, x = np.mgrid[:41, :41]
    flows = labels_to_flows(((y - 20) ** 2 + (x - 20) ** 2 <= 15**2).astype(np.int32))
    distance = np.hypot(y - 20, x - 20)
    ring = (distance > 3) & (distance < 14)
    cosine = (flows[0] * (20 - y) + flows[1] * (20 - x))[ring] / distance[ring]
    assert cosine.min() > 0.99
    np.testing.assert_allclose(np.hypot(*flows)[ring], 1, atol=1e-6)
    assert not flows[:, distance > 15.5].any()


def test_exact_flows_give_the_labels_back():
    labels = tidy(crowded_labels(n=25), min_size=30)
    ours = compute_masks(5 * labels_to_flows(labels), np.where(labels > 0, 5.0, -5.0).astype(np.float32))
    assert score_labels(labels, ours).average_precision[0.75] > 0.9


def test_any_number_of_threads_gives_the_same_labels():
    big = np.tile(crowded_labels(), (4, 4))
    big += (np.kron(np.arange(16).reshape(4, 4), np.ones((150, 170), int)) * 100 * (big > 0)).astype(np.int32)
    flows, logit = noisy_output(big)
    one = compute_masks(flows, logit, threads=1)
    assert one.max() > 400  # enough that the work is really split
    np.testing.assert_array_equal(one, compute_masks(flows, logit, threads=2))


def test_holes_are_filled_and_small_labels_dropped():
    labels = np.zeros((30, 40), np.int32)
    labels[2:14, 2:14] = 7
    labels[5:8, 5:8] = 0  # a hole
    labels[10, 10] = 9  # another label inside a label is swallowed
    labels[20:22, 20:22] = 3  # 4 px
    labels[20:28, 30:34] = 4
    labels[22:25, 32:34] = 0  # open to the side: no hole
    out = tidy(labels, min_size=5)
    assert set(np.unique(out)) == {0, 1, 2}
    assert (out == 1).sum() == 144
    assert (out == 2).sum() == 32 - 6


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 5), (40, 1)])
def test_tiny_planes(shape):
    flows = np.zeros((2, *shape), np.float32)
    assert compute_masks(flows, np.full(shape, 5, np.float32)).shape == shape
    assert not compute_masks(flows, np.full(shape, -5, np.float32)).any()
