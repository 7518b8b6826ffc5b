"""Run a recipe on a study: plan, compute what is missing, commit, make active."""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow import __version__
from napari_marrow.errors import Cancelled, SettingsError
from napari_marrow.pipeline.executors import Executor, SerialExecutor
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, step_keys
from napari_marrow.progress import CancelToken, Progress, no_progress

if TYPE_CHECKING:
    from napari_marrow.study import Study


@dataclass(frozen=True)
class StepSummary:
    """What one step did in a run.

    Attributes
    ----------
    name, key : str
        The step and the hash of what its results depend on.
    units, computed : int
        Units of the step, and how many of them had to be computed (the others were found finished).
    seconds : float
        Wall time.
    counts : dict
        Totals over the computed units (cells, tracks, ...).
    notes : tuple of str
        What the user should know.
    """

    name: str
    key: str
    units: int
    computed: int
    seconds: float
    counts: Counts = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunSummary:
    """What a run did."""

    study: Path
    recipe_digest: str
    steps: tuple[StepSummary, ...]
    seconds: float

    @property
    def notes(self) -> list[str]:
        """Notes of all steps."""
        return [note for step in self.steps for note in step.notes]


def run(
    study_path: Path | str,
    recipe: Recipe | None = None,
    *,
    until: str | None = None,
    executor: Executor | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> RunSummary:
    """Run a recipe on a study; what an earlier run finished under the same parameters is not computed again.

    Parameters
    ----------
    study_path : path
        The ``*.marrow`` folder.
    recipe : Recipe, optional
        Every default when left out.
    until : str, optional
        Name of the last step to run; a step that puts edits into its result runs with it.
    executor : Executor, optional
        Where units are computed; in this process by default.
    progress : callable
        Called as ``progress(done, total, step title)`` after each unit.
    cancel : CancelToken, optional
        Asks to stop; what is committed stays and the next run continues.

    Returns
    -------
    RunSummary

    Raises
    ------
    StudyLockedError
        If another process is writing to the study.
    SettingsError
        If `until` is no step.
    Cancelled
        If `cancel` was set.
    """
    from napari_marrow.pipeline.steps import STEPS
    from napari_marrow.study import Study

    recipe = recipe or Recipe()
    cancel = cancel or CancelToken()
    steps = steps_until(STEPS, until)
    started = time.perf_counter()
    study = Study.open(study_path, mode="a")
    executor = executor or SerialExecutor()
    with study.write_lock(), closing(executor):
        context = Context(recipe, step_keys(steps, recipe, study))
        study.state_recipe(recipe.model_dump(mode="json"))
        summaries = [_run_step(study, step, context, executor, progress, cancel) for step in steps]
    return RunSummary(Path(study_path), recipe.digest, tuple(summaries), time.perf_counter() - started)


def steps_until(steps: Sequence[Step], until: str | None) -> list[Step]:
    """Return the steps up to the named one, all without a name."""
    names = [step.name for step in steps]
    if until is None:
        return list(steps)
    if until not in names:
        raise SettingsError(f"There is no step '{until}': choose one of {', '.join(names)}.")
    last = names.index(until)
    # the edited tracks are the tracks: a run up to "track" does not leave the edits out
    while last + 1 < len(steps) and steps[last + 1].stands_for == until:
        last += 1
    return list(steps[: last + 1])


def _own_tables(step: Step, context: Context) -> dict[str, str]:
    """Return the tables that a step makes active: not those that a later one will put edits into.

    A run that is stopped between the two then never leaves tables active that lack a person's edits.
    """
    from napari_marrow.pipeline.steps import STEPS

    key = context.keys[step.name]
    edited = {
        name
        for later in STEPS
        if later.stands_for == step.name and context.keys.get(later.name, key) != key
        for name in later.tables
    }
    return {name: key for name in step.tables if name not in edited}


def _run_step(
    study: Study, step: Step, context: Context, executor: Executor, progress: Progress, cancel: CancelToken
) -> StepSummary:
    """Compute what a step lacks, tie it together and make it active."""
    units = step.plan(study, context)
    todo = missing_units(study, step, context, units)
    with recorded(study, step, context, len(units), len(todo)) as account:
        compute(study, step, context, todo, executor, account, progress, cancel)
        account.notes = step.finalize(study, context, len(todo))
        key = context.keys[step.name]
        study.set_active({step.name: key}, tables=_own_tables(step, context))
    return account.summary()


@dataclass
class Account:
    """What is known of a step while it runs."""

    step: str
    key: str
    units: int
    todo: int
    counts: Counter[str] = field(default_factory=Counter)
    done: int = 0
    notes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def summary(self) -> StepSummary:
        """Return it as the user sees it."""
        seconds = time.perf_counter() - self.started
        return StepSummary(self.step, self.key, self.units, self.todo, seconds, dict(self.counts), tuple(self.notes))


def missing_units(study: Study, step: Step, context: Context, units: Sequence[Unit]) -> list[Unit]:
    """Return the units that are not finished."""
    key = context.keys[step.name]
    finished = _finished(study, step, key)
    return [u for u in units if _name(u.as_dict()) not in finished or not step.covers(study, key, u)]


def compute(
    study: Study,
    step: Step,
    context: Context,
    todo: Sequence[Unit],
    executor: Executor,
    account: Account,
    progress: Progress,
    cancel: CancelToken,
) -> None:
    """Compute and commit units where the executor says, and keep account of them."""
    chains: dict[Any, list[Unit]] = {}
    for unit in todo:
        chains.setdefault(step.chain(unit, context), []).append(unit)
    found = account.units - len(todo)
    progress(found, account.units, step.title)
    if isinstance(executor, SerialExecutor):
        work = partial(_run_unit, study, step, context, cancel)
    else:
        work = partial(_run_unit_elsewhere, str(study.path), step.name, context)
    for result in executor.run(work, list(chains.values()), cancel):
        account.counts.update(result)
        account.done += 1
        progress(found + account.done, account.units, step.title)


@contextmanager
def recorded(study: Study, step: Step, context: Context, units: int, todo: int, share: str = "") -> Iterator[Account]:
    """Write down how a step was run and how it ended, if there was anything to do."""
    account = Account(step.name, context.keys[step.name], units, todo)
    status, failed = "cancelled", {}
    try:
        yield account
        status = "finished"
    except BaseException as error:
        status = "cancelled" if isinstance(error, Cancelled | KeyboardInterrupt) else f"failed: {error}"
        failed = failed_unit(error)
        raise
    finally:
        if todo:
            about = {
                "status": status,
                "failed_unit": failed,
                "units": units,
                "computed": account.done,
                "counts": dict(account.counts),
                "notes": account.notes,
                "seconds": round(time.perf_counter() - account.started, 3),
                **({"share": share} if share else {}),
            }
            _record(study, step, context, about, share.replace("/", "of"))


def _finished(study: Study, step: Step, key: str) -> set[tuple[tuple[str, Any], ...]]:
    """Return the units that have everything: the commit record, and a part of each table that goes with it.

    Of results that were complete once the records need not be opened: what is lost since shows by its name.
    """
    complete = study.active.get(step.name) == key
    units = study.units_with_part(step.tables[0], key) if complete else study.committed(step.tables[0], key)
    found = {_name(unit) for unit in units}
    for table in step.unit_tables:
        if table != step.tables[0]:
            found &= {_name(unit) for unit in study.units_with_part(table, key)}
    return found


def _is_finished(study: Study, step: Step, key: str, unit: Unit) -> bool:
    tables = {step.tables[0], *step.unit_tables}
    return all(study.has_record(table, key, unit.as_dict()) for table in tables) and step.covers(study, key, unit)


def _name(unit: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(unit.items()))


def _run_unit(study: Study, step: Step, context: Context, cancel: CancelToken, unit: Unit) -> Counts:
    with _naming(unit):
        return step.run_unit(study, unit, context, cancel)


_FAILED = "failed unit: "


@contextmanager
def _naming(unit: Unit) -> Iterator[None]:
    """Let an error say which unit it came from, also over the border of a process."""
    try:
        yield
    except Exception as error:
        error.add_note(_FAILED + json.dumps(unit.as_dict()))
        raise


def failed_unit(error: BaseException) -> dict[str, Any]:
    """Return the unit whose computation raised an error, empty where it is none's."""
    notes = [note for note in getattr(error, "__notes__", []) if note.startswith(_FAILED)]
    return dict(json.loads(notes[0][len(_FAILED) :])) if notes else {}


def _run_unit_elsewhere(study_path: str, step_name: str, context: Context, unit: Unit) -> Counts:
    from napari_marrow.pipeline.steps import STEPS

    step = next(step for step in STEPS if step.name == step_name)
    study = _worker_study(study_path)
    if _is_finished(study, step, context.keys[step.name], unit):
        return {}  # a worker that died after it had committed it: it is not computed twice
    return _run_unit(study, step, context, CancelToken(), unit)


@lru_cache(maxsize=2)
def _worker_study(study_path: str) -> Study:
    from napari_marrow.study import Study

    return Study.open(study_path, mode="a")


def _record(study: Study, step: Step, context: Context, about: Mapping[str, Any], part: str) -> None:
    study.record_run(
        step.name,
        context.keys[step.name],
        {
            **about,
            "recipe": context.recipe.model_dump(mode="json"),
            "recipe_digest": context.recipe.digest,
            "config": step.config(context.recipe),
            "reads": {name: context.keys[name] for name in step.reads},
            "versions": software_versions(),
        },
        f"share{part}" if part else "",
    )


@lru_cache(maxsize=1)
def software_versions() -> dict[str, str]:
    """Return the versions that a result depends on: this package, Python, and the libraries that compute."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"napari-marrow": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in (
        "numpy",
        "scipy",
        "scikit-image",
        "numba",
        "openvino",
        "zarr",
        "pandas",
        "pyarrow",
        "cellpose",
    ):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
