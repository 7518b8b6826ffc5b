"""How the window answers on a large study: 2000 frames, 4 channels of 2048 x 2048 px, 350 000 tracked cells.

xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/gui.py
python benchmarks/gui.py --frames 200 --side 1024       # smaller
python benchmarks/gui.py --keep big.marrow              # keep the study and use it again

Eight frames are simulated; the files of all others are links to them, so that the study takes 0.3 GB instead of 50.
Prints the time that the window's own thread is taken for a time step, the resident memory before and after, and the
time of a selection until image and pedigree have followed; wall time and processor time of that thread, as the machine
may be shared. Images are read asynchronously (Preferences > Experimental); --sync for not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# the user's settings stay as they are
os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.gettempdir()) / "napari-marrow-benchmark" / "settings.yaml"))

DISTINCT = 8
CHANNELS = ["nuclei", "CD31", "CD235a", "CD41"]
POSITION, SESSION, KEY = "A01_f00", 0, "0123456789ab"


def write_study(path: Path, frames: int, side: int, cells: int) -> None:
    """Write the study with its labels and tracks."""
    from napari_marrow.study import Study

    rng = np.random.default_rng(0)
    study = Study.create(path)
    places = rng.uniform(20, side - 20, (cells, 2))
    labels = np.zeros((side, side), np.int32)
    yy, xx = np.mgrid[-8:9, -8:9]
    disc = yy**2 + xx**2 <= 49
    for k, (y, x) in enumerate(places.astype(int), 1):
        labels[y - 8 : y + 9, x - 8 : x + 9][disc] = k
    with study.add_session(
        POSITION, SESSION, channels=CHANNELS, spacing=(1, 0.65, 0.65), shape=(frames, 4, 1, side, side),
        dtype="uint16", start_h=0.0, time_s=np.arange(frames) * 600.0,
    ) as writer:  # fmt: skip
        for t in range(min(DISTINCT, frames)):
            noise = rng.normal(110, 5, (4, 1, side, side)) + 400 * (labels > 0)
            writer.write(t, noise.clip(0, 65535).astype(np.uint16))
        _link(writer.path, frames)
    for t in range(min(DISTINCT, frames)):
        study.write_labels("cells", KEY, POSITION, SESSION, t, labels)
    _link(writer.path / "labels" / f"cells_{KEY}", frames)
    _write_tables(study, places * 0.65, frames)


def _link(image: Path, frames: int) -> None:
    """Give every frame beyond the first ones a link to one of them."""
    for level in sorted(p for p in image.iterdir() if p.name.isdigit()):
        for t in range(DISTINCT, frames):
            os.link(level / f"c.{t % DISTINCT}.0.0.0.0", level / f"c.{t}.0.0.0.0")


def _write_tables(study: Any, places: np.ndarray, frames: int) -> None:
    """Cells that stay; every track is 50 frames long and divides, so that there are pedigrees."""
    cells = len(places)
    t = np.repeat(np.arange(frames), cells)
    label = np.tile(np.arange(1, cells + 1), frames)
    track = (t // 50) * cells + label
    base = {"position": POSITION, "session": SESSION, "t": t, "time_h": t / 6.0, "label": label}
    y, x = np.tile(places[:, 0], frames), np.tile(places[:, 1], frames)
    study.commit("segmentation", KEY, {"position": POSITION, "session": SESSION}, pd.DataFrame(
        {"position": POSITION, "session": SESSION, "t": np.arange(frames), "cells": cells, "diameter_um": 10.0}
    ))  # fmt: skip
    study.commit("cells", KEY, {"position": POSITION, "session": SESSION}, pd.DataFrame(
        {**base, "z": 0.0, "y": y, "x": x, "z_reg": 0.0, "y_reg": y, "x_reg": x, "area": 60.0, "eccentricity": 0.3,
         "touches_border": False, "intensity_CD41": 10.0}))  # fmt: skip
    chance = np.where(t % 50 == 0, np.nan, 0.5 + 0.5 * np.random.default_rng(1).random(len(t)))
    study.commit("track_nodes", KEY, {}, pd.DataFrame({**base, "track_id": track, "link_probability": chance}))
    linked = (t % 50 != 0) & (t > 0)
    study.commit("track_edges", KEY, {}, pd.DataFrame(
        {"position": POSITION, "session": SESSION, "t_parent": t[linked] - 1, "label_parent": label[linked],
         "t_child": t[linked], "label_child": label[linked], "kind": "link", "probability": chance[linked]}
    ))  # fmt: skip
    ids = np.unique(track)
    start = (ids - 1) // cells * 50
    end = np.minimum(start + 49, frames - 1)
    study.commit("tracks", KEY, {}, pd.DataFrame(
        {"position": POSITION, "session": SESSION, "track_id": ids, "parent_track_id": 0, "founder_track_id": ids,
         "generation": 0, "t_start": start, "t_end": end, "start_h": start / 6.0, "end_h": end / 6.0,
         "birth": "appearance", "fate": "loss", "n_nodes": end - start + 1, "mean_probability": 0.9}
    ))  # fmt: skip
    tables = dict.fromkeys(("segmentation", "cells", "track_nodes", "track_edges", "tracks"), KEY)
    study.set_active(dict.fromkeys(("segment", "measure", "track", "curate"), KEY), tables=tables)


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1e3


def timed(act: Callable[[], None]) -> tuple[float, float]:
    """Wall and own processor time, ms, of an act and of everything that the window does because of it."""
    from qtpy.QtWidgets import QApplication

    app = QApplication.instance()
    wall, cpu = time.perf_counter(), time.thread_time()
    act()
    app.processEvents()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.thread_time() - cpu)


def row(name: str, samples: list[tuple[float, float]]) -> str:
    """Return a line: median and 95 % quantile of wall and own processor time."""
    wall, cpu = np.array(samples).T
    return (
        f"{name:34s} {np.median(wall):8.1f} {np.quantile(wall, 0.95):8.1f} {np.median(cpu):8.1f} "
        f"{np.quantile(cpu, 0.95):8.1f}"
    )


def steps(viewer: Any, n: int, rng: np.random.Generator, frames: int, *, jump: bool) -> list[tuple[float, float]]:
    """Go from frame to frame, or to any; the window rests a little after every fifth."""
    from qtpy.QtTest import QTest

    found = []
    for k in range(n):
        t = int(rng.integers(frames)) if jump else (int(viewer.dims.current_step[0]) + 1) % frames
        found.append(timed(lambda t=t: viewer.dims.set_current_step(0, t)))
        if k % 5 == 0:
            QTest.qWait(20)
    return found


def lassos(dock: Any) -> list[tuple[float, float]]:
    """Select half of all cells by a lasso in the Cells tab, until image, table and pedigree have followed."""
    from qtpy.QtTest import QTest

    dock.tabs.setCurrentWidget(dock.cells)
    while not (dock.idle and len(dock.cells.table)):
        QTest.qWait(10)
    dock.cells.x.setCurrentIndex(dock.cells.x.findData("y"))
    dock.cells.x.activated.emit(dock.cells.x.currentIndex())
    QTest.qWait(500)
    box = dock.cells.cloud.box
    (x0, x1), (y0, y1) = box.viewRange()
    middle = (x0 + x1) / 2
    ring = np.array([(x0, y0), (middle, y0), (middle, y1), (x0, y1)])
    found = []
    for _ in range(10):
        dock.selection.clear()
        QTest.qWait(50)
        found.append(timed(lambda: box.ended.emit(ring, False)))
    return found


def main() -> int:
    """Make the study where there is none, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--cells", type=int, default=175, help="in every frame")
    parser.add_argument("--sync", action="store_true")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--keep", type=Path, default=None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="marrow-gui-"))
    path = options.keep or folder / "big.marrow"
    try:
        if not path.exists():
            write_study(path, options.frames, options.side, options.cells)
        return measure(path, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(path: Path, options: argparse.Namespace) -> int:
    """Open the study in a window and print the table."""
    import napari
    from qtpy.QtTest import QTest

    rng = np.random.default_rng(0)
    from napari.settings import get_settings

    get_settings().experimental.async_ = not options.sync
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1600, 1000)
    dock = viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]
    started = time.perf_counter()
    dock.open_study(path)
    while not (dock.contents is not None and dock.idle):
        QTest.qWait(10)
    opened = time.perf_counter() - started
    QTest.qWait(1000)
    nodes = len(dock.curate.curation.base_nodes)
    print(
        f"{options.frames} frames, 4 channels, {options.side} x {options.side}, {nodes} nodes; opened in {opened:.1f} s"
    )
    print(f"{'':34s} {'wall ms':>8s} {'95 %':>8s} {'own CPU':>8s} {'95 %':>8s}")
    steps(viewer, 20, rng, options.frames, jump=False)
    print(row("step to the next frame", steps(viewer, 40, rng, options.frames, jump=False)))
    before = resident_mb()
    n = options.steps
    print(row(f"step to any frame, {n} of them", steps(viewer, n, rng, options.frames, jump=True)))
    print(f"resident memory before and after them: {before:.0f} and {resident_mb():.0f} MB")
    tracks = rng.integers(1, options.cells * (options.frames // 50), 30)
    picks = []
    for track in tracks:
        number = int(track)
        t = int((number - 1) // options.cells * 50 + 5)
        viewer.dims.set_current_step(0, t)
        QTest.qWait(30)
        node = dock.picks.node_at(t, number)
        picks.append(timed(lambda node=node, number=number: dock.selection.select([node], [number])))
    print(row("selection, followed everywhere", picks))
    print(row("lasso in a plot, half of all cells", lassos(dock)))
    viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
