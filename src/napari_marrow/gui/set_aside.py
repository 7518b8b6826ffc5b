"""What Python's garbage collector need not look at again: modules, and the window as it was when they were imported.

A full collection looks at every container that is alive, and the window stands still meanwhile: a quarter of a second
once the libraries of a run are imported. It comes by itself, and napari asks for one whenever a layer is removed.
"""

from __future__ import annotations

import gc
import sys

_FEW = 20
_seen = 0


def set_aside() -> None:
    """Let later collections look at new objects only, if many modules were imported since the last call.

    What is alive now and becomes unreachable in a cycle stays in memory until `bring_back`: layers are kept from
    session to session, so that this is next to nothing. Can be called from any thread.
    """
    global _seen
    if len(sys.modules) > _seen + _FEW:
        _seen = len(sys.modules)
        gc.freeze()


def bring_back() -> None:
    """Let the next collection look at everything."""
    global _seen
    _seen = 0
    gc.unfreeze()
