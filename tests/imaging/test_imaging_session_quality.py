"""Frames judged as they pass by: in any order the same flags, and cells that wander are no drift."""

import numpy as np
import pytest
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.imaging import FieldTracker, SessionQuality, frame_statistics, small_pictures

FRAMES = 10


def drawn(places, side, sigma):
    image = np.zeros((side, side))
    index = np.clip(np.round(places).astype(int), 0, side - 1)
    np.add.at(image, (index[:, 0], index[:, 1]), 1.0)
    return ndimage.gaussian_filter(image, sigma) * 4000.0


def session(drift_px, *, company_px=0.8, side=200):
    """Nuclei that all wander one way, and more cells that rest, in two channels of a field that drifts."""
    rng = np.random.default_rng(3)
    cells, vessels = rng.uniform(30, side - 30, (60, 2)), rng.uniform(20, side - 20, (60, 2))
    for t in range(FRAMES):
        moved = cells + [0, company_px * t] + t * np.asarray(drift_px)
        still = vessels + t * np.asarray(drift_px)
        frame = [drawn(moved, side, 2.5), drawn(still, side, 2.5)]
        yield rng.poisson(np.array(frame)[:, None] + 60).astype(np.uint16)
        cells = cells + rng.normal(0, 1.5, cells.shape)


def test_cells_that_wander_in_company_do_not_move_the_field():
    tracker = FieldTracker(spacing=(1.0, 1.0))
    for frame in session((0.0, 0.0)):
        tracker.add(small_pictures(frame)[0])
    assert np.abs(tracker.path()).max() < 0.5  # the cells went 7 px


def test_a_field_that_drifts_is_followed_by_what_rests_in_it():
    tracker = FieldTracker(spacing=(1.0, 1.0))
    for frame in session((0.5, -0.25)):
        tracker.add(small_pictures(frame)[0])
    true = -np.arange(FRAMES)[:, None] * np.array([0.5, -0.25])
    assert np.abs(tracker.path() - true).max() < 0.75


@pytest.mark.parametrize("order", [list(range(FRAMES)), [3, 1, 0, 2, *range(FRAMES - 1, 3, -1)]])
def test_frames_may_come_in_any_order(order):
    frames = list(session((0.9, 0.9)))
    frames[4] = np.full_like(frames[4], 90)
    quality = SessionQuality(["nuclei", "CD31"], (1.0, 1.0), FRAMES)
    for t in order:
        assert not quality.complete
        quality.add(t, 600.0 * t, frames[t])
    flags = quality.flags()
    assert flags["t"].tolist() == list(range(FRAMES))
    assert flags.loc[flags["blank"], "t"].tolist() == [4]
    assert flags.loc[flags["drift"], "t"].tolist() == [5, 6, 7, 8, 9]  # 1.27 px a frame, beyond 5 µm from the fourth


def test_missing_frames_are_named():
    quality = SessionQuality(["nuclei", "CD31"], (1.0, 1.0), FRAMES)
    quality.add(3, 0.0, next(session((0, 0))))
    with pytest.raises(SettingsError, match="1 of 10 frames"):
        quality.flags()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_the_numbers_of_a_frame_are_numpys(kind):
    stack = np.random.default_rng(0).integers(0, 255, (1, 2, 40, 41)).astype(kind)
    found = frame_statistics(stack, t=0, time_s=0.0, channels=["a"], maximum=200)[0]
    assert found.mean == pytest.approx(stack.mean(dtype=float))
    assert found.sd == pytest.approx(stack.std(dtype=float))
    assert found.level == np.median(stack)
    assert found.saturation == pytest.approx((stack >= 200).mean())
