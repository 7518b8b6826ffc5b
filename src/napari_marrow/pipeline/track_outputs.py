"""What `marrow track` writes beside the tracks: what was learned and set, what to look at, a figure."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import napari_marrow
from napari_marrow.errors import PathExistsError
from napari_marrow.pipeline.new_file import write_new
from napari_marrow.tracking import Tracking, uncertain_decisions


@dataclass(frozen=True)
class TrackOutputs:
    """Files beside the tracks.

    Attributes
    ----------
    record : Path
        JSON: version, settings, what was learned.
    decisions : Path or None
        CSV of the least certain decisions.
    figure : Path or None
        PNG or PDF of the learned distributions.
    share : float
        Share of the decisions that are listed.
    """

    record: Path
    decisions: Path | None = None
    figure: Path | None = None
    share: float = 0.05

    def check(self) -> None:
        """Refuse before any work what exists already.

        Raises
        ------
        PathExistsError
        """
        for path in (self.record, self.decisions, self.figure):
            if path is not None and path.exists():
                raise PathExistsError(f"{path} exists: move it away or give another name, nothing is overwritten.")

    def write(self, tracking: Tracking, points: pd.DataFrame) -> None:
        """Write them."""
        record = {"program": "napari-marrow", "version": napari_marrow.__version__, **tracking.model}
        write_new(self.record, json.dumps(record, indent=1) + "\n")
        if self.decisions is not None:
            table = uncertain_decisions(tracking, points, share=self.share)
            write_new(self.decisions, table.round({"probability": 4}).to_csv(index=False))
        if self.figure is not None:
            from napari_marrow.report.tracking_figure import tracking_figure

            picture = io.BytesIO()
            tracking_figure(tracking.model).savefig(
                picture, format="pdf" if self.figure.suffix.lower() == ".pdf" else "png", dpi=150
            )
            write_new(self.figure, picture.getvalue())


def beside(out: Path) -> Path:
    """Name of the record of an output: ``tracks.csv`` gives ``tracks.tracking.json``."""
    stem = out.stem if out.suffix.lower() in (".csv", ".xml", ".geff") else out.name
    return out.with_name(f"{stem}.tracking.json")
