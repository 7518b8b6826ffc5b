"""Commands of the pages that open a window open it, each in a napari of its own, as a reader types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gui
ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/tutorials/first_study.md", "docs/tutorials/first_study_in_napari.md")
# Runs inside the reader's napari: tells what the window shows once it is there, and closes it
WATCHER = """
import json, os, sys, threading, time

def watch():
    # Qt has to be loaded, and its application made, by the main thread
    while not (widgets := sys.modules.get("qtpy.QtWidgets")) or not getattr(widgets, "QApplication", None):
        time.sleep(0.1)
    while widgets.QApplication.instance() is None:
        time.sleep(0.1)
    from superqt.utils import ensure_main_thread

    @ensure_main_thread(await_return=True, timeout=90_000)
    def shown():
        import napari

        viewer = napari.current_viewer()
        if viewer is None or not viewer.window._qt_window.isVisible():
            return None
        from napari_marrow.gui.study_dock import dock_of

        dock = dock_of(viewer)
        if dock is not None and (dock.contents is None or not dock.idle):
            return None
        return [layer.name for layer in viewer.layers], dock is not None

    @ensure_main_thread
    def close():
        import napari

        napari.current_viewer().close()

    wanted = int(os.environ["WANTED_LAYERS"])
    while (seen := shown()) is None or len(seen[0]) < wanted:
        time.sleep(0.2)
    with open(os.environ["SEEN"], "w") as file:
        json.dump(seen, file)
    close()

if "SEEN" in os.environ and "napari" in sys.orig_argv:
    threading.Thread(target=watch, daemon=True).start()
"""


def window_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in re.findall(r"<!-- not run: opens a window -->\n```sh\n(.*?)\n```", text, re.DOTALL):
            found += [(page, line) for line in block.splitlines()]
    return found


def test_the_pages_have_such_commands() -> None:
    assert {page for page, _ in window_commands()} == set(PAGES)


@pytest.mark.parametrize(("page", "command"), window_commands())
def test_command_opens_what_it_says(page: str, command: str, finished_study: Path, tmp_path: Path) -> None:
    for name in ("plate.marrow", "demo/tutorial.marrow"):
        shutil.copytree(finished_study, tmp_path / name)
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    for name, module in (("napari", "napari"), ("marrow", "napari_marrow")):
        command_file = bin_folder / name
        command_file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n', encoding="utf-8")
        command_file.chmod(0o755)
    (tmp_path / "watcher").mkdir()
    (tmp_path / "watcher" / "sitecustomize.py").write_text(WATCHER, encoding="utf-8")
    path = [str(tmp_path / "watcher"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(path),
        "NAPARI_CONFIG": str(tmp_path / "settings.yaml"),
        "SEEN": str(tmp_path / "seen.json"),
        "WANTED_LAYERS": "5" if ".marrow" in command else "0",
    }
    answer = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    layers, dock = json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))
    assert ({"nuclei", "Cells", "Tracks"} <= set(layers)) == (".marrow" in command)
    assert dock == ("marrow view" in command)
