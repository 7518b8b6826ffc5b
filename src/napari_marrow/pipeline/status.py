"""How far a study is: a board of position x session x step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from napari_marrow.errors import MarrowError
from napari_marrow.pipeline.recipe import Recipe, parse_recipe
from napari_marrow.pipeline.step import Context, Step, Unit, step_keys

if TYPE_CHECKING:
    from napari_marrow.study import Study

State = Literal["done", "stale", "failed", "missing", "nothing"]


@dataclass(frozen=True)
class Field:
    """How far one step is for one session of one position.

    Attributes
    ----------
    position : str
    session : int
    step : str
    state : {"done", "stale", "failed", "missing", "nothing"}
        Stale: there are results of other parameters or other inputs only. Nothing: the step has nothing to do there.
    done, units : int
        Units that concern the session, and how many of them are committed under the current key; a unit of the whole
        study concerns every session.
    reason : str
        Of a failure.
    """

    position: str
    session: int
    step: str
    state: State
    done: int
    units: int
    reason: str = ""


@dataclass(frozen=True)
class Placing:
    """How a session was placed on the first one, and its frames on its first frame.

    Attributes
    ----------
    position : str
    session : int
    accepted : bool
        Whether identity may be carried over to it; the first session of a position always is.
    residual_um : float, µm
        What is left between the sessions: median displacement of blocks; NaN for the first session.
    frames : int
    frames_placed : int
        Frames whose place on the first session was found.
    drift_um : float, µm
        Longest way of a frame from where the session began.
    drift_residual_um : float, µm
        Median over the frames of what is left in a frame; NaN where it was not measured.
    worst_residual_um, worst_frame : float, int
        The largest of these and its frame; NaN and -1 where it was not measured.
    """

    position: str
    session: int
    accepted: bool
    residual_um: float
    frames: int
    frames_placed: int
    drift_um: float
    drift_residual_um: float
    worst_residual_um: float
    worst_frame: int


@dataclass(frozen=True)
class Board:
    """The state of every step for every session under a recipe.

    Attributes
    ----------
    recipe : str
        Digest of the recipe.
    keys : dict of str to str
        Current key of each step.
    fields : tuple of Field
        By position, session and step.
    placed : tuple of Placing
        By position and session, of those that are registered under the current key.
    swapped : tuple of str
        Wells whose images fit the past of another well, a sentence each.
    """

    recipe: str
    keys: dict[str, str]
    fields: tuple[Field, ...]
    placed: tuple[Placing, ...] = ()
    swapped: tuple[str, ...] = ()


def status(study: Study, recipe: Recipe | None = None) -> Board:
    """Return how far each step is for each session.

    Parameters
    ----------
    study : Study
    recipe : Recipe, optional
        By default the one of the last run, or every default where nothing was run.

    Returns
    -------
    Board

    Raises
    ------
    StudyError
        If the study holds no images.
    """
    from napari_marrow.pipeline.steps import STEPS
    from napari_marrow.pipeline.steps.swapped_wells import TABLE as WELL_MATCHES
    from napari_marrow.pipeline.steps.swapped_wells import from_table

    runs = study.runs()
    recipe = recipe or current_recipe(study)
    keys = step_keys(STEPS, recipe, study)
    context = Context(recipe, keys)
    places = [(p, s) for p in study.positions for s in study.sessions(p)]
    last = {(run["step"], run["key"]): run["info"] for run in runs}
    columns = {
        step.name: _column(study, step, context, places, last.get((step.name, keys[step.name]), {})) for step in STEPS
    }
    fields = [columns[step.name][place] for place in places for step in STEPS]
    key = keys["register"]
    matches = from_table(study.table(WELL_MATCHES, key)) if study.has_table(WELL_MATCHES, key) else []
    swapped = [well for well in matches if (well.position, well.session) in places]  # not of one removed since
    return Board(recipe.digest, keys, tuple(fields), tuple(_placings(study, key)), tuple(map(str, swapped)))


def _placings(study: Study, key: str) -> Iterator[Placing]:
    """Yield how each session was registered, of those that were."""
    if not study.has_table("transforms", key):
        return
    table = study.table("transforms", key)
    for _, rows in table.groupby(["position", "session"], sort=True):
        position, session = str(rows["position"].iloc[0]), int(rows["session"].iloc[0])
        is_first = session == table.loc[table["position"] == position, "session"].min()
        start = rows.loc[rows["t"].idxmin()]
        # the way within the session: the place between sessions moves all of its frames alike
        way = np.linalg.solve(
            start[["m00", "m01", "m10", "m11"]].to_numpy(float).reshape(2, 2),
            (rows[["ty", "tx"]] - start[["ty", "tx"]]).to_numpy(float).T,
        )
        left = rows["drift_residual"] if "drift_residual" in rows else pd.Series(np.nan, index=rows.index)
        left = left[rows["t"] > start["t"]].dropna()
        yield Placing(
            position=position,
            session=session,
            accepted=bool(start["accepted"]) or is_first,
            residual_um=float("nan") if is_first else float(start["residual"]),
            frames=len(rows),
            frames_placed=int(rows["accepted"].sum()),
            drift_um=float(np.hypot(*way).max()),
            drift_residual_um=float(left.median()) if left.size else float("nan"),
            worst_residual_um=float(left.max()) if left.size else float("nan"),
            worst_frame=int(rows["t"].to_numpy()[rows.index.get_loc(left.idxmax())]) if left.size else -1,
        )


def awaited_keys(study: Study) -> set[str]:
    """Return the keys of the steps under the recipe of the last run: the next run goes on from results of these.

    Empty where that cannot be said, for instance because the network that it names is gone.
    """
    from napari_marrow.pipeline.steps import STEPS

    try:
        return set(step_keys(STEPS, current_recipe(study), study).values())
    except MarrowError:
        return set()


def current_recipe(study: Study) -> Recipe:
    """Return the recipe that the study was last run with, whether or not that run had anything to compute."""
    runs, stated = study.runs(), study.stated_recipe
    if stated is not None and stated[1] >= max((int(run.get("number", 0)) for run in runs), default=0):
        with suppress(MarrowError):  # one of another version
            return parse_recipe(stated[0])
    return last_recipe(runs)


def last_recipe(runs: list[dict[str, Any]]) -> Recipe:
    """Return the recipe of the last run that this version understands, every default where there is none.

    Parameters
    ----------
    runs : list of dict
        As `Study.runs` returns them.
    """
    for run in reversed(runs):
        try:
            return parse_recipe(run["info"]["recipe"])
        except (MarrowError, KeyError, TypeError):  # one of another version
            continue
    return Recipe()


def _column(
    study: Study, step: Step, context: Context, places: list[tuple[str, int]], last: Mapping[str, Any]
) -> dict[tuple[str, int], Field]:
    """Return one step's fields by position and session."""
    key = context.keys[step.name]
    complete = study.active.get(step.name) == key
    units = [unit.as_dict() for unit in step.plan(study, context)]
    committed = {_name(unit) for unit in study.units_with_part(step.tables[0], key)}
    others = {
        _name(unit)
        for other in study.keys_of_table(step.tables[0])
        if other != key
        for unit in study.units_with_part(step.tables[0], other)
    }
    failed = Unit(**last.get("failed_unit", {})).as_dict() if str(last.get("status", "")).startswith("failed") else None
    count: dict[tuple[str, int], list[int]] = {place: [0, 0] for place in places}
    for unit in units:
        for place in _concerned(unit, count):
            count[place][0] += 1
            count[place][1] += _name(unit) in committed
    old = {place for unit in others for place in _concerned(dict(unit), count)}
    result = {}
    for place, (planned, done) in count.items():
        state: State = "missing"
        if planned and done == planned:
            state = "done"
        elif not planned and complete:
            state = "nothing"
        elif failed is not None and place in _concerned(failed, count) and _name(failed) not in committed:
            state = "failed"
        elif place in old and not done:
            state = "stale"
        reason = str(last.get("status", "")) if state == "failed" else ""
        result[place] = Field(*place, step.name, state, done, planned, reason)
    return result


def _concerned(unit: Mapping[str, Any], places: Mapping[tuple[str, int], Any]) -> list[tuple[str, int]]:
    """Return the sessions that a unit is of."""
    if "position" in unit and "session" in unit:
        place = (unit["position"], unit["session"])
        return [place] if place in places else []
    return [(p, s) for p, s in places if unit.get("position", p) == p and unit.get("session", s) == s]


def _name(unit: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(unit.items()))
