"""Every active table of a study as a CSV file, with a list of the columns' meanings and units."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from napari_marrow import schemas
from napari_marrow.export.new_places import new_folder
from napari_marrow.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_marrow.study import Study


def write_csv(study: Study, out: Path, *, progress: Progress = no_progress) -> list[str]:
    """Write ``<table>.csv`` of each active table, ``layout.csv``, ``frames.csv`` and ``columns.csv`` into a new folder.

    Parameters
    ----------
    study : Study
    out : Path
        Must not exist, or be an empty folder.
    progress : callable

    Returns
    -------
    list of str
        Names of the tables.

    Raises
    ------
    PathExistsError, StorageError
        If something is there, or the disk does not take the files.
    """
    names = ["layout", "frames", *sorted(name for name in study.active_tables if study.has_table(name))]
    columns = []
    with new_folder(out) as folder:
        for k, name in enumerate(names):
            table = study.layout if name == "layout" else study.table(name)
            table.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8", lineterminator="\n")
            schema = schemas.ALL.get(name)
            known = {column.name: column for column in schema.columns} if schema is not None else {}
            for column in table.columns:
                unit, meaning = (known[column].unit, known[column].meaning) if column in known else ("", "")
                columns.append({"table": name, "column": column, "unit": unit, "meaning": meaning})
            progress(k + 1, len(names), "Writing tables")
        pd.DataFrame(columns).to_csv(folder / "columns.csv", index=False, encoding="utf-8", lineterminator="\n")
    return names
