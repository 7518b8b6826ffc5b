"""Which processor computes: a wish such as "auto" or "cuda:1", and what is there."""

from __future__ import annotations

import re
import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

from napari_marrow.errors import MissingExtraError, SettingsError

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


def choose_device(wish: str) -> str:
    """Return the device that is meant: "cpu", "mps", "cuda" or "cuda:N".

    Parameters
    ----------
    wish : str
        "auto" takes a GPU if torch is installed and finds one, else the CPU. Any other is taken as it is: whether it is
        there shows when a network is loaded.

    Raises
    ------
    SettingsError
        If there is no such device.
    MissingExtraError
        If a GPU is asked for and torch is not installed.
    """
    if not _DEVICE.fullmatch(wish):
        raise SettingsError(f"Device '{wish}' is unknown: give auto, cpu, cuda (or cuda:1, ...) or mps.")
    if wish == "auto":
        return _best()
    if wish != "cpu" and find_spec("torch") is None:
        raise MissingExtraError(
            f"Device '{wish}' needs torch: pip install 'napari-marrow[cellpose]', or use device='cpu'."
        )
    return wish


def _best() -> str:
    """Return a GPU if there is one; torch, slow to import, is only asked where a driver is installed."""
    if find_spec("torch") is None or not (_nvidia_driver() or sys.platform == "darwin"):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _nvidia_driver() -> bool:
    library = "nvcuda" if sys.platform == "win32" else "cuda"
    # AMD's driver shows itself as /dev/kfd; torch calls its GPUs cuda, too
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd")) or find_library(library) is not None
