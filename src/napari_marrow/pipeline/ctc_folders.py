"""Folders in Cell Tracking Challenge format, read and checked before anything is computed on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError, PathMissingError
from napari_marrow.pipeline.label_files import LabelFrames, open_labels

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CtcFolder:
    """Masks and tracks that fit each other.

    Attributes
    ----------
    path : Path
    masks : tuple of Path
        One file per frame, in the order of time.
    tracks : (m, 4) int64
        L B E P: label, first frame, last frame, label of the parent (0 for none).
    """

    path: Path
    masks: tuple[Path, ...]
    tracks: Ints

    @property
    def n_links(self) -> int:
        """Number of links from frame to frame, and from mother to daughter."""
        return int((self.tracks[:, 2] - self.tracks[:, 1]).sum() + (self.tracks[:, 3] > 0).sum())

    @property
    def n_divisions(self) -> int:
        """Number of tracks with two daughters or more."""
        _, daughters = np.unique(self.tracks[self.tracks[:, 3] > 0, 3], return_counts=True)
        return int((daughters > 1).sum())


def read_ctc_folder(folder: Path, table: str) -> CtcFolder:
    """Read the tracks of a folder and check its masks against them.

    Parameters
    ----------
    folder : Path
        Holds one TIFF per frame.
    table : str
        Name of the text file with the tracks, ``res_track.txt`` or ``man_track.txt``.

    Raises
    ------
    PathMissingError
        If the table or the masks are not there.
    InputFileError
        If a line is no track, masks differ in shape, or a mask holds a label that has no track in this frame.
    """
    if not (folder / table).is_file():
        raise PathMissingError(f"There is no {folder / table}: give folders in Cell Tracking Challenge format.")
    masks = tuple(sorted(p for p in folder.iterdir() if p.name.endswith(".tif")))
    if not masks:
        raise PathMissingError(f"The folder {folder} holds no masks: give folders in Cell Tracking Challenge format.")
    tracks = _read_tracks(folder / table)
    if len(tracks) and int(tracks[:, 2].max()) >= len(masks):
        raise InputFileError(f"{folder / table} goes to frame {tracks[:, 2].max()}, but there are {len(masks)} masks.")
    _check_labels(open_labels(masks), tracks, table)
    return CtcFolder(folder, masks, tracks)


def _read_tracks(path: Path) -> Ints:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is no text file: give lines of four whole numbers, L B E P.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 4 or not all(part.isdecimal() and len(part) < 10 for part in parts):
            raise InputFileError(
                f"{path} has '{line.strip()[:60]}' in line {number}: give four whole numbers, L B E P."
            )
        label, begin, end, _ = row = [int(part) for part in parts]
        if label == 0 or end < begin:
            raise InputFileError(f"{path} has the track '{line.strip()}' in line {number}: L is at least 1, B <= E.")
        rows.append(row)
    tracks = np.array(rows, np.int64).reshape(-1, 4)
    labels, counts = np.unique(tracks[:, 0], return_counts=True)
    if (counts > 1).any():
        raise InputFileError(f"{path} has the track {labels[counts > 1][0]} twice: name each track differently.")
    orphans = np.setdiff1d(tracks[:, 3], np.append(labels, 0))
    if len(orphans):
        raise InputFileError(f"{path} names the parent {orphans[0]}, which is no track: correct it, or put 0.")
    return tracks


def _check_labels(frames: LabelFrames, tracks: Ints, table: str) -> None:
    paths = [file.path for file in frames.files]
    if len(frames) != len(paths):
        raise InputFileError(f"{paths[0]} holds several frames: give one mask per frame.")
    for t, frame in enumerate(frames):
        there = tracks[(tracks[:, 1] <= t) & (tracks[:, 2] >= t), 0]
        strange = np.setdiff1d(np.unique(frame), np.append(there, 0))
        if len(strange):
            raise InputFileError(f"{paths[t]} holds the label {strange[0]}, which {table} does not have in frame {t}.")
