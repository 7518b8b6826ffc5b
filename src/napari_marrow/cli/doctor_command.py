"""``marrow doctor``: what this installation can do, and a file for a bug report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_marrow.cli.console import working

if TYPE_CHECKING:
    from napari_marrow.pipeline.diagnosis import Finding


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor", rich_help_panel="First steps")(doctor)


def doctor(
    folder: Annotated[Path, typer.Option(help="Where studies are to be kept; its disk is measured.")] = Path(),
    bundle: Annotated[
        Path | None,
        typer.Option(help="ZIP file to write, for a bug report: no images, no tables, no names of people or folders."),
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="Study whose recipe and run records go into the bundle as well.")
    ] = None,
    window: Annotated[bool, typer.Option(help="Try whether Qt and OpenGL work.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at versions, processors, models, window and disk, and say what to mend. Exit code 1 if something is."""
    from napari_marrow.errors import SettingsError
    from napari_marrow.pipeline import diagnosis
    from napari_marrow.pipeline.diagnosis_bundle import write_bundle

    if study is not None and bundle is None:
        raise SettingsError("--study tells what goes into the bundle: give --bundle FILE.zip, too.")
    with working() as (progress, cancel):
        findings = diagnosis.diagnose(folder, window=window, progress=progress, cancel=cancel)
    if as_json:
        typer.echo(diagnosis.as_json(findings), nl=False)
    else:
        _print(findings)
    if bundle is not None:
        typer.echo(f"Wrote {write_bundle(bundle, findings, study=study)}", err=as_json)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console, topic = Console(), ""
    marks = {"fine": ("ok     ", "green"), "note": ("note   ", "yellow"), "problem": ("PROBLEM", "bold red")}
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            console.print(Text(topic.capitalize(), style="bold"))
        word, style = marks[finding.state]
        line = Text.assemble("  ", (word, style), f" {finding.name}: {finding.value}")
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"          {finding.remedy}", style="italic"), soft_wrap=True)
    problems = sum(f.state == "problem" for f in findings)
    typer.echo(f"{problems} problem(s)." if problems else "Nothing to mend.")
