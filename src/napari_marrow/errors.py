"""Errors of the package.

Every error carries one sentence that names the file, the value and the remedy. A `UserError` is the caller's to
mend (the command line answers exit code 2); any other `MarrowError` is ours or the machine's (exit code 1). Each class
is a builtin error as well, so that code which does not know this package still catches it by kind.
"""

from __future__ import annotations

import errno
from pathlib import Path


class MarrowError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code = 1


class UserError(MarrowError):
    """Something in the input or in the call has to be changed by the user."""

    exit_code = 2


class InputFileError(UserError, ValueError):
    """A file cannot be read as what it should be."""


class MissingMetadataError(UserError, ValueError):
    """A physical fact (axes, pixel size, frame times) is neither in the file nor given."""


class PathExistsError(UserError, FileExistsError):
    """Writing there would overwrite something."""


class PathMissingError(UserError, FileNotFoundError):
    """There is nothing at the path."""


class RecipeError(UserError, ValueError):
    """A recipe has an unknown key or a value outside its bounds."""


class SettingsError(UserError, ValueError):
    """An argument is outside its meaning."""


class TableError(UserError, ValueError):
    """A table lacks a column or holds values that cannot be."""


class ModelError(UserError, ValueError):
    """A network's weights are not what they claim to be, or the model is unknown."""


class NoImprovementError(UserError, RuntimeError):
    """A trained network is no better than the one it began with, and was not written."""


class StudyError(UserError, ValueError):
    """The folder is no study, or not one that this version can work with."""


class StudyLockedError(UserError, RuntimeError):
    """Another process is writing to the study."""


class EditError(UserError, ValueError):
    """An edit of tracks is impossible, or conflicts with what is there."""


class DesignError(UserError, ValueError):
    """The experiment's design does not allow the asked comparison."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is needed; the sentence names the `pip install` that brings it."""


class CorruptDataError(MarrowError, OSError):
    """Stored data fail their checksum."""


class StorageError(MarrowError, OSError):
    """The disk is full or does not take the data."""


class FetchError(MarrowError, OSError):
    """The network does not give a file."""


class UnusablePathError(UserError, StorageError):
    """Nothing can be made at the path: a part of it is a file, or its name is too long."""


class Cancelled(MarrowError, RuntimeError):  # noqa: N818 - a request that was obeyed, not a fault
    """The work was cancelled by the user; what was committed stands."""

    exit_code = 130


class SlowDeviceWarning(UserWarning):
    """The work will take far longer on this device than on another."""


_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_UNUSABLE = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP}


def write_refused(path: Path, error: OSError) -> StorageError:
    """Return the error that says why the system did not take a file or folder.

    Parameters
    ----------
    path : Path
        What was to be written, as the user knows it.
    error : OSError
        What the system said.

    Returns
    -------
    StorageError
        An `UnusablePathError` where another path is the remedy.
    """
    if isinstance(error, StorageError):  # it was said already
        return error
    if error.errno in _FULL:
        return StorageError(
            f"The disk is full: '{path}' could not be written. Free some space and run the same command again."
        )
    if error.errno in _FORBIDDEN:
        return StorageError(
            f"'{path}' cannot be written ({error.strerror}): check the permissions, or choose another place."
        )
    if error.errno in _UNUSABLE:
        in_the_way = next((part for part in (path, *path.parents) if part.is_file()), None)
        reason = error.strerror if in_the_way is None else f"'{in_the_way}' is a file"
        return UnusablePathError(f"'{path}' cannot be written ({reason}): choose another place.")
    return StorageError(f"'{path}' could not be written: {error.strerror or error}.")
