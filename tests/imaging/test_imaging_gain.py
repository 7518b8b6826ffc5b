"""Gain jumps of scenes in which cells grow, bleach, come and go."""

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.imaging import ChannelCorrection, estimate_gain_jumps, gain_levels


def scene(rng, *, frames=16, gains=None, background=None, bleaching=0.0, newcomers=None, seed_cells=60):
    gains = np.ones(frames) if gains is None else gains
    background = np.full(frames, 20.0) if background is None else background
    places = rng.integers(6, 122, (seed_cells, 2)).astype(float)
    y, x = np.mgrid[:128, :128]
    for t in range(frames):
        places += rng.normal(0, 0.7, places.shape)
        if newcomers == t:
            places = np.concatenate([places, rng.integers(6, 122, (40, 2))])
        light = np.full((128, 128), background[t])
        for cy, cx in places:
            light = light + 200 * np.exp(-bleaching * t - ((y - cy) ** 2 + (x - cx) ** 2) / 12)
        yield 100 + rng.poisson(light * gains[t]) + rng.normal(0, 2, light.shape)


def levels_of(frames):
    return np.array([gain_levels(frame) for frame in frames])


def test_jumps_are_found_in_their_frames_with_their_size():
    gains = np.ones(16)
    gains[5:] *= 1.35
    gains[11:] *= 0.8
    found = estimate_gain_jumps(levels_of(scene(np.random.default_rng(1), gains=gains, bleaching=0.01)))
    assert found.frames == (5, 11)
    assert found.ratios == pytest.approx((1.35, 0.8), rel=0.04)
    assert found.factors * gains == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    "changes",
    [{}, {"bleaching": 0.03}, {"newcomers": 8}, {"background": np.where(np.arange(16) < 8, 20.0, 60.0)}],
    ids=["nothing", "bleaching", "cells come in", "change of medium"],
)
def test_what_is_no_jump_of_the_gain_is_left(changes):
    for seed in range(4):
        found = estimate_gain_jumps(levels_of(scene(np.random.default_rng(seed), **changes)))
        assert found.frames == ()
        assert (found.factors == 1).all()


def test_one_bright_frame_is_no_jump():
    gains = np.ones(16)
    gains[7] = 1.5
    assert estimate_gain_jumps(levels_of(scene(np.random.default_rng(3), gains=gains))).frames == ()


def test_few_or_empty_frames_have_no_jumps():
    assert estimate_gain_jumps(np.full((3, 2), 5.0)).frames == ()
    assert estimate_gain_jumps(np.full((20, 2), np.nan)).factors.tolist() == [1.0] * 20
    with pytest.raises(SettingsError, match="frames by signals"):
        estimate_gain_jumps(np.ones(5))


def test_a_level_is_taken_off_every_plane_by_itself():
    volume = np.stack([np.full((40, 50), level, np.uint16) for level in (110, 130)])
    volume[:, 10:14, 10:14] += 300
    flat = ChannelCorrection(np.array([2.0]), background="level").apply(volume, 0, (2.0, 1.0, 1.0))
    assert flat[:, 30, 30].tolist() == [0, 0]
    assert flat[:, 12, 12].tolist() == [600, 600]


def test_a_map_follows_the_background_and_leaves_cells():
    y, x = np.mgrid[:200, :200]
    slope = 100 + 0.5 * x
    cells = 300 * np.exp(-((y - 100) ** 2 + (x - 60) ** 2) / 30)
    image = (slope + cells)[None]
    flat = ChannelCorrection(np.ones(1), background="map", background_um=25.0).apply(image, 0, (1.0, 1.0, 1.0))
    assert np.ptp(flat[0, 100, 110:160]) < 4
    assert flat[0, 100, 60] == pytest.approx(300, rel=0.1)
