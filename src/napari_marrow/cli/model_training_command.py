"""``marrow models train``: a model of one's own from annotated images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_marrow.cli.console import working

if TYPE_CHECKING:
    from napari_marrow.pipeline.model_training import TrainedModel


def register(group: typer.Typer) -> None:
    """Add the command to the group ``marrow models``."""
    group.command("train")(train)


def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Annotated images: a folder with images/ and labels/, a folder of pairs such as a.tif and "
            "a_masks.tif, image files (labels beside them or in --labels), or a study with --frames.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The model to write: OUT.safetensors, its card OUT.json, a picture OUT.png.", show_default=False
        ),
    ],
    base: Annotated[str, typer.Option(help="Model to begin with: a name, or a file of weights.")] = "marrow-nuclei",
    labels: Annotated[
        Path | None, typer.Option(help="Folder with a label image of the same name for each image.")
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            help="What was annotated: time points of stacks (0,3,7), or frames of a study (B02_f00:0:3,B03_f00:1:0). "
            "Left out: every frame of a stack that holds a label.",
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Time to train; 5 unless --steps is given.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps instead of time: the same seed then gives the same model.")
    ] = None,
    freeze: Annotated[
        str, typer.Option(help="none trains everything; encoder is faster and changes the base less.")
    ] = "none",
    rate: Annotated[float | None, typer.Option(help="Highest learning rate; by default what suits --freeze.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of crops and of what is held back.", min=0)] = 0,
    validation: Annotated[
        float, typer.Option(help="Fraction of the images that is held back for scoring; 0 for none.")
    ] = 0.2,
    diameter: Annotated[
        float | None, typer.Option(help="Cell diameter in pixels for scoring; estimated when left out.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Channel where images have several: number from 0, name, or 'grey'.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="Order of the axes where the file does not say, such as TYX.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; by default that of the file.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; by default all cores.", min=1)] = None,
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Write the model even if it is no better than its base.")
    ] = False,
) -> None:
    """Train a model on your own annotated images, in minutes on the CPU (needs torch).

    Some of the images are held back. The model is scored on them before, during and after the training, and written
    only if it became better.
    """
    from napari_marrow.errors import SettingsError
    from napari_marrow.pipeline.model_training import train_model
    from napari_marrow.segmentation.fine_tuning import FineTuningSettings

    if minutes is not None and steps is not None:
        raise SettingsError("Give --minutes or --steps, not both.")
    settings = FineTuningSettings(
        steps=steps,
        minutes=5.0 if minutes is None else minutes,
        freeze=freeze,  # type: ignore[arg-type]  # checked there
        rate=rate,
        seed=seed,
        diameter=diameter,
        threads=threads,
    )
    with working() as (progress, cancel):
        trained = train_model(
            data,
            out,
            base=base,
            labels=labels,
            frames=frames.split(",") if frames is not None else None,
            channel=int(channel) if channel is not None and channel.isdigit() else channel,
            axes=axes,
            validation=validation,
            settings=settings,
            name=name,
            keep_anyway=keep_anyway,
            progress=progress,
            on_check=lambda check: typer.echo(
                f"step {check.step}: held-out {_precision(check.score.average_precision)}"
            ),
            on_note=lambda note: typer.echo(f"Note: {note}", err=True),
            cancel=cancel,
        )
    _print_trained(trained, base)


def _precision(values: dict[float, float]) -> str:
    return ", ".join(f"AP{t:g} {values[t]:.3f}".replace("AP0.", "AP.") for t in (0.5, 0.75))


def _print_trained(trained: TrainedModel, base: str) -> None:
    from napari_marrow.errors import NoImprovementError

    tuning = trained.tuning
    before, after = tuning.before, tuning.after or (tuning.checks[-1] if tuning.checks else None)
    if before is not None and after is not None:
        n = f"{before.score.n_true} cells of {trained.card['held_out']['images']} held-out image(s)"
        typer.echo(
            f"{n}: before {_precision(before.score.average_precision)}; after "
            f"{_precision(after.score.average_precision)} (step {after.step} of {tuning.steps}"
            + (", stopped early)" if tuning.stopped_early else ")")
        )
    if trained.weights is None:
        raise NoImprovementError(
            f"The training made '{base}' no better on the held-out images, so no model was written: keep using "
            f"'{base}', annotate more images, or give --keep-anyway."
        )
    if not tuning.improved:
        typer.echo("Note: it is no better than its base on the held-out images.", err=True)
    typer.echo(f"Model:   {trained.weights}  (marrow segment --model {trained.weights})")
    typer.echo(f"Card:    {trained.weights.with_suffix('.json')}")
    typer.echo(f"Picture: {trained.weights.with_suffix('.png')}")
