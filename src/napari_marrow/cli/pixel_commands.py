"""``marrow pixels``: pixel classifiers that learn from scribbles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from napari_marrow.cli.console import working

pixels_app = typer.Typer(
    name="pixels", help="Train a pixel classifier by scribbles, and apply it.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    pixels_app.command("train")(train)
    pixels_app.command("apply")(apply)
    pixels_app.command("show")(show)
    app.add_typer(pixels_app, rich_help_panel="Plain files")


def train(
    images: Annotated[list[Path], typer.Argument(help="TIFF images that were scribbled on.", show_default=False)],
    scribbles: Annotated[
        list[Path],
        typer.Option(
            help="TIFF of the image's shape, one for each image in order: 0 nothing, 1 background, 2 and on the rest.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The classifier to write, NAME.safetensors.", show_default=False)],
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes in order, such as background,vessels.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Channel: number from 0, or name; may be repeated. All when left out."),
    ] = None,
    channel_names: Annotated[
        str | None, typer.Option(help="What these channels are called in a study, such as CD31; a recipe needs it.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="Order of the axes where the file does not say, such as ZYX.")
    ] = None,
    pixel_size: Annotated[float, typer.Option(help="Pixel size in µm.", min=1e-6)] = 1.0,
    z_step: Annotated[float | None, typer.Option(help="Distance of planes in µm; by default the pixel size.")] = None,
    sigmas: Annotated[
        str | None, typer.Option(help="Scales of the features in µm, such as 1,2,4,8; so many pixels when left out.")
    ] = None,
    trees: Annotated[int, typer.Option(help="Trees of the forest.", min=1, max=1000)] = 64,
    seed: Annotated[int, typer.Option(help="Same data and seed, same forest.", min=0)] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> None:
    """Learn from scribbles which pixels are which."""
    from napari_marrow.pipeline.pixel_files import train_pixels_files

    with working() as (progress, cancel):
        classifier = train_pixels_files(
            images,
            scribbles,
            out,
            classes=_words(classes),
            channels=[_channel(c) for c in channel or ()],
            channel_names=_words(channel_names),
            axes=axes,
            pixel_size=pixel_size,
            z_step=z_step,
            sigmas=_numbers(sigmas),
            trees=trees,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
            cancel=cancel,
        )
    card = classifier.card
    typer.echo(f"{sum(card['pixels'].values())} pixels of {', '.join(classifier.classes)}; classifier in {out}")
    typer.echo(f"accuracy out of the bag: {_share(card['accuracy_out_of_bag'])}")
    left_out = card["accuracy_on_strokes_left_out"]
    known = _share(left_out) if left_out is not None else "unknown, draw two strokes or more of each class"
    typer.echo(f"accuracy on strokes that were left out: {known}")


def apply(
    images: Annotated[list[Path], typer.Argument(help="TIFF images.", show_default=False)],
    classifier: Annotated[Path, typer.Option(help="From `marrow pixels train`.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for a TIFF of the same name for each image.", show_default=False)],
    only: Annotated[str | None, typer.Option(help="Name of a class: its mask instead of class numbers.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write probabilities (float32) instead.")
    ] = False,
    channel: Annotated[
        list[str] | None, typer.Option(help="Channel: number from 0, or name; may be repeated. All when left out.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="Order of the axes where the file does not say, such as ZYX.")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm; that of the training when left out.")
    ] = None,
    z_step: Annotated[float | None, typer.Option(help="Distance of planes in µm.")] = None,
) -> None:
    """Classify the pixels of images."""
    from napari_marrow.pipeline.pixel_files import apply_pixels_files

    with working() as (progress, cancel):
        written = apply_pixels_files(
            images,
            classifier,
            out,
            only=only,
            probabilities=probabilities,
            channels=[_channel(c) for c in channel or ()],
            axes=axes,
            pixel_size=pixel_size,
            z_step=z_step,
            progress=progress,
            cancel=cancel,
        )
    typer.echo(f"{len(written)} file(s) in {out}")


def show(
    classifier: Annotated[Path, typer.Argument(help="From `marrow pixels train`.", show_default=False)],
) -> None:
    """Print what a classifier was trained on, and how well it does."""
    from napari_marrow.pipeline.pixel_classes import read_pixel_classifier

    found = read_pixel_classifier(classifier)
    about = {
        "classes": list(found.classes),
        "channels": list(found.channels) or found.features.n_channels,
        "axes": "YX" if found.features.ndim == 2 else "ZYX",
        "sigmas_um": list(found.features.sigmas),
        "features": list(found.features.groups),
        **found.card,
    }
    typer.echo(json.dumps(about, indent=2, ensure_ascii=False))


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()] if text else []


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no list of numbers such as 1,2,4,8.") from None


def _channel(wish: str) -> int | str:
    return int(wish) if wish.isdigit() else wish


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
