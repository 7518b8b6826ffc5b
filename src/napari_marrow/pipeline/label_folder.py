"""The folder that ``marrow segment`` fills: its settings, which files are finished, and what was counted in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from napari_marrow.errors import MarrowError, PathExistsError, SettingsError, write_refused
from napari_marrow.ingest.placing import fingerprint
from napari_marrow.pipeline.pictures import is_picture

COUNTS = "counts.csv"
SETTINGS = "segment.json"
COLUMNS = ("file", "frames", "cells", "diameter", "seconds", "axes", "shape", "source")

Row = dict[str, Any]


def label_name(image: Path) -> str:
    """Return the name of an image's label file: its own, with the ending .tif where it is a picture."""
    return f"{image.stem}.tif" if is_picture(image) else image.name


@dataclass
class LabelFolder:
    """A folder of label files, each named as its image.

    Attributes
    ----------
    path : Path
    rows : dict
        Row of `COLUMNS` of every finished file, by file name.
    """

    path: Path
    rows: dict[str, Row] = field(default_factory=dict)
    _made: list[Path] = field(default_factory=list)

    def open(self, images: Sequence[Path], settings: Mapping[str, Any]) -> set[str]:
        """Make the folder, or go on with it, and return the names of the images that are finished.

        Parameters
        ----------
        images : sequence of Path
            Their names are all different.
        settings : mapping
            What decides the labels.

        Raises
        ------
        PathExistsError
            If it holds labels of other settings or images, or files that this command did not write.
        StorageError
            If the folder cannot be made.
        """
        text = json.dumps(dict(settings), indent=1, sort_keys=True)
        kept = self.path / SETTINGS
        if self.path.exists() and not self.path.is_dir():
            raise PathExistsError(f"{self.path} is a file: give a folder for the labels.")
        if kept.is_file():
            before = kept.read_text(encoding="utf-8", errors="replace")
            if before != text:
                raise PathExistsError(
                    f"{self.path} holds labels of other settings ({_difference(before, settings)}): "
                    "give another folder."
                )
            self.rows = self._read_counts()
            return self._finished(images)
        for name in (*map(label_name, images), COUNTS):
            if (self.path / name).exists():
                raise PathExistsError(
                    f"{self.path / name} exists and was not written by this command: give another folder."
                )
        try:
            self._made = [p for p in (self.path, *self.path.parents) if not p.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, lambda partial: partial.write_text(text, encoding="utf-8"))
        except OSError as error:
            self.leave()
            raise write_refused(self.path, error) from error
        return set()

    def leave(self) -> None:
        """Take away a folder in which nothing was finished."""
        if self.rows:
            return
        with suppress(OSError):
            for name in (COUNTS, SETTINGS):
                (self.path / name).unlink(missing_ok=True)
            for folder in self._made:
                folder.rmdir()

    def write_counts(self) -> None:
        """Write ``counts.csv``."""
        table = pd.DataFrame(list(self.rows.values()), columns=list(COLUMNS))
        write_atomically(self.path / COUNTS, lambda partial: table.to_csv(partial, index=False))

    def _read_counts(self) -> dict[str, Row]:
        for left in self.path.glob("*.partial"):
            left.unlink()
        counts = self.path / COUNTS
        if not counts.exists():
            return {}
        try:
            table = pd.read_csv(counts, dtype={"file": str, "axes": str, "shape": str, "source": str})
        except (ValueError, OSError) as error:
            raise _no_counts(counts) from error
        if tuple(table.columns) != COLUMNS or bool(table[["file", "source"]].isna().any(axis=None)):
            raise _no_counts(counts)
        return {str(row["file"]): {str(k): v for k, v in row.items()} for row in table.to_dict("records")}

    def _finished(self, images: Sequence[Path]) -> set[str]:
        finished = set()
        owner = {label_name(Path(name)): name for name in self.rows}
        for path in images:
            target = self.path / label_name(path)
            if owner.get(target.name, path.name) != path.name:
                raise PathExistsError(f"{target} holds the labels of {owner[target.name]}: give another folder.")
            if path.name not in self.rows or not target.exists():
                continue
            if self.rows[path.name]["source"] != fingerprint(path):
                raise PathExistsError(
                    f"{target} holds the labels of another image than {path}: remove that file, or give another folder."
                )
            finished.add(path.name)
        return finished


def check_names(images: Sequence[Path], out: Path) -> None:
    """Refuse images whose labels would overwrite each other, themselves, or the folder's own files.

    Raises
    ------
    SettingsError, PathExistsError
    """
    names: dict[str, Path] = {}
    for path in images:
        name = os.path.normcase(label_name(path))
        if name in names:
            raise SettingsError(
                f"{names[name]} and {path} have the same name: their labels would overwrite each other. Segment each "
                "folder into one of its own."
            )
        names[name] = path
        if path.resolve().parent == out.resolve():
            raise PathExistsError(f"The labels of {path} would overwrite it: give another output folder than {out}.")
        if label_name(path) in (COUNTS, SETTINGS):
            raise SettingsError(f"{path} has the name of a file that is written beside the labels: rename it.")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside the path and rename it there; nothing is left if it fails.

    Raises
    ------
    StorageError
        If the disk does not take it.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        write(partial)
        os.replace(partial, path)
    except MarrowError:
        raise
    except OSError as error:
        raise write_refused(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _no_counts(path: Path) -> PathExistsError:
    return PathExistsError(f"{path} is not as this command wrote it: remove it, or give another folder.")


def _difference(before: str, settings: Mapping[str, Any]) -> str:
    """Say in which settings an earlier run differs."""
    try:
        held = dict(json.loads(before))
    except (ValueError, TypeError):
        return "which cannot be read"
    names = sorted({*held, *settings})
    words = [f"{n} {held.get(n)}, now {settings.get(n)}" for n in names if held.get(n) != settings.get(n)]
    return "; ".join(words)
