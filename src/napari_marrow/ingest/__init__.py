"""Microscope files into a study: what they say is read, what they do not say is asked for, never guessed."""

from napari_marrow.ingest.importing import ImportSummary, import_files, preview
from napari_marrow.ingest.layout import read_layout
from napari_marrow.ingest.plan import PlannedSession

__all__ = ["ImportSummary", "PlannedSession", "import_files", "preview", "read_layout"]
