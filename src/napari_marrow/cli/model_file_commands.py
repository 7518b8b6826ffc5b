"""``marrow models list``, ``show``, ``add``, ``fetch`` and ``remove``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_marrow.cli.console import working

if TYPE_CHECKING:
    from napari_marrow.segmentation import ModelCard

Name = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
Replace = Annotated[bool, typer.Option("--replace", help="Replace a model of that name.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group ``marrow models``."""
    group.command("list")(list_models)
    group.command("show")(show)
    group.command("add")(add)
    group.command("fetch")(fetch)
    group.command("remove")(remove)


def list_models() -> None:
    """List the networks that can segment, where they come from and where they run."""
    from rich.console import Console
    from rich.table import Table

    from napari_marrow.segmentation import models as known

    columns = ("name", "kind", "diameter (px)", "weights", "runs on", "sha256", "source", "licence")
    table = Table(*columns, box=None)
    for card in known():
        table.add_row(
            card.name, card.kind, f"{card.diameter_px:g}", _whereabouts(card), card.runs_on, card.sha256[:12],
            card.source, card.licence,
        )  # fmt: skip
    console = Console()
    console.width = max(console.width, 200)
    console.print(table)


def _whereabouts(card: ModelCard) -> str:
    return {
        "bundled": "in the package",
        "installed": "yours",
        "cellpose": "in Cellpose's folder",
        "absent": "bring or fetch",
    }.get(card.origin, card.origin)


def show(
    model: Annotated[str, typer.Argument(help="Name of a model, or a file of weights.", show_default=False)],
) -> None:
    """Show all that is known of a model: its weights, what it is for, and what it reached."""
    from napari_marrow.segmentation.model_description import describe_model

    known = describe_model(model)
    width = max(map(len, known)) + 2
    for name, value in known.items():
        typer.echo(f"{name + ':':<{width}}{value}")


def add(
    file: Annotated[Path, typer.Argument(help="Weights of a network of Cellpose 1 to 4.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Name to keep it under; by default the file's.")] = None,
    source: Annotated[str | None, typer.Option(help="Where the weights come from, for the card.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights, for the card.")] = None,
    replace: Replace = False,
) -> None:
    """Check a file of weights and keep it under a name."""
    from napari_marrow.pipeline.model_files import add_model

    card = add_model(file, name or file.stem, source=source, licence=licence, replaced=replace)
    typer.echo(f"Kept '{card.name}' ({card.kind}, {card.diameter_px:g} px) as {card.path}")


def fetch(
    name: Annotated[str, typer.Argument(help="Name of a model of Cellpose, such as cyto3.", show_default=False)],
    replace: Replace = False,
) -> None:
    """Download the weights of a model of Cellpose."""
    from napari_marrow.pipeline.model_fetching import fetch_model

    with working() as (progress, cancel):
        card = fetch_model(name, replaced=replace, progress=progress, cancel=cancel)
    typer.echo(f"Kept '{card.name}' ({card.licence}) as {card.path}")


def remove(name: Name) -> None:
    """Delete one of your own models."""
    from napari_marrow.pipeline.model_files import remove_model

    for path in remove_model(name):
        typer.echo(f"Deleted {path}")
