"""The study on disk: images, labels, tables, commits, provenance and verification.

`Study` is the only way to the files; `docs/reference/study_format.md` describes them for other programs.
"""

from napari_marrow.study.channel import ROLES, Channel
from napari_marrow.study.labels import SessionLabels
from napari_marrow.study.migration import SCHEMA_VERSION
from napari_marrow.study.session_image import SessionImage
from napari_marrow.study.session_writer import SessionWriter
from napari_marrow.study.study import Study

__all__ = ["ROLES", "SCHEMA_VERSION", "Channel", "SessionImage", "SessionLabels", "SessionWriter", "Study"]
