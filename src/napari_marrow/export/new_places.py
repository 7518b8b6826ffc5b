"""Writing a file or folder that was not there, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_marrow.errors import MarrowError, PathExistsError, write_refused
from napari_marrow.export.ctc import new_folder

__all__ = ["new_file", "new_folder"]


@contextmanager
def new_file(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give the name of a scratch file that becomes `path` when the block ends well, and vanishes when not.

    Parameters
    ----------
    path : Path
    replace : bool
        Whether a file that is there is replaced.

    Raises
    ------
    PathExistsError
        If there is something, and it is not to be replaced.
    StorageError
        If the disk does not take the file.
    """
    if path.exists() and not replace:
        raise PathExistsError(f"'{path}' exists: choose another name, nothing is overwritten.")
    scratch = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        scratch.replace(path)
    except MarrowError:
        raise
    except OSError as error:
        raise write_refused(path, error) from error
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
