"""Frames judged right after an import, so that a bad session is noticed while the plate is still on the microscope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from napari_marrow.pipeline.engine import missing_units, recorded, run, steps_until
from napari_marrow.pipeline.recipe import Recipe, parse_recipe
from napari_marrow.pipeline.step import Context, Unit, step_keys
from napari_marrow.progress import CancelToken, Progress, no_progress

if TYPE_CHECKING:
    from napari_marrow.imaging import SessionQuality
    from napari_marrow.ingest.plan import PlannedSession
    from napari_marrow.pipeline.executors import Executor
    from napari_marrow.study import Study


@dataclass(frozen=True)
class SessionFlags:
    """The quality of one session.

    Attributes
    ----------
    position, session : str, int
    frames : int
    flags : dict of str to tuple of int
        Flag → the frames that have it.
    """

    position: str
    session: int
    frames: int
    flags: dict[str, tuple[int, ...]]

    def __str__(self) -> str:
        said = "; ".join(f"{name.replace('_', ' ')}: {_ranges(t)}" for name, t in self.flags.items())
        return f"{self.position} session {self.session}: {said or 'no flags'}"


class ImportedFrames:
    """Measures frames while an import holds them in memory: the `observe` of `import_files`.

    Sessions of which an earlier, interrupted import wrote frames stay incomplete here, and are measured by reading.
    """

    def __init__(self) -> None:
        self._sessions: dict[Unit, SessionQuality] = {}
        self._lock = Lock()

    def __call__(self, plan: PlannedSession, t: int, frame: npt.NDArray[Any]) -> None:
        """Measure a frame."""
        from napari_marrow.imaging import SessionQuality

        unit = Unit(plan.position, plan.session)
        with self._lock:
            if unit not in self._sessions:
                self._sessions[unit] = SessionQuality(plan.channels, (plan.spacing[1], plan.spacing[2]), plan.shape[0])
        self._sessions[unit].add(t, float(plan.time_s[t]), frame)

    def complete(self) -> dict[Unit, SessionQuality]:
        """Return the sessions of which every frame was measured."""
        return {unit: quality for unit, quality in self._sessions.items() if quality.complete}


def judge_frames(
    study_path: Path | str,
    *,
    measured: ImportedFrames | None = None,
    executor: Executor | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> list[SessionFlags]:
    """Run the step *quality* on what is new in a study, and return the flags of all sessions.

    A later `run` finds its results and does not compute them again; the recipe of the last run stays the study's.

    Parameters
    ----------
    study_path : path
    measured : ImportedFrames, optional
        What was measured during the import; those frames are not read again.
    executor, progress, cancel : optional
        See `run`.
    """
    from napari_marrow.study import Study

    stated = Study.open(study_path).stated_recipe
    recipe = None if stated is None else parse_recipe(stated[0])
    if measured is not None:
        _commit(study_path, recipe or Recipe(), measured.complete())
    run(study_path, recipe, until="quality", executor=executor, progress=progress, cancel=cancel)
    return flags_of(Study.open(study_path))


def _commit(study_path: Path | str, recipe: Recipe, measured: dict[Unit, SessionQuality]) -> None:
    """Commit the step's units of sessions that were measured during the import."""
    from napari_marrow.pipeline.steps import STEPS
    from napari_marrow.pipeline.steps.quality import QualityStep
    from napari_marrow.study import Study

    study = Study.open(study_path, mode="a")
    with study.write_lock():
        context = Context(recipe, step_keys(steps_until(STEPS, QualityStep.name), recipe, study))
        step = QualityStep()
        todo = [unit for unit in missing_units(study, step, context, step.plan(study, context)) if unit in measured]
        with recorded(study, step, context, len(todo), len(todo)) as account:
            for unit in todo:
                account.counts.update(step.commit_flags(study, unit, context, measured[unit]))
                account.done += 1


def flags_of(study: Study) -> list[SessionFlags]:
    """Return the flags of every session that was judged."""
    if not study.has_table("quality"):
        return []
    table = study.table("quality")
    table["flags"] = table["flags"].fillna("").astype(str)
    found = []
    for position, session in sorted(set(zip(table["position"], table["session"], strict=True))):
        rows = table[(table["position"] == position) & (table["session"] == session)]
        flags: dict[str, list[int]] = {}
        for t, names in zip(rows["t"], rows["flags"], strict=True):
            for name in filter(None, names.split(",")):
                flags.setdefault(name, []).append(int(t))
        found.append(SessionFlags(str(position), int(session), len(rows), {k: tuple(v) for k, v in flags.items()}))
    return found


def _ranges(frames: Sequence[int]) -> str:
    """Return ``"frames 3, 5-9"``."""
    parts: list[list[int]] = []
    for t in frames:
        if parts and t == parts[-1][1] + 1:
            parts[-1][1] = t
        else:
            parts.append([t, t])
    named = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)
    return f"frame{'s' if len(frames) > 1 else ''} {named}"
