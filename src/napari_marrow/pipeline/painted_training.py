"""A model trained on with the frames of a study in which a person painted the labels."""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from napari_marrow.errors import EditError, NoImprovementError
from napari_marrow.pipeline.model_files import add_model
from napari_marrow.pipeline.model_training import train_model
from napari_marrow.pipeline.painting import painted_frames
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation.fine_tuning import FineTuningSettings
from napari_marrow.segmentation.registry import ModelCard
from napari_marrow.study import Study


def train_on_painted(
    study_path: Path | str,
    recipe: Recipe,
    *,
    name: str | None = None,
    settings: FineTuningSettings | None = None,
    keep_anyway: bool = False,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> ModelCard:
    """Train the recipe's model on with every painted frame of a study, and keep it among the user's own models.

    Parameters
    ----------
    study_path : path
    recipe : Recipe
        Says the model to begin with and the channel that shows the cells.
    name : str, optional
        Of the new model; by default that of the old one, the study and the time.
    settings : FineTuningSettings, optional
    keep_anyway : bool
        Keep the model even if held-out frames do not say that it is better.
    progress, cancel
        See `train_model`.

    Returns
    -------
    ModelCard

    Raises
    ------
    EditError
        If nothing was painted on the labels that are active.
    NoImprovementError
        If the model became no better; then none is kept.
    Cancelled
    """
    study = Study.open(study_path)
    frames = painted_frames(study)
    if not frames:
        raise EditError(
            "No labels were painted yet: correct some frames with the tools of the layer Cells, every cell in them, "
            "then train."
        )
    section = recipe.segment
    names = study.image(*frames[0][:2]).channel_names
    channel = section.channel if section.channel in names else names[0]
    name = name or _free_name(section.model, str(study.name))
    with tempfile.TemporaryDirectory() as folder:
        trained = train_model(
            [Path(study_path)],
            Path(folder) / "model",
            base=section.model,
            frames=[":".join(map(str, frame)) for frame in frames],
            channel=channel,
            settings=settings,
            name=name,
            keep_anyway=keep_anyway,
            progress=progress,
            cancel=cancel,
        )
        if trained.weights is None:
            raise NoImprovementError(
                f"Training on {len(frames)} painted frame(s) made '{section.model}' no better on those held back, so "
                "no model was kept: paint more frames."
            )
        return add_model(trained.weights, name)


def _free_name(base: str, study: str) -> str:
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{Path(base).stem}-{study}").strip("-.")[:44]
    return f"{words}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
