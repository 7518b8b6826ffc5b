"""Verifying a study with what is known of the steps: which step makes a lost result again, and letting it do so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow.errors import MarrowError
from napari_marrow.pipeline.step import Step
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.study.verify import Place, Problem

if TYPE_CHECKING:
    from napari_marrow.study import Study


@dataclass(frozen=True)
class Repair:
    """What was taken out of a study.

    Attributes
    ----------
    again : dict of str to int
        Units that the next run computes, per step.
    left : tuple of Problem
        What no step can make again.
    """

    again: dict[str, int]
    left: tuple[Problem, ...]


def verify_study(study: Study, *, progress: Progress = no_progress, cancel: CancelToken | None = None) -> list[Problem]:
    """Read every file of a study and return what is wrong, each with the step and unit to be run again.

    Beside what `Study.verify` finds, the results of a step that has not ended are compared with its commit records.

    Parameters
    ----------
    study : Study
    progress : callable, optional
    cancel : CancelToken, optional

    Returns
    -------
    list of Problem
    """
    found = study.verify(progress=progress, cancel=cancel)
    known = {problem.path for problem in found}
    found += [problem for problem in _broken_promises(study) if problem.path not in known]
    return sorted((_with_step(problem) for problem in found), key=lambda p: (p.path, p.kind))


def repair(study: Study, problems: Sequence[Problem]) -> Repair:
    """Take damaged and lost results out of a study, with the commit records of their units.

    The next run with the same recipe computes just these units; images, edits and the study's document are left alone.

    Parameters
    ----------
    study : Study
        Opened for writing.
    problems : sequence of Problem
        What `verify_study` found.

    Returns
    -------
    Repair
    """
    again: dict[str, set[tuple[tuple[str, Any], ...]]] = {}
    left = []
    with study.write_lock():
        for problem in problems:
            step = None if problem.place is None else _step_of(problem.place)
            if problem.place is None or (step is None and problem.place.name):
                left.append(problem)
                continue
            commits = [] if step is None else [step.tables[0]]
            units = study.discard(problem, commits=commits, with_it=[] if step is None else step.tables)
            if step is not None:
                again.setdefault(step.name, set()).update(tuple(sorted(unit.items())) for unit in units)
    return Repair({step: len(units) for step, units in again.items()}, tuple(left))


def _step_of(place: Place) -> Step | None:
    """Return the step that makes a result; of two that share a table, the one that computes it."""
    from napari_marrow.pipeline.steps import STEPS

    if place.kind == "labels":
        return next((step for step in STEPS if place.name in step.labels), None)
    return next((step for step in STEPS if place.name in {*step.tables, *step.unit_tables}), None)


def _with_step(problem: Problem) -> Problem:
    step = None if problem.place is None else _step_of(problem.place)
    if problem.place is None or step is None:
        return problem
    where = " ".join(_words(dict(problem.place.unit))) or "the whole study"
    return replace(problem, remedy=f"{problem.remedy} (step {step.name}, {where})")


def _words(unit: Mapping[str, Any]) -> Iterator[str]:
    if "position" in unit:
        yield str(unit["position"])
    if "session" in unit:
        yield f"session {unit['session']}"
    if "t" in unit:
        yield f"frame {unit['t']}"


def _broken_promises(study: Study) -> Iterator[Problem]:
    """Yield the tables' parts and label images that commit records vouch for and that are not there."""
    from napari_marrow.pipeline.steps import STEPS

    for step in STEPS:
        for key in study.keys_of_table(step.tables[0]):
            units = study.units_with_part(step.tables[0], key)
            if step.stands_for:  # its table is another step's
                continue
            yield from _lost_parts(study, step, key, units)
            yield from _lost_labels(study, step, key, units)


def _lost_parts(study: Study, step: Step, key: str, units: list[dict[str, Any]]) -> Iterator[Problem]:
    for table in step.unit_tables:
        have = {tuple(unit.items()) for unit in study.units_with_part(table, key)}
        for unit in units:
            if tuple(unit.items()) not in have:
                path = study.part_file(table, key, unit)
                yield _lost(
                    study, path, "its unit's commit record is there, this part is not", "tables", table, key, unit
                )


def _lost_labels(study: Study, step: Step, key: str, units: list[dict[str, Any]]) -> Iterator[Problem]:
    for unit in units if step.labels and step.by_frame else ():
        try:
            names = step.label_images(study, key, unit)
            position, session, t = unit["position"], unit["session"], unit["t"]
            files = [(name, study.label_file(name, key, position, session, t)) for name in names]
        except (MarrowError, KeyError):  # a damaged record, or one of a session that is gone, is reported as such
            continue
        for name, file in files:
            if not file.is_file():
                yield _lost(
                    study, file, "its unit's commit record is there, these labels are not", "labels", name, key, unit
                )


def _lost(study: Study, path: Path, what: str, kind: str, name: str, key: str, unit: Mapping[str, Any]) -> Problem:
    from napari_marrow.study.verify import AGAIN

    place = Place(kind, name, key, tuple(unit.items()))
    return Problem(path.relative_to(study.path).as_posix(), "missing", what, AGAIN[kind], place)
