"""Studies at a URL (``https://``, ``s3://``, ...), read through fsspec.

Nothing here lists folders, since web servers and many buckets do not allow it: which sessions there are follows from
the plate's documents, which parts a table has from its manifest. So only what an ended step has made active is seen.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_marrow.errors import CorruptDataError, FetchError, MissingExtraError
from napari_marrow.study.durable import ZARR, read_document
from napari_marrow.study.naming import split_position

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(path: object) -> bool:
    """Whether the text names a place by protocol, not a folder of this machine."""
    return isinstance(path, str) and _URL.match(path) is not None


def is_remote(path: object) -> bool:
    """Whether a path object is a place behind a URL."""
    return not isinstance(path, (str, Path))


def remote_path(url: str, storage_options: dict[str, Any]) -> Any:
    """Return a path object (universal_pathlib's) for a URL.

    Parameters
    ----------
    url : str
    storage_options : dict
        Of the file system of fsspec, such as ``{"anon": True}`` for a public bucket.

    Raises
    ------
    MissingExtraError
        If what the protocol needs is not installed.
    FetchError
        If the protocol is unknown.
    """
    try:
        from upath import UPath

        path = UPath(url.rstrip("/"), **storage_options)
        _ = path.fs  # makes the connection's object, and misses its package
    except ImportError as error:
        raise MissingExtraError(
            f"'{url}' needs {error.name or 'a package'}: install it with `pip install 'napari-marrow[remote]'`."
        ) from error
    except ValueError as error:
        raise FetchError(f"'{url}' cannot be opened: {error}.") from error
    listed.cache_clear()  # who opens anew wants to see what is there now
    return path


@lru_cache(maxsize=16)
def listed(root: Any) -> tuple[tuple[str, int], ...]:
    """Return (position, session) of every session by the documents of plate and wells."""
    images = root / "images.ome.zarr"
    if not (images / "zarr.json").is_file():
        return ()  # nothing was imported yet
    found = []
    plate = read_document(images / "zarr.json", where=ZARR)["attributes"]["ome"]["plate"]
    for well in plate["wells"]:
        row, _, column = str(well["path"]).partition("/")
        split_position(f"{row}{column}_f00")  # refuses what would leave the study
        document = read_document(images / row / column / "zarr.json", where=ZARR)
        for image in document["attributes"]["ome"]["well"]["images"]:
            field = image["path"].rpartition("f")[2]
            found.append((f"{row}{column}_f{field}", int(image["acquisition"])))
    return tuple(sorted(found))


def parts_of(folder: Any, manifest: str) -> list[str]:
    """Return the names of a finished table's parts, by its manifest; none where it has none."""
    try:
        return list(read_document(folder / manifest)["parts"])
    except CorruptDataError:
        if (folder / manifest).is_file():
            raise
        return []


def open_array(folder: Any) -> Any:
    """Return the zarr array in a remote folder, to read."""
    import zarr
    from zarr.storage import FsspecStore

    store = FsspecStore.from_url(str(folder), storage_options=dict(folder.storage_options), read_only=True)
    return zarr.open_array(store, mode="r")


def size(file: Any) -> int | None:
    """Return a remote file's size in bytes, None where there is none.

    Raises
    ------
    FetchError
        If the server does not say.
    """
    try:
        found = file.fs.info(file.path).get("size")
    except FileNotFoundError:
        return None
    if found is None:
        raise FetchError(f"'{file}' cannot be read: the server does not say how long it is.")
    return int(found)
