"""Writing that survives a kill and a full disk: partial file, fsync, rename, and checksums that a reader can test.

A file of a study is either its old self or its new self. A writer that dies leaves a ``*.partial`` file that names its
host and process, so that the next writer can tell litter from work in progress.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from napari_marrow.errors import CorruptDataError, FetchError, MarrowError, write_refused
from napari_marrow.study.process import HOST, ThisProcess, is_alive

PLAIN: tuple[str, ...] = ()
"""Where a document of our own keeps its checksum: at the top."""
ZARR: tuple[str, ...] = ("attributes", "marrow")
"""Where a ``zarr.json`` keeps it: readers of OME-Zarr ignore attributes that they do not know."""

SEAL = "checksums.json"
"""Checksums of a folder's files, for folders that are written at once."""

_PARTIAL = re.compile(r"\.(?P<host>[A-Za-z0-9-]+)~(?P<pid>\d+)~(?P<started>[0-9a-z-]*)~[0-9a-f]+\.partial$")


def checksum(data: bytes) -> str:
    """Return the CRC-32C of the bytes as eight hexadecimal digits."""
    import google_crc32c

    return f"{google_crc32c.value(data):08x}"


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into `StorageError` with a sentence.

    Raises
    ------
    StorageError
        If the disk or quota is full, or the place is not writable.
    """
    try:
        yield
    except MarrowError:
        raise
    except OSError as error:
        raise write_refused(path, error) from error


def write_bytes(path: Path, data: Any) -> None:
    """Write a whole file so that it is there completely or not at all, and stays after a power cut.

    Parameters
    ----------
    path : Path
        The file; missing folders are made.
    data : bytes-like

    Raises
    ------
    StorageError
        If the disk is full or not writable; nothing is left behind.
    """
    with storing(path):
        changed = _make_folder(path.parent)
        partial = path.with_name(
            f"{path.name}.{HOST}~{os.getpid()}~{ThisProcess.started()}~{secrets.token_hex(4)}.partial"
        )
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        # The file's own fsync has mostly settled the new folders as well, so these are quick.
        for folder in (path.parent, *changed):
            sync_folder(folder)


def second_name(there: Path, name: Path) -> None:
    """Give a whole file a second name, durably; a copy is written where the file system knows no hard links.

    Only for files that are replaced and never written into.
    """
    try:
        name.unlink(missing_ok=True)
        os.link(there, name)
    except (OSError, NotImplementedError):
        write_bytes(name, there.read_bytes())
    else:
        sync_folder(name.parent)


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and its missing parents, and return the folders that got a new entry, innermost first."""
    if folder.is_dir():
        return []
    changed = _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    return [folder.parent, *changed]


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable; systems that cannot open folders do so by themselves."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems refuse to sync folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def is_partial(name: str) -> bool:
    """Whether a file name is that of an unfinished write."""
    return name.endswith(".partial")


def sweep_partials(root: Path, *, alone: bool, deep: bool = True) -> list[Path]:
    """Remove what dead writers left.

    Parameters
    ----------
    root : Path
    alone : bool
        Whether the caller holds the write lock before any worker runs: then a partial file of another host is litter
        as well. Those of living processes of this host are always kept.
    deep : bool
        Whether to look into the folders below as well.

    Returns
    -------
    list of Path
        What was removed.
    """
    removed = []
    for folder, below, names in os.walk(root):
        if not deep:
            below.clear()
        for name in names:
            if not is_partial(name):
                continue
            path = Path(folder, name)
            found = _PARTIAL.search(name)
            if found is None:
                litter = alone
            elif found["host"] == HOST:
                litter = not is_alive(int(found["pid"]), found["started"])
            else:
                litter = alone
            if litter:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    removed.append(path)
    return removed


def write_document(path: Path, document: dict[str, Any], *, where: tuple[str, ...] = PLAIN) -> None:
    """Write a JSON document atomically, with the checksum of its content inside.

    Parameters
    ----------
    path : Path
    document : dict
        Anything JSON can hold (no NaN). Not modified.
    where : tuple of str
        Keys that lead to the object that takes the entry ``crc32c``: `PLAIN` or `ZARR`.
    """
    sealed = json.loads(json.dumps(document, allow_nan=False))  # as a reader will see it: lists, string keys
    _holder(sealed, where)["crc32c"] = _content_checksum(sealed, where)
    write_bytes(path, json.dumps(sealed, indent=2, ensure_ascii=False, allow_nan=False).encode())


def seal_folder(folder: Path) -> None:
    """Write down the checksum of every file of a folder, in `SEAL` of that folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SEAL)
    sums = {path.relative_to(folder).as_posix(): checksum(path.read_bytes()) for path in files}
    write_document(folder / SEAL, {"files": sums})


def read_document(path: Path, *, where: tuple[str, ...] = PLAIN) -> dict[str, Any]:
    """Read a JSON document and test its checksum.

    Raises
    ------
    CorruptDataError
        If the file is missing, unreadable, no JSON, or not what was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorruptDataError(f"'{path}' is missing: run `marrow verify` to see what else is.") from None
    except OSError as error:
        raise CorruptDataError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        if isinstance(path, Path):
            raise
        raise FetchError(f"'{path}' cannot be read ({type(error).__name__}: {error}).") from error
    try:
        document = json.loads(data.decode())
        stored = _holder(document, where).get("crc32c")
        good = isinstance(stored, str) and stored == _content_checksum(document, where)
    except (ValueError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise CorruptDataError(
            f"'{path}' fails its checksum: it was damaged or edited by hand. Restore it from a copy."
        )
    result: dict[str, Any] = document
    return result


def _holder(document: dict[str, Any], where: tuple[str, ...]) -> dict[str, Any]:
    holder = document
    for key in where:
        holder = holder.setdefault(key, {})
    return holder


def _content_checksum(document: dict[str, Any], where: tuple[str, ...]) -> str:
    bare = dict(document)
    holder = bare
    for key in where:
        holder[key] = dict(holder.get(key, {}))
        holder = holder[key]
    holder.pop("crc32c", None)
    return checksum(json.dumps(bare, sort_keys=True, separators=(",", ":")).encode())
