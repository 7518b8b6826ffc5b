"""The command `marrow`: runs the command line and turns errors into one sentence and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from napari_marrow.errors import Cancelled, MarrowError

_INTERRUPTED = 130
_STOPPED = "Stopped. What was finished is kept; run the same command again to continue."
_WRONG_PATH = {errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        What follows the command's name; the process's own arguments by default.

    Returns
    -------
    int
        0 on success, 2 for something that the user can mend, 1 for a fault of ours or of the machine, 130 when
        cancelled.
    """
    if os.environ.get("MARROW_DEBUG"):
        return _exit_code(arguments)
    try:
        return _exit_code(arguments)
    except Cancelled as error:
        _say(str(error))
        return error.exit_code
    except MarrowError as error:
        _say(f"Error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say(_STOPPED)
        return _INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone (for instance `| head`); Python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        _say(f"Error: there is not enough memory{reason}: close other programs, or use fewer --workers.")
        return 1
    except OSError as error:
        _say(f"Error: {_os_sentence(error)}")
        return 2 if error.errno in _WRONG_PATH and error.filename else 1
    except Exception as error:
        if _is_interrupt(error):
            _say(_STOPPED)
            return _INTERRUPTED
        _say(
            f"Error: napari-marrow met something it does not handle ({type(error).__name__}: {error}). Run the command "
            "again with MARROW_DEBUG=1 in the environment and report what it prints."
        )
        return 1


def _exit_code(arguments: list[str] | None) -> int:
    """Call the typer app without letting it end the process, and return its exit code."""
    import typer

    from napari_marrow.cli import app

    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="marrow", standalone_mode=False)
    except typer.Exit as stop:
        result = stop.exit_code
    except typer.Abort:
        result = _INTERRUPTED
    except _usage_error() as error:
        error.show()
        result = error.exit_code
    if result == _INTERRUPTED:  # what click and typer make of Ctrl-C
        raise KeyboardInterrupt
    return int(result) if isinstance(result, int) else 0


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the bottom of an error: some code, and Python's own, wraps whatever it meets."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _usage_error() -> Any:
    """Return click's base of usage errors; some versions of typer bring a click of their own."""
    import typer

    return next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


def _os_sentence(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"the disk is full ({error.filename or 'while writing'}): free some space and run the same command again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to use '{error.filename}': check its owner and mode, or choose another folder."
    if error.errno in _WRONG_PATH and error.filename:
        return f"'{error.filename}' cannot be used ({error.strerror}): give another path."
    return f"the system refused: {error}."


def _say(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201 - the command line's own voice


if __name__ == "__main__":
    sys.exit(main())
