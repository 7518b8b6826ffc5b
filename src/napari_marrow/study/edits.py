"""The journal of edits: who changed which tracks when, append-only, and what of it stands."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_marrow.errors import CorruptDataError, SettingsError
from napari_marrow.study.durable import checksum, storing, sync_folder, write_bytes

JOURNAL = "edits.jsonl"
TARGETS = ("cells", "colonies", "labels", "reviews")
"""What an entry is about: edits of cells, of colonies, painted labels, or what a person said without changing them."""


@dataclass(frozen=True)
class Entry:
    """An edit in the journal.

    Attributes
    ----------
    number : int
        From 1.
    utc, author : str
    position, target : str
        Imaged field, and what the entry is about: one of `TARGETS`.
    action : dict
        Plain values of the edit.
    """

    number: int
    utc: str
    author: str
    position: str
    target: str
    action: dict[str, Any]


class EditJournal:
    """``edits.jsonl`` of a study: a line per step of edits, undo or redo, each with its own checksum.

    An undo is a line, too: nothing is ever taken out. A line that was cut off by a kill is dropped when the next is
    written.

    Parameters
    ----------
    root : Path
        The study's folder.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / JOURNAL
        self.entries: dict[int, Entry] = {}
        self._done: list[list[int]] = []  # what stands, an undo step each
        self._undone: list[list[int]] = []
        self._length = 0
        self._read()

    def standing(self, position: str | None = None, target: str | None = None) -> list[Entry]:
        """Return the edits that stand, oldest first."""
        numbers = [n for step in self._done for n in step]
        found = [self.entries[n] for n in numbers]
        return [e for e in found if position in (None, e.position) and target in (None, e.target)]

    def last_step(self) -> list[Entry]:
        """Return the edits that the next undo takes back."""
        return [self.entries[n] for n in self._done[-1]] if self._done else []

    def digest(self, target: str) -> str:
        """Return a fingerprint of the standing edits of a target; empty where there are none."""
        said = [(e.position, e.action) for e in self.standing(target=target)]
        return checksum(json.dumps(said, sort_keys=True).encode()) if said else ""

    def append(self, edits: Sequence[tuple[str, str, Mapping[str, Any]]], author: str) -> list[Entry]:
        """Add edits (position, target, action) that are undone together; what was undone can no longer be redone."""
        first = max(self.entries, default=0) + 1
        utc = datetime.now(UTC).isoformat(timespec="seconds")
        made = [
            Entry(first + k, utc, author, position, target, dict(action))
            for k, (position, target, action) in enumerate(edits)
        ]
        if any(e.target not in TARGETS for e in made):
            raise SettingsError(f"Entries are of {', '.join(TARGETS)}.")
        if made:
            edits_of = [
                {"number": e.number, "position": e.position, "target": e.target, "action": e.action} for e in made
            ]
            self._write({"edits": edits_of, "utc": utc, "author": author})
        return made

    def undo(self, author: str) -> list[Entry]:
        """Take the last standing step back and return its edits; none if none stands."""
        return self._turn("undo", self._done, author)

    def redo(self, author: str) -> list[Entry]:
        """Make the last undone step again and return its edits; none if none was undone."""
        return self._turn("redo", self._undone, author)

    def _turn(self, word: str, stack: list[list[int]], author: str) -> list[Entry]:
        if not stack:
            return []
        numbers = list(stack[-1])
        self._write({word: numbers, "utc": datetime.now(UTC).isoformat(timespec="seconds"), "author": author})
        return [self.entries[n] for n in numbers]

    # --- the file

    def _write(self, record: dict[str, Any]) -> None:
        """Append a line durably and take it in."""
        line = _line(record)
        if not self.path.exists():
            write_bytes(self.path, line)
        else:
            with storing(self.path), self.path.open("r+b") as file:
                file.seek(self._length)
                try:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                except BaseException:
                    file.truncate(self._length)
                    raise
                file.truncate()
            sync_folder(self.path.parent)
        self._length += len(line)
        self._take(record)

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise CorruptDataError(f"'{self.path}' cannot be read: {error.strerror or error}.") from error
        *lines, tail = data.split(b"\n")  # not splitlines: a damaged byte may look like another end of line
        if _is_sealed(tail[:-1]):
            raise CorruptDataError(_damaged(self.path, len(lines) + 1))  # whole, but for the end of the line
        for number, line in enumerate(lines, 1):
            record = self._record(line, number)
            try:
                self._take(record)
            except (KeyError, IndexError, TypeError, ValueError):
                raise CorruptDataError(f"Line {number} of '{self.path}' does not follow the lines before it.") from None
            self._length += len(line) + 1

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        if not _is_sealed(line):
            raise CorruptDataError(_damaged(self.path, number))
        record = json.loads(line)
        record.pop("crc32c")
        return dict(record)

    def _take(self, record: dict[str, Any]) -> None:
        """Follow a line: what stands and what can be redone."""
        if "undo" in record:
            self._undone.append(self._done.pop())
        elif "redo" in record:
            self._done.append(self._undone.pop())
        else:
            step = []
            for edit in record["edits"]:
                number = int(edit["number"])
                self.entries[number] = Entry(
                    number, str(record["utc"]), str(record["author"]), str(edit["position"]), str(edit["target"]),
                    dict(edit["action"]),
                )  # fmt: skip
                step.append(number)
            self._done.append(step)
            self._undone.clear()


def _is_sealed(line: bytes) -> bool:
    """Whether a line is whole and has the checksum of its content."""
    try:
        record = json.loads(line)
        stated = record.pop("crc32c")
        return bool(stated == checksum(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _damaged(path: Path, number: int) -> str:
    return f"Line {number} of '{path}' fails its checksum: it was damaged or edited by hand. Restore it from a copy."


def _line(record: Mapping[str, Any]) -> bytes:
    seal = checksum(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
    return json.dumps({**record, "crc32c": seal}, separators=(",", ":")).encode() + b"\n"
