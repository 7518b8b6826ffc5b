"""Commands on networks: ``marrow models`` lists them, its sub-commands do the rest."""

from __future__ import annotations

import typer

models_app = typer.Typer(
    name="models",
    help="List the networks that can segment; train one of your own.",
    invoke_without_command=True,
    rich_markup_mode="rich",
)


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(models_app, rich_help_panel="Plain files")


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the networks that can segment, where they come from and where they run."""
    if context.invoked_subcommand is None:
        list_models()


def list_models() -> None:
    """Print a table of the known networks."""
    from rich.console import Console
    from rich.table import Table

    from napari_marrow.segmentation import models as known

    table = Table("name", "kind", "diameter (px)", "runs on", "sha256", "source", "licence", box=None)
    for card in known():
        table.add_row(
            card.name, card.kind, f"{card.diameter_px:g}", card.runs_on, card.sha256[:12], card.source, card.licence
        )
    console = Console()
    console.width = max(console.width, 160)
    console.print(table)
