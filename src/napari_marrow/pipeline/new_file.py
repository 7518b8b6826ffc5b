"""A single file, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from napari_marrow.errors import write_refused


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
