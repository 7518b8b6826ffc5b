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
from napari_marrow.study.process import HOST, ThisProcess, is_alive

LOCK_NAME = "write.lock"


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
                self._token = token
                return
            holder = _content(self._file)
            if not holder or not _is_stale(holder):
                if not holder and not self._file.exists():
                    continue
                raise StudyLockedError(_refusal(self._file, holder))
            _remove_stale(self._file, holder)
        raise StudyLockedError(_refusal(self._file, _content(self._file)))


def _create(file: Path, token: str) -> bool:
    """Make the lock file with its whole content in one step; False when there is one."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    mine = {"host": HOST, "pid": os.getpid(), "started": ThisProcess.started(), "since": now, "token": token}
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
    who = f"process {holder.get('pid')} on host {holder.get('host')} since {holder.get('since')}"
    if holder.get("host") == HOST:
        return f"'{file.parent}' is being written by {who}: wait for it, or stop it."
    return f"'{file.parent}' is being written by {who}: wait for it, or delete '{file.name}' if it no longer runs."
