"""Labels that a person painted over: kept in the study's journal, a stroke an entry, and put over what was segmented.

The segmented labels are never changed. A stroke knows which segmentation it was painted on; over another one it is left
out, with a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import EditError
from napari_marrow.segmentation.painted_runs import paint, painted_runs, runs_as_text, runs_from_text
from napari_marrow.study.durable import checksum

if TYPE_CHECKING:
    from napari_marrow.study import Study
    from napari_marrow.study.edits import Entry

TARGET = "labels"
Frame = tuple[str, int, int]
"""Position, session, time point."""


def painted_entries(study: Study, key: str) -> dict[Frame, list[Entry]]:
    """Return the standing strokes that were painted on a segmentation, oldest first, by frame.

    Parameters
    ----------
    study : Study
    key : str
        Of the step *segment*.
    """
    found: dict[Frame, list[Entry]] = {}
    for entry in study.edits().standing(target=TARGET):
        if entry.action.get("segmentation") == key:
            found.setdefault(frame_of(entry), []).append(entry)
    return found


def frame_of(entry: Entry) -> Frame:
    """Return the frame that a stroke was painted in."""
    return entry.position, int(entry.action["session"]), int(entry.action["t"])


def painted_frames(study: Study) -> list[Frame]:
    """Return the frames with standing strokes on the study's active segmentation, in order."""
    return sorted(painted_entries(study, study.active.get("segment", "")))


def painted(labels: npt.NDArray[np.int32], entries: Sequence[Entry]) -> npt.NDArray[np.int32]:
    """Return a frame's labels, (Z, Y, X), with strokes over them.

    Raises
    ------
    EditError
        If a stroke does not fit the frame.
    """
    for entry in entries:
        labels = paint(labels, runs_from_text(str(entry.action["runs"])))
    return labels


def fingerprint(entries: Sequence[Entry]) -> str:
    """Return what tells one set of strokes of a frame from another; empty where there are none."""
    return checksum("".join(str(e.action["runs"]) for e in entries).encode()) if entries else ""


def standing_labels(study: Study, position: str, session: int, t: int) -> npt.NDArray[np.int32]:
    """Return the labels of a frame as they stand: segmented, and painted over.

    Raises
    ------
    EditError
        If nothing was segmented yet.
    """
    key = _segmentation(study)
    labels = study.labels("cells", key, position, session).read(t)
    return painted(labels, painted_entries(study, key).get((position, session, t), ()))


def keep_painted(
    study_path: Path | str, position: str, session: int, t: int, labels: npt.ArrayLike, author: str
) -> list[Entry]:
    """Keep a frame as a person has painted it: one entry of the journal for what is new since the last one.

    Where the frame is again what it was before the last standing step, that step is undone instead.

    Parameters
    ----------
    study_path : path
    position, session, t
        Frame.
    labels : array of int, shape (Z, Y, X)
        All of the frame's labels, as they should be.
    author : str

    Returns
    -------
    list of Entry
        What was made or undone; none where nothing is new.

    Raises
    ------
    EditError
        If nothing was segmented yet, or the shape is not the frame's.
    StudyLockedError
        If a run or another program writes to the study.
    """
    from napari_marrow.study import Study

    study = Study.open(study_path, mode="a")
    wanted = np.asarray(labels)
    with study.write_lock():
        key = _segmentation(study)
        found = study.labels("cells", key, position, session).read(t)
        if wanted.shape != found.shape:
            raise EditError(f"Frame {t} of {position} has {found.shape} pixels, what was painted {wanted.shape}.")
        journal = study.edits()
        mine = painted_entries(study, key).get((position, session, t), [])
        runs = painted_runs(painted(found, mine), wanted)
        if not len(runs):
            return []
        if mine and journal.last_step() == [mine[-1]] and np.array_equal(painted(found, mine[:-1]), wanted):
            return journal.undo(author)
        action: dict[str, Any] = {
            "action": "paint",
            "session": int(session),
            "t": int(t),
            "pixels": int(runs[:, 1].sum()),
            "painted": sorted({int(v) for v in runs[:, 2]}),
            "segmentation": key,
            "runs": runs_as_text(runs),
        }
        return journal.append([(position, TARGET, action)], author)


def _segmentation(study: Study) -> str:
    key = study.active.get("segment")
    if key is None:
        raise EditError(f"There are no cell labels to paint on: run `marrow run {study.path} --until segment` first.")
    return key
