"""Microscope files into a study: what they say is read, what they do not say is asked for, never guessed."""

from napari_marrow.ingest.importing import ImportSummary, import_files, preview
from napari_marrow.ingest.layout import read_layout
from napari_marrow.ingest.plan import Missing, PlannedSession
from napari_marrow.ingest.plan_table import parse_pixel_size
from napari_marrow.ingest.planning import require_all

__all__ = [
    "ImportSummary",
    "Missing",
    "PlannedSession",
    "import_files",
    "parse_pixel_size",
    "preview",
    "read_layout",
    "require_all",
]
