"""A plane in strips gives the labels of the whole plane, to the last pixel and number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_marrow.segmentation.dynamics import compute_masks, masks_of_whole
from napari_marrow.segmentation.flows import labels_to_flows
from napari_marrow.segmentation.mask_stream import MaskStream


def in_strips(flows, logit, rows, **options):
    """Labels, put together from the rows as they come, and the most rows that were held."""
    out = np.full(logit.shape, -1, np.int32)

    def place(first, labels):
        assert (out[first : first + len(labels)] == -1).all()
        out[first : first + len(labels)] = labels

    stream, held = MaskStream(logit.shape, place, **options), 0
    for y in range(0, len(logit), rows):
        stream.push(flows[:, y : y + rows], logit[y : y + rows])
        held = max(held, stream.held_rows)
    assert stream.finished
    assert stream.n_labels == out.max()
    return out, held


def ellipses(rng, shape, n):
    """Overlapping ellipses, some with a hole, some with another label in the hole, some in two pieces."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for k in range(1, n + 1):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        a, b, angle = rng.uniform(3, 16), rng.uniform(3, 9), rng.uniform(0, np.pi)
        u = (y - cy) * np.cos(angle) + (x - cx) * np.sin(angle)
        v = (x - cx) * np.cos(angle) - (y - cy) * np.sin(angle)
        radius = (u / a) ** 2 + (v / b) ** 2
        inside = radius < 1
        if k % 4 == 0:
            inside &= radius > 0.3
        labels[inside] = k
    return labels


def output_of(labels, rng, noise, strength):
    flows = strength * labels_to_flows(labels) + rng.normal(0, noise, (2, *labels.shape)).astype(np.float32)
    logit = np.where(labels > 0, 4, -4) + rng.normal(0, 1.5, labels.shape)
    return flows.astype(np.float32), logit.astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(30, 400),
    width=st.integers(30, 90),
    rows=st.sampled_from([3, 16, 61]),
    noise=st.sampled_from([0.0, 0.4, 1.5]),
    strength=st.sampled_from([1.5, 5.0]),
    n_steps=st.sampled_from([20, 90]),
    flow_threshold=st.sampled_from([0.0, 0.4, 1.0]),
    min_size=st.sampled_from([0, 1, 15]),
)
def test_cells(seed, height, width, rows, noise, strength, n_steps, flow_threshold, min_size):
    rng = np.random.default_rng(seed)
    flows, logit = output_of(ellipses(rng, (height, width), height * width // 250 + 1), rng, noise, strength)
    options = {"n_steps": n_steps, "flow_threshold": flow_threshold, "min_size": min_size}
    whole = masks_of_whole(flows, logit, least_steps=n_steps, threads=1, **options)
    np.testing.assert_array_equal(in_strips(flows, logit, rows, threads=1, **options)[0], whole)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.sampled_from([5, 40]), reach=st.sampled_from([2.0, 6.0]))
def test_fields_that_are_no_cells(seed, rows, reach):
    """Smooth random flows: long ways, sinks anywhere, labels of every shape, one of them over much of the plane."""
    rng = np.random.default_rng(seed)
    flows = np.stack([gaussian_filter(rng.normal(size=(230, 70)), reach) for _ in range(2)])
    flows = (4 * flows / np.abs(flows).max()).astype(np.float32)
    logit = gaussian_filter(rng.normal(size=(230, 70)), 3).astype(np.float32) + np.float32(0.1)
    options = {"n_steps": 60, "flow_threshold": 3.0, "min_size": 4, "max_size_fraction": 0.1}
    whole = masks_of_whole(flows, logit, least_steps=60, threads=1, **options)
    assert whole.max() > 3
    np.testing.assert_array_equal(in_strips(flows, logit, rows, threads=1, **options)[0], whole)


def nested_rings():
    """Rings of one label around other labels: holes that are closed only far below, and what they swallow."""
    y, x = np.mgrid[:260, :80]
    labels = np.zeros((260, 80), np.int32)
    n = 0
    for cy in (40, 130, 215):
        distance = np.hypot((y - cy) / 1.2, x - 40)
        for radius in (30, 20, 10, 3):
            n += 1
            labels[(distance <= radius) & (distance > radius - 6)] = n
    return labels


@pytest.mark.parametrize("rows", [4, 23, 260])
def test_what_is_enclosed_is_swallowed_as_over_the_whole_plane(rows):
    labels = nested_rings()
    # Flows to one point of each ring's own top, so that a ring is one label although it is no disc.
    flows, logit = np.zeros((2, *labels.shape), np.float32), np.where(labels > 0, 5, -5).astype(np.float32)
    y, x = np.mgrid[:260, :80]
    for k in range(1, labels.max() + 1):
        inside = labels == k
        angle = np.arctan2(x[inside] - 40, -(y[inside] - (40, 130, 215)[(k - 1) // 4]))
        centre = np.array([(40, 130, 215)[(k - 1) // 4], 40])
        tangent = np.stack([np.sin(angle) * 1.0, -np.cos(angle)]) * np.sign(angle)
        flows[0][inside], flows[1][inside] = -np.abs(tangent[0]) * 4, -tangent[1] * -4 * 0 + (centre[1] - x[inside]) / 8
    options = {"n_steps": 200, "flow_threshold": 0.0, "min_size": 1}
    whole = masks_of_whole(flows, logit, least_steps=200, **options)
    assert whole.max() > 3
    np.testing.assert_array_equal(in_strips(flows, logit, rows, **options)[0], whole)


def test_few_rows_are_held_and_threads_change_nothing():
    rng = np.random.default_rng(0)
    labels = ellipses(rng, (3000, 60), 600)
    flows, logit = output_of(labels, rng, 0.3, 4.0)
    one, held = in_strips(flows, logit, 20, n_steps=40, threads=1)
    assert held < 200
    assert one.max() > 200
    np.testing.assert_array_equal(one, in_strips(flows, logit, 20, n_steps=40, threads=3)[0])


def test_count_over_strips_is_the_count_of_cells():
    """Cells on a grid that no border of a strip respects: none is split, none is counted twice."""
    y, x = np.mgrid[:900, :120]
    labels = np.zeros((900, 120), np.int32)
    centres = [(cy, cx) for cy in range(12, 890, 19) for cx in range(12, 110, 19)]
    for k, (cy, cx) in enumerate(centres, start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= 64] = k
    flows, logit = 5 * labels_to_flows(labels), np.where(labels > 0, 5, -5).astype(np.float32)
    found, held = in_strips(flows, logit, 32, n_steps=60)
    assert held < 250
    assert found.max() == len(centres)
    np.testing.assert_array_equal(found, labels)


def test_large_planes_take_this_way(monkeypatch):
    from napari_marrow.segmentation import dynamics

    rng = np.random.default_rng(1)
    flows, logit = output_of(ellipses(rng, (200, 90), 60), rng, 0.2, 5.0)
    whole = masks_of_whole(flows, logit, n_steps=200, least_steps=200)
    monkeypatch.setattr(dynamics, "LARGE_PLANE", 10_000)
    monkeypatch.setattr(dynamics, "STRIP_PIXELS", 3000)
    np.testing.assert_array_equal(compute_masks(flows, logit), whole)
    assert not compute_masks(flows, np.full_like(logit, -5)).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 5), (40, 1)])
def test_tiny_planes(shape):
    flows = np.zeros((2, *shape), np.float32)
    for fill in (5, -5):
        logit = np.full(shape, fill, np.float32)
        whole = masks_of_whole(flows, logit, n_steps=200)
        np.testing.assert_array_equal(in_strips(flows, logit, 1)[0], whole)
