"""Adapt a model to a user's own annotated images: ``marrow models train DATA --out my-model``.

Writes the weights (safetensors), the model's card (JSON), and a picture of how it went, or nothing.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from napari_marrow.errors import ModelError, PathExistsError, SettingsError, write_refused
from napari_marrow.pipeline.annotated_files import TrainingData, find_files, read_files, split
from napari_marrow.pipeline.annotated_study import read_study_frames
from napari_marrow.pipeline.label_folder import write_atomically
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation.annotation import AnnotatedImage
from napari_marrow.segmentation.fine_tuning import FineTuning, FineTuningSettings, fine_tune
from napari_marrow.segmentation.held_out import Check, score_held_out, segmenter_of
from napari_marrow.segmentation.registry import CELLPOSE_MODELS, DEFAULT_MODEL, ModelCard, find_model
from napari_marrow.segmentation.weights import NetworkWeights, read_weights

LICENCE = "as its author says"
FEW_CELLS = 30
"""Fewer held-out cells than this make a score that may be chance."""


@dataclass(frozen=True)
class TrainedModel:
    """What became of a training.

    Attributes
    ----------
    weights : Path or None
        The model file; None if it was no better than its base and therefore not written.
    card : dict
        What stands in the card beside it.
    tuning : FineTuning
    notes : list of str
        What was mended or left out of the data, and warnings.
    """

    weights: Path | None
    card: dict[str, Any]
    tuning: FineTuning
    notes: list[str]


def train_model(
    data: Sequence[Path],
    out: Path,
    *,
    base: str | Path = DEFAULT_MODEL,
    labels: Path | None = None,
    frames: Sequence[str] | None = None,
    channel: int | str | None = None,
    axes: str | None = None,
    validation: float = 0.2,
    settings: FineTuningSettings | None = None,
    name: str | None = None,
    keep_anyway: bool = False,
    progress: Progress = no_progress,
    on_check: Callable[[Check], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    cancel: CancelToken | None = None,
) -> TrainedModel:
    """Train a model on with annotated images and write it if the held-out images say that it is better.

    Parameters
    ----------
    data : sequence of Path
        Images with labels in a layout of `find_files`, or one study.
    out : Path
        Of the model; ``.safetensors`` is added where it is missing. The card (``.json``) and a picture (``.png``) of
        the same name are written beside it.
    base : str or Path
        Model to begin with: a name, or a file of Cellpose 1-3 weights.
    labels : Path, optional
        Folder with the labels of `data`.
    frames : sequence of str, optional
        Of stacks: the time points that were annotated. Of a study: "position:session:t", whose active labels are taken.
    channel, axes
        See `describe`.
    validation : float
        Fraction of the files that is held back. 0: all are trained on, and the last state is kept unscored.
    settings : FineTuningSettings, optional
    name : str, optional
        Of the model in its card; by default that of the file.
    keep_anyway : bool
        Write the model even if it is no better than its base.
    progress, cancel
        See `fine_tune`.
    on_check : callable, optional
        Called with each scoring of the held-out images.
    on_note : callable, optional
        Called with each sentence about the data before training begins.

    Returns
    -------
    TrainedModel

    Raises
    ------
    PathExistsError
        If one of the files is there already.
    InputFileError, PathMissingError, SettingsError, ModelError, MissingExtraError
        Found before any training.
    Cancelled
        If the token was cancelled. Nothing is written then.
    """
    settings = settings or FineTuningSettings()
    out = out if out.suffix == ".safetensors" else out.with_name(f"{out.name}.safetensors")
    for path in (out, out.with_suffix(".json"), out.with_suffix(".png")):
        if path.exists():
            raise PathExistsError(f"'{path}' exists: choose another name, or remove it first.")
    card, weights = _read_base(base)
    annotated = _read_data(data, labels, frames, channel, axes)
    training, held_out = split(annotated, validation, settings.seed)
    notes = [*annotated.notes, *_warnings(training, held_out)]
    for note in notes:
        if on_note is not None:
            on_note(note)
    _try_folder(out.parent)
    tuning = fine_tune(
        weights, training, held_out, settings, card=card, progress=progress, on_check=on_check, cancel=cancel
    )
    written = _written_card(name or out.stem, card, weights, annotated, (training, held_out), settings, tuning)
    if not (tuning.improved or keep_anyway):
        return TrainedModel(None, written, tuning, notes)
    picture = _picture(name or out.stem, card, weights, tuning, (training, held_out), settings)
    _write(out, tuning, written, picture)
    return TrainedModel(out, written, tuning, notes)


def _read_base(base: str | Path) -> tuple[ModelCard, NetworkWeights]:
    card = CELLPOSE_MODELS.get(str(base))
    if card is None or card.kind == "cpnet":
        card = find_model(base)
    if card.kind != "cpnet" or card.path is None:
        raise ModelError(
            f"'{card.name}' is no Cellpose 1-3 network, and only these can be trained here: give '{DEFAULT_MODEL}' or "
            "a weights file."
        )
    weights = read_weights(card.path)
    if card.sha256 and card.sha256 != weights.sha256:
        raise ModelError(f"The weights of '{card.name}' do not match their card: get the file again.")
    return card, weights


def _read_data(
    data: Sequence[Path],
    labels: Path | None,
    frames: Sequence[str] | None,
    channel: int | str | None,
    axes: str | None,
) -> TrainingData:
    paths = [Path(p) for p in data]
    if not paths:
        raise SettingsError("There is nothing to train on: give a folder of images and labels, images, or a study.")
    if any((p / "study.json").is_file() for p in paths):
        if len(paths) > 1 or labels is not None:
            raise SettingsError("Give one study alone, without other images or --labels.")
        return read_study_frames(paths[0], frames, channel=channel)
    chosen = None
    if frames is not None:
        try:
            chosen = [int(f) for f in frames]
        except ValueError:
            raise SettingsError(f"Frames '{','.join(frames)}' cannot be: give numbers from 0, such as 0,3,7.") from None
    return read_files(find_files(paths, labels), channel=channel, axes=axes, frames=chosen)


def _warnings(training: Sequence[AnnotatedImage], held_out: Sequence[AnnotatedImage]) -> list[str]:
    notes = []
    if not held_out:
        notes.append("Nothing is held back: nobody will know whether the model is better than its base.")
    elif (n := sum(i.n_cells for i in held_out)) < FEW_CELLS:
        notes.append(f"Only {n} cells are held back: the scores before and after may differ by chance.")
    if (n := sum(i.n_cells for i in training)) < FEW_CELLS:
        notes.append(f"Only {n} cells are there to train on: some hundred are better.")
    return notes


def _try_folder(folder: Path) -> None:
    """Find out before minutes of work whether the folder takes a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}.partial"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise write_refused(folder, error) from error


def _scores(check: Check | None, images: int) -> dict[str, Any] | None:
    """Return a held-out score as the card holds it."""
    if check is None:
        return None
    precision = {str(t): round(v, 4) if np.isfinite(v) else None for t, v in check.score.average_precision.items()}
    seg = check.score.seg
    return {
        "images": images,
        "cells": check.score.n_true,
        "average_precision": precision,
        "seg": round(seg, 4) if np.isfinite(seg) else None,
    }


def _written_card(
    name: str,
    card: ModelCard,
    base: NetworkWeights,
    data: TrainingData,
    sides: tuple[Sequence[AnnotatedImage], Sequence[AnnotatedImage]],
    settings: FineTuningSettings,
    tuning: FineTuning,
) -> dict[str, Any]:
    training, held_out = sides
    after = tuning.after or (tuning.checks[-1] if len(tuning.checks) > 1 else None)
    diameters = float(tuning.weights.diam_labels)
    return {
        "name": name,
        "kind": "cpnet",
        "source": f"trained on from {card.name} with `marrow models train`",
        "licence": LICENCE,
        "diameter_px": tuning.weights.diam_mean,
        "usual_diameter_px": round(diameters, 2),
        "runs_on": "CPU (OpenVINO), GPU (torch)",
        "limits": f"Images like the {len(training)} it was trained on, with cells of about {diameters:.0f} px.",
        "smooth_reduction": True,
        "held_out": _scores(after, len(held_out)),
        "held_out_before": _scores(tuning.before, len(held_out)),
        "base": {"name": card.name, "sha256": base.sha256, "licence": card.licence},
        "training": {
            "settings": asdict(settings),
            "steps": tuning.steps,
            "kept_step": tuning.step,
            "stopped_early": tuning.stopped_early,
            "seconds": round(tuning.seconds, 1),
            "planes": [image.name for image in training],
            "cells": sum(image.n_cells for image in training),
            "held_out_planes": [image.name for image in held_out],
            "loss": tuning.losses,
            "checks": [{"step": c.step, **(_scores(c, len(held_out)) or {})} for c in tuning.checks],
        },
        "data": data.files,
        "data_notes": data.notes,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "napari-marrow": version("napari-marrow"),
            "torch": version("torch"),
            "python": platform.python_version(),
        },
    }


def _picture(
    name: str,
    card: ModelCard,
    base: NetworkWeights,
    tuning: FineTuning,
    sides: tuple[Sequence[AnnotatedImage], Sequence[AnnotatedImage]],
    settings: FineTuningSettings,
) -> bytes:
    """Return a PNG of the curves and of up to two images before and after."""
    from napari_marrow.report.training_figure import ExampleLabels, draw_training

    training, held_out = sides
    shown = list(held_out or training)[:2]
    segmenters = (
        segmenter_of(base, card, threads=settings.threads),
        segmenter_of(tuning.weights, threads=settings.threads),
    )
    before, after = (score_held_out(s, shown, diameter=settings.diameter)[1] for s in segmenters)
    examples = [
        ExampleLabels(image.name, image.image, image.labels, old, new)
        for image, old, new in zip(shown, before, after, strict=True)
    ]
    checks = [(c.step, c.score.average_precision[0.5], c.score.average_precision[0.75]) for c in tuning.checks]
    return draw_training(name, tuning.losses, checks, tuning.step, examples, held_out=bool(held_out))


def _write(out: Path, tuning: FineTuning, card: dict[str, Any], picture: bytes) -> None:
    """Write picture, card and, last, the weights, each whole or not at all."""
    from safetensors.numpy import save

    content = save(dict(sorted(tuning.weights.arrays.items())))
    card["sha256"] = hashlib.sha256(content).hexdigest()
    text = json.dumps(card, indent=1, default=str) + "\n"
    made = []
    try:
        for path, bytes_ in (
            (out.with_suffix(".png"), picture),
            (out.with_suffix(".json"), text.encode()),
            (out, content),
        ):
            write_atomically(path, lambda partial, b=bytes_: partial.write_bytes(b))  # type: ignore[misc]
            made.append(path)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
