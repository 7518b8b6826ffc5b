"""SHA-256 of what was imported, so that years later one can tell whether a file is the one that a study was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from napari_marrow.errors import InputFileError

_BLOCK = 1 << 20


def source_sha256(source: Path, files: Sequence[Path] = (), *, stop: Event | None = None) -> str:
    """Return the checksum of a source.

    Of a single file it is what ``sha256sum`` prints. Of several (a TIFF series, a set of OME-TIFF files, the folder of
    an OME-Zarr) it is the checksum of the list that ``sha256sum`` prints for them, sorted by name: a line
    ``<checksum>  <path below the folder>`` for each.

    Parameters
    ----------
    source : Path
        File, or folder.
    files : sequence of Path
        What belongs to it, folders with all that is in them; without it, every file below a folder.
    stop : Event, optional
        Ends the work early when set; the result then means nothing.

    Raises
    ------
    InputFileError
        If a file cannot be read.
    """
    listed = _listed(source, files)
    root = source if source.is_dir() else source.parent
    if len(listed) == 1 and not source.is_dir():
        return _of_file(listed[0], stop)
    listing = hashlib.sha256()
    for file in listed:
        name = file.relative_to(root).as_posix()
        listing.update(f"{_of_file(file, stop)}  {name}\n".encode("utf-8", "surrogateescape"))
    return listing.hexdigest()


def _listed(source: Path, files: Sequence[Path]) -> list[Path]:
    if not source.is_dir():
        return sorted({source, *files})
    below = [inner for file in files or (source,) for inner in ([file] if file.is_file() else file.rglob("*"))]
    return sorted({file for file in below if file.is_file()})


def _of_file(path: Path, stop: Event | None) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as handle:
            while block := handle.read(_BLOCK):
                digest.update(block)
                if stop is not None and stop.is_set():
                    break
    except OSError as error:
        raise InputFileError(f"'{path}' cannot be read ({error.strerror}): check the disk it lies on.") from error
    return digest.hexdigest()


class SourceChecksums:
    """Takes checksums in a thread of its own while the sources are copied; each source once."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="marrow-checksum")
        self._stop = Event()
        self._asked: dict[tuple[Path, tuple[Path, ...]], Future[str]] = {}

    def of(self, source: Path, files: tuple[Path, ...]) -> Future[str]:
        """Return the checksum of a source that will be known, see `source_sha256`."""
        if (source, files) not in self._asked:
            self._asked[source, files] = self._pool.submit(source_sha256, source, files, stop=self._stop)
        return self._asked[source, files]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)
