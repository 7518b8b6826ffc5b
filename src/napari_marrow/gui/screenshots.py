"""Make the pictures of the documentation in a real window: ``python -m napari_marrow.gui.screenshots OUT_DIR``.

On a machine without a screen put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` in front of it.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.gui.napari_names import camera

MAX_BYTES = 500_000
LARGE, SMALL = (1600, 1000), (1280, 720)


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the samples, run the recipe where it was not run yet, and write pictures of the window.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command-line arguments; the process's own by default.

    Returns
    -------
    int
        0.
    """
    parser = argparse.ArgumentParser(prog="python -m napari_marrow.gui.screenshots", description=__doc__)
    parser.add_argument("out", type=Path, help=f"folder for {', '.join(f'{name}.png' for name in PICTURES)}")
    parser.add_argument("--study", type=Path, default=None, help="another study than the tutorial's")
    parser.add_argument("--volume", type=Path, default=None, help="another study of volumes than the sample")
    options = parser.parse_args(arguments)
    import napari

    from napari_marrow.gui.sample import make_sample

    viewer = napari.Viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")
    flat, deep = options.study or make_sample(), options.volume or make_sample(name="volume")
    for study, until in ((flat, ""), (deep, "colonies")):
        _open(dock, study)
        dock.run_recipe(until)
        pump(lambda: bool(dock.idle))
    for study, wanted in ((flat, True), (deep, False)):  # opened again, so that no picture tells how long a run took
        _open(dock, study)
        make_pictures(viewer, dock, options.out, [n for n, picture in PICTURES.items() if picture.flat == wanted])
    viewer.close()
    return 0


def _open(dock: Any, study: Path) -> None:
    dock.open_study(study)
    pump(lambda: dock.contents is not None and dock.contents.path == study and bool(dock.idle))


@dataclass(frozen=True)
class Picture:
    """A picture of the documentation.

    Attributes
    ----------
    size : (int, int)
        Of the window, pixels.
    arrange : callable
        Brings what is to be seen into the window; takes viewer and dock.
    flat : bool
        Of the tutorial study, else of a volume.
    """

    size: tuple[int, int]
    arrange: Callable[[Any, Any], None]
    flat: bool = True


def make_pictures(viewer: Any, dock: Any, out: Path, names: Iterable[str], *, settle_ms: int = 1500) -> list[Path]:
    """Write pictures of a window in which a study with results is open.

    Parameters
    ----------
    viewer : napari.Viewer
    dock : StudyDock
    out : Path
        Folder.
    names : iterable of str
        Of `PICTURES`.
    settle_ms : int
        How long the window may draw before its picture is taken.

    Returns
    -------
    list of Path
    """
    out.mkdir(parents=True, exist_ok=True)
    dock.tour.end()
    written = []
    for name in names:
        picture = PICTURES[name]
        viewer.window.resize(*picture.size)
        _wait(settle_ms)
        viewer.reset_view()
        picture.arrange(viewer, dock)
        pump(lambda: bool(dock.idle))
        _wait(settle_ms)
        written.append(out / f"{name}.png")
        write_png(viewer.screenshot(canvas_only=False, flash=False), written[-1])
    return written


def said_by(widget: Any) -> str:
    """Return the texts that a widget and those in it show now: labels, buttons, lists and tabs."""
    from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel, QTabBar, QWidget

    said = []
    for part in (widget, *widget.findChildren(QWidget)):
        if not part.isVisible():
            continue
        if isinstance(part, QLabel | QAbstractButton):
            said.append(re.sub("<[^>]+>", "", part.text()))
        elif isinstance(part, QComboBox):
            said.append(part.currentText())
        elif isinstance(part, QTabBar):
            said += [part.tabText(k) for k in range(part.count()) if part.isTabVisible(k)]
    return "\n".join(text for text in said if text.strip())


def write_png(picture: npt.NDArray[np.uint8], path: Path) -> None:
    """Write a picture as PNG, with as many colours as fit into half a megabyte.

    Parameters
    ----------
    picture : (Y, X, 3 or 4) uint8
    path : Path
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture[..., :3]))
    image.save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        image.quantize(256, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)


def _results(viewer: Any, dock: Any) -> None:
    """Show what a reader looks for: cells, tracks, colonies, and the emergence of lineages."""
    cells = dock.view.layer("cells")
    if cells is not None:
        cells.contour = 1
        viewer.layers.selection.active = cells
    viewer.dims.set_current_step(0, max(0, int(viewer.dims.nsteps[0]) - 1))
    dock.tabs.setCurrentWidget(dock.lineage)


def _curate(viewer: Any, dock: Any) -> None:
    """Show the least certain link of the session, near enough to judge it."""
    dock.tabs.setCurrentWidget(dock.curate)
    dock.curate.next()
    pump(lambda: bool(dock.idle))
    camera(viewer).zoom = 7.0


def lasso_cells(viewer: Any, dock: Any) -> None:
    """Show a lasso's cells in plot and image: those that are brighter in CD235a than half of the plot's height."""
    tab = dock.cells
    dock.tabs.setCurrentWidget(tab)
    pump(lambda: bool(dock.idle) and len(tab.table) > 0)
    for box, column in ((tab.x, "area"), (tab.y, "intensity_CD235a"), (tab.colour, "lineage")):
        box.setCurrentIndex(max(0, box.findData(column)))
        box.activated.emit(box.currentIndex())
    _wait(300)
    (x0, x1), (y0, y1) = tab.cloud.box.viewRange()
    middle = (y0 + y1) / 2
    tab.cloud.box.ended.emit(np.array([(x0, middle), (x1, middle), (x1, y1), (x0, y1)]), False)


def _vessel_map(viewer: Any, dock: Any) -> None:
    """Show a lasso around the left half of a field's cells in the map of its vessels, and their rings in the image."""
    panel = dock.niche
    dock.tabs.setCurrentWidget(panel)
    panel.kind.setCurrentText("Vessel map")
    pump(lambda: bool(dock.idle) and len(panel.chart.handles) > 0)
    _wait(300)
    box = panel.plot.plot.getPlotItem().vb
    (x0, _), (y0, y1) = box.viewRange()
    middle = float(panel.chart.handles["x"].median())
    box.ended.emit(np.array([(x0, y0), (middle, y0), (middle, y1), (x0, y1)]), False)
    viewer.dims.set_current_step(0, int(panel.chart.handles["t"].iloc[0]))


def _volume(viewer: Any, dock: Any) -> None:
    """Show a volume in 3D, cut open along y."""
    scene = dock.scene
    dock.tabs.setCurrentWidget(dock.board)
    scene.switch.setChecked(True)
    scene.show_volume(True)
    scene.axis.setCurrentText("y")
    scene.low.setValue(70)
    scene.clipped.setChecked(True)
    viewer.dims.set_current_step(0, int(viewer.dims.nsteps[0]) - 1)  # where tracks have a tail
    camera(viewer).angles = (0.0, 35.0, 65.0)


PICTURES = {
    "window": Picture(LARGE, _results),
    "window_small": Picture(SMALL, _results),
    "curate": Picture(LARGE, _curate),
    "cells": Picture(LARGE, lasso_cells),
    "niche": Picture(LARGE, _vessel_map),
    "volume": Picture(LARGE, _volume, flat=False),
}
"""Pictures of the documentation by the name of their file."""


def pump(until: Callable[[], bool], *, timeout_s: float = 900.0) -> None:
    """Let the window live until something is so.

    Raises
    ------
    TimeoutError
        If it takes too long.
    """
    from qtpy.QtTest import QTest

    deadline = time.monotonic() + timeout_s
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError("The window did not come to rest: see what it says in its Marrow study dock.")
        QTest.qWait(10)


def _wait(ms: int) -> None:
    from qtpy.QtTest import QTest

    QTest.qWait(ms)


if __name__ == "__main__":
    raise SystemExit(main())
