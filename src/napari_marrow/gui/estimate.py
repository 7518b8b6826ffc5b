"""What a run will take: time from how fast earlier runs of this study were, memory and disk from its frames. No Qt."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow.gui.pace import duration

if TYPE_CHECKING:
    from napari_marrow.pipeline.recipe import Recipe
    from napari_marrow.study import Study

_BASE_BYTES = 0.65e9
"""Resident memory of a run on frames that are small (`benchmarks/memory.py`: 630 to 697 MB on 512 x 512)."""
_PLANE_BYTES = 60
"""Bytes per pixel of a plane beside the channels: flows, probability, followed positions, labels."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes
    ----------
    units : int
        Units that are still to be computed, of the steps whose units are known.
    seconds : float or None
        None where no earlier run of this study tells how fast a step is.
    memory, disk, free : float
        Bytes: resident memory at most, what will be written, and what is free where the study lies.
    """

    units: int
    seconds: float | None
    memory: float
    disk: float
    free: float

    def __str__(self) -> str:
        if not self.units:
            return "Everything is computed for this recipe."
        time = f"about {duration(self.seconds)}" if self.seconds is not None else "time known once it has run a little"
        text = f"{time}, {_bytes(self.memory)} memory, {_bytes(self.disk)} on disk ({_bytes(self.free)} free)."
        return text[0].upper() + text[1:]


def estimate(path: Path | str, recipe: Recipe) -> Estimate:
    """Estimate what a recipe still has to compute on a study.

    Parameters
    ----------
    path : path
    recipe : Recipe
    """
    from napari_marrow.pipeline.step import Context, step_keys
    from napari_marrow.pipeline.steps import STEPS
    from napari_marrow.study import Study

    study = Study.open(path)
    keys = step_keys(STEPS, recipe, study)
    context = Context(recipe, keys)
    speed = _seconds_per_unit(study.runs())
    frames = len(study.frames())
    units, seconds = 0, 0.0
    known = True
    for step in STEPS:
        if step.stands_for and keys[step.name] == keys[step.stands_for]:
            continue  # its results are those of the other step
        planned = len(step.plan(study, context))
        if not planned and study.active.get(step.name) != keys[step.name]:
            if step.name in study.active and step.name not in speed:
                continue  # it had nothing to do before
            planned = frames if step.name == "measure" else 1  # not known before the steps that it reads have run
        todo = max(planned - len(study.committed(step.tables[0], keys[step.name])), 0)
        units += todo
        known &= not todo or step.name in speed
        seconds += todo * speed.get(step.name, 0.0)
    segmented = len(study.committed("segmentation", keys["segment"]))
    image = max((study.image(p, s) for p in study.positions for s in study.sessions(p)), key=lambda i: i.shape[3])
    _, channels, planes, height, width = image.shape
    memory = _BASE_BYTES + height * width * (_PLANE_BYTES + 8 * channels * (planes if planes > 1 else 1))
    disk = (frames - segmented) * _bytes_per_frame(study, height * width * planes)
    return Estimate(units, seconds if known else None, memory, disk, float(shutil.disk_usage(study.path).free))


def _seconds_per_unit(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return how long a unit of each step took in the last run that computed some."""
    found: dict[str, float] = {}
    for run in runs:
        computed = int(run["info"].get("computed", 0) or 0)
        if computed and run["info"].get("status") in ("finished", "cancelled"):
            found[str(run["step"])] = float(run["info"].get("seconds", 0.0)) / computed
    return found


def _bytes_per_frame(study: Study, pixels: int) -> float:
    """Return what labels and tables of a frame take: as earlier results do, or a fortieth of the plain labels."""
    tables = study.path / "tables"
    done = len(study.committed("segmentation", study.active["segment"])) if "segment" in study.active else 0
    if not done:
        return 4 * pixels / 40
    sizes = [_size(Path(folder, name)) for folder, _, names in os.walk(tables) for name in names]
    labels = [folder for folder in (study.path / "images.ome.zarr").glob("*/*/*/labels/*") if folder.is_dir()]
    sizes += [_size(Path(f, name)) for folder in labels for f, _, names in os.walk(folder) for name in names]
    return sum(sizes) / done


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _bytes(value: float) -> str:
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{max(value, 1e6) / 1e6:.0f} MB"
