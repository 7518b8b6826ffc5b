"""One writer at a time: a lock file that names its holder."""

from __future__ import annotations

import json
import os
import secrets
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_marrow.errors import StudyLockedError
from napari_marrow.study.durable import storing
from napari_marrow.study.naming import printable
from napari_marrow.study.process import HOST, ThisProcess, is_alive, user_name

LOCK_NAME = "write.lock"
SHARE_LOCKS = "share-*.lock"


class WriteLock:
    """The right to write to a study; nested use by the same object is counted.

    The lock of a process that no longer runs on this host is taken over. A lock from another host stays until it is
    released or the file is deleted by hand, because nothing here can tell whether its holder lives.

    Parameters
    ----------
    root : Path
        Folder of the study.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / LOCK_NAME
        self._depth = 0
        self._token = ""
        self._guard = threading.RLock()

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._depth > 0

    def acquire(self) -> bool:
        """Take the lock.

        Returns
        -------
        bool
            True when it was taken, False when this object had it already.

        Raises
        ------
        StudyLockedError
            If another process, or another opening of the study in this process, holds it.
        StorageError
            If the study cannot be written.
        """
        with self._guard:
            if self._depth == 0:
                self._take()
            self._depth += 1
            return self._depth == 1

    def release(self) -> None:
        """Give the lock back."""
        with self._guard:
            self._depth -= 1
            if self._depth == 0:
                if _content(self._file).get("token") == self._token:
                    with suppress(OSError):
                        self._file.unlink()
                self._token = ""

    def _take(self) -> None:
        token = secrets.token_hex(8)
        for _ in range(10):
            if _create(self._file, token):
                share = _held_share(self._file.parent)
                if share is not None:
                    self._file.unlink(missing_ok=True)
                    raise StudyLockedError(_refusal(share, _content(share)))
                self._token = token
                return
            holder = _content(self._file)
            if not holder or not _is_stale(holder):
                if not holder and not self._file.exists():
                    continue
                raise StudyLockedError(_refusal(self._file, holder))
            _remove_stale(self._file, holder)
        raise StudyLockedError(_refusal(self._file, _content(self._file)))


class ShareLock:
    """The right to compute one share of a study's units, beside others who compute other shares.

    It keeps off those who would need the study for themselves. A share that another host has begun is taken over
    without asking, since only a job that was started anew would do so, and two who compute the same write the same.

    Parameters
    ----------
    root : Path
        Folder of the study.
    number, of : int
        Which share of how many, from 1.
    """

    def __init__(self, root: Path, number: int, of: int) -> None:
        self._file = root / f"share-{number}-of-{of}.lock"
        self._token = secrets.token_hex(8)

    def __enter__(self) -> ShareLock:
        """Take the share.

        Raises
        ------
        StudyLockedError
            If someone writes to the whole study, or another process of this host computes the share.
        StorageError
            If the study cannot be written.
        """
        for _ in range(10):
            if _create(self._file, self._token):
                break
            holder = _content(self._file)
            if holder.get("host") == HOST and not _is_stale(holder):
                raise StudyLockedError(_refusal(self._file, holder))
            _remove_stale(self._file, holder)
        else:
            raise StudyLockedError(_refusal(self._file, _content(self._file)))
        whole = self._file.with_name(LOCK_NAME)
        if whole.exists() and not _is_stale(_content(whole)):
            self.__exit__()
            raise StudyLockedError(_refusal(whole, _content(whole)))
        return self

    def __exit__(self, *error: object) -> None:
        """Give the share back."""
        if _content(self._file).get("token") == self._token:
            with suppress(OSError):
                self._file.unlink()


def _held_share(root: Path) -> Path | None:
    """Return the lock of a share that someone computes; those of dead processes of this host are removed."""
    for file in sorted(root.glob(SHARE_LOCKS)):
        holder = _content(file)
        if not _is_stale(holder):
            return file
        _remove_stale(file, holder)
    return None


def _create(file: Path, token: str) -> bool:
    """Make the lock file with its whole content in one step; False when there is one."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    mine = {
        "user": user_name(), "host": HOST, "pid": os.getpid(), "started": ThisProcess.started(), "since": now,
        "token": token,
    }  # fmt: skip
    with storing(file):
        draft = file.with_name(f"{file.name}.{HOST}~{os.getpid()}~{ThisProcess.started()}~{token}.partial")
        try:
            draft.write_text(json.dumps(mine))
            try:
                os.link(draft, file)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                try:
                    with file.open("x") as handle:
                        handle.write(json.dumps(mine))
                except FileExistsError:
                    return False
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
    return True


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_stale(holder: dict[str, Any]) -> bool:
    try:
        pid = int(holder["pid"])
    except (KeyError, TypeError, ValueError):
        return False
    return holder.get("host") == HOST and not is_alive(pid, str(holder.get("started", "")))


def _remove_stale(file: Path, holder: dict[str, Any]) -> None:
    """Move the stale file aside, and back if another process was faster and it is already the new holder's."""
    aside = file.with_name(f"{file.name}.{HOST}~{os.getpid()}~{ThisProcess.started()}~{secrets.token_hex(4)}.partial")
    with suppress(FileNotFoundError):
        os.rename(file, aside)
        if _content(aside).get("token") != holder.get("token"):
            with suppress(OSError):
                os.link(aside, file)
        aside.unlink(missing_ok=True)


def _refusal(file: Path, holder: dict[str, Any]) -> str:
    if not holder:
        return (
            f"'{file.parent}' is locked by '{file.name}', which does not say by whom: "
            "delete that file if nothing else is writing."
        )
    user = f"{printable(str(holder['user']))}, " if holder.get("user") else ""
    who = f"{user}process {holder.get('pid')} on host {holder.get('host')} since {holder.get('since')}"
    if holder.get("host") == HOST:
        return f"'{file.parent}' is being written by {who}: wait for it, or stop it."
    return f"'{file.parent}' is being written by {who}: wait for it, or delete '{file.name}' if it no longer runs."
