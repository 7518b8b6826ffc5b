"""What the microscopes' own libraries raise on a damaged file, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_marrow.errors import InputFileError, MarrowError


@contextmanager
def damage_is_told(path: Path, kind: str, what: str = "") -> Iterator[None]:
    """Raise `InputFileError` for anything that a library raises while the block runs.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        Its format, for the sentence.
    what : str
        What was being read, such as ``"frame 3"``.
    """
    try:
        yield
    except (MarrowError, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise InputFileError(
            f"'{path.name}' claims more pixels than fit into memory: check that the file is what it should be."
        ) from error
    except Exception as error:  # the libraries raise whatever they like on damaged bytes
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputFileError(
            f"'{path.name}' is no {kind} file, or it is truncated or damaged"
            f"{f' at {what}' if what else ''} ({reason}): copy it again from the microscope."
        ) from error
