"""Whether Qt opens and OpenGL draws here: ``python -m napari_marrow.gui.window_check`` prints the facts as JSON.

It is a program of its own because a missing screen or a wrong driver ends the process that tries.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version


def window_facts() -> dict[str, str]:
    """Make a context of OpenGL without showing a window, and return versions of napari, Qt and OpenGL.

    Returns
    -------
    dict
        "napari", "Qt", "platform"; "OpenGL" and "textures" (largest edge, px) where a context could be made.
    """
    from qtpy import API_NAME, QT_VERSION
    from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication(sys.argv[:1])
    facts = {
        "napari": version("napari"),
        "Qt": f"{QT_VERSION} ({API_NAME})",
        "platform": str(QGuiApplication.platformName()),
    }
    context, surface = QOpenGLContext(), QOffscreenSurface()
    surface.create()
    if context.create() and context.makeCurrent(surface):
        from OpenGL import GL

        renderer, shown = GL.glGetString(GL.GL_RENDERER), GL.glGetString(GL.GL_VERSION)
        facts["OpenGL"] = f"{(shown or b'').decode()} on {(renderer or b'').decode()}"
        facts["textures"] = f"{int(GL.glGetIntegerv(GL.GL_MAX_TEXTURE_SIZE))} px"
        context.doneCurrent()
    del application
    return facts


if __name__ == "__main__":
    print(json.dumps(window_facts()))  # noqa: T201 - this program's answer
