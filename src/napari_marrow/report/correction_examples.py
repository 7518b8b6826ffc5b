"""The frames that show what correction does: one of each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.imaging import correction_from_row
from napari_marrow.imaging.shading import NODES
from napari_marrow.report.figures.corrections import CorrectedExample

if TYPE_CHECKING:
    from napari_marrow.study import Study

MOST_CHANNELS = 6
_SIDE = 320


def correction_examples(study: Study, corrections: pd.DataFrame) -> tuple[list[CorrectedExample], str]:
    """Return an example of every channel that is corrected, of the field with the most frames, and its name.

    Parameters
    ----------
    study : Study
    corrections : DataFrame
        Table `corrections`.

    Returns
    -------
    examples : list of CorrectedExample
        Empty where nothing was corrected.
    place : str
        Position and session.
    """
    changed = corrections[_changes(corrections)]
    if changed.empty:
        return [], ""
    frames = changed["factors"].map(len)
    first = changed.loc[frames.idxmax()]
    position, session = str(first["position"]), int(first["session"])
    rows = changed[(changed["position"] == position) & (changed["session"] == session)]
    image = study.image(position, session)
    t = int(image.shape[0]) - 1
    examples = []
    for _, row in rows.head(MOST_CHANNELS).iterrows():
        volume = image.read(t, row["channel"])
        corrected = correction_from_row(row, (int(image.shape[3]), int(image.shape[4])))
        step = max(1, max(image.shape[3:]) // _SIDE)
        before, after = (
            v.max(axis=0)[::step, ::step].astype(np.float32)
            for v in (volume, corrected.apply(volume, t, image.spacing))
        )
        field = np.asarray(row["field"], dtype=np.float64).reshape(NODES, NODES) if row["accepted"] else None
        levels = np.asarray(row["levels"], dtype=np.float64)
        examples.append(
            CorrectedExample(
                str(row["channel"]), before, after, field, float(row["depth"]), levels, np.asarray(row["factors"])
            )
        )
    return examples, f"{position}, session {session}, frame {t}"


def _changes(corrections: pd.DataFrame) -> pd.Series[bool]:
    # studies of earlier versions say less of their corrections
    if corrections.empty or not {"background", "levels"} <= set(corrections.columns):
        return pd.Series(False, index=corrections.index)
    over_time = corrections["factors"].map(lambda f: bool(np.any(np.asarray(f) != 1.0)))
    return corrections["accepted"].astype(bool) | over_time | (corrections["background"] != "none")
