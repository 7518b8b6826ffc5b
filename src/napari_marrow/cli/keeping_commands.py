"""Commands that keep a study sound: verify, status, gc."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_marrow.cli.console import working

if TYPE_CHECKING:
    from rich.table import Table

    from napari_marrow.pipeline.status import Board, Field

Study = Annotated[Path, typer.Argument(help="The study, a *.marrow folder.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("verify", rich_help_panel="Study")(verify)
    app.command("status", rich_help_panel="Study")(status)
    app.command("gc", rich_help_panel="Study")(gc)


def verify(
    study: Study,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Take damaged and lost results out, so that the next run computes just these again."
        ),
    ] = False,
) -> None:
    """Read every byte again and report what is damaged, missing or orphaned, and which step to run again."""
    from napari_marrow.errors import CorruptDataError
    from napari_marrow.pipeline.verification import repair as repair_study
    from napari_marrow.pipeline.verification import verify_study
    from napari_marrow.study import Study as StudyStore

    store = StudyStore.open(study, mode="a" if repair else "r")
    with working() as (progress, cancel):
        problems = verify_study(store, progress=progress, cancel=cancel)
    for problem in problems:
        typer.echo(str(problem))
    if not problems:
        typer.echo(f"'{study}' is sound.")
        return
    if not repair:
        raise CorruptDataError(f"{len(problems)} problem(s) in '{study}'.")
    result = repair_study(store, problems)
    for step, units in result.again.items():
        typer.echo(f"Taken out: {units} unit(s) of step {step}. Run `marrow run` with the same recipe.")
    if result.left:
        raise CorruptDataError(f"{len(result.left)} problem(s) in '{study}' are not of results: see above.")


def status(
    study: Study,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe (YAML); by default that of the last run.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the board as JSON.")] = False,
) -> None:
    """Show how far each step is for each session (done, stale, failed, missing), and how well it is registered."""
    from dataclasses import asdict

    from napari_marrow.pipeline import load_recipe
    from napari_marrow.pipeline.status import status as status_of
    from napari_marrow.study import Study as StudyStore

    board = status_of(StudyStore.open(study), load_recipe(recipe) if recipe is not None else None)
    if as_json:
        typer.echo(json.dumps(_without_nan(asdict(board)), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print_board(board)


def _print_board(board: Board) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, 220)  # a column per step, whole words; a pipe has no width
    table = Table("position", "session", *board.keys, box=None, title=f"recipe {board.recipe}", title_justify="left")
    rows: dict[tuple[str, int], list[Field]] = {}
    for field in board.fields:
        rows.setdefault((field.position, field.session), []).append(field)
    for (position, session), fields in rows.items():
        table.add_row(position, str(session), *(_cell(field) for field in fields))
    console.print(table)
    for reason in dict.fromkeys(f"{f.step}: {f.reason}" for f in board.fields if f.reason):
        console.print(reason, highlight=False, markup=False)
    console.print("stale: results of other parameters or inputs only; n/m: units done; -: nothing to do", style="dim")
    if board.placed:
        console.print(_placings(board))
        console.print("residual: median displacement of blocks of the image, µm, once it is registered", style="dim")
    for sentence in board.swapped:
        console.print(sentence, highlight=False, markup=False)


def _placings(board: Board) -> Table:
    from rich.table import Table

    table = Table(
        "position", "session", "on the first session", "residual", "frames placed", "longest drift",
        "residual of a frame (median)", "worst frame", box=None, title="registration, µm", title_justify="left",
    )  # fmt: skip
    for p in board.placed:
        first = math.isnan(p.residual_um) and p.accepted
        table.add_row(
            p.position,
            str(p.session),
            "-" if first else "placed" if p.accepted else "[red]refused[/red]",
            _micrometres(p.residual_um),
            f"{p.frames_placed}/{p.frames}",
            _micrometres(p.drift_um),
            _micrometres(p.drift_residual_um),
            "-" if p.worst_frame < 0 else f"{p.worst_frame}: {p.worst_residual_um:.2f}",
        )
    return table


def _micrometres(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _without_nan(value: Any) -> Any:
    """Return plain values with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _cell(field: Field) -> str:
    colours = {"done": "green", "stale": "yellow", "failed": "red", "missing": "", "nothing": "dim"}
    word = {"nothing": "-"}.get(field.state, field.state)
    if field.state == "missing" and field.done:
        word = f"{field.done}/{field.units}"
    colour = colours[field.state]
    return f"[{colour}]{word}[/{colour}]" if colour else word


def gc(
    study: Study,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="Only the result of this key; may be repeated.", show_default=False),
    ] = None,
) -> None:
    """List results that nothing uses, with their size, and remove them after asking."""
    from rich.console import Console
    from rich.table import Table

    from napari_marrow.errors import SettingsError
    from napari_marrow.pipeline.status import awaited_keys
    from napari_marrow.pipeline.steps import STEPS
    from napari_marrow.study import Study as StudyStore

    store = StudyStore.open(study, mode="a")
    results = store.unused_results()
    unknown = next((k for k in key or () if k not in {r.key for r in results}), None)
    if unknown is not None:
        raise SettingsError(f"'{study}' has no unused result '{unknown}': `marrow gc` without --key lists them.")
    if key:
        results = [r for r in results if r.key in key]
    elif results:
        awaited = awaited_keys(store)
        waiting = [r.key for r in results if r.key in awaited]
        results = [r for r in results if r.key not in awaited]
        if waiting:
            typer.echo(
                f"Kept for `marrow run`, which would go on from them (--key removes them): {', '.join(waiting)}."
            )
    if store.has_leftovers():
        typer.echo(f"Removed what an interrupted removal had left: {_size(store.remove_results([]))}.")
    if not results:
        typer.echo(f"'{study}' holds no results that nothing uses.")
        return
    table = Table("key", "step", "last run", "tables", "labels", "files", "size", box=None)
    for r in results:
        last = f"{r.utc[:16]} {r.status.split(':')[0]}".strip() or "none on record"
        table.add_row(
            r.key, r.step or "-", last, ", ".join(r.tables), ", ".join(r.labels), str(r.files), _size(r.bytes)
        )
    console = Console()
    console.width = max(console.width, 130)
    console.print(table)
    total = _size(sum(r.bytes for r in results))
    if not yes and not typer.confirm(f"Remove {len(results)} result(s), {total}?"):
        typer.echo("Nothing was removed.")
        return
    freed = store.remove_results(results, first=[step.tables[0] for step in STEPS])
    typer.echo(f"Removed {len(results)} result(s), {_size(freed)}.")


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"
