"""The layout CSV: which organoid, donor, batch and condition is in which well."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow.errors import InputFileError, PathMissingError, TableError

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("organoid", "condition")
DEFAULTS: dict[str, Any] = {"donor": "unknown", "batch": "unknown", "dose": math.nan, "replicate": 1}
_WELL = re.compile(r"(?P<row>[A-Z]{1,2})(?P<column>\d{1,2})")


def read_layout(path: Path, positions: Iterable[str] = ()) -> pd.DataFrame:
    """Read and check a layout CSV.

    Parameters
    ----------
    path : Path
        Columns ``well`` (or ``position``), ``organoid``, ``condition``, and optionally ``donor``, ``batch``, ``dose``,
        ``replicate``, ``exclusion`` (why an organoid is left out of comparisons; empty for those that take part).
        Comma, semicolon or tab separated, UTF-8.
    positions : iterable of str
        Positions of the study: a row that names only a well holds for all of them in that well, or for field 00
        where there is none.

    Returns
    -------
    DataFrame
        Schema LAYOUT, one row per position; with the column ``exclusion`` if any organoid is left out.

    Raises
    ------
    PathMissingError
        If there is no such file.
    InputFileError
        If it is no text or has no rows.
    TableError
        If a column is missing or a value cannot be; the sentence names the row.
    """
    import pandas as pd

    from napari_marrow import schemas

    positions = sorted(set(positions))
    records: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(_rows(path), start=2):
        where = f"'{path.name}' row {number}"
        for position in _positions(row, positions, where):
            if position in records:
                raise TableError(f"{where}: {position} was named before: give one row per well or position.")
            records[position] = _record(row, position, where)
    table = pd.DataFrame(list(records.values())).sort_values("position", ignore_index=True)
    if not table["exclusion"].any():
        table = table.drop(columns="exclusion")
    return schemas.LAYOUT.conform(table)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise PathMissingError(f"There is no layout file '{path}'.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        header = lines[0] if lines else ""
        separator = max(",;\t", key=header.count)
        reader = csv.DictReader(lines, delimiter=separator, skipinitialspace=True)
        rows = [{str(k).strip().lower(): str(v or "").strip() for k, v in row.items()} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputFileError(f"'{path.name}' is no CSV text ({error}): save the layout as CSV in UTF-8.") from error
    columns = [name.strip().lower() for name in header.split(separator)]
    missing = [name for name in REQUIRED if name not in columns]
    if not {"well", "position"} & set(columns):
        missing.insert(0, "well")
    if missing:
        raise TableError(f"'{path.name}' lacks the column(s) {', '.join(missing)}: it has {', '.join(columns)}.")
    rows = [row for row in rows if any(row.values())]
    if not rows:
        raise InputFileError(f"'{path.name}' has no rows: give one per well.")
    return rows


def _positions(row: dict[str, str], positions: list[str], where: str) -> list[str]:
    """Return the positions that a row speaks of."""
    position = row.get("position", "")
    if position:
        if re.fullmatch(r"[A-Z]{1,2}\d{2}_f\d{2,4}", position) is None:
            raise TableError(f"{where}: '{position}' is no position; positions look like B02_f00.")
        well = row.get("well", "")
        if well and _well(well, where) != position.partition("_")[0]:
            raise TableError(f"{where}: position {position} does not lie in well {well}.")
        return [position]
    well = _well(row.get("well", ""), where)
    return [p for p in positions if p.partition("_")[0] == well] or [f"{well}_f00"]


def _well(text: str, where: str) -> str:
    found = _WELL.fullmatch(text.upper())
    if found is None:
        raise TableError(f"{where}: '{text}' is no well; wells look like B02.")
    return f"{found['row']}{int(found['column']):02d}"


def _record(row: dict[str, str], position: str, where: str) -> dict[str, Any]:
    for name in REQUIRED:
        if not row[name]:
            raise TableError(f"{where}: {name} is empty.")
    return {
        "position": position,
        "well": position.partition("_")[0],
        "organoid": row["organoid"],
        "donor": row.get("donor") or DEFAULTS["donor"],
        "batch": row.get("batch") or DEFAULTS["batch"],
        "condition": row["condition"],
        "dose": _dose(row.get("dose", ""), where),
        "replicate": _replicate(row.get("replicate", ""), where),
        "exclusion": " ".join(row.get("exclusion", "").split()),
    }


def _dose(text: str, where: str) -> float:
    if text.lower() in ("", "nan", "na", "none", "-"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value) or value < 0:
        raise TableError(f"{where}: dose is '{text}': give a number, or leave it empty.")
    return value


def _replicate(text: str, where: str) -> int:
    if not text:
        return int(DEFAULTS["replicate"])
    if re.fullmatch(r"\d{1,6}(\.0)?", text) is None:
        raise TableError(f"{where}: replicate is '{text}': give a whole number.")
    return int(float(text))
