"""A single file, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from napari_marrow.errors import UnusablePathError, write_refused


def refuse_unusable(out: Path) -> None:
    """Refuse a path that nothing can be made at before hours are spent on what was to go there.

    Raises
    ------
    UnusablePathError
        If a part of the path is a file.
    """
    for part in out.parents:
        if part.is_file():
            raise UnusablePathError(f"'{out}' cannot be written ('{part}' is a file): choose another place.")


def write_new(path: Path, content: str | bytes) -> None:
    """Write a new file, all or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise write_refused(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(scratch).chmod(0o666 & ~mask)
        Path(scratch).rename(path)
    except OSError as error:
        raise write_refused(path, error) from error
    finally:
        Path(scratch).unlink(missing_ok=True)
