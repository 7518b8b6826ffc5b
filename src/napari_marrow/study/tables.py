"""Tables as parquet part files. A part file is the commit record of its unit of work.

Its footer holds, under the key ``marrow``, a JSON object {table, key, unit, rows, crc32c, extra}. The checksum is the
CRC-32C of the whole file as it would be with eight zeros in the checksum's place, so a flipped bit anywhere is found.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow.errors import CorruptDataError, StudyError, TableError
from napari_marrow.study import remote
from napari_marrow.study.durable import checksum, read_document, storing, write_bytes, write_document
from napari_marrow.study.naming import check_key, check_word, is_key, is_word, part_path, unit_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_MARK = '"crc32c": "{}"'
_BLANK = _MARK.format("0" * 8).encode()
MANIFEST = "manifest.json"
WHOLE = "part.parquet"
"""Part file of a unit that covers the whole study."""


def table_folder(root: Path, table: str, key: str) -> Path:
    """Return the folder of a table's part files."""
    return root / "tables" / check_word(table, "name of a table") / check_key(key)


def commit(
    root: Path,
    table: str,
    key: str,
    unit: Mapping[str, Any],
    rows: pd.DataFrame,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a unit's rows as one file, which says that the unit is done.

    Raises
    ------
    TableError
        If a column of the table's schema is missing or of the wrong kind.
    SettingsError
        If table, key or unit are no safe names.
    StorageError
        If the disk is full; nothing is left behind.
    """
    path = table_folder(root, table, key) / part_path(unit)
    record = {"table": table, "key": key, "unit": dict(unit), "rows": len(rows), "extra": dict(extra or {})}
    write_bytes(path, _encode(_to_arrow(table, rows), record))
    return path


def _to_arrow(table: str, rows: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    from napari_marrow import schemas

    schema = schemas.ALL.get(table)
    if schema is not None:
        rows = schema.conform(rows)
    try:
        arrow = pa.Table.from_pandas(rows, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise TableError(f"Table '{table}' holds values that cannot be stored: {error}.") from error
    # A column of objects without rows has no type of its own; here it can only be text.
    fields = [f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in arrow.schema]
    return arrow.cast(pa.schema(fields)).replace_schema_metadata(None)


def _encode(arrow: pa.Table, record: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = json.dumps(record, allow_nan=False, default=_plain)
    footer = text[:-1] + ", " + _BLANK.decode() + "}"
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, arrow.schema, compression="zstd", compression_level=1) as writer:
        writer.write_table(arrow)
        writer.add_key_value_metadata({"marrow": footer})
    data = sink.getvalue().to_pybytes()
    at = data.rfind(_BLANK)
    return data[:at] + _MARK.format(checksum(data)).encode() + data[at + len(_BLANK) :]


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"{type(value).__name__} cannot be stored in a commit record")


def read_part(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Read a part file and its record, and test its checksum.

    Raises
    ------
    CorruptDataError
        If the file is missing, damaged or no part file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorruptDataError(f"'{path}' is missing: run `marrow verify` to see what else is.") from None
    except OSError as error:
        raise CorruptDataError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    try:
        start = data.rindex(_MARK.partition("{}")[0].encode())
        stored = data[start : start + len(_BLANK)]
        if stored != _MARK.format(checksum(data[:start] + _BLANK + data[start + len(_BLANK) :])).encode():
            raise ValueError("checksum")
        file = pq.ParquetFile(pa.BufferReader(data))
        record = json.loads(file.metadata.metadata[b"marrow"])
        return file.read(), record
    except Exception as error:  # parquet raises whatever it likes on damaged bytes
        raise CorruptDataError(
            f"'{path}' fails its checksum: delete the file and run the step again, or restore it from a copy."
        ) from error


def read_record(path: Path) -> dict[str, Any] | None:
    """Read only the record in a part file's footer, None when the file is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = pa.BufferReader(path.read_bytes()) if remote.is_remote(path) else path
        record = json.loads(pq.read_metadata(source).metadata[b"marrow"])
    except Exception:  # parquet raises whatever it likes on damaged bytes
        return None
    return record if isinstance(record, dict) else None


def parts(root: Path, table: str, key: str, position: str | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """Return (file, unit) of every part by position, session and frame.

    With `position` only its folder and the parts of all positions are looked at: a study may have millions.
    """
    folder = table_folder(root, table, key)
    if remote.is_remote(root) and table == "frames":
        units = [{"position": position, "session": session} for position, session in remote.listed(root)]
        return [(folder / part_path(unit), unit) for unit in units]
    found = []
    for name in _files(folder, position):
        unit = unit_of(name)
        if unit is not None:
            found.append((folder / name, unit))
    return sorted(found, key=lambda part: _order(part[1]))


def _files(folder: Path, position: str | None = None) -> list[str]:
    """Return the files of a table's folder and of its position folders (or one of them), as relative paths."""
    names = []
    if remote.is_remote(folder):
        return remote.parts_of(folder, MANIFEST)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    if position is not None and entry.name != f"position={position}":
                        continue
                    names += [f"{entry.name}/{name}" for name in os.listdir(entry.path)]
                else:
                    names.append(entry.name)
    except FileNotFoundError:
        return []
    return names


def _order(unit: dict[str, Any]) -> tuple[str, int, int]:
    return unit.get("position", ""), unit.get("session", -1), unit.get("t", -1)


def committed(root: Path, table: str, key: str) -> list[dict[str, Any]]:
    """Return the units that are done: those whose part file has a readable record of this table, key and unit."""
    done = []
    for path, unit in parts(root, table, key):
        record = read_record(path)
        if record is not None and (record["table"], record["key"], record["unit"]) == (table, key, unit):
            done.append(unit)
    return done


def read(root: Path, table: str, key: str, unit: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Return the rows of all units (or of those that `unit` agrees with) in the order of their units.

    Raises
    ------
    StudyError
        If nothing was committed.
    CorruptDataError
        If a part file is damaged.
    """
    import pyarrow as pa

    from napari_marrow import schemas

    wanted = _matching(root, table, key, dict(unit or {}))
    if not wanted and table in schemas.ALL and (table_folder(root, table, key) / MANIFEST).is_file():
        return schemas.ALL[table].empty()  # the step ran to its end and found nothing
    if not wanted:
        raise StudyError(f"The study '{root}' holds no table '{table}' of key '{key}': run the step that makes it.")
    pieces = [read_part(path)[0] for path in wanted]
    try:
        arrow = pa.concat_tables(pieces, promote_options="permissive")
    except pa.ArrowInvalid as error:
        raise TableError(f"The parts of table '{table}' do not fit together: {error}.") from error
    rows = arrow.to_pandas()
    schema = schemas.ALL.get(table)
    return rows if schema is None else schema.conform(rows)


def _matching(root: Path, table: str, key: str, unit: dict[str, Any]) -> list[Path]:
    """Return the part files that agree with a unit; that of a whole frame is found without listing the others."""
    exact = table_folder(root, table, key) / part_path(unit)
    if len(unit) == 3 and exact.is_file():
        return [exact]
    found_parts = parts(root, table, key, unit.get("position"))
    return [path for path, found in found_parts if all(found.get(k) == v for k, v in unit.items())]


def write_manifest(root: Path, table: str, key: str) -> None:
    """Write down which part files a finished table has, so that a lost one is missed.

    What an earlier manifest named stays in it, though the file be gone: only `drop_session` takes names out.
    """
    folder = table_folder(root, table, key)
    present = {str(path.relative_to(folder).as_posix()) for path, _ in parts(root, table, key)}
    try:
        before = read_document(folder / MANIFEST)["parts"]
    except CorruptDataError:
        before = None
    names = sorted(present | set(before or []))
    if names == before:
        return
    write_document(folder / MANIFEST, {"table": table, "key": key, "parts": names})


def drop_session(root: Path, position: str, session: int, of_tables: Sequence[str] | None = None) -> None:
    """Remove the parts of a session's own units from every table and manifest, or from some, of whatever key.

    Without a position, these are the parts that cover the session over all positions.
    """
    names = [table for table in table_names(root) if table != "frames" and table in (of_tables or [table])]
    for folder in (table_folder(root, table, key) for table in names for key in keys(root, table)):
        place = folder / f"position={position}" if position else folder
        gone = [p for p in place.glob("part-s*.parquet") if _session_of(p) == session]
        with storing(folder):
            for path in gone:
                path.unlink(missing_ok=True)
        if gone and (folder / MANIFEST).is_file():
            document = read_document(folder / MANIFEST)
            taken = {path.relative_to(folder).as_posix() for path in gone}
            document["parts"] = [name for name in document["parts"] if name not in taken]
            write_document(folder / MANIFEST, document)


def _session_of(path: Path) -> int | None:
    unit = unit_of(path.name)
    return None if unit is None else unit.get("session")


def table_names(root: Path) -> list[str]:
    """Return the tables that exist under any key."""
    return [name for name in _folders(root / "tables") if is_word(name)]


def keys(root: Path, table: str) -> list[str]:
    """Return the keys that a table exists under."""
    return [name for name in _folders(root / "tables" / check_word(table, "name of a table")) if is_key(name)]


def _folders(parent: Path) -> list[str]:
    return sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []
