import numpy as np
import pytest
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.imaging import correct, estimate_background, estimate_bleaching, estimate_shading, signal_level


def vignette(shape=(192, 256), depth=0.3):
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    field = 1 - depth * ((y - 0.1) ** 2 + (x + 0.2) ** 2) / 2.6
    return field / field.mean()


def frames_under(field, *, count=12, dark=100.0, background=200.0, seed=0, structure=True):
    rng = np.random.default_rng(seed)
    stack = []
    for _ in range(count):
        cells = np.zeros(field.shape)
        cells[tuple(rng.integers(0, n, 80) for n in field.shape)] = 20000.0
        light = background * rng.uniform(0.8, 1.2) + ndimage.gaussian_filter(cells, 3.0)
        if structure:
            light[60:100, 100:150] += 400.0  # a scaffold that stands in every frame
        stack.append(rng.poisson(light * field) + dark + rng.normal(0, 2, field.shape))
    return np.stack(stack)


def test_shading_is_recovered_in_spite_of_cells_and_a_fixed_structure():
    field = vignette()
    found = estimate_shading(frames_under(field), dark=100.0)
    assert found.accepted
    assert np.abs(found.field / field - 1).max() < 0.03
    assert found.depth == pytest.approx(1 - field.min() / field.max(), abs=0.02)


def test_even_light_stays_even():
    found = estimate_shading(frames_under(np.ones((192, 256))), dark=100.0)
    assert (found.field == 1).all()
    assert found.reason == "the light is even"


def test_correction_makes_equal_objects_equal():
    field = vignette()
    shading = estimate_shading(frames_under(field), dark=100.0)
    frame = (500.0 * field + 100.0)[np.newaxis]
    flat = correct(frame, shading=shading)
    assert flat.dtype == np.float32
    assert flat.shape == frame.shape
    assert flat.std() / flat.mean() < 0.006 < frame.std() / frame.mean()


def test_too_few_frames_or_no_light_leave_the_image_alone():
    few = estimate_shading(frames_under(vignette(), count=2))
    assert not few.accepted
    assert "2 frames" in few.reason
    assert (few.field == 1).all()
    dim = estimate_shading(np.random.default_rng(0).normal(100, 2, (5, 64, 64)), dark=150.0)
    assert not dim.accepted
    assert "dark level" in dim.reason


def test_an_irregular_background_is_not_called_shading():
    rng = np.random.default_rng(8)
    rough = 1 + 0.3 * np.sign(ndimage.gaussian_filter(rng.normal(size=(192, 256)), 8))
    found = estimate_shading(frames_under(rough, structure=False), dark=100.0)
    assert not found.accepted
    assert "irregular" in found.reason


def test_background_level_ignores_cells():
    rng = np.random.default_rng(1)
    frame = rng.normal(300, 10, (200, 200))
    frame[::4, ::4] += 2000  # one pixel in 16
    assert float(estimate_background(frame)) == pytest.approx(300, abs=2)
    assert np.median(frame[::4, ::4]) > 2000


def test_background_map_follows_a_gradient():
    y = np.linspace(100, 300, 200)[:, None] * np.ones((1, 200))
    cells = np.zeros((200, 200))
    cells[20::40, 20::40] = 50000
    found = estimate_background(y + ndimage.gaussian_filter(cells, 3), sigma=20)
    assert found.shape == (200, 200)
    inner = (slice(40, 160), slice(40, 160))
    assert np.abs(found[inner] - y[inner]).max() < 30


def test_correct_is_the_formula():
    frame = np.full((2, 4, 4), 300, dtype=np.uint16)
    np.testing.assert_allclose(correct(frame, background=50.0, gain=2.0, dark=100.0), 300.0)
    with pytest.raises(SettingsError, match="gain"):
        correct(frame, gain=0.0)
    shading = estimate_shading(frames_under(vignette(), count=2))
    with pytest.raises(SettingsError, match="shape"):
        correct(frame, shading=shading)


def test_bleaching_rate_is_recovered_and_undone():
    rng = np.random.default_rng(2)
    truth = 1000 * np.exp(-0.008 * np.arange(60))
    levels = truth * rng.normal(1, 0.02, 60)
    levels[[7, 30]] = [20.0, np.nan]  # a blank frame and a lost one
    found = estimate_bleaching(levels)
    assert found.significant
    assert found.low < 0.008 < found.high
    assert found.rate == pytest.approx(0.008, rel=0.05)
    corrected = truth * found.factors
    assert corrected.std() / corrected.mean() < 0.01
    assert found.factors[0] == 1.0


@pytest.mark.parametrize("levels", [[], [5.0], [np.nan] * 9, list(100 * 1.01 ** np.arange(30))])
def test_nothing_is_undone_where_nothing_was_lost(levels):
    found = estimate_bleaching(levels)
    assert not found.significant
    assert (found.factors == 1).all()


def test_the_interval_of_the_rate_covers_no_bleaching_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    wrong = sum(estimate_bleaching(100 * rng.normal(1, 0.05, 30)).significant for _ in range(200))
    assert wrong <= 12  # 2.5 % one-sided of 200, and its upper binomial limit


def test_a_dye_that_fades_fast_and_then_slowly_needs_the_ratio():
    rng = np.random.default_rng(6)
    t = np.arange(60)
    truth = 1000 * (0.4 * np.exp(-t / 4) + 0.6 * np.exp(-t / 300))
    levels = truth * rng.normal(1, 0.01, 60)
    levels[[7, 30]] = [2000.0, np.nan]  # a flash and a lost frame
    found = estimate_bleaching(levels, method="ratio")
    assert found.significant
    assert truth * found.factors / truth[0] == pytest.approx(1.0, abs=0.05)
    assert (np.diff(found.factors) >= 0).all()
    exponential = truth * estimate_bleaching(levels).factors / truth[0]
    assert np.abs(exponential - 1).max() > 0.2
    with pytest.raises(SettingsError, match="use exponential or ratio"):
        estimate_bleaching(levels, method="linear")


@pytest.mark.parametrize("levels", [[5.0], [np.nan] * 9, list(100 * 1.01 ** np.arange(30)), [100.0, 101.0] * 15])
def test_the_ratio_undoes_nothing_where_nothing_was_lost(levels):
    assert (estimate_bleaching(levels, method="ratio").factors == 1).all()


def test_signal_level_is_signal_above_background():
    frame = np.full((100, 100), 50.0)
    frame[:10, :50] = 250.0  # 5 % of the pixels
    assert signal_level(frame) == pytest.approx(200.0)
    assert np.isnan(signal_level(np.full((4, 4), np.nan)))
