"""The way of points along a flow beside plain steps of one point at a time."""

from __future__ import annotations

import numpy as np
import pytest

from napari_marrow.segmentation.following import follow


def plain_end(field: np.ndarray, start: tuple[int, int], n_steps: int) -> tuple[int, int]:
    """Return where a point ends after all its steps, in single precision as the loop computes."""
    one, half = np.float32(1), np.float32(0.5)
    size = np.array(field.shape[:2], dtype=np.int64) - 2
    scale = (size / np.maximum(size - 1, 1)).astype(np.float32)
    p = np.array(start, dtype=np.float32)
    for _ in range(n_steps):
        sampled = p * scale + half
        i = sampled.astype(np.int32)
        w = sampled - i.astype(np.float32)
        corner = field[i[0] : i[0] + 2, i[1] : i[1] + 2]
        v, u = one - w
        weights = v * u, v * w[1], w[0] * u, w[0] * w[1]
        step = weights[0] * corner[0, 0] + weights[1] * corner[0, 1]
        step = step + weights[2] * corner[1, 0] + weights[3] * corner[1, 1]
        p = np.clip(p + step, 0, (size - 1).astype(np.float32))
    return int(p[0]), int(p[1])


def noisy_sinks(height: int, width: int, seed: int) -> np.ndarray:
    """Return steps towards the nearest of some places, with noise, and a border of zeros."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    sinks = rng.uniform(0, (height, width), (4, 2))
    away = np.stack([np.stack([s[0] - y, s[1] - x], axis=-1) for s in sinks])
    nearest = np.linalg.norm(away, axis=-1).argmin(axis=0)
    step = np.take_along_axis(away, nearest[None, ..., None], axis=0)[0]
    step = step / np.maximum(np.linalg.norm(step, axis=-1, keepdims=True), 1e-3)
    step += rng.normal(0, 0.2, step.shape)
    field = np.zeros((height + 2, width + 2, 2), dtype=np.float32)
    field[1:-1, 1:-1] = step
    return field


@pytest.mark.parametrize("shape", [(23, 37), (1, 9), (5, 5)])
@pytest.mark.parametrize("n_steps", [0, 1, 7, 199, 200])
def test_ends_are_those_of_every_step_of_every_point(shape: tuple[int, int], n_steps: int) -> None:
    field = noisy_sinks(*shape, seed=n_steps)
    starts = np.argwhere(np.ones(shape, dtype=bool)).astype(np.int32)
    ends = np.full_like(starts, -7)
    follow(field, -1, shape[0], starts, n_steps, 0, len(starts), ends)
    chosen = range(0, len(starts), max(1, len(starts) // 60))
    assert [tuple(ends[i]) for i in chosen] == [plain_end(field, tuple(starts[i]), n_steps) for i in chosen]


def test_cycles_of_any_length_end_where_all_steps_lead() -> None:
    # Three pixels that send a point round: a way of period three, which the look after four steps does not see.
    field = np.zeros((7, 9, 2), dtype=np.float32)
    starts = np.array([[2, 2]], dtype=np.int32)
    for seed in range(40):
        field[1:-1, 1:-1] = np.random.default_rng(seed).normal(0, 1, (5, 7, 2))
        ends = np.empty_like(starts)
        for n_steps in (50, 51, 52, 53):
            follow(field, -1, 5, starts, n_steps, 0, 1, ends)
            assert tuple(ends[0]) == plain_end(field, (2, 2), n_steps)


def test_only_the_asked_points_are_moved() -> None:
    field = noisy_sinks(11, 12, seed=3)
    starts = np.argwhere(np.ones((11, 12), dtype=bool)).astype(np.int32)
    ends = np.full_like(starts, -7)
    follow(field, -1, 11, starts, 50, 20, 90, ends)
    assert (ends[:20] == -7).all()
    assert (ends[90:] == -7).all()
    assert (ends[20:90] >= 0).all()


def test_a_window_gives_the_same_end_or_says_that_the_way_leaves_it() -> None:
    field = noisy_sinks(60, 20, seed=5)
    starts = np.argwhere(np.ones((60, 20), dtype=bool)).astype(np.int32)
    whole, window = np.empty_like(starts), np.empty_like(starts)
    follow(field, -1, 60, starts, 200, 0, len(starts), whole)
    inner = starts[(starts[:, 0] >= 20) & (starts[:, 0] < 40)]
    follow(np.ascontiguousarray(field[20:42]), 19, 60, inner, 200, 0, len(inner), window)
    known = window[: len(inner), 0] >= 0
    assert 0 < known.sum() < len(inner)
    np.testing.assert_array_equal(window[: len(inner)][known], whole[20 * 20 : 40 * 20][known])
