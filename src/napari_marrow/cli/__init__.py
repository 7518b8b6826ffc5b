"""The command line: one command per step, and the same functions behind it as behind the GUI."""

from napari_marrow.cli.application import app

__all__ = ["app"]
