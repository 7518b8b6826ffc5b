"""The command that brings microscope images into a study, and the table that says what would become what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_marrow.cli.console import working

if TYPE_CHECKING:
    from napari_marrow.ingest import PlannedSession
    from napari_marrow.pipeline.judging import SessionFlags


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("import", rich_help_panel="Study")(import_images)


def import_images(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="TIFF, OME-TIFF, OME-Zarr, ND2, CZI or LIF images, folders of them, or a plate's folder.",
            show_default=False,
        ),
    ],
    study: Annotated[
        Path | None, typer.Option(help="The study to create or append to; by default <first source>.marrow here.")
    ] = None,
    layout: Annotated[
        Path | None,
        typer.Option(help="CSV with a row per well: well, organoid, donor, batch, condition, dose, replicate."),
    ] = None,
    position: Annotated[str | None, typer.Option(help="Position of the images, such as B02_f00.")] = None,
    session: Annotated[
        int | None, typer.Option(help="Session of the images; by default from the names, or the next.", min=0)
    ] = None,
    pixel_size: Annotated[
        str | None,
        typer.Option(help="Pixel size in µm where the files hold none: '0.65', 'y,x' or 'z,y,x'.", metavar="UM"),
    ] = None,
    frame_interval: Annotated[
        float | None, typer.Option(help="Hours between frames where the files hold no times.", metavar="HOURS")
    ] = None,
    start: Annotated[
        float | None,
        typer.Option(
            help="Hours from the study's t0 to the first frame; by default from the files' dates.", metavar="HOURS"
        ),
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="Order of the axes where the file does not say, such as TCYX.")
    ] = None,
    channels: Annotated[str | None, typer.Option(help="Names of the channels, comma separated.")] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            help="Names of a TIFF series, such as '{well}_s{site}_w{channel}_z{z}_t{time}.tif' ({row}, {column}, "
            "{session} and {*} too), or harmony, imagexpress, incell, cellvoyager, incucyte; those are recognised."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that compress and write; all usable cores by default, at most 8.", min=1)
    ] = None,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality/--no-quality",
            help="Judge the frames (blank, out of focus, ...) and whether sessions fit those before, right away.",
        ),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would become what, and write nothing.")] = False,
) -> None:
    """Bring microscope images into a study; what the files do not say is asked for, never guessed."""
    from napari_marrow import ingest
    from napari_marrow.pipeline.fit_at_import import wells_at_import
    from napari_marrow.pipeline.judging import ImportedFrames, judge_frames

    study = study or Path(f"{sources[0].name.split('.')[0]}.marrow")
    options: dict[str, Any] = {
        "layout": layout,
        "position": position,
        "session": session,
        "pixel_size": ingest.parse_pixel_size(pixel_size) if pixel_size is not None else None,
        "frame_interval_h": frame_interval,
        "start_h": "auto" if start is None else start,
        "axes": axes,
        "channel_names": [name.strip() for name in channels.split(",")] if channels else None,
        "pattern": pattern,
    }
    if dry_run:
        planned = ingest.preview(study, sources, **options)
        show_plan(planned)
        ingest.require_all(planned)
        return
    with working() as (progress, cancel):
        measured = ImportedFrames() if quality else None
        summary = ingest.import_files(
            study, sources, **options, workers=workers, observe=measured, progress=progress, cancel=cancel
        )
        judged = judge_frames(study, measured=measured, progress=progress, cancel=cancel) if quality else []
        new = [(s.position, s.session) for s in summary.sessions if not s.present]
        misfits = wells_at_import(study, new, progress=progress, cancel=cancel) if quality else []
    typer.echo(str(summary))
    show_flags(judged, {(s.position, s.session) for s in summary.sessions})
    for sentence in misfits:
        typer.echo(f"Note: {sentence}")


def show_flags(judged: Sequence[SessionFlags], sessions: set[tuple[str, int]]) -> None:
    """Print the quality flags of the sessions that were asked for."""
    of_these = [found for found in judged if (found.position, found.session) in sessions]
    flagged = [found for found in of_these if found.flags]
    for found in flagged:
        typer.echo(f"Flags of {found}")
    if of_these and not flagged:
        typer.echo(f"No frame of {len(of_these)} session(s) is flagged.")


def show_plan(planned: Sequence[PlannedSession]) -> None:
    """Print a row per session that an import would make, and what is missing with the option that gives it."""
    from rich.console import Console
    from rich.table import Table

    from napari_marrow.ingest.plan_table import COLUMNS, plan_row, plan_summary

    table = Table(box=None, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for plan in planned:
        table.add_row(*plan_row(plan))
    console = Console()
    console.width = max(console.width, 150)  # a pipe has no width, and a table cut to 80 columns says little
    console.print(table, highlight=False, markup=False)
    typer.echo(f"{plan_summary(planned)}; nothing was written.")
