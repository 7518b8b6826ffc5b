"""How fast a folder's disk writes and reads."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 22


@dataclass(frozen=True)
class DiskSpeed:
    """Speed of a disk.

    Attributes
    ----------
    write_mb_s : float
        10^6 bytes per second, until the disk says that it has them (fsync).
    read_mb_s : float
    uncached : bool
        Whether the system could be asked to forget the file before it was read; otherwise the reading is that of
        memory.
    free_gb : float
        10^9 bytes that the user may still write.
    """

    write_mb_s: float
    read_mb_s: float
    uncached: bool
    free_gb: float


def measure_disk(folder: Path, *, megabytes: int = 64) -> DiskSpeed:
    """Write and read a file of random bytes, which no disk compresses, and remove it.

    Parameters
    ----------
    folder : Path
        An existing folder.
    megabytes : int
        Size of the file, 2^20 bytes each.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    block, n_blocks = os.urandom(_BLOCK), max(1, (megabytes << 20) // _BLOCK)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".disk-speed-", suffix=".partial") as file:
        begin = time.perf_counter()
        for _ in range(n_blocks):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter() - begin
        uncached = hasattr(os, "posix_fadvise")
        if uncached:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        begin = time.perf_counter()
        while file.read(_BLOCK):
            pass
        read = time.perf_counter() - begin
    size = n_blocks * _BLOCK / 1e6
    return DiskSpeed(size / written, size / read, uncached, shutil.disk_usage(folder).free / 1e9)
