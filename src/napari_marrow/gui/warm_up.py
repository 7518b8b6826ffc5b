"""What napari would otherwise import and compile in the window's own thread when it is first needed.

Modules that define widgets are imported beside the window under PyQt6 only. Under PySide6 the program crashed at that:
the window waits for them when they are first needed.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import numpy as np
from qtpy import PYSIDE6


def warm_up_images() -> None:
    """Let Dask look for its schedulers and napari build its units; to be called before a lazy layer is added."""
    from dask.base import get_scheduler
    from napari.layers import Image

    get_scheduler()
    Image(np.zeros((2, 2), np.uint8), units=("micrometer", "micrometer"))


def warm_up_labels() -> None:
    """Let napari compile colours of labels and rings; to be called in a thread beside the window, first."""
    from napari.layers import Labels, Points

    Labels(np.zeros((2, 2), np.int32))
    Points(np.zeros((0, 2)), ndim=2)


def warm_up_plots() -> None:
    """Import what draws plots; to be called in a thread beside the window, before a plot is made."""
    if not PYSIDE6:
        import pyqtgraph  # noqa: F401


def warm_up_movies() -> None:
    """Import what turns the camera and writes pictures and films, as far as it is installed; see `warm_up_labels`."""
    for name in ("scipy.spatial.transform", "PIL.PngImagePlugin", "imageio.v2", "napari_animation.frame_sequence"):
        if PYSIDE6 and name.startswith("napari_animation"):
            continue
        if find_spec(name.partition(".")[0]) is not None:
            import_module(name)
