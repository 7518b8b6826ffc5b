"""Preview, pause, board, estimate and copying: what stands around a run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.gui.recipe_text import as_command, as_python, differences
from napari_marrow.pipeline import load_recipe, parse_recipe, run
from napari_marrow.pipeline.preview import preview_segmentation
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.steps import STEPS
from napari_marrow.study import Study

pytestmark = pytest.mark.gui

POSITION, DENSE = "B02_f00", 2
ODD = {"segment": {"channel": "nuclei", "flow_threshold": 0.7}, "lineage": {"markers": {"erythroïd's": "CD235a"}}}


def opened(qtbot: Any, dock: Any, path: Path) -> None:
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(path)
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)


def click(qtbot: Any, button: Any) -> None:
    from qtpy.QtCore import Qt

    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def label_files(study: Path) -> dict[str, bytes]:
    """Every file of the label images of cells, by its path without the step's key."""
    found = {}
    for folder in sorted(study.glob("images.ome.zarr/*/*/*/labels/cells_*")):
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "zarr.json"):
            found[f"{folder.parent.parent.relative_to(study)}/{path.relative_to(folder)}"] = path.read_bytes()
    return found


def test_a_run_in_the_window_and_one_on_the_command_line_give_the_same_bytes(
    dock: Any, raw_study: Path, tmp_path: Path, quick_recipe: Recipe, qtbot: Any
) -> None:
    other = Path(shutil.copytree(raw_study, tmp_path / "by command.marrow"))
    opened(qtbot, dock, raw_study)
    recipe = parse_recipe({**differences(quick_recipe), "segment": {"flow_threshold": 0.5, "diameter_um": 9.0}})
    dock.form.set_recipe(recipe)
    dock.run_recipe(until="segment")
    qtbot.waitUntil(lambda: dock.idle, timeout=120_000)
    text = as_command(other, recipe).replace("marrow run", f"{sys.executable} -m napari_marrow run")
    script = tmp_path / "run.sh"
    script.write_text(text.rstrip() + " --until segment\n", encoding="utf-8")
    subprocess.run(["sh", str(script)], cwd=tmp_path, check=True, capture_output=True, timeout=180)
    ours, theirs = label_files(raw_study), label_files(other)
    assert len(ours) >= 14
    assert ours == theirs
    assert Study.open(raw_study).active["segment"] == Study.open(other).active["segment"]


@pytest.mark.parametrize("content", [{}, ODD])
def test_what_is_copied_is_the_recipe_that_is_shown(content: dict[str, Any], tmp_path: Path) -> None:
    recipe = parse_recipe(content)
    assert parse_recipe(differences(recipe)) == recipe
    command = as_command(Path("/data/it's big.marrow"), recipe)
    subprocess.run(["sh", "-c", f"marrow() {{ printf '%s\\n' \"$@\" > args; }}\n{command}"], cwd=tmp_path, check=True)
    arguments = (tmp_path / "args").read_text().splitlines()
    assert arguments[:2] == ["run", "/data/it's big.marrow"]
    assert len(arguments) == (4 if content else 2)
    if content:
        assert load_recipe(tmp_path / "recipe.yaml") == recipe
    space: dict[str, Any] = {"__name__": "copied"}
    exec(as_python(Path("x.marrow"), recipe), space)
    assert space["recipe"] == recipe


def test_copy_puts_the_command_onto_the_clipboard(dock: Any, raw_study: Path, qtbot: Any, qapp: Any) -> None:
    opened(qtbot, dock, raw_study)
    dock.form.copy(as_command)
    assert qapp.clipboard().text() == f"marrow run {raw_study}\n"


def test_a_preview_of_a_small_frame_is_what_the_step_gives(finished_study: Path) -> None:
    study = Study.open(finished_study)
    key = study.active["segment"]
    preview = preview_segmentation(finished_study, Recipe(), POSITION, DENSE, 4)
    np.testing.assert_array_equal(preview.labels, study.labels("cells", key, POSITION, DENSE).read(4)[0])
    piece = preview_segmentation(finished_study, Recipe(), POSITION, DENSE, 4, centre=(0, 96), size=64)
    assert piece.labels.shape == (64, 64)
    assert piece.origin == (0, 32)
    np.testing.assert_array_equal(piece.image, preview.image[:64, 32:])


def test_two_previews_stand_side_by_side_and_one_is_used(
    viewer: Any, dock: Any, finished_study: Path, qtbot: Any, watchdog: Any
) -> None:
    opened(qtbot, dock, finished_study)
    dock.tabs.setCurrentWidget(dock.preview)
    viewer.dims.set_current_step(0, 2)
    qtbot.wait(300)
    click(qtbot, dock.preview.buttons[0])
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    dock.form.editor("segment", "min_area_um2").set_value(60.0)
    click(qtbot, dock.preview.buttons[1])
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    first, second = dock.preview.previews
    assert first.n_cells > second.n_cells > 0
    assert f"{second.n_cells} cells" in dock.preview.texts[1].text()
    assert "min_area_um2 60.0" in dock.preview.texts[1].text()
    assert not dock.preview.pictures[1].pixmap().isNull()
    layer = viewer.layers["Preview A"]
    assert layer.translate[0] == 2
    np.testing.assert_array_equal(layer.data[0], first.labels)
    assert layer.units == viewer.layers["Cells"].units
    click(qtbot, dock.preview.use_buttons[0])
    assert dock.form.recipe().segment.min_area_um2 == 12.0
    watchdog.check("preview")


def test_a_preview_of_a_missing_channel_is_told(dock: Any, finished_study: Path, qtbot: Any) -> None:
    opened(qtbot, dock, finished_study)
    dock.form.editor("segment", "channel").set_value("CD999")
    dock.previewing.make(0)
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    assert "no channel 'CD999'" in dock.runner.status.text()
    assert dock.preview.buttons[0].isEnabled()


def test_a_paused_run_rests_and_goes_on(dock: Any, raw_study: Path, quick_recipe: Recipe, qtbot: Any) -> None:
    opened(qtbot, dock, raw_study)
    dock.form.set_recipe(quick_recipe)
    job = dock.run_recipe(until="segment")
    seen: list[int] = []
    job.progressed.connect(lambda done, total, text: seen.append(done) if text == "Segmenting" else None)
    qtbot.waitUntil(lambda: bool(seen), timeout=60_000)
    click(qtbot, dock.runner.pause_button)
    assert dock.runner.pause_button.text() == "Go on"
    rested = -1
    while rested != len(seen):  # the unit at hand takes its time on a busy machine
        rested = len(seen)
        qtbot.wait(1500)
    qtbot.wait(1500)
    assert len(seen) == rested
    assert job.running
    assert not dock.curate.undo_button.isEnabled()
    click(qtbot, dock.runner.pause_button)
    qtbot.waitUntil(lambda: dock.idle, timeout=120_000)
    assert dock.runner.status.text().startswith("Finished")
    assert dock.runner.pause_button.text() == "Pause"


def test_a_paused_run_can_be_cancelled(dock: Any, raw_study: Path, quick_recipe: Recipe, qtbot: Any) -> None:
    opened(qtbot, dock, raw_study)
    job = dock.run_recipe()
    with qtbot.waitSignal(job.progressed, timeout=20_000):
        pass
    click(qtbot, dock.runner.pause_button)
    click(qtbot, dock.runner.cancel_button)
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    assert dock.runner.status.text().startswith("Cancelled.")


def test_the_board_tells_what_is_done_and_what_another_recipe_would_change(
    dock: Any, finished_study: Path, tmp_path: Path, quick_recipe: Recipe, qtbot: Any
) -> None:
    opened(qtbot, dock, finished_study)
    assert dock.form.recipe() == quick_recipe  # that of the last run
    assert dock.board.table.rowCount() == 4
    names = [dock.board.table.horizontalHeaderItem(k).text() for k in range(dock.board.table.columnCount())]
    assert names == [step.name.replace("_", " ") for step in STEPS]
    dock.tabs.setCurrentWidget(dock.board)
    header = dock.board.table.horizontalHeader()
    whole = max(header.fontMetrics().horizontalAdvance(name) for name in names)
    qtbot.waitUntil(lambda: header.height() >= whole)
    assert ": done" in dock.board.state(POSITION, DENSE, "segment")
    assert "Everything is computed" in dock.runner.estimate.text()
    dock.form.editor("segment", "flow_threshold").set_value(0.7)
    dock.form.changed.emit()
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    assert ": done" in dock.board.state(POSITION, DENSE, "correct")
    assert "older settings" in dock.board.state(POSITION, DENSE, "segment")
    assert "on disk" in dock.runner.estimate.text()
    assert "About" in dock.runner.estimate.text()  # an earlier run tells how fast this study is
    dock.board.table.cellDoubleClicked.emit(0, 0)
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    assert dock.view.place() == (str(finished_study), POSITION, 1)


def test_a_unit_that_failed_is_named_and_tried_again(
    dock: Any, raw_study: Path, quick_recipe: Recipe, qtbot: Any
) -> None:
    run(raw_study, quick_recipe, until="correct")
    opened(qtbot, dock, raw_study)
    shard = raw_study / "images.ome.zarr" / "B" / "02" / "s02f00" / "0" / "c.3.0.0.0.0"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    dock.form.set_recipe(quick_recipe)
    dock.run_recipe(until="segment")
    qtbot.waitUntil(lambda: dock.idle, timeout=120_000)
    assert not dock.runner.status.text().startswith("Finished")
    shard.write_bytes(whole)
    dock.board.table.setCurrentCell(0, dock.board._steps.index("segment"))
    click(qtbot, dock.board.run_button)
    qtbot.waitUntil(lambda: dock.idle, timeout=120_000)
    assert dock.runner.status.text().startswith("Finished")
    assert ": done" in dock.board.state(POSITION, DENSE, "segment")
