"""A share of a study's frames, for job arrays: many processes that know nothing of each other compute one each."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_marrow.errors import SettingsError, StudyError
from napari_marrow.pipeline.engine import (
    RunSummary,
    StepSummary,
    compute,
    missing_units,
    recorded,
    steps_until,
)
from napari_marrow.pipeline.executors import Executor, SerialExecutor
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Step, Unit, frame_units, step_keys
from napari_marrow.progress import CancelToken, Progress, no_progress

if TYPE_CHECKING:
    from napari_marrow.study import Study

BLOCK = 12
"""Frames in a row that stay together: those that mend each other (see step *segment*) are in one share."""


@dataclass(frozen=True)
class Share:
    """Which share of how many.

    Attributes
    ----------
    number : int
        From 1.
    of : int
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Return the share that ``"3/10"`` names.

        Raises
        ------
        SettingsError
            If it is not of that form, or the number not from 1 to the last.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise SettingsError(f"'{text}' is no share: give number and total from 1, such as 3/10.")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def units(self, planned: list[Unit], place: Mapping[tuple[str, int, int], int]) -> list[Unit]:
        """Return those of the units that are in the share."""
        return [u for u in planned if place[_block(u)] % self.of == self.number - 1]


def _block(unit: Unit) -> tuple[str, int, int]:
    return unit.position, unit.session, unit.t // BLOCK


def run_share(
    study_path: Path | str,
    share: Share,
    recipe: Recipe | None = None,
    *,
    until: str | None = None,
    executor: Executor | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> RunSummary:
    """Compute a share of the frames of a study, for every step that works frame by frame and has its inputs.

    Steps that look at more than a frame have to be finished, or come later: the share ends before them. Nothing is made
    active; `run` does so when every share has come, and computes what is still missing.

    Parameters
    ----------
    study_path : path
    share : Share
        Frames go to shares in blocks of 12, by turns.
    recipe : Recipe, optional
    until : str, optional
        Last step.
    executor : Executor, optional
        Where the units are computed; in this process by default.
    progress : callable
    cancel : CancelToken, optional

    Returns
    -------
    RunSummary

    Raises
    ------
    StudyLockedError
        If someone writes to the whole study, or the same share is computed on this machine.
    StudyError
        If a step that looks at more than a frame has to be run first.
    """
    from napari_marrow.pipeline.steps import STEPS
    from napari_marrow.study import Study

    recipe, cancel = recipe or Recipe(), cancel or CancelToken()
    executor = executor or SerialExecutor()
    started = time.perf_counter()
    study = Study.open(study_path, mode="a")
    summaries: list[StepSummary] = []
    with study.share_lock(share.number, share.of), closing(executor):
        context = Context(recipe, step_keys(STEPS, recipe, study))
        place = {block: k for k, block in enumerate(dict.fromkeys(_block(u) for u in frame_units(study)))}
        for step in steps_until(STEPS, until):
            if step.by_frame:
                summaries.append(_run_part(study, step, context, share, place, executor, progress, cancel))
            elif not _is_complete(study, step, context):
                if not summaries or until is not None:
                    raise StudyError(
                        f"The step '{step.name}' looks at more than a frame and is not finished: run "
                        f"`marrow run --until {step.name}` first, then the shares."
                    )
                break
    return RunSummary(Path(study_path), recipe.digest, tuple(summaries), time.perf_counter() - started)


def _run_part(
    study: Study,
    step: Step,
    context: Context,
    share: Share,
    place: Mapping[tuple[str, int, int], int],
    executor: Executor,
    progress: Progress,
    cancel: CancelToken,
) -> StepSummary:
    units = share.units(step.plan(study, context), place)
    todo = missing_units(study, step, context, units)
    with recorded(study, step, context, len(units), len(todo), str(share)) as account:
        compute(study, step, context, todo, executor, account, progress, cancel)
    return account.summary()


def _is_complete(study: Study, step: Step, context: Context) -> bool:
    """Whether a step is active under its current key and lacks no unit."""
    if study.active.get(step.name) != context.keys[step.name]:
        return False
    return not missing_units(study, step, context, step.plan(study, context))
