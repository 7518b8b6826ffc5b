"""Commands for a study's sessions and for the events of its culture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

sessions = typer.Typer(
    help="Sessions of a study: list, leave out, take in again, order, replace, remove.", no_args_is_help=True
)
events = typer.Typer(
    help="Events of the culture (media change, drug, irradiation, ...): list, add, remove.", no_args_is_help=True
)
StudyPath = Annotated[Path, typer.Argument(help="The study, a *.marrow folder.", show_default=False)]
Session = Annotated[int, typer.Option(help="Number of the session.", show_default=False)]
Position = Annotated[str, typer.Option(help="Only of this position, such as B02_f00; of every one by default.")]
Author = Annotated[str | None, typer.Option(help="Who says so; by default the user's name on this machine.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(sessions, name="sessions", rich_help_panel="Study")
    app.add_typer(events, name="events", rich_help_panel="Study")


@sessions.command("list")
def list_sessions(study: StudyPath) -> None:
    """Show every session, when it was imaged, and why some are left out."""
    from napari_marrow.study import Study

    store = Study.open(study)
    reasons = {(e.position, e.session): f"left out: {e.reason} ({e.author}, {e.utc})" for e in store.exclusions}
    for position, session in store.stored_sessions():
        image = store.image(position, session)
        reason = reasons.get((position, session)) or reasons.get(("", session)) or ""
        frames = "1 frame" if image.shape[0] == 1 else f"{image.shape[0]} frames"
        typer.echo(f"{position}  session {session}  from {image.start_h:g} h  {frames}  {reason}".rstrip())


@sessions.command()
def exclude(
    study: StudyPath,
    session: Session,
    reason: Annotated[str, typer.Option(help="Why; stands in the report.", show_default=False)],
    position: Position = "",
    author: Author = None,
) -> None:
    """Leave a session out of every result; its images stay."""
    from napari_marrow.pipeline.session_changes import exclude_session

    exclude_session(study, session, position=position, reason=reason, author=author)
    typer.echo(f"Session {session} is left out: `marrow run {study}` brings the results up to date.")


@sessions.command()
def include(study: StudyPath, session: Session, position: Position = "") -> None:
    """Take a session in again."""
    from napari_marrow.pipeline.session_changes import include_session

    include_session(study, session, position=position)
    typer.echo(f"Session {session} is in again: `marrow run {study}` brings the results up to date.")


@sessions.command()
def remove(
    study: StudyPath,
    session: Session,
    position: Position = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a session's images and results, so that it can be imported anew; other sessions keep theirs."""
    from napari_marrow.pipeline.session_changes import remove_session

    where = f" of {position}" if position else " of every position"
    if not yes:
        typer.confirm(f"Delete images and results of session {session}{where} from {study}?", abort=True)
    gone = remove_session(study, session, position=position)
    typer.echo(f"Deleted {', '.join(f'{p} session {s}' for p, s in gone)}: import what takes its place.")


@sessions.command()
def replace(
    study: StudyPath,
    sources: Annotated[list[Path], typer.Argument(help="The images that take its place.", show_default=False)],
    session: Session,
    position: Annotated[str | None, typer.Option(help="Position of the images; by default from their names.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size in µm, where the files lack it.", min=0)] = None,
    frame_interval: Annotated[float | None, typer.Option(help="Hours between frames.", min=0)] = None,
    start: Annotated[
        float | None, typer.Option(help="Hours since time zero; by default as dated, or as before.")
    ] = None,
    axes: Annotated[str | None, typer.Option(help="Meaning of the axes, such as TCYX.")] = None,
    channels: Annotated[str | None, typer.Option(help="Channel names, separated by commas.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Import a session anew in one step: its images go when the new ones are there; other sessions keep theirs."""
    from napari_marrow.cli.console import working
    from napari_marrow.pipeline.session_replacing import replace_session

    if not yes:
        typer.confirm(f"Replace images and results of session {session} of {study}?", abort=True)
    options = {
        "position": position,
        "pixel_size": (pixel_size, pixel_size) if pixel_size else None,
        "frame_interval_h": frame_interval,
        "start_h": start,
        "axes": axes,
        "channel_names": [name.strip() for name in channels.split(",")] if channels else None,
    }
    with working() as (progress, cancel):
        done = replace_session(study, session, sources, progress=progress, cancel=cancel, **options)
    places = ", ".join(f"{place} session {number}" for place, number in done)
    typer.echo(f"Replaced {places}: `marrow run {study}` brings the results up to date.")


@sessions.command()
def order(
    study: StudyPath,
    numbers: Annotated[
        list[int] | None, typer.Argument(help="All sessions in their new order; by default that of their starts.")
    ] = None,
    position: Position = "",
) -> None:
    """Give sessions new numbers, by time or as given: one that was imported late may belong between others."""
    from napari_marrow.pipeline.session_changes import order_sessions

    changes = order_sessions(study, numbers or None, position=position)
    for place, changed in changes.items():
        words = ", ".join(f"{old} is now {new}" for old, new in sorted(changed.items()))
        typer.echo(f"{place}: session {words}.")
    typer.echo(f"`marrow run {study}` brings the results up to date." if changes else "The order is this one already.")


@sessions.command()
def start(
    study: StudyPath,
    session: Session,
    start_h: Annotated[float, typer.Option("--start", help="Hours since time zero.", show_default=False)],
    position: Position = "",
) -> None:
    """Correct when a session began."""
    from napari_marrow.pipeline.session_changes import start_session

    start_session(study, session, start_h, position=position)
    typer.echo(f"Session {session} begins at {start_h:g} h: `marrow run {study}` brings the results up to date.")


@events.command("list")
def list_events(study: StudyPath) -> None:
    """Show the events in order of time."""
    from napari_marrow.study import Study

    found = Study.open(study).events
    for event in found:
        where = event.position or "every position"
        note = f": {event.note}" if event.note else ""
        typer.echo(f"{event.number}  {event.time_h:g} h  {event.kind}, {where}{note}  ({event.author}, {event.utc})")
    if not found:
        typer.echo("No event is written down.")


@events.command("add")
def add_event(
    study: StudyPath,
    kind: Annotated[str, typer.Argument(help="What was done, such as 'media change'.", show_default=False)],
    time_h: Annotated[float, typer.Option("--time", help="Hours since time zero.", show_default=False)],
    position: Position = "",
    note: Annotated[str, typer.Option(help="More about it, such as drug and dose.")] = "",
    author: Author = None,
) -> None:
    """Write an event down; it stands in `marrow info` and in the report."""
    from napari_marrow.study import Study
    from napari_marrow.study.process import user_name

    store = Study.open(study, mode="a")
    number = store.add_event(time_h, kind, position=position, note=note, author=author or user_name())
    typer.echo(f"Event {number}: {kind} at {time_h:g} h.")


@events.command("remove")
def remove_event(
    study: StudyPath, number: Annotated[int, typer.Argument(help="Its number.", show_default=False)]
) -> None:
    """Take an event out."""
    from napari_marrow.study import Study

    Study.open(study, mode="a").remove_event(number)
    typer.echo(f"Event {number} is taken out.")
