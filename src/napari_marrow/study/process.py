"""Who a process is, and whether it still runs: for locks and for unfinished files.

A process number alone is not enough, since numbers are used again (in containers within seconds): where the system
tells when a process started, that is compared as well.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from functools import lru_cache
from pathlib import Path

HOST = re.sub(r"[^A-Za-z0-9-]", "-", platform.node() or "unknown")[:60]
"""Name of this machine, safe in file names."""


NOBODY = "unknown"
"""What a user without a name is called."""


def user_name() -> str:
    """Return the name of the user on this machine, `NOBODY` where there is none."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return NOBODY


def start_of(pid: int) -> str:
    """Return when a process started, as an opaque word; empty where the system does not tell.

    On Linux: the boot's id (eight digits) and the start in clock ticks since boot (proc(5), field 22 of ``stat``).
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except (OSError, IndexError):
        return ""
    return f"{boot}-{after_name[19]}"


class ThisProcess:
    """The running process."""

    @staticmethod
    def started() -> str:
        """Return when this process started, see `start_of`."""
        return _own_start(os.getpid())


@lru_cache(maxsize=4)
def _own_start(pid: int) -> str:
    return start_of(pid)


def is_alive(pid: int, started: str = "") -> bool:
    """Whether the process still runs on this host.

    Parameters
    ----------
    pid : int
        Process number.
    started : str, optional
        What `start_of` said of it; another process that got the same number does not count.
    """
    if sys.platform == "win32":
        return _is_alive_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    now = start_of(pid)
    return not (started and now and started != now)


def _is_alive_windows(pid: int) -> bool:
    """Ask Windows; ``os.kill(pid, 0)`` would send a Ctrl-C there."""
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == 259  # STILL_ACTIVE
