"""The command that answers which lineages arose, when, and from whom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_marrow.cli.console import working


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("lineage", rich_help_panel="Study")(lineage)


def lineage(
    source: Annotated[
        Path, typer.Argument(help="A study (*.marrow folder), or a CSV with a row per cell.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables (CSV) and figures (PNG).", show_default=False)],
    reference: Annotated[
        str | None, typer.Option(help="Condition that others are compared with; the one called control by default.")
    ] = None,
    released: Annotated[
        Path | None,
        typer.Option(help="For a study: CSV of cells counted in the medium (organoid, time_h, lineage, n_cells)."),
    ] = None,
    insult_h: Annotated[
        float | None, typer.Option(help="For a study: time of an insult (h); says how the counts fall and come back.")
    ] = None,
    benefit: Annotated[
        str | None, typer.Option(help="Endpoint that the drug is meant to change; with --harm, a therapeutic window.")
    ] = None,
    harm: Annotated[str | None, typer.Option(help="Endpoint of toxicity.")] = None,
    sort: Annotated[str, typer.Option(help="Order of the pedigrees drawn: size, generation, start or onset.")] = "size",
    bootstrap: Annotated[int, typer.Option(help="For a CSV: bootstrap samples of the intervals.", min=0)] = 500,
    seed: Annotated[int, typer.Option(help="For a CSV: seed of bootstrap and permutations.", min=0)] = 0,
) -> None:
    """Write emergence, division times, commitment, kinship, clones, output and comparisons as tables and figures.

    A CSV has the columns track_id, start_h, end_h and, as far as known, parent_track_id, fate, lineage with onset_h (or
    onset_left_h and onset_right_h), position, organoid, condition, donor, batch, dose.
    """
    from napari_marrow.errors import SettingsError
    from napari_marrow.pipeline.lineage_experiments import Experiment
    from napari_marrow.pipeline.lineage_files import lineage_of_study, lineage_of_table

    with working() as (_, cancel):
        asked = Experiment(reference, insult_h, benefit, harm)
        if source.is_dir():
            notes = lineage_of_study(source, out, asked=asked, released=released, sort_by=sort, cancel=cancel)
        elif released is not None:
            raise SettingsError("--released goes with a study: a CSV of trees has no organoids that were imaged.")
        else:
            notes = lineage_of_table(
                source, out, asked=asked, bootstrap=bootstrap, seed=seed, sort_by=sort, cancel=cancel
            )
    for note in notes:
        typer.echo(note)
    typer.echo(f"Tables and figures: {out}")
