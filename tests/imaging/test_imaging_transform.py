import numpy as np
import pytest
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.imaging import Transform
from napari_marrow.imaging.correlation import rotation
from napari_marrow.schemas import TRANSFORMS


def test_compose_and_inverse_agree_with_applying_one_after_the_other():
    rng = np.random.default_rng(1)
    first = Transform(rotation(0.05), np.array([12.0, -7.0]), "rigid", residual=3.0)
    second = Transform(np.array([[1.02, 0.01], [-0.02, 0.99]]), np.array([-1.0, 4.0]), "affine", residual=4.0)
    points = rng.uniform(-500, 500, (40, 2))
    both = second.compose(first)
    np.testing.assert_allclose(both.apply(points), second.apply(first.apply(points)), atol=1e-9)
    np.testing.assert_allclose(both.inverse().apply(both.apply(points)), points, atol=1e-9)
    assert both.kind == "affine"
    assert both.residual == pytest.approx(5.0)


def test_a_rotation_turns_y_towards_x_and_says_its_angle():
    turn = Transform(rotation(np.radians(30)), np.zeros(2), "rigid")
    np.testing.assert_allclose(turn.apply([[1.0, 0.0]]), [[np.cos(np.pi / 6), 0.5]])
    assert turn.angle_deg == pytest.approx(30)
    assert turn.scale == pytest.approx(1)


def test_no_points_stay_no_points():
    assert Transform().apply(np.zeros((0, 2))).shape == (0, 2)


def test_a_row_of_the_table_brings_the_transform_back():
    given = Transform(rotation(0.03), np.array([3.0, 4.0]), "rigid", 1.5, 0.7, False)
    row = {"position": "A01_f00", "session": 1, "t": 0, "time_h": 24.0, **given.to_row()}
    assert set(TRANSFORMS.names) <= set(row)
    back = Transform.from_row(row)
    np.testing.assert_array_equal(back.matrix, given.matrix)
    assert (back.kind, back.residual, back.correlation, back.accepted) == ("rigid", 1.5, 0.7, False)


def test_warp_moves_a_spot_where_apply_says():
    spacing = (0.5, 2.0)
    image = np.zeros((80, 60), dtype=np.float32)
    image[30, 20] = 1.0
    image = ndimage.gaussian_filter(image, 2.0)
    transform = Transform(rotation(0.1), np.array([6.0, -3.0]), "rigid")
    warped = transform.warp(image, spacing=spacing, order=3)
    centre = np.array(ndimage.center_of_mass(warped)) * spacing
    np.testing.assert_allclose(centre, transform.apply([[15.0, 40.0]])[0], atol=0.05)


def test_labels_keep_their_values_when_warped():
    labels = np.zeros((20, 20), dtype=np.int32)
    labels[5:9, 5:9] = 70001
    warped = Transform(shift=np.array([2.0, 0.0]), kind="translation").warp(labels, spacing=(1.0, 1.0), order=0)
    assert warped.dtype == np.int32
    assert set(np.unique(warped)) == {0, 70001}
    assert warped[7, 5] == 70001


def test_a_transform_cannot_be_changed_afterwards():
    transform = Transform()
    with pytest.raises(ValueError, match="read-only"):
        transform.matrix[0, 0] = 2.0


@pytest.mark.parametrize(
    "arguments",
    [{"matrix": np.eye(3)}, {"shift": np.zeros(3)}, {"kind": "projective"}],
    ids=["matrix", "shift", "kind"],
)
def test_nonsense_is_refused(arguments):
    with pytest.raises(SettingsError):
        Transform(**arguments)


def test_a_singular_matrix_has_no_inverse():
    with pytest.raises(SettingsError, match="singular"):
        Transform(np.zeros((2, 2))).inverse()
