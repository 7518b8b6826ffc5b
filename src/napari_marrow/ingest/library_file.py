"""What a source that one of the microscopes' own libraries has opened needs of itself: its images, and to be closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from napari_marrow.ingest.damage import damage_is_told
from napari_marrow.ingest.source import ImageFacts


class LibraryFile:
    """A file opened by a library: the part that its readers share.

    Attributes
    ----------
    path : Path
    """

    path: Path
    _file: Any
    _images: list[ImageFacts]

    @contextmanager
    def _looking(self, kind: str) -> Iterator[None]:
        """Close the file if what is in it cannot be used; tell damage as a sentence."""
        try:
            with damage_is_told(self.path, kind):
                yield
        except BaseException:
            self._file.close()
            raise

    @property
    def images(self) -> list[ImageFacts]:
        """The images in the file."""
        return self._images

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
