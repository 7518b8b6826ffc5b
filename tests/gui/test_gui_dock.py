"""The dock in a real window: open, run, cancel, go on, close."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.gui.napari_names import text_overlay
from napari_marrow.pipeline import dump_recipe, load_recipe
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.study import Study

pytestmark = pytest.mark.gui

POSITION, DENSE = "B02_f00", 2
RUN_MS = 120_000


def opened(qtbot: Any, dock: Any, path: Path) -> None:
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(path)


def wait_until_idle(qtbot: Any, dock: Any) -> None:
    qtbot.waitUntil(lambda: dock.idle, timeout=RUN_MS)


def small(dock: Any, recipe: Any) -> None:
    dock.form.set_recipe(recipe)


def click(qtbot: Any, button: Any) -> None:
    from qtpy.QtCore import Qt

    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_run_shows_its_progress(window_run: Any) -> None:
    assert window_run.busy == {"run": False, "cancel": True}
    assert {"Segmenting", "Measuring cells", "Tracking cells"} <= set(window_run.lines)
    assert window_run.status.startswith("Finished in")
    assert "cells" in window_run.status


def test_run_shows_its_results(window_run: Any) -> None:
    study = Study.open(window_run.study)
    assert window_run.layers[:4] == ["nuclei", "CD31", "CD235a", "CD41"]
    assert {"Cells", "Tracks", "Vessels"} <= set(window_run.layers)
    tracks = study.table("tracks").query("position == @POSITION and session == @DENSE and parent_track_id > 0")
    assert window_run.graph == {int(r.track_id): [int(r.parent_track_id)] for r in tracks.itertuples()}
    shown = study.table("emergence").query("organoid == 'all' and condition != 'all' and lineage != 'death'")
    shown = shown.dropna(subset="cumulative_incidence")
    assert window_run.curves == len(shown.groupby(["condition", "lineage"])) > 0
    assert window_run.branches > 0
    assert window_run.report is not None
    assert window_run.report.is_file()
    assert window_run.report_button


def test_run_leaves_what_the_user_set(window_run: Any) -> None:
    assert window_run.contrast == (7, 77)


def test_run_never_blocks_the_window(window_run: Any) -> None:
    window_run.during.check("run")
    window_run.showing.check("results")


def test_cancelled_run_is_kept_and_goes_on(
    viewer: Any, dock: Any, raw_study: Path, quick_recipe: Recipe, qtbot: Any
) -> None:
    opened(qtbot, dock, raw_study)
    small(dock, quick_recipe)
    job = dock.run_recipe()
    counted: list[int] = []

    def cancel_in_the_middle(done: int, total: int, message: str) -> None:
        if message == "Segmenting" and done >= 3 and not counted:
            counted.append(done)
            click(qtbot, dock.runner.cancel_button)

    job.progressed.connect(cancel_in_the_middle)
    wait_until_idle(qtbot, dock)
    assert counted
    assert dock.runner.status.text().startswith("Cancelled.")
    assert dock.runner.run_button.isEnabled()
    study = Study.open(raw_study)
    last = [run for run in study.runs() if run["step"] == "segment"][-1]
    assert last["info"]["status"] == "cancelled"
    kept = len(study.committed("segmentation", last["key"]))
    assert 3 <= kept < 14
    job = dock.run_recipe()
    job.progressed.connect(
        lambda done, total, message: job.cancel() if message == "Tracking cells" else None  # far enough
    )
    wait_until_idle(qtbot, dock)
    goes_on = [run for run in study.runs() if run["step"] == "segment"][-1]
    assert [goes_on["info"][name] for name in ("status", "units", "computed")] == ["finished", 14, 14 - kept]
    assert "Cells" in {layer.name for layer in viewer.layers}


def test_closing_the_window_during_a_run_cancels_it_and_the_study_goes_on(
    make_viewer: Callable[[], Any], raw_study: Path, quick_recipe: Recipe, qtbot: Any
) -> None:
    from napari_marrow.pipeline import run

    viewer = make_viewer()
    dock = viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]
    opened(qtbot, dock, raw_study)
    small(dock, quick_recipe)
    job = dock.run_recipe()
    with qtbot.waitSignal(job.progressed, timeout=20_000):
        pass
    del dock
    viewer.close()
    qtbot.waitUntil(lambda: not job.running, timeout=20_000)
    assert job.cancelled
    summary = run(raw_study, quick_recipe, until="segment")  # nobody holds the lock
    assert {step.name: step.units for step in summary.steps}["segment"] == 14


def test_closing_the_dock_during_a_run_cancels_it(
    viewer: Any, dock: Any, raw_study: Path, quick_recipe: Recipe, qtbot: Any
) -> None:
    opened(qtbot, dock, raw_study)
    small(dock, quick_recipe)
    job = dock.run_recipe()
    with qtbot.waitSignal(job.progressed, timeout=20_000):
        pass
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    del dock
    qtbot.waitUntil(lambda: not job.running, timeout=20_000)
    assert job.cancelled
    viewer.dims.set_current_step(0, 3)  # a dead dock would raise here
    viewer.add_points([[0, 0, 0]])


def test_a_session_of_a_position_is_picked_in_two_boxes(
    viewer: Any, dock: Any, finished_study: Path, qtbot: Any
) -> None:
    opened(qtbot, dock, finished_study)
    assert [dock.picker.position.itemText(i) for i in range(2)] == [
        "B02_f00, organoid-01, control", "C02_f00, organoid-02, TPO",
    ]  # fmt: skip
    assert [dock.picker.session.itemText(i) for i in range(2)] == ["1: 1 frame, day 1.0", "2: 6 frames, day 2.0 - 2.4"]
    viewer.layers["CD31"].visible = False
    viewer.add_points([[0, 5, 5]], name="mine")
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.picker.session.setCurrentIndex(0)
    assert text_overlay(viewer).text.startswith("B02_f00, session 1\nframe 1 of 1:")
    assert not viewer.layers["CD31"].visible
    assert "mine" in viewer.layers
    assert "Tracks" not in viewer.layers
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.picker.position.setCurrentIndex(1)
    assert dock.view.place() == (str(finished_study), "C02_f00", 1)


def test_a_click_in_the_pedigree_leads_to_the_cell(viewer: Any, dock: Any, finished_study: Path, qtbot: Any) -> None:
    opened(qtbot, dock, finished_study)
    branch = max(dock.pedigree.branches, key=lambda b: b.end_h - b.start_h)
    assert dock.pedigree.branch_at((branch.start_h + branch.end_h) / 2, branch.y) == branch
    dock.pedigree.picked.emit(branch.track_id, branch.end_h)
    assert viewer.layers["Cells"].selected_label == branch.track_id
    times = Study.open(finished_study).image(POSITION, DENSE).times_h
    assert times[viewer.dims.current_step[0]] == pytest.approx(branch.end_h)


def test_sessions_are_placed_where_they_were_registered_and_the_clock_tells_the_date(
    viewer: Any, dock: Any, finished_study: Path, qtbot: Any
) -> None:
    opened(qtbot, dock, finished_study)
    study = Study.open(finished_study)
    cells = study.table("cells").query("position == @POSITION and session == @DENSE")
    for name in ("Cells", "CD31", "Tracks"):
        layer = viewer.layers[name]
        world = np.array([layer.affine.affine_matrix[1:, 1:] @ (y, x, 1.0) for y, x in cells[["y", "x"]].to_numpy()])
        error = np.abs(world[:, :2] - cells[["y_reg", "x_reg"]].to_numpy())
        assert error.max() < 3.5  # what a session drifts by at most
        assert not np.allclose(layer.affine.affine_matrix, np.eye(4))
    start = datetime.fromisoformat(study.t0) + timedelta(hours=float(study.image(POSITION, DENSE).times_h[0]))
    assert text_overlay(viewer).text.splitlines()[-1] == f"{start:%Y-%m-%d %H:%M} UTC"


def test_form_shows_every_parameter_and_gives_back_what_it_shows(dock: Any, tmp_path: Path) -> None:
    form = dock.form
    assert form.recipe() == Recipe()
    content = Recipe().model_dump()
    content["segment"] |= {"diameter_um": 11.125, "min_area_um2": 12.3456, "flow_threshold": 0.43}
    content["niche"]["vessel_radii_um"] = [3.5, 7.25]
    content["registration"] |= {"channels": ["scaffold"], "between_sessions": "none", "drift": False}
    content["seed"] = 2**32 - 1
    content["lineage"]["markers"] = {"erythroid": "GPA", "mast": "CD117"}
    changed = Recipe.model_validate(content)
    form.set_recipe(changed)
    assert form.recipe() == changed
    form.save(tmp_path / "r.yaml")
    assert load_recipe(tmp_path / "r.yaml") == changed
    (tmp_path / "other.yaml").write_text(dump_recipe(Recipe()))
    form.load(tmp_path / "other.yaml")
    assert form.recipe() == Recipe()


def test_bad_input_is_told_in_a_sentence_and_changes_nothing(
    dock: Any, viewer: Any, tmp_path: Path, raw_study: Path, qtbot: Any
) -> None:
    from napari.utils.notifications import notification_manager

    opened(qtbot, dock, raw_study)
    (tmp_path / "no.marrow").mkdir()
    for path in (tmp_path / "no.marrow", tmp_path / "nowhere.marrow"):
        notification_manager.records.clear()
        dock.open_study(path)
        qtbot.waitUntil(lambda: bool(notification_manager.records), timeout=20_000)
        assert path.name in notification_manager.records[-1].message
        wait_until_idle(qtbot, dock)
    assert dock.contents.path == raw_study
    assert len(viewer.layers) == 4
    bad = tmp_path / "bad.yaml"
    bad.write_text("segment:\n  diametre_um: 3\n")
    dock.form.load(bad)
    assert "unknown key 'segment.diametre_um'" in dock.runner.status.text()
    dock.form.editor("niche", "vessel_radii_um").set_value([1])
    dock.form.editor("niche", "vessel_radii_um")._line.setText("4, wide")
    assert dock.run_recipe() is None
    assert "wide" in dock.runner.status.text()


def test_a_study_that_another_process_writes_to_is_told(
    dock: Any, raw_study: Path, quick_recipe: Recipe, qtbot: Any
) -> None:
    opened(qtbot, dock, raw_study)
    small(dock, quick_recipe)
    code = (
        "import time\nfrom napari_marrow.study import Study\n"
        f"with Study.open({str(raw_study)!r}, mode='a').write_lock():\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        dock.run_recipe()
        wait_until_idle(qtbot, dock)
        assert str(holder.pid) in dock.runner.status.text()
        assert dock.runner.run_button.isEnabled()
    finally:
        holder.kill()
        holder.communicate()


def test_open_study_in_napari_is_taken_over_by_the_dock(viewer: Any, dock: Any, raw_study: Path, qtbot: Any) -> None:
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        viewer.open(str(raw_study), plugin="napari-marrow")
    assert dock.contents.path == raw_study
    assert [layer.name for layer in viewer.layers] == ["nuclei", "CD31", "CD235a", "CD41"]


def test_opening_the_dock_imports_nothing_heavy() -> None:
    code = (
        "import sys, json, napari\n"
        "viewer = napari.Viewer(show=False)\n"
        "before = set(sys.modules)\n"
        "viewer.window.add_plugin_dock_widget('napari-marrow', 'Marrow study')\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))\n"
        "viewer.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    modules = json.loads(done.stdout.strip().splitlines()[-1])
    heavy = {"torch", "cellpose", "openvino", "matplotlib", "pyqtgraph", "statsmodels", "zarr", "highspy"}
    assert not heavy & set(modules)
