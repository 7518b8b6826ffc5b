import time

import numpy as np
import pytest
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.imaging import DriftTracker, Transform, register_drift, register_sessions, register_translation
from napari_marrow.imaging.correlation import rotation

PIXEL = 1.02
MARGIN = 130


def spots(rng, side, count, places=None):
    """Gaussian nuclei at sub-pixel places."""
    places = rng.uniform(0, side, (count, 2)) if places is None else places
    image = np.zeros((side, side))
    for (y, x), height in zip(places, rng.uniform(100, 300, len(places)), strict=True):
        if -12 < y < side + 12 and -12 < x < side + 12:
            top, left = max(0, int(y) - 12), max(0, int(x) - 12)
            yy, xx = np.ogrid[top : min(side, int(y) + 13), left : min(side, int(x) + 13)]
            image[top : int(y) + 13, left : int(x) + 13] += height * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 24.5)
    return image


def scaffold(rng, side):
    wall = ndimage.gaussian_filter(rng.normal(size=(side, side)), 14)
    return ndimage.gaussian_filter((np.abs(wall) < 0.25 * wall.std()) * 300.0, 1.5)


def camera(rng, light):
    return rng.poisson(np.maximum(light, 0) + 100) + rng.normal(0, 3, light.shape)


def view(scene, transform, shape=(256, 256), pixel=(PIXEL, PIXEL)):
    """Image whose point u µm shows the scene at transform(u); the scene has PIXEL µm pixels and a margin."""
    step = np.asarray(pixel)
    matrix = transform.matrix * step / PIXEL
    return ndimage.affine_transform(scene, matrix, transform.shift / PIXEL + MARGIN, output_shape=shape, order=3)


def about_centre(angle_deg, shift, shape=(256, 256), pixel=(PIXEL, PIXEL), scale=1.0):
    matrix = scale * rotation(np.radians(angle_deg))
    centre = (np.asarray(shape) - 1) / 2 * pixel
    return Transform(matrix, centre - matrix @ centre + np.asarray(shift), "rigid")


def worst_error(found, truth, extent=(260.0, 260.0)):
    corners = np.array([[0, 0], [0, extent[1]], [extent[0], 0], extent])
    return np.linalg.norm(found.apply(corners) - truth.apply(corners), axis=1).max()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.33, -0.61), (5.5, 3.2), (-17.4, 29.8)])
def test_translation_is_found_to_a_tenth_of_a_pixel(shift):
    rng = np.random.default_rng(0)
    scene = spots(rng, 516, 400)
    truth = Transform(shift=np.array(shift), kind="translation")
    found = register_translation(
        camera(rng, view(scene, Transform())), camera(rng, view(scene, truth)), spacing=(PIXEL, PIXEL)
    )
    assert found.accepted
    np.testing.assert_allclose(found.shift, shift, atol=0.15)


def test_pixels_need_not_be_square():
    rng = np.random.default_rng(1)
    scene = spots(rng, 516, 400)
    pixel, truth = (0.8, 1.6), Transform(shift=np.array([4.0, -8.0]), kind="translation")
    images = [camera(rng, view(scene, t, shape=(250, 150), pixel=pixel)) for t in (Transform(), truth)]
    np.testing.assert_allclose(register_translation(*images, spacing=pixel).shift, truth.shift, atol=0.3)
    turned = about_centre(3.0, (40.0, -25.0), shape=(250, 150), pixel=pixel)
    images = [camera(rng, view(scene, t, shape=(250, 150), pixel=pixel)) for t in (Transform(), turned)]
    found = register_sessions(*images, spacing=pixel)
    assert found.accepted
    assert worst_error(found, turned, (200.0, 240.0)) < 2.0


def walking_cells(rng, drift, still, count=500, step=2.0):
    """Frames of cells that walk `step` µm per coordinate and frame over a still background, all moved by the drift."""
    places = rng.uniform(0, 512, (count, 2))
    for moved in drift:
        places = places + rng.normal(0, step / PIXEL, places.shape)
        light = spots(rng, 512, 0, places + moved / PIXEL) + ndimage.shift(still, moved / PIXEL, order=3)
        yield camera(rng, light[128:384, 128:384])


def test_drift_is_followed_on_still_structures_under_moving_cells():
    rng = np.random.default_rng(2)
    drift = np.arange(20)[:, None] * [0.4, -0.2]
    still = 0.5 * scaffold(rng, 512)
    found = register_drift(walking_cells(rng, drift, still), spacing=(PIXEL, PIXEL))
    assert all(f.accepted for f in found)
    assert np.linalg.norm(np.array([f.shift for f in found]) + drift, axis=1).max() < 1.0 * PIXEL


def test_drift_from_moving_cells_alone_is_near_what_they_can_tell():
    """With n walkers the field's own mean moves by step * sqrt(t / n) per coordinate: no method can do better."""
    rng = np.random.default_rng(2)
    drift = np.arange(20)[:, None] * [0.4, -0.2]
    found = register_drift(walking_cells(rng, drift, np.zeros((512, 512))), spacing=(PIXEL, PIXEL))
    error = np.array([f.shift for f in found]) + drift
    best = 2.0 * np.sqrt(np.arange(20) / 125)
    assert (np.abs(error) < 3.0 * best[:, None] + 0.2).all()


def drift_errors(seed, walls, dust=0.0):
    """Distance of frames from their true places, px, by cells alone and with what rests; dust rests with the camera."""
    drift = np.arange(16)[:, None] * [0.8, -0.4]
    trackers = [DriftTracker(spacing=(PIXEL, PIXEL), still=still) for still in (False, True)]
    found = [
        [tracker.add(frame + dust).shift for tracker in trackers]
        for frame in walking_cells(np.random.default_rng(seed), drift, walls, step=4.0)
    ]
    return np.linalg.norm(np.array(found).transpose(1, 0, 2) + drift, axis=2) / PIXEL


def test_faint_structures_that_rest_tell_more_than_cells_that_wander():
    """Walls of a fifth of the cells' light at most, over which the cells walk 4 µm a frame."""
    of_cells, with_walls = drift_errors(4, 0.12 * scaffold(np.random.default_rng(4), 512))
    assert np.median(of_cells) > 1.0
    assert np.median(with_walls) < 0.6
    assert with_walls.max() < 1.5


def test_dust_in_the_light_path_is_no_structure_of_the_sample():
    of_cells, with_dust = drift_errors(7, np.zeros((512, 512)), -0.1 * spots(np.random.default_rng(7), 256, 300))
    assert np.median(with_dust) < np.median(of_cells) + 0.3
    assert with_dust.max() < of_cells.max() + 1.0


def test_a_blank_frame_does_not_break_the_drift():
    rng = np.random.default_rng(3)
    scene = spots(rng, 516, 400)
    tracker = DriftTracker(spacing=(PIXEL, PIXEL))
    shifts = [np.array([0.0, 0.0]), np.array([3.0, 0.0]), np.array([6.0, 1.0])]
    images = [camera(rng, view(scene, Transform(shift=s, kind="translation"))) for s in shifts]
    first, second = tracker.add(images[0]), tracker.add(images[1])
    blank = tracker.add(np.full((256, 256), 100.0))
    third = tracker.add(images[2])
    assert [t.accepted for t in (first, second, blank, third)] == [True, True, False, True]
    np.testing.assert_array_equal(blank.shift, second.shift)
    np.testing.assert_allclose(third.shift, shifts[2], atol=0.2)


@pytest.mark.parametrize(
    ("angle", "shift"), [(0.0, (0.0, 0.0)), (1.0, (20.0, -10.0)), (-5.0, (60.0, 70.0)), (5.0, (-115.0, 20.0))]
)
def test_sessions_are_registered_on_a_scaffold_with_other_cells(angle, shift):
    rng = np.random.default_rng(4)
    static = scaffold(rng, 516)
    truth = about_centre(angle, shift)
    reference = camera(rng, view(static + spots(rng, 516, 150), Transform()))
    moving = camera(rng, view(0.7 * static + spots(rng, 516, 250), truth) + 30)
    begun = time.perf_counter()
    found = register_sessions(reference, moving, spacing=(PIXEL, PIXEL))
    elapsed = time.perf_counter() - begun
    assert found.accepted
    assert found.kind == "rigid"
    assert worst_error(found, truth) < 1.0
    assert found.angle_deg == pytest.approx(angle, abs=0.2)
    assert found.residual < 2.5
    assert elapsed < 3.0  # 0.25 s alone on one core; the bound only guards against a change of kind


def test_sessions_of_the_same_cells_after_a_little_growth():
    rng = np.random.default_rng(5)
    places = rng.uniform(0, 516, (900, 2))
    later = places + rng.normal(0, 2, places.shape)
    later[:300] = rng.uniform(0, 516, (300, 2))  # a third of them are others
    truth = about_centre(3.0, (70.0, -40.0))
    found = register_sessions(
        camera(rng, view(spots(rng, 516, 0, places), Transform())),
        camera(rng, view(spots(rng, 516, 0, later), truth)),
        spacing=(PIXEL, PIXEL),
    )
    assert found.accepted
    assert worst_error(found, truth) < 2.0


def test_unrelated_sessions_are_refused():
    rng = np.random.default_rng(6)
    for _ in range(4):
        a, b = (camera(rng, scaffold(rng, 256) + spots(rng, 256, 100)) for _ in range(2))
        assert not register_sessions(a, b, spacing=(PIXEL, PIXEL)).accepted
    for _ in range(3):
        a, b = (camera(rng, spots(rng, 256, 150)) for _ in range(2))
        assert not register_sessions(a, b, spacing=(PIXEL, PIXEL)).accepted


def test_swelling_is_taken_up_by_an_affine_transform():
    rng = np.random.default_rng(7)
    static = scaffold(rng, 516)
    truth = about_centre(2.0, (30.0, 10.0), scale=0.95)
    images = [camera(rng, view(static + spots(rng, 516, 100), t)) for t in (Transform(), truth)]
    rigid = register_sessions(*images, spacing=(PIXEL, PIXEL))
    affine = register_sessions(*images, spacing=(PIXEL, PIXEL), kind="affine")
    assert affine.kind == "affine"
    assert affine.accepted
    assert worst_error(affine, truth) < 2.0
    assert affine.scale == pytest.approx(0.95, abs=0.005)
    assert affine.correlation > rigid.correlation + 0.1


def test_translation_only_does_not_turn():
    rng = np.random.default_rng(8)
    static = scaffold(rng, 516)
    truth = Transform(shift=np.array([80.0, -45.0]), kind="translation")
    images = [camera(rng, view(static, t)) for t in (Transform(), truth)]
    found = register_sessions(*images, spacing=(PIXEL, PIXEL), kind="translation")
    np.testing.assert_array_equal(found.matrix, np.eye(2))
    np.testing.assert_allclose(found.shift, truth.shift, atol=0.5)
    assert found.accepted


def test_a_large_field_is_registered_as_well():
    rng = np.random.default_rng(9)
    static = scaffold(rng, 1200)
    truth = about_centre(-2.0, (90.0, 60.0), shape=(900, 900))
    images = [camera(rng, view(static + spots(rng, 1200, 800), t, shape=(900, 900))) for t in (Transform(), truth)]
    found = register_sessions(*images, spacing=(PIXEL, PIXEL))
    assert found.accepted
    assert worst_error(found, truth, (918.0, 918.0)) < 2.0


def test_registration_is_the_same_every_time():
    rng = np.random.default_rng(10)
    a, b = (camera(rng, scaffold(np.random.default_rng(1), 128)) for _ in range(2))
    first, again = (register_sessions(a, b, spacing=(2.0, 2.0)) for _ in range(2))
    np.testing.assert_array_equal(first.matrix, again.matrix)
    np.testing.assert_array_equal(first.shift, again.shift)


@pytest.mark.parametrize("shape", [(8, 8), (64, 20), (256, 256)])
def test_images_without_texture_are_refused_not_failed(shape):
    blank = np.full(shape, 7.0)
    nan = np.full(shape, np.nan)
    for image in (blank, nan):
        assert not register_translation(image, image, spacing=(1.0, 1.0)).accepted
        assert not register_sessions(image, image, spacing=(1.0, 1.0)).accepted


def test_wrong_arguments_are_named():
    image = np.zeros((8, 8))
    with pytest.raises(SettingsError, match="pixel size"):
        register_translation(image, image, spacing=(1.0, 0.0))
    with pytest.raises(SettingsError, match="one shape"):
        register_translation(image, np.zeros((9, 8)), spacing=(1.0, 1.0))
    with pytest.raises(SettingsError, match="2D plane"):
        register_translation(np.zeros((2, 8, 8)), image, spacing=(1.0, 1.0))
    with pytest.raises(SettingsError, match="projective"):
        register_sessions(image, image, spacing=(1.0, 1.0), kind="projective")
    with pytest.raises(SettingsError, match="negative"):
        register_sessions(image, image, spacing=(1.0, 1.0), max_shift_um=-1.0)


def test_the_residual_of_a_frame_is_what_moved_within_the_field():
    """Nothing moves: a small fraction of a pixel. The lower half slides by 3 µm against the upper: half of it each."""
    rng = np.random.default_rng(5)
    scene = spots(rng, 516, 900)
    tracker = DriftTracker(spacing=(PIXEL, PIXEL), residuals=True)
    first = tracker.add(camera(rng, view(scene, Transform())))
    whole = tracker.add(camera(rng, view(scene, Transform(shift=np.array([2.0, 0.0]), kind="translation"))))
    assert first.residual == 0.0
    assert whole.residual < 0.3 * PIXEL
    torn = view(scene, Transform(shift=np.array([0.0, 1.5]), kind="translation"))
    torn[torn.shape[0] // 2 :] = view(scene, Transform(shift=np.array([0.0, -1.5]), kind="translation"))[
        torn.shape[0] // 2 :
    ]
    found = tracker.add(camera(rng, torn))
    # whichever half the field follows, or the middle between them: some blocks are off
    assert 1.0 < found.residual < 3.3
    assert np.isnan(DriftTracker(spacing=(PIXEL, PIXEL)).add(camera(rng, torn)).residual)
