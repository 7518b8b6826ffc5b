"""The results of a study: label images and tables of its steps, a commit for each unit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from napari_marrow.errors import StudyError
from napari_marrow.study import labels, tables
from napari_marrow.study.images import StudyImages
from napari_marrow.study.labels import SessionLabels
from napari_marrow.study.naming import part_path
from napari_marrow.study.shard_names import known_shard_file

if TYPE_CHECKING:
    import pandas as pd


class StudyResults(StudyImages):
    """A study's labels and tables; the base of `Study`, which makes, opens and keeps studies."""

    # --- labels

    def has_labels(self, name: str, key: str, position: str, session: int) -> bool:
        """Whether labels of that name and key were begun for the session."""
        return labels.has_labels(self._image_folder(position, session), name, key)

    def labels(self, name: str, key: str, position: str, session: int) -> SessionLabels:
        """Return the labels of a session.

        Raises
        ------
        PathMissingError
            If there are none.
        """
        return SessionLabels(labels.labels_folder(self._image_folder(position, session), name, key))

    def label_names(self, key: str, position: str, session: int) -> list[str]:
        """Return the names of the session's label images of a key."""
        return labels.names_of_key(self._image_folder(position, session), key)

    def write_labels(self, name: str, key: str, position: str, session: int, t: int, array: npt.ArrayLike) -> None:
        """Write the labels of a frame, (Z, Y, X) or (Y, X) integers, as one atomic file."""
        self._check_writable()
        labels.write_labels(self.image(position, session), name, key, t, array)

    def share_labels(self, name: str, source: str, key: str, position: str, session: int, t: int) -> None:
        """Let a frame's labels of the key `source` be those of `key`, too: one file under two names."""
        self._check_writable()
        labels.share_labels(self.image(position, session), name, source, key, t)

    # --- tables

    def commit(
        self,
        table: str,
        key: str,
        unit: Mapping[str, Any],
        rows: pd.DataFrame,
        *,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a unit's rows and thereby declare the unit done; a second commit replaces the first.

        Parameters
        ----------
        table : str
            Name; the columns of a table of `napari_marrow.schemas` are checked.
        key : str
            Key of the step that made it.
        unit : mapping
            Any of ``position``, ``session``, ``t``; empty for the whole study.
        rows : DataFrame
        extra : mapping, optional
            Further facts for the commit record (JSON).
        """
        self._check_writable()
        tables.commit(self.path, table, key, unit, rows, extra)

    def committed(self, table: str, key: str) -> list[dict[str, Any]]:
        """Return the units of a table and key that are done."""
        return tables.committed(self.path, table, key)

    def is_committed(self, table: str, key: str, unit: Mapping[str, Any]) -> bool:
        """Whether a unit is done."""
        return (tables.table_folder(self.path, table, key) / part_path(unit)).is_file()

    def has_record(self, table: str, key: str, unit: Mapping[str, Any]) -> bool:
        """Whether a unit is done and its record can be read."""
        return tables.read_record(self.part_file(table, key, unit)) is not None

    def commit_record(self, table: str, key: str, unit: Mapping[str, Any]) -> dict[str, Any]:
        """Return the commit record of a unit: table, key, unit, rows, extra, crc32c."""
        return tables.read_part(tables.table_folder(self.path, table, key) / part_path(unit))[1]

    def table(self, table: str, key: str | None = None, *, unit: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return a table: the rows of all units, ordered by position, session and frame.

        Parameters
        ----------
        table : str
        key : str, optional
            By default the table's active key.
        unit : mapping, optional
            Only the parts of this position, session or frame.

        Raises
        ------
        StudyError
            If the table is not there.
        CorruptDataError
            If a part is damaged.
        """
        if table == "frames":
            return self.frames(unit)
        if key is None:
            key = self.active_tables.get(table)
        if key is None:
            raise StudyError(f"The study '{self.path}' holds no table '{table}' yet: run `marrow run` on it.")
        return self._without_excluded(tables.read(self.path, table, key, unit))

    def has_table(self, table: str, key: str | None = None) -> bool:
        """Whether a table has any rows' file under the key (by default its active key)."""
        if table == "frames":
            return bool(self.positions)
        key = self.active_tables.get(table) if key is None else key
        return key is not None and bool(tables.parts(self.path, table, key))

    def units_with_part(self, table: str, key: str) -> list[dict[str, Any]]:
        """Return the units of a table and key by the names of their parts, without a look into them."""
        return [unit for _, unit in tables.parts(self.path, table, key)]

    def part_file(self, table: str, key: str, unit: Mapping[str, Any]) -> Path:
        """Return where the part of a unit is, or would be."""
        return tables.table_folder(self.path, table, key) / part_path(unit)

    def label_file(self, name: str, key: str, position: str, session: int, t: int) -> Path:
        """Return where the full resolution of a frame's labels is, or would be."""
        folder = labels.labels_folder(self._image_folder(position, session), name, key)
        return known_shard_file(folder / "0", t)

    def keys_of_table(self, table: str) -> list[str]:
        """Return the keys that a table exists under, active or not."""
        return tables.keys(self.path, table)
