import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation.outline import outline_area

SQUARE = np.array([[0.0, 0], [0, 10], [10, 0], [10, 10], [5, 5]])


@pytest.mark.parametrize(
    ("points", "margin", "area"),
    [
        (SQUARE, 0.0, 100.0),
        (SQUARE, 2.0, 100 + 40 * 2 + 4 * np.pi),
        (SQUARE[:1], 3.0, 9 * np.pi),
        (np.array([[0.0, 0], [3, 4], [6, 8]]), 1.0, 2 * 10 + np.pi),  # in a line: a stadium
        (np.array([[1.0, 1], [1, 1]]), 1.0, np.pi),
        (np.zeros((0, 2)), 5.0, 0.0),
    ],
)
def test_area_of_a_widened_hull_is_steiners(points, margin, area):
    assert outline_area(points, margin=margin) == pytest.approx(area)


def test_a_negative_margin_is_refused():
    with pytest.raises(SettingsError, match="-1"):
        outline_area(SQUARE, margin=-1.0)
