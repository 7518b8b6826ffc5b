"""Cell Tracking Challenge format: ``maskNNN.tif`` and ``res_track.txt``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_marrow.errors import PathExistsError, SettingsError, StorageError, write_refused

_MOST = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class CtcTracks:
    """Tracks as the Cell Tracking Challenge counts them.

    Attributes
    ----------
    label : (n,) int64
        Value of every detection in the masks.
    table : (m, 4) int64
        L B E P: label, first frame, last frame, label of the parent (0 for none), sorted by label.
    """

    label: npt.NDArray[np.int64]
    table: npt.NDArray[np.int64]


def ctc_tracks(
    t: npt.NDArray[np.int64], track_id: npt.NDArray[np.int64], parent_track_id: npt.NDArray[np.int64]
) -> CtcTracks:
    """Return tracks without gaps: the format wants a label in every frame from B to E.

    A track that skips frames goes on under a new label, whose parent is the piece before; pieces keep the track's own
    number where they are its first.

    Parameters
    ----------
    t, track_id, parent_track_id : (n,) int64
        Frame, track (1..) and mother's track (0 for none) of every detection; a track has one detection per frame.

    Returns
    -------
    CtcTracks
    """
    t, track_id, parent_track_id = (np.asarray(a, np.int64) for a in (t, track_id, parent_track_id))
    if len(t) == 0:
        return CtcTracks(np.zeros(0, np.int64), np.zeros((0, 4), np.int64))
    order = np.lexsort((t, track_id))
    time, track = t[order], track_id[order]
    new_track = np.concatenate([[True], track[1:] != track[:-1]])
    begins = new_track | np.concatenate([[True], np.diff(time) > 1])
    piece = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    last = np.concatenate([first[1:], [len(time)]]) - 1
    leads = new_track[first]
    label = np.empty(len(first), np.int64)
    label[leads] = track[first[leads]]
    label[~leads] = int(track.max()) + 1 + np.arange(int((~leads).sum()))
    # a daughter's parent is the last piece of her mother
    last_piece = {int(track[f]): int(name) for f, name in zip(first, label, strict=True)}
    parent = np.array(
        [
            last_piece.get(int(parent_track_id[order[f]]), 0) if lead else label[k - 1]
            for k, (f, lead) in enumerate(zip(first, leads, strict=True))
        ],
        np.int64,
    )
    out = np.empty(len(t), np.int64)
    out[order] = label[piece]
    table = np.column_stack([label, time[first], time[last], parent])
    return CtcTracks(out, table[np.argsort(table[:, 0])])


def write_ctc(
    out_dir: Path,
    frames: Iterable[npt.NDArray[Any]],
    t: npt.NDArray[np.int64],
    label: npt.NDArray[np.int64],
    tracks: CtcTracks,
    *,
    n_frames: int,
    on_frame: Callable[[int], None] | None = None,
) -> None:
    """Write masks and ``res_track.txt`` into a new folder, all or nothing.

    Parameters
    ----------
    out_dir : Path
        Must not exist, or be an empty folder.
    frames : iterable of ((Z,) Y, X) label images
        In the order of time, from t = 0.
    t, label : (n,) int64
        Frame and value in these images of every detection.
    tracks : CtcTracks
        Of the same detections.
    n_frames : int
        Number of frames; decides on the digits of the names (three at least).
    on_frame : callable, optional
        Called with the number of each written frame.

    Raises
    ------
    PathExistsError
        If something is there.
    SettingsError
        If there are more tracks than 16 bits can name.
    StorageError
        If the disk does not take the files.
    """
    if len(tracks.table) and int(tracks.table[:, 0].max()) > _MOST:
        raise SettingsError(
            f"There are {int(tracks.table[:, 0].max())} tracks: the Cell Tracking Challenge format has 16-bit "
            f"labels, {_MOST} at most. Write fewer frames, or track points instead."
        )
    digits = max(3, len(str(max(n_frames - 1, 0))))
    order = np.argsort(t, kind="stable")
    bounds = np.searchsorted(t[order], np.arange(n_frames + 1))
    with new_folder(out_dir) as folder:
        for number, frame in enumerate(frames):
            rows = order[bounds[number] : bounds[number + 1]]
            mask = relabel(frame, label[rows], tracks.label[rows])
            tifffile.imwrite(
                folder / f"mask{number:0{digits}d}.tif", mask, compression="zlib", photometric="minisblack"
            )
            if on_frame is not None:
                on_frame(number)
        lines = [" ".join(str(int(v)) for v in row) + "\n" for row in tracks.table]
        (folder / "res_track.txt").write_text("".join(lines), encoding="ascii")


def relabel(frame: npt.NDArray[Any], old: npt.NDArray[np.int64], new: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Return a label image whose values `old` became `new`, all else 0.

    Parameters
    ----------
    frame : integer array
    old, new : (k,) int64

    Returns
    -------
    uint16 array of the same shape
    """
    out = np.zeros(frame.shape, np.uint16)
    if len(old) == 0:
        return out
    order = np.argsort(old)
    where = np.nonzero(frame)
    values = frame[where].astype(np.int64)
    at = np.minimum(np.searchsorted(old[order], values), len(old) - 1)
    out[where] = np.where(old[order][at] == values, new[order][at], 0).astype(np.uint16)
    return out


@contextmanager
def new_folder(out_dir: Path) -> Iterator[Path]:
    """Give a scratch folder beside `out_dir` that becomes it when the block ends well, and vanishes when not.

    Raises
    ------
    PathExistsError
        If `out_dir` is a file or a folder that holds something.
    StorageError
        If the disk does not take the files.
    """
    if out_dir.exists() and not (out_dir.is_dir() and not any(out_dir.iterdir())):
        raise PathExistsError(f"{out_dir} exists: give the name of a new folder, nothing is overwritten.")
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", suffix=".partial", dir=out_dir.parent))
    except OSError as error:
        raise write_refused(out_dir, error) from error
    try:
        yield scratch
        mask = os.umask(0)
        os.umask(mask)
        scratch.chmod(0o777 & ~mask)  # mkdtemp makes it private
        if out_dir.is_dir():
            out_dir.rmdir()
        scratch.rename(out_dir)
    except OSError as error:
        if isinstance(error, PathExistsError | StorageError) or error.errno is None:
            raise
        raise write_refused(out_dir, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
