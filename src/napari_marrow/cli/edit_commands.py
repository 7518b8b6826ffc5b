"""Commands that list, make, undo and redo edits of a study's tracks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from napari_marrow.study.edits import Entry

edits = typer.Typer(
    help="Edits of tracks, colonies and labels: list, apply, undo, redo. `marrow run` brings them into the results.",
    no_args_is_help=True,
)
Study = Annotated[Path, typer.Argument(help="The study, a *.marrow folder.", show_default=False)]
Author = Annotated[str | None, typer.Option(help="Who edits; by default the user's name on this machine.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(edits, name="edits", rich_help_panel="Study")


@edits.command("list")
def list_edits(study: Study) -> None:
    """Show the edits that stand, oldest first."""
    from napari_marrow.study import Study as StudyStore

    standing = StudyStore.open(study).edits().standing()
    for entry in standing:
        typer.echo(f"{entry.number}  {entry.utc}  {entry.author}  {_words(entry)}")
    if not standing:
        typer.echo("No edit stands.")


@edits.command("apply")
def apply_edits(
    study: Study,
    file: Annotated[
        Path, typer.Argument(help="YAML list or JSON Lines of edits, or an edited GEFF graph.", show_default=False)
    ],
    position: Annotated[str | None, typer.Option(help="Of a graph: whose tracks it holds.")] = None,
    author: Author = None,
) -> None:
    """Check the edits of a file and keep them all, or none.

    An edit is a mapping: position, action (break, link, swap, divide, merge, delete, relabel, confirm), and its nodes
    as [session, frame, label]: {position: B02_f00, action: link, parent: [0, 3, 17], child: [0, 4, 21]}. With
    "target: colonies" the nodes are [session, frame, colony].

    Of a graph that `marrow export --as geff` wrote and another program changed, what it has otherwise becomes edits.
    """
    made = _of_graph(study, file, position, author) if file.suffix == ".geff" else _of_file(study, file, author)
    if made:
        typer.echo(f"{len(made)} edit(s) kept: `marrow run {study}` brings them into the results.")


def _of_file(study: Path, file: Path, author: str | None) -> list[Entry]:
    from napari_marrow.pipeline.edits import edit_study, read_edits

    return edit_study(study, read_edits(file), author=author)


def _of_graph(study: Path, folder: Path, position: str | None, author: str | None) -> list[Entry]:
    from napari_marrow.errors import SettingsError
    from napari_marrow.pipeline.graph_edits import edit_study_by_graph

    if position is None:
        raise SettingsError(f"{folder} is a graph: --position names whose tracks it holds.")
    made = edit_study_by_graph(study, folder, position, author=author)
    counts = Counter(str(entry.action["action"]) for entry in made)
    typer.echo(
        ", ".join(f"{count} {name}" for name, count in counts.items()) or "The graph has the study's own tracks."
    )
    return made


@edits.command("painted")
def painted_frames(study: Study) -> None:
    """Show the frames whose labels were painted over, as ``marrow models train --frames`` takes them."""
    from napari_marrow.pipeline.painting import painted_frames as find
    from napari_marrow.study import Study as StudyStore

    found = find(StudyStore.open(study))
    for position, session, t in found:
        typer.echo(f"{position}:{session}:{t}")
    if not found:
        typer.echo("Nothing was painted on the labels that are active.", err=True)


@edits.command()
def undo(study: Study, author: Author = None) -> None:
    """Take the last step of edits back."""
    _turn(study, redo=False, author=author)


@edits.command()
def redo(study: Study, author: Author = None) -> None:
    """Make the last undone step of edits again."""
    _turn(study, redo=True, author=author)


def _turn(study: Path, *, redo: bool, author: str | None) -> None:
    from napari_marrow.pipeline.edits import turn_back

    word = "redone" if redo else "undone"
    entries = turn_back(study, redo=redo, author=author)
    for entry in entries:
        typer.echo(f"{word}: {entry.number}  {_words(entry)}")
    if not entries:
        typer.echo(f"There is nothing to be {word}.")


def _words(entry: Entry) -> str:
    rest = ", ".join(f"{name} {_short(value)}" for name, value in entry.action.items() if name != "action")
    return f"{entry.position} {entry.target}: {entry.action['action']} {rest}"


def _short(value: object) -> object:
    """Return a value as a line can hold it; the links of an audit are counted."""
    if isinstance(value, str) and len(value) > 32:
        return "kept in the journal"
    return f"{len(value)} of them" if isinstance(value, list) and len(value) > 3 else value
