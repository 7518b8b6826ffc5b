"""``marrow view``: a study in napari, with the dock, from the command line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("view", rich_help_panel="First steps")(view)


def view(
    study: Annotated[
        Path | None, typer.Argument(help="The study, a *.marrow folder; without one the dock opens empty.")
    ] = None,
) -> None:
    """Open napari with the dock, and a study in it.

    The same as `napari STUDY`, without the question which plugin is to read it, and with the dock open.
    Needs napari: `pip install 'napari-marrow[gui]'`.
    """
    from napari_marrow.errors import MissingExtraError
    from napari_marrow.study import Study

    if importlib.util.find_spec("napari") is None:
        raise MissingExtraError("There is no napari here to open a window: pip install 'napari-marrow[gui]'.")
    opened = []
    if study is not None:
        Study.open(study)  # what is wrong with it is told here, in a sentence, and not by a window
        # absolute, so that a name that begins with a dash is no option
        opened = ["--plugin", "napari-marrow", str(study.absolute())]
    dock = ["--with", "napari-marrow", "Marrow study"]
    # napari takes every word after --with as a widget: the study comes first
    answer = subprocess.run([sys.executable, "-m", "napari", *opened, *dock], check=False)
    if answer.returncode:
        raise typer.Exit(answer.returncode)
