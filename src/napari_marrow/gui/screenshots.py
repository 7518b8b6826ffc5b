"""Make the pictures of the documentation in a real window: ``python -m napari_marrow.gui.screenshots OUT_DIR``.

On a machine without a screen put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` in front of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.gui.napari_names import camera

SIZES = {"window": (1600, 1000), "window_small": (1280, 720)}
MAX_BYTES = 500_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the tutorial study, run the recipe where it was not run yet, and write pictures of the window.

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
    parser.add_argument("out", type=Path, help="folder for window.png, window_small.png, curate.png and cells.png")
    parser.add_argument("--study", type=Path, default=None, help="another study than the tutorial's")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    import napari

    viewer = napari.Viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")
    if options.study is None:
        dock.open_sample()
    else:
        dock.open_study(options.study)
    _pump(lambda: dock.contents is not None and dock.idle)
    dock.run_recipe()
    _pump(lambda: dock.idle)
    _arrange(viewer, dock)
    for name, (width, height) in SIZES.items():
        viewer.window.resize(width, height)
        _settle()
        viewer.reset_view()
        _settle()
        write_png(viewer.screenshot(canvas_only=False, flash=False), options.out / f"{name}.png")
    _curate(viewer, dock)
    viewer.window.resize(*SIZES["window"])
    _settle()
    write_png(viewer.screenshot(canvas_only=False, flash=False), options.out / "curate.png")
    viewer.reset_view()
    lasso_cells(dock)
    _settle()
    write_png(viewer.screenshot(canvas_only=False, flash=False), options.out / "cells.png")
    viewer.close()
    return 0


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


def _arrange(viewer: Any, dock: Any) -> None:
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
    _pump(lambda: bool(dock.idle))
    camera(viewer).zoom = 7.0


def lasso_cells(dock: Any) -> None:
    """Show a lasso's cells in plot and image: those that are brighter in CD235a than half of the plot's height.

    Parameters
    ----------
    dock : StudyDock
        With a study in it.
    """
    tab = dock.cells
    dock.tabs.setCurrentWidget(tab)
    _pump(lambda: bool(dock.idle) and len(tab.table) > 0)
    for box, column in ((tab.x, "area"), (tab.y, "intensity_CD235a"), (tab.colour, "lineage")):
        box.setCurrentIndex(max(0, box.findData(column)))
        box.activated.emit(box.currentIndex())
    _settle()
    (x0, x1), (y0, y1) = tab.cloud.box.viewRange()
    middle = (y0 + y1) / 2
    tab.cloud.box.ended.emit(np.array([(x0, middle), (x1, middle), (x1, y1), (x0, y1)]), False)


def _pump(until: Callable[[], bool], *, timeout_s: float = 900.0) -> None:
    from qtpy.QtTest import QTest

    deadline = time.monotonic() + timeout_s
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError("The window did not come to rest: see what it says in its Marrow study dock.")
        QTest.qWait(10)


def _settle() -> None:
    from qtpy.QtTest import QTest

    QTest.qWait(1500)


if __name__ == "__main__":
    raise SystemExit(main())
