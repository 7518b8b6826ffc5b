"""Which file a time point is in: one shard per time point, named by the array's own key encoding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_marrow.errors import CorruptDataError
from napari_marrow.study.durable import ZARR, read_document

FLAT = "."
"""Separator of new arrays: ``c.12.0.0.0.0``. Those of schema 1 have ``c/12/0/0/0/0``, five folders for every frame."""
NESTED = "/"


def separator(metadata: Mapping[str, Any]) -> str:
    """Return what separates the numbers in an array's chunk keys.

    Parameters
    ----------
    metadata : mapping
        Content of the array's ``zarr.json``.

    Raises
    ------
    ValueError
        If the encoding is none of zarr's own.
    """
    encoding = metadata["chunk_key_encoding"]
    found = encoding.get("configuration", {}).get("separator", NESTED)
    if encoding["name"] != "default" or found not in (FLAT, NESTED):
        raise ValueError(f"chunk_key_encoding {encoding}")
    return str(found)


def shard_file(folder: Path, t: int, between: str) -> Path:
    """Return the file of a time point of an array (t, c, z, y, x) in `folder`."""
    return folder / between.join(("c", str(t), "0", "0", "0", "0"))


def known_shard_file(folder: Path, t: int) -> Path:
    """Return the file of a time point, by the array's metadata if they can be read."""
    try:
        between = separator(read_document(folder / "zarr.json", where=ZARR))
    except (CorruptDataError, ValueError, KeyError):
        between = FLAT
    return shard_file(folder, t, between)
