"""The typer application with all its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_marrow import __version__
from napari_marrow.cli import (
    doctor_command,
    edit_commands,
    export_commands,
    file_commands,
    import_command,
    keeping_commands,
    lineage_command,
    model_commands,
    niche_command,
    pixel_commands,
    session_commands,
    study_commands,
    view_command,
)

app = typer.Typer(
    name="marrow",
    help="Segment, track and quantify blood-making organoids over weeks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-marrow {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Segment, track and quantify blood-making organoids over weeks."""


import_command.register(app)
study_commands.register(app)
view_command.register(app)
doctor_command.register(app)
keeping_commands.register(app)
export_commands.register(app)
edit_commands.register(app)
session_commands.register(app)
file_commands.register(app)
lineage_command.register(app)
niche_command.register(app)
model_commands.register(app)
pixel_commands.register(app)
