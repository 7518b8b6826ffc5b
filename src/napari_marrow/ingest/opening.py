"""Which reader takes which file."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from napari_marrow.errors import InputFileError, MissingExtraError, PathMissingError
from napari_marrow.ingest.ome_zarr import OmeZarrReader, is_ome_zarr
from napari_marrow.ingest.series import SeriesReader, known_export
from napari_marrow.ingest.source import SourceReader
from napari_marrow.ingest.tiff import TIFF_SUFFIXES, TiffReader

_MICROSCOPE_FORMATS = {
    ".nd2": ("nd2", "napari_marrow.ingest.nd2_file", "Nd2Reader"),
    ".czi": ("pylibCZIrw", "napari_marrow.ingest.czi_file", "CziReader"),
    ".lif": ("liffile", "napari_marrow.ingest.lif_file", "LifReader"),
    ".lof": ("liffile", "napari_marrow.ingest.lif_file", "LifReader"),
}
"""File name's end → package that reads it, our module and its reader."""


def open_source(path: Path, pattern: str = "") -> SourceReader:
    """Open a file or folder with the reader for it.

    Parameters
    ----------
    path : Path
        TIFF, ND2, CZI, LIF or LOF file, told by the end of its name, or an OME-Zarr folder.
    pattern : str
        How the files of a TIFF series are named, see `SeriesReader`: `path` is then their folder.

    Raises
    ------
    PathMissingError
        If there is nothing at the path.
    InputFileError
        If no reader takes it.
    MissingExtraError
        If its reader is not installed; the sentence names the extra.
    """
    if not path.exists():
        raise PathMissingError(f"There is no file '{path}'.")
    if path.is_dir():
        if pattern:
            return SeriesReader(path, pattern)
        if is_ome_zarr(path):
            return OmeZarrReader(path)
        raise InputFileError(f"'{path}' is a folder, but no OME-Zarr: give the image files in it.")
    if path.suffix.lower() in _MICROSCOPE_FORMATS:
        package, module, reader = _MICROSCOPE_FORMATS[path.suffix.lower()]
        try:
            import_module(package)
        except ImportError as error:
            raise MissingExtraError(
                f"'{path.name}' is read by the package {package}, which is not installed: "
                "pip install 'napari-marrow[formats]'."
            ) from error
        made: SourceReader = getattr(import_module(module), reader)(path)
        return made
    return TiffReader(path)


def is_image_name(path: Path) -> bool:
    """Whether the name of a file says that one of the readers takes it."""
    return path.suffix.lower() in (*TIFF_SUFFIXES, *_MICROSCOPE_FORMATS)


def expand(sources: Iterable[Path], pattern: str | None = None) -> list[tuple[Path, str]]:
    """Return the images that the sources stand for, each with the pattern of its series.

    A folder that a high-content system exported, or any folder when a pattern is given, is one source: a TIFF series.
    Any other folder stands for the images directly in it, sorted by name; those have the pattern ``""``.

    Parameters
    ----------
    sources : iterable of Path
    pattern : str, optional
        See `SeriesReader`.

    Raises
    ------
    InputFileError
        If a folder holds no images, or nothing was given.
    """
    found: list[tuple[Path, str]] = []
    for source in map(Path, sources):
        if not source.is_dir() or (is_ome_zarr(source) and pattern is None):
            found.append((source, ""))
            continue
        series = pattern or known_export(source)
        if series:
            found.append((source, series))
            continue
        inside = sorted(p for p in source.iterdir() if is_image_name(p) or is_ome_zarr(p))
        if not inside:
            raise InputFileError(
                f"The folder '{source}' holds no TIFF, ND2, CZI, LIF or OME-Zarr images: give the folder that does, or "
                "--pattern for images in folders below it."
            )
        found += [(path, "") for path in inside]
    if not found:
        raise InputFileError("There is nothing to import: give at least one image.")
    return found
