"""Bad input of the window: layers in other units or with other axes, and a program that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.errors import InputFileError
from napari_marrow.gui.layer_frames import layer_frames
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.progress import CancelToken, no_progress
from napari_marrow.study import Study

pytestmark = pytest.mark.gui


@pytest.mark.parametrize(("unit", "size"), [("micrometer", 0.5), ("nanometer", 500.0), ("millimeter", 0.0005)])
def test_sizes_are_in_micrometres_whatever_the_layers_unit(unit: str, size: float) -> None:
    from napari.layers import Image, Labels

    from napari_marrow.gui.layer_commands import measure_frames

    square = np.zeros((32, 32), np.int32)
    square[8:18, 8:18] = 1  # 10 x 10 pixels of 0.5 µm: 25 µm²
    place = {"scale": (size, size), "units": (unit, unit)}
    labels, image = layer_frames(Labels(square, **place)), layer_frames(Image(square.astype(np.float32), **place))
    assert labels.physical
    assert labels.spacing == pytest.approx((0.5, 0.5))
    cells = measure_frames(labels, [image], no_progress, CancelToken())
    assert cells["area"].tolist() == pytest.approx([25.0])


@pytest.mark.parametrize(
    ("axes", "remedy"),
    [
        (("c", "y", "x"), "split its channels"),
        (("t", "c", "y", "x"), "split its channels"),
        (("z", "t", "y", "x"), "reorder"),
        (("y", "x", "t"), "reorder"),
        (("x", "y"), "reorder"),
    ],
)
def test_axes_in_another_order_are_refused_by_name(axes: tuple[str, ...], remedy: str) -> None:
    from napari.layers import Image

    layer = Image(np.zeros((4,) * len(axes), np.float32), axis_labels=axes, name="odd")
    with pytest.raises(InputFileError, match=f"'odd' has the axes {', '.join(axes)}, wanted .*{remedy}"):
        layer_frames(layer)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # napari looks for the contrast of nothing
def test_a_layer_of_no_pixel_is_refused() -> None:
    from napari.layers import Labels

    with pytest.raises(InputFileError, match="holds no pixel"):
        layer_frames(Labels(np.zeros((0, 8, 8), np.int32), name="empty"))


_RUN = """
import sys
from napari_marrow.pipeline import load_recipe, run

def told(done, total, text):
    print(text, done, total, flush=True)

run(sys.argv[1], load_recipe(sys.argv[2]), until="segment", progress=told)
"""


def test_what_a_killed_program_had_finished_is_kept_and_the_window_goes_on(
    dock: Any, raw_study: Path, finished_study: Path, quick_recipe: Recipe, tmp_path: Path, qtbot: Any
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("niche: {n_simulations: 19}\nlineage: {n_bootstrap: 99}\n", encoding="utf-8")
    path = raw_study.rename(tmp_path / "Größe 細胞 кровь.marrow")
    program = subprocess.Popen(
        [sys.executable, "-c", _RUN, str(path), str(recipe)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert program.stdout is not None
    with program:
        for line in program.stdout:
            if line.startswith("Segment") and line.split()[-2] == "3":
                break
        program.send_signal(signal.SIGKILL)
    assert program.returncode == -signal.SIGKILL
    with qtbot.waitSignal(dock.loaded, timeout=60_000):
        dock.open_study(path)
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    dock.form.set_recipe(quick_recipe)
    job = dock.run_recipe(until="segment")
    steps: list[Any] = []
    job.succeeded.connect(lambda summary: steps.extend(summary.steps))
    qtbot.waitUntil(lambda: dock.idle, timeout=120_000)
    assert dock.runner.status.text().startswith("Finished")
    segment = next(step for step in steps if step.name == "segment")
    assert 0 < segment.computed <= segment.units - 3
    ours, whole = Study.open(path), Study.open(finished_study)
    assert ours.active["segment"] == whole.active["segment"]
    assert ours.verify() == []
