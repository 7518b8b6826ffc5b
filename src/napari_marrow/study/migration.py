"""From each schema of a study to the next.

A change of the layout on disk raises `SCHEMA_VERSION` and gets a function here that makes of a study of the
schema before one of the new. Every function may be killed and run again: it leaves data alone that are already as they
should be, and the number in ``study.json`` is raised last, in one atomic step. A small study of each past schema is
kept in the tests.

========  ==========================================================================================================
schema    what changed
========  ==========================================================================================================
1         the first
2         shards of new arrays lie side by side (``c.12.0.0.0.0``), not in five folders each (``c/12/0/0/0/0``); arrays
          say which they have, so those of schema 1 stay as they are. Run records are numbered.
========  ==========================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_marrow.errors import StudyError

Document = dict[str, Any]

SCHEMA_VERSION = 2
"""What this version writes; the table above says what changed with each."""


def _to_2(root: Path, document: Document) -> Document:
    """Change nothing: old arrays keep their names, old run records sort before numbered ones."""
    return document


STEPS: dict[int, Callable[[Path, Document], Document]] = {1: _to_2}
"""What makes of a study of a schema one of the next."""


def upgraded(root: Path, document: Document) -> Document:
    """Bring a study's files to the current schema and return the ``study.json`` that says so.

    Parameters
    ----------
    root : Path
        Folder of the study, whose lock the caller holds.
    document : dict
        Its ``study.json``; not changed.

    Raises
    ------
    StudyError
        If there is no way from its schema.
    """
    document = dict(document)
    while document["schema_version"] < SCHEMA_VERSION:
        version = document["schema_version"]
        if version not in STEPS:
            raise StudyError(f"'{root}' has study schema {version}, which nothing is known of.")
        document = {**STEPS[version](root, document), "schema_version": version + 1}
    return document
