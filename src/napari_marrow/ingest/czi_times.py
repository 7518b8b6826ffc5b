"""The time stamps of a CZI file, which lie in an attachment that ``pylibCZIrw`` does not give.

Source: ZEISS, *CZI (ZISRAW) file format*, segments ``ZISRAWFILE``, ``ZISRAWATTDIR`` and ``ZISRAWATTACH``.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

_SEGMENT_HEADER = 32
"""Every segment begins with its name (16 bytes), the bytes that are reserved for it and those in use."""
_ENTRY = 128
_MAX_ATTACHMENTS = 10_000
_MAX_STAMPS = 10_000_000


def time_stamps(path: Path) -> npt.NDArray[np.float64] | None:
    """Return the time of every frame of a CZI file in seconds, from an origin of its own; None where it has none.

    Parameters
    ----------
    path : Path
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except (OSError, struct.error, ValueError):
        return None


def _read(file: IO[bytes], size: int) -> npt.NDArray[np.float64] | None:
    header = _segment(file, 0, b"ZISRAWFILE", 80)
    if header is None:
        return None
    # Major, Minor, 2 reserved (int32); 2 GUIDs; FilePart (int32); Directory, Metadata (int64); UpdatePending (int32)
    (directory,) = struct.unpack_from("<q", header, 16 + 32 + 4 + 8 + 8 + 4)
    if not 0 < directory < size:
        return None
    start = _segment(file, directory, b"ZISRAWATTDIR", 256)
    if start is None:
        return None
    (count,) = struct.unpack_from("<i", start)
    if not 0 <= count <= _MAX_ATTACHMENTS:
        return None
    entries = file.read(count * _ENTRY)
    for number in range(count):
        # SchemaType "A1", 10 reserved, FilePosition (int64), FilePart (int32), GUID, ContentFileType (8), Name (80)
        entry = entries[number * _ENTRY : (number + 1) * _ENTRY]
        kind, name = entry[40:48].rstrip(b"\0"), entry[48:128].split(b"\0")[0]
        (position,) = struct.unpack_from("<q", entry, 12)
        if (kind == b"CZTIMS" or name == b"TimeStamps") and 0 < position < size:
            return _stamps(file, position)
    return None


def _stamps(file: IO[bytes], position: int) -> npt.NDArray[np.float64] | None:
    if _segment(file, position, b"ZISRAWATTACH", 256) is None:
        return None
    _, count = struct.unpack("<ii", file.read(8))
    if not 0 < count <= _MAX_STAMPS:
        return None
    values = np.frombuffer(file.read(count * 8), dtype="<f8")
    return values.astype(np.float64) if len(values) == count and np.isfinite(values).all() else None


def _segment(file: IO[bytes], position: int, name: bytes, fixed: int) -> bytes | None:
    """Return the first `fixed` bytes of a segment's data, None where there is another segment."""
    file.seek(position)
    head = file.read(_SEGMENT_HEADER)
    if head[:16].rstrip(b"\0") != name:
        return None
    data = file.read(fixed)
    return data if len(data) == fixed else None
