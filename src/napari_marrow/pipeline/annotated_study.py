"""Frames of a study as training data: its images with its active cell labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_marrow.errors import SettingsError
from napari_marrow.pipeline.annotated_files import TrainingData, add_frame
from napari_marrow.pipeline.painting import standing_labels
from napari_marrow.study import Study

_EXAMPLE = "such as --frames B02_f00:0:3 (position, session, time point)"


def read_study_frames(path: Path, frames: Sequence[str] | None, *, channel: int | str | None = None) -> TrainingData:
    """Read chosen frames with the labels of the study as they stand: segmented, and painted over by a person.

    Parameters
    ----------
    path : Path
    frames : sequence of str
        "position:session:t" each: the frames whose labels the user has gone through.
    channel : int, str or None
        Channel to learn from; None is enough where there is but one.

    Raises
    ------
    SettingsError
        If no frame is named, or the study has no such frame, labels or channel.
    """
    study = Study.open(path)
    key = study.active.get("segment")
    if key is None:
        raise SettingsError(f"'{path}' has no cell labels yet: run `marrow run {path} --until segment` first.")
    if not frames:
        raise SettingsError(f"Say which frames of '{path}' have labels that you have gone through, {_EXAMPLE}.")
    data = TrainingData()
    for text in frames:
        position, session, t = _parse(text)
        if position not in study.positions or session not in study.sessions(position):
            raise SettingsError(f"'{path}' has no session {session} of position '{position}' (frame '{text}').")
        image = study.image(position, session)
        if not 0 <= t < image.shape[0]:
            raise SettingsError(f"'{text}': that session has frames 0 to {image.shape[0] - 1}.")
        if channel is None and len(image.channel_names) > 1:
            raise SettingsError(
                f"'{path}' has the channels {', '.join(image.channel_names)}: say with --channel which one shows the "
                "cells."
            )
        pixels = image.read(t, channel if channel is not None else 0)
        labels = standing_labels(study, position, session, t)
        flat = pixels.shape[0] == 1
        add_frame(
            data, position, text, pixels[0] if flat else pixels, labels[0] if flat else labels, None, of_many=False
        )
        data.files.append({"study": str(path), "frame": text, "labels_key": key, "cells": int((labels > 0).any())})
        data.files[-1]["cells"] = sum(p.annotated.n_cells for p in data.planes if p.annotated.name.startswith(text))
    return data


def _parse(text: str) -> tuple[str, int, int]:
    parts = text.strip().split(":")
    if len(parts) != 3 or not parts[1].isdigit() or not parts[2].isdigit():
        raise SettingsError(f"'{text}' names no frame: give position, session and time point, {_EXAMPLE}.")
    return parts[0], int(parts[1]), int(parts[2])
