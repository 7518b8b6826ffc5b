"""Tasks as a person does them, with real mouse and key events at the widgets' places; the actions are counted.

``python -m pytest -m gui -s tests/gui/test_gui_tasks.py`` prints the counts that the documentation states.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_marrow.study import Study

from .conftest import pump

pytestmark = pytest.mark.gui

POSITION, DENSE = "B02_f00", 2


@pytest.fixture
def hand(viewer: Any, dock: Any) -> Any:
    from .actions import Hand

    return Hand(viewer, dock, pump)


@pytest.fixture
def counted(request: pytest.FixtureRequest, qapp: Any) -> Iterator[Callable[[], Any]]:
    """Starts counting when it is called; the end of the test prints what it took."""
    from .actions import ActionCounter

    counters: list[ActionCounter] = []

    def start() -> ActionCounter:
        counters.append(ActionCounter())
        return counters[-1]

    yield start
    for counter in counters:
        counter.stop()
        print(f"\n{request.node.name.removeprefix('test_').replace('_', ' ')}: {counter}")  # noqa: T201 - its purpose


def opened(hand: Any, study: Path, path: Path, place: tuple[str, int] = (POSITION, DENSE)) -> Path:
    """Open a copy of a study, and let the first drawing be over."""
    from qtpy.QtTest import QTest

    copy = Path(shutil.copytree(study, path))
    hand.dock.open_study(copy, place)
    pump(lambda: hand.dock.contents is not None and hand.dock.idle)
    QTest.qWait(300)
    return copy


def write_images(folder: Path) -> list[Path]:
    """Two positions of two channels and three frames, with everything in their OME-XML."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    found = []
    for name in ("B02_f00_session01.ome.tif", "B03_f00_session01.ome.tif"):
        metadata = {
            "axes": "TCYX",
            "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
            "TimeIncrement": 900.0, "TimeIncrementUnit": "s",
            "AcquisitionDate": "2026-03-02T08:00:00",
            "Channel": {"Name": ["nuclei", "CD41"]},
        }  # fmt: skip
        tifffile.imwrite(folder / name, rng.poisson(200, (3, 2, 64, 64)).astype(np.uint16), metadata=metadata)
        found.append(folder / name)
    return found


def test_import_images_that_say_everything(hand: Any, counted: Any, tmp_path: Path) -> None:
    files = write_images(tmp_path / "plate 7")
    dock, count = hand.dock, counted()
    hand.click(dock.picker.import_button)
    dialog = dock.importing
    pump(dialog.isVisible)
    hand.answer_file_dialog(files[0].parent)
    hand.click(dialog.folder_button)
    pump(lambda: not dialog.busy)
    assert dialog.import_button.isEnabled(), dialog.said.text()
    hand.click(dialog.import_button)
    pump(lambda: dock.contents is not None and dock.idle)
    made = Study.open(dock.contents.path)
    assert made.positions == ["B02_f00", "B03_f00"]
    assert made.image("B03_f00", 1).spacing == (1.0, 0.5, 0.5)
    assert count.clicks == 3
    assert count.total == 5  # the path of the folder, and Enter


def test_segment_every_frame_of_a_study(
    hand: Any, counted: Any, raw_study: Path, tmp_path: Path, quick_recipe: Any
) -> None:
    study = opened(hand, raw_study, tmp_path / "to segment.marrow")
    dock, table = hand.dock, hand.dock.board.table
    dock.form.set_recipe(quick_recipe)
    pump(lambda: dock.idle)
    count = counted()
    hand.tab(dock.board)
    column = dock.board._steps.index("segment")
    hand.click(table.viewport(), table.visualItemRect(table.item(0, column)).center())
    hand.click(dock.board.run_button)
    pump(lambda: dock.idle and "Cells" in hand.viewer.layers)
    rows = Study.open(study).table("segmentation")
    assert len(rows) == 14
    assert rows["cells"].sum() > 100
    assert count.total == count.clicks == 3


def test_correct_a_division(hand: Any, counted: Any, finished_study: Path, tmp_path: Path) -> None:
    """One that was found is taken apart and made again by hand: both daughters are picked in the image."""
    from qtpy.QtCore import Qt

    opened(hand, finished_study, tmp_path / "to correct.marrow", ("C02_f00", DENSE))
    tab, view = hand.dock.curate, hand.dock.navigation
    taking_apart = counted()
    hand.tab(tab)
    hand.choose(tab.queue_choice, "least certain divisions")
    hand.key(Qt.Key.Key_N)
    mother, *daughters = tab.selection.cells
    graph = tab.curation.graph
    assert all(graph.edges[mother, daughter].kind == "division" for daughter in daughters)
    hand.key(Qt.Key.Key_K)
    assert not any((mother, daughter) in tab.curation.graph.edges for daughter in daughters)
    assert taking_apart.total - hand.missed == 5
    taking_apart.stop()

    view.to_cell(mother)
    hand.wait()
    assert {daughter.t for daughter in daughters} == {mother.t + 1}
    making = counted()
    for k, cell in enumerate((mother, *daughters)):
        if k == 1:
            hand.key(Qt.Key.Key_Right)
        hand.canvas(*world(hand, cell), shift=k > 0)
    assert set(tab.selection.cells) == {mother, *daughters}
    hand.click(tab.edit_buttons["divide"])
    assert all(tab.curation.graph.edges[mother, daughter].kind == "division" for daughter in daughters)
    assert making.total == 5
    entries = Study.open(hand.dock.contents.path).edits().standing()
    assert [entry.action["action"] for entry in entries] == ["break", "break", "divide"]


def world(hand: Any, cell: Any) -> tuple[float, float]:
    """Where a cell is, µm of the world."""
    row = hand.dock.curate.curation.row_of(cell)
    layer = hand.viewer.layers["Tracks"]
    y, x = layer.data_to_world((cell.t, row["y"], row["x"]))[-2:]
    return float(y), float(x)


def test_find_the_colony_that_makes_megakaryocytes(
    hand: Any, counted: Any, finished_study: Path, tmp_path: Path
) -> None:
    study = opened(hand, finished_study, tmp_path / "to look at.marrow")
    tab = hand.dock.cells
    count = counted()
    hand.tab(tab)
    pump(lambda: hand.dock.idle and tab.cloud is not None and tab.cloud.plot.viewport().isVisible())
    port = tab.cloud.plot.viewport()
    rows = tab.table.reset_index(drop=True)
    made = rows.index[(rows["lineage"] == "megakaryocytic") & (rows["colony"] > 0)]
    places = {int(k): tab.cloud.plot.mapFromScene(*tab.cloud.place_of(int(k))) for k in range(len(rows))}
    away = {k: min(_apart(places[k], p) for j, p in places.items() if j != k) for k in map(int, made)}
    point = max(away, key=lambda k: away[k])  # one that lies by itself, as a person would pick
    hand.click(port, places[point])
    assert count.total == count.clicks == 2
    colony = int(rows.loc[point, "colony"])
    assert f"colony {colony}" in tab.told.text()
    assert "megakaryocytic" in tab.told.text()
    members = Study.open(study).table("colony_members")
    mine = members[(members["position"] == POSITION) & (members["session"] == DENSE)]
    here = mine[(mine["t"] == rows.loc[point, "t"]) & (mine["label"] == rows.loc[point, "label"])]
    assert here["colony"].tolist() == [colony]
    assert hand.viewer.dims.current_step[0] == rows.loc[point, "t"]


def _apart(a: Any, b: Any) -> float:
    return float(np.hypot(a.x() - b.x(), a.y() - b.y()))


def test_export_the_figure_of_emergence(hand: Any, counted: Any, finished_study: Path, tmp_path: Path) -> None:
    opened(hand, finished_study, tmp_path / "to export.marrow")
    panel, count = hand.dock.lineage, counted()
    hand.tab(panel)
    pump(lambda: hand.dock.idle and not panel.chart.empty)
    hand.answer_file_dialog(tmp_path / "emergence.pdf")
    hand.click(panel.export_button)
    pump(lambda: hand.dock.idle and (tmp_path / "emergence.csv").exists())
    assert (tmp_path / "emergence.pdf").read_bytes().startswith(b"%PDF")
    numbers = pd.read_csv(tmp_path / "emergence.csv")
    assert set(numbers["recipe"]) == {hand.dock.contents.recipe.digest}
    assert count.clicks == 2
    assert count.total == 4  # the path of the file, and Enter
