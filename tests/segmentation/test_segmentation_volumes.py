"""Volumes: flows in three orientations and labels from them against Cellpose, planes in little memory, bad input."""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_marrow.errors import Cancelled, SettingsError
from napari_marrow.progress import CancelToken, no_progress
from napari_marrow.segmentation import load_segmenter, pool_scores, score_labels
from napari_marrow.segmentation.finding import CellFinder, FindingSettings
from napari_marrow.segmentation.intensities import scale_channels
from napari_marrow.segmentation.orthogonal_flows import resize_volume, volume_flows
from napari_marrow.segmentation.registry import find_model
from napari_marrow.segmentation.volume_dynamics import compute_volume_masks


def balls(seed, shape, n, radius=(3, 8)):
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]]
    labels = np.zeros(shape, np.int32)
    for k in range(1, n + 1):
        c, r = rng.uniform(0, 1, 3) * shape, rng.uniform(*radius, 3)
        inside = ((z - c[0]) / r[0]) ** 2 + ((y - c[1]) / r[1]) ** 2 + ((x - c[2]) / r[2]) ** 2 < 1
        labels[inside] = k
    return np.unique(labels, return_inverse=True)[1].reshape(shape).astype(np.int32)


def towards_centres(labels, noise, seed=0):
    """Unit vectors to the mean of each label times 5, with noise, and a ragged logit."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.nonzero(labels)).astype(float)
    ids = labels[labels > 0]
    flows = np.zeros((3, *labels.shape), np.float32)
    size = np.maximum(np.bincount(ids), 1)
    away = np.stack([places[a] - (np.bincount(ids, places[a]) / size)[ids] for a in range(3)])
    flows[:, labels > 0] = -5 * away / np.maximum(np.linalg.norm(away, axis=0), 1)
    flows += rng.normal(0, noise, flows.shape)
    logit = np.where(labels > 0, 4, -4) + rng.normal(0, 2, labels.shape)
    return flows, logit.astype(np.float32)


def test_labels_of_a_volume_are_cellposes():
    dynamics = pytest.importorskip("cellpose.dynamics", reason="cellpose is not installed")
    import torch

    torch.set_num_threads(1)
    scores = []
    for seed, noise in enumerate([0.3, 0.8]):
        flows, logit = towards_centres(balls(seed, (18, 50, 50), 60), noise)
        for options in ({"n_steps": 100}, {"n_steps": 40, "min_size": 60, "cellprob_threshold": 1.0}):
            ours = compute_volume_masks(flows, logit, **options)
            theirs_options = {"min_size": 15, **options}
            theirs_options["niter"] = theirs_options.pop("n_steps")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = dynamics.compute_masks(flows, logit, do_3D=True, **theirs_options).astype(np.int32)
            scores.append(score_labels(theirs, ours, thresholds=(0.9,)))
            assert np.mean((theirs > 0) != (ours > 0)) < 1e-4
    pooled = pool_scores(scores)
    assert pooled.n_true > 150
    assert pooled.average_precision[0.9] >= 0.995


def test_exact_flows_give_the_balls_back_and_threads_change_nothing():
    truth = np.zeros((20, 60, 60), np.int32)
    z, y, x = np.mgrid[:20, :60, :60]
    for k, (cz, cy, cx) in enumerate([(6, 12, 12), (12, 30, 14), (9, 45, 45), (10, 14, 40)], start=1):
        truth[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= 36] = k
    flows, _ = towards_centres(truth, 0.0)
    logit = np.where(truth > 0, 5, -5).astype(np.float32)
    logit[9, 45, 45] = -5  # a hole, filled
    ours = compute_volume_masks(flows, logit, threads=1)
    assert ours.max() == 4
    np.testing.assert_array_equal(ours > 0, truth > 0)
    assert score_labels(truth, ours).average_precision[0.9] == 1
    np.testing.assert_array_equal(compute_volume_masks(flows, logit, threads=3), ours)
    assert compute_volume_masks(flows, logit, min_size=2000).max() == 0
    assert compute_volume_masks(flows, logit, max_size_fraction=0.005).max() == 0
    assert not compute_volume_masks(flows, np.full_like(logit, -5)).any()
    assert compute_volume_masks(flows[:, :1], logit[:1]).shape == (1, 60, 60)


def local_network(tiles):
    """Output from a pixel and its neighbours, different for every direction."""
    image = tiles[:, 0]
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    dy, dx = padded[:, 2:, 1:-1] - image, padded[:, 1:-1, 2:] - 2 * image
    return np.stack([dy, dx, image * 3 - 1], axis=1)


@pytest.mark.parametrize(("diameter", "anisotropy"), [(17.0, 1.0), (17.0, 2.5), (12.0, 1.0), (25.0, 1.7)])
def test_flows_of_three_orientations_are_cellposes(diameter, anisotropy):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.set_num_threads(1)
    core = pytest.importorskip("cellpose.core", reason="cellpose is not installed")
    transforms = pytest.importorskip("cellpose.transforms", reason="cellpose is not installed")

    class Net(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def forward(self, x):
            return torch.from_numpy(local_network(x.numpy())), torch.zeros((len(x), 256))

    volume = np.random.default_rng(0).normal(100, 20, (9, 41, 33)).astype(np.float32)
    scale = 17 / diameter
    card = find_model("marrow-nuclei")
    card = card.__class__(**{**card.__dict__, "smooth_reduction": False})
    finder = CellFinder(local_network, card, 1, FindingSettings(), no_progress, None)
    image = scale_channels(volume)
    ours = volume_flows(finder, image, scale, anisotropy=anisotropy)
    shape = (int(9 * anisotropy * scale), int(41 * scale), int(33 * scale))
    assert ours.shape == (4, *shape)
    scaled = image.part(...)[0]
    scaled = transforms.resize_image_3d(scaled, shape, no_channels=True)
    theirs, _ = core.run_3D(Net(), scaled[..., None])
    np.testing.assert_allclose(ours, theirs.transpose(3, 0, 1, 2), atol=2e-4)
    back = transforms.resize_image_3d(theirs, volume.shape, no_channels=False).transpose(3, 0, 1, 2)
    np.testing.assert_allclose(resize_volume(ours, volume.shape), back, atol=5e-4)


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter(threads=2)


@pytest.fixture(scope="module")
def cells():
    """A volume with planes two pixels apart, and its truth."""
    z, y, x = np.mgrid[:16, :90, :90]
    truth = np.zeros((16, 90, 90), np.int32)
    centres = [(8, 20, 20), (5, 22, 60), (10, 60, 24), (8, 62, 64), (8, 42, 43)]
    for k, (cz, cy, cx) in enumerate(centres, start=1):
        truth[(2 * (z - cz)) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= 8.5**2] = k
    signal = gaussian_filter(150.0 * (truth > 0), (0.5, 1, 1))
    return np.random.default_rng(0).poisson(20 + signal).astype(np.uint16), truth


@pytest.mark.parametrize("mode", ["planes", "flows"])
def test_volume_is_segmented_both_ways(segmenter, cells, mode):
    image, truth = cells
    seen = []
    found = segmenter.segment(
        image, diameter=17, spacing=(2, 1, 1), volume_mode=mode, min_size=100, return_probability=True,
        # Unsmoothed, the ends of a small cell gather in two planes, and Cellpose's seeds keep those of one alone.
        flow_smoothing=(1, 1, 1), progress=lambda *a: seen.append(a),
    )  # fmt: skip
    assert found.n_cells == 5
    assert score_labels(truth, found.labels).average_precision[0.5] == 1
    assert found.probability[truth > 0].mean() > 0.7 > 0.3 > found.probability[truth == 0].mean()
    planes = [done for done, _, _ in seen]
    total = 16 if mode == "planes" else 32 + 90 + 90
    assert sorted(set(planes)) == list(range(total))  # progress per plane
    assert {n for _, n, _ in seen} == {total}


def test_smoothing_of_flows_is_taken(segmenter, cells):
    image, truth = cells
    options = {"diameter": 17, "spacing": (2, 1, 1), "volume_mode": "flows", "min_size": 100}
    smooth = segmenter.segment(image, flow_smoothing=(1.5, 1, 1), **options)
    assert score_labels(truth, smooth.labels).average_precision[0.5] == 1
    assert (smooth.labels != segmenter.segment(image, **options).labels).any()


@pytest.mark.parametrize("mode", ["planes", "flows"])
def test_volume_stops_within_a_tile(segmenter, cells, mode):
    token, seen = CancelToken(), []

    def stop(done, total, message):
        seen.append(done)
        if done == 2:
            token.cancel()

    with pytest.raises(Cancelled):
        segmenter.segment(cells[0], diameter=17, volume_mode=mode, progress=stop, cancel=token)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("mode", ["planes", "flows"])
@pytest.mark.parametrize("shape", [(1, 60, 50), (5, 5, 5), (2, 1, 40), (7, 3, 1)])
def test_odd_volumes(segmenter, shape, mode):
    image = np.random.default_rng(0).poisson(50, shape)
    assert segmenter.segment(image, diameter=12, volume_mode=mode).labels.shape == shape
    assert segmenter.segment(np.full(shape, 3), volume_mode=mode).n_cells == 0


def test_one_plane_of_a_volume_is_the_plane(segmenter, cells):
    plane = cells[0][8]
    alone = segmenter.segment(plane, diameter=17, min_size=1).labels
    np.testing.assert_array_equal(segmenter.segment(plane[None], diameter=17, min_size=1).labels[0], alone)


def test_what_cannot_be_is_refused(segmenter, monkeypatch):
    image = np.random.default_rng(0).poisson(50, (4, 30, 30))
    with pytest.raises(SettingsError, match="Volume mode 'cubes' is unknown"):
        segmenter.segment(image, volume_mode="cubes")
    for smoothing in (-1.0, (1.0, 2.0), np.nan):
        with pytest.raises(SettingsError, match="Flow smoothing"):
            segmenter.segment(image, volume_mode="flows", flow_smoothing=smoothing)
    with pytest.raises(SettingsError, match="does not fit an image of 30 x 30"):
        segmenter.segment(image, volume_mode="flows", diameter=500)
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    with pytest.raises(SettingsError, match=r"need about .* GB of memory"):
        segmenter.segment(image, volume_mode="flows", diameter=12)


def test_planes_of_a_volume_need_no_second_volume(segmenter):
    """The labels are the only thing of the volume's size: three times the planes, the same peak."""
    image = np.random.default_rng(0).poisson(50, (60, 128, 128)).astype(np.uint16)
    segmenter.segment(image[:2], diameter=17)  # compiled and loaded
    out, peaks = np.zeros(image.shape, np.int32), []
    for n in (20, 60):
        tracemalloc.start()
        segmenter.segment(image[:n], diameter=17, out=out[:n])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.1 * 40 * 128 * 128 * 4
