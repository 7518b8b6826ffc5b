"""What a person painted on a label image, as runs of pixels: small enough for a line of text, exact to the pixel."""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import EditError

_LARGEST = 64_000_000  # bytes of runs: 2.6 million of them, more than a person paints in one stroke


def painted_runs(before: npt.ArrayLike, after: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return how two label images of one frame differ.

    Parameters
    ----------
    before, after : array of int, one shape

    Returns
    -------
    ndarray of int64, shape (n, 3)
        Runs of neighbouring pixels that became the same label: first pixel (index into the flat image), length, label.
    """
    old, new = np.asarray(before).ravel(), np.asarray(after).ravel()
    changed = np.flatnonzero(old != new)
    if not len(changed):
        return np.zeros((0, 3), np.int64)
    values = new[changed].astype(np.int64)
    begins = np.flatnonzero(np.r_[True, (np.diff(changed) != 1) | (np.diff(values) != 0)])
    lengths = np.diff(np.r_[begins, len(changed)])
    return np.column_stack([changed[begins], lengths, values[begins]])


def paint(labels: npt.NDArray[np.int32], runs: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return a copy of a frame's labels with runs painted over it.

    Raises
    ------
    EditError
        If a run lies outside of the frame or its label is none.
    """
    if len(runs):
        start, length, value = runs.T
        # lengths first: a sum of two large numbers must not come round to a small one
        if length.min() < 1 or length.max() > labels.size or start.min() < 0 or (start > labels.size - length).any():
            raise EditError(f"The painted pixels lie outside of the frame of {labels.shape} pixels.")
        if value.min() < 0 or value.max() > np.iinfo(np.int32).max:
            raise EditError("The painted labels lie outside 0 to 2147483647.")
    painted = labels.copy()
    flat = painted.reshape(-1)
    for start_, length_, value_ in runs.tolist():
        flat[start_ : start_ + length_] = value_
    return painted


def runs_as_text(runs: npt.NDArray[np.int64]) -> str:
    """Return runs as text: little-endian int64 rows, deflated, in base 64."""
    return base64.b64encode(zlib.compress(runs.astype("<i8").tobytes(), 6)).decode()


def runs_from_text(text: str) -> npt.NDArray[np.int64]:
    """Return the runs that `runs_as_text` wrote.

    Raises
    ------
    EditError
        If the text holds something else.
    """
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(text, validate=True), _LARGEST)
        if not inflate.eof or len(data) % 24:
            raise ValueError("it was cut off")
    except (binascii.Error, zlib.error, ValueError, TypeError) as error:
        raise EditError(f"The painted pixels of an edit cannot be read: {error}.") from error
    return np.frombuffer(data, "<i8").reshape(-1, 3).astype(np.int64)
