from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.lineage import annotated_trees, blood_output, tree_statistics
from napari_marrow.report.figures import clones, emergence, experiments, single_tree
from napari_marrow.report.style import drawing
from napari_marrow.statistics import dose_response, four_parameter_logistic


def texts(figure) -> str:
    figure.canvas.draw()
    import matplotlib.text

    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.fixture
def trees():
    rows = []
    for i in range(12):
        base = 3 * i
        rows.append((base + 1, 0, 0.0, 10.0 + i / 4, "", np.nan))
        rows.append((base + 2, base + 1, 10.0 + i / 4, 40.0, "erythroid", 20.0 + i))
        rows.append((base + 3, base + 1, 10.0 + i / 4, 40.0, "", np.nan))
    table = pd.DataFrame(rows, columns=["track_id", "parent_track_id", "start_h", "end_h", "lineage", "onset_h"])
    return annotated_trees(table.assign(position="a1"))


LAYOUT = pd.DataFrame({"position": ["a1"], "organoid": ["o"], "condition": ["control"], "donor": ["d"]})


def test_clone_sizes_and_generations(trees):
    pedigree, onsets = trees
    table = tree_statistics(pedigree, onsets, None)["clones"]
    with drawing():
        figure = clones.clone_sizes(table, LAYOUT)
        assert "control (n = 12)" in texts(figure)
        # every clone ends with two cells: the share of at least 2 is 1, of at least 3 is 0
        line = figure.axes[0].lines[0]
        assert line.get_ydata()[2] == 1
        words = texts(clones.generation_time_map(onsets))
    assert "erythroid" in words
    shown = [int(w) for w in words.split(" | ") if w.isdigit()]
    assert sum(shown) >= 12


def test_blood_output(trees):
    rows = [("a1", s, 0, 100.0 * s, "erythroid") for s in (1, 2, 3) for _ in range(10 * s)]
    cells = pd.DataFrame(rows, columns=["position", "session", "t", "time_h", "lineage"])
    with drawing():
        figure = clones.blood_output_curves(blood_output(cells, LAYOUT))
    assert "all cells" in texts(figure)
    np.testing.assert_allclose(figure.axes[0].lines[-1].get_ydata(), [10, 20, 30])


def test_single_tree_is_shaded_by_brightness(trees):
    pedigree, _ = trees
    t = np.arange(0, 40.0)
    nodes = pd.concat(
        [
            pd.DataFrame({"track_id": row.track_id, "time_h": t[(t >= row.start_h) & (t < row.end_h)]})
            for row in pedigree.tracks.itertuples()
        ],
        ignore_index=True,
    )
    nodes["intensity_CD235a"] = np.where(nodes["track_id"] % 3 == 2, 10 * nodes["time_h"], 5.0)
    with drawing():
        figure = single_tree.single_tree(
            pedigree.tracks, nodes, 1, markers={"erythroid": "CD235a"}, thresholds={"CD235a": 100.0}
        )
        assert "erythroid (CD235a)" in texts(figure)
    pieces = figure.axes[0].collections[0]
    assert len(pieces.get_segments()) == (nodes["track_id"] <= 3).sum()


def test_dose_response_shows_the_fit(tmp_path):
    rng = np.random.default_rng(0)
    dose = np.repeat([0.0, 1.0, 3.0, 10.0, 30.0], 4)
    value = four_parameter_logistic(dose, 1, 5, 5, 1.5) + rng.normal(0, 0.1, 20)
    names = [f"o{i}" for i in range(20)]
    summary = pd.DataFrame({"organoid": names, "endpoint": "y", "value": value})
    layout = pd.DataFrame({"organoid": names, "donor": np.resize(["d1", "d2"], 20), "dose": dose})
    fit = dose_response(summary, layout, "y")
    with drawing():
        words = texts(experiments.dose_response_curve(summary.merge(layout, on="organoid"), fit, endpoint="y"))
    assert f"EC50 {fit.ec50:.3g}" in words
    assert "d2" in words


def test_super_plot_has_organoids_as_n():
    values = pd.DataFrame({"organoid": np.repeat(["a", "b", "c"], 50), "value": np.arange(150.0)})
    summary = pd.DataFrame({"organoid": ["a", "b", "c"], "condition": ["control", "control", "drug"],
                            "value": [24.5, 74.5, 124.5]})  # fmt: skip
    with drawing():
        words = texts(experiments.super_plot(values, summary, label="area"))
    assert "control\nn = 2 organoids" in words


def test_emergence_shows_limits_with_tracking_error():
    curve = pd.DataFrame({"condition": "control", "organoid": "all", "lineage": "erythroid", "time_h": [0.0, 10.0],
                          "cumulative_incidence": [0.0, 0.4], "low": [0.0, 0.3], "high": [0.0, 0.5], "at_risk": 5,
                          "low_total": [0.0, 0.2], "high_total": [0.0, 0.6]})  # fmt: skip
    with drawing():
        figure = emergence.emergence_curves(curve)
    drawn = [line.get_ydata().max() for line in figure.axes[0].lines]
    assert {0.2, 0.4, 0.6} <= {round(float(v), 3) for v in drawn}


def test_the_forest_holds_hundreds_of_trees_in_the_order_asked_for():
    from napari_marrow.errors import SettingsError
    from napari_marrow.report.figures.pedigrees import choose_clones, pedigree_forest

    rows = []
    for i in range(200):
        b = 3 * i
        rows += [(b + 1, 0, i / 10, 30.0, "", np.nan), (b + 2, b + 1, 30.0, 60.0, "erythroid", 31 + (i * 7) % 29),
                 (b + 3, b + 1, 30.0, 60.0, "", np.nan)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["track_id", "parent_track_id", "start_h", "end_h", "lineage", "onset_h"])
    pedigree, onsets = annotated_trees(table.assign(position="a1"))
    first = onsets[onsets["event"] == "onset"].set_index("founder_track_id")["right_h"]
    order = [first[f] for _, f in choose_clones(pedigree.tracks, leaves=500, sort_by="onset", onsets=onsets)]
    assert len(order) == 200
    assert order == sorted(order)
    with drawing():
        assert "200 that divided" in texts(
            pedigree_forest(pedigree.tracks, onsets, LAYOUT, leaves=600, sort_by="start")
        )
    with pytest.raises(SettingsError, match="Unknown order 'colour'"):
        choose_clones(pedigree.tracks, sort_by="colour")
