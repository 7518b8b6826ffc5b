"""Colonies on maps: outlines where their masks are, circles where they are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.report.figures.vessels import vessel_map
from napari_marrow.report.outlines import colony_outlines, outlines_of
from napari_marrow.report.style import drawing

Y, X = np.mgrid[:80, :100]


def area(line):
    """Shoelace formula."""
    x, y = line[:, 0], line[:, 1]
    return 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def test_the_line_around_a_disc_holds_its_area_and_lies_at_its_radius():
    labels = np.zeros((80, 100), int)
    labels[(Y - 30) ** 2 + (X - 40) ** 2 <= 15**2] = 3
    labels[60:70, 5:25] = 8  # a rectangle of 10 x 20 px
    lines = dict(outlines_of(labels, (0.5, 2.0)))
    assert set(lines) == {3, 8}
    assert area(lines[3]) == pytest.approx(np.pi * 15**2, rel=0.02)  # of 1 µm² pixels
    centred = (lines[3] - [40 * 2.0, 30 * 0.5]) / [2.0, 0.5]
    assert np.hypot(*centred.T) == pytest.approx(np.full(len(centred), 15.0), abs=1.0)
    assert area(lines[8]) == pytest.approx(200.0, rel=0.01)
    assert lines[8].min(0) == pytest.approx([4.5 * 2, 59.5 * 0.5])
    assert lines[8].max(0) == pytest.approx([24.5 * 2, 69.5 * 0.5])


def test_masks_of_a_study_are_outlined_and_the_others_are_circles(make_study):
    position, key = "B02_f00", "0123456789abcdef"
    study = make_study({1: 2, 2: 1}, {})
    table = pd.DataFrame(
        {
            "position": position, "session": [1, 1, 2], "t": [0, 1, 0], "colony": [1, 2, 1], "y": 20.0, "x": 20.0,
            "radius": 9.0,
        }
    )  # fmt: skip
    size = study.image(position, 1).shape[2:]
    labels = np.zeros(size, np.int32)
    labels[0, 4:9, 4:9] = 2
    with study.write_lock():
        study.write_labels("colonies", key, position, 1, 1, labels)
        study.set_active({"colonies": key})
    found = colony_outlines(study, table, [(position, 1), (position, 2), ("Z09_f00", 1)])
    assert {place: [number for number, _ in lines] for place, lines in found.items()} == {(position, 1): [2]}
    network = pd.DataFrame(
        {"position": position, "session": 1, "t": 1, "branch": 1, "y": [1.0, 50.0], "x": [1.0, 50.0], "radius": 4.0}
    )
    with drawing():
        masks, circles = (vessel_map(network, table, {}, lines).axes[0].collections for lines in (found, {}))
    assert [type(c).__name__ for c in masks if len(c.get_paths()) or type(c).__name__ == "EllipseCollection"] == [
        "LineCollection", "LineCollection",
    ]  # fmt: skip
    assert [type(c).__name__ for c in circles][-1] == "EllipseCollection"
