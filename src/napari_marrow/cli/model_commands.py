"""Commands on networks: ``marrow models`` lists them, its sub-commands do the rest."""

from __future__ import annotations

import typer

from napari_marrow.cli import model_file_commands, model_training_command

models_app = typer.Typer(
    name="models",
    help="List the networks that can segment; add, fetch or train one of your own.",
    invoke_without_command=True,
    rich_markup_mode="rich",
)


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    model_file_commands.register(models_app)
    model_training_command.register(models_app)
    app.add_typer(models_app, rich_help_panel="Plain files")


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the networks that can segment, where they come from and where they run."""
    if context.invoked_subcommand is None:
        model_file_commands.list_models()
