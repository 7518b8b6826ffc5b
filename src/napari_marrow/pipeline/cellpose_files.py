"""Read the masks that the Cellpose window saves (``*_seg.npy``) without running anything from the file.

Such a file is a pickled dictionary, and unpickling may run any code. Here an unpickler reads it that makes nothing but
numbers, text, arrays of plain bytes and containers of them; whatever else the file asks for is refused.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError, PathMissingError


class _Dtype:
    """Stands for numpy's dtype while a pickle is read."""

    def __init__(self, code: str, *_: Any) -> None:
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in "biufcSUO":
            raise pickle.UnpicklingError(f"it asks for values of type {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for an array while a pickle is read; its values are only ever taken as bytes."""

    values: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if dtype.dtype.kind == "O":
            self.values = raw  # a list of what was read already
        else:
            self.values = np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, raw: Any = None) -> Any:
    return raw if dtype.dtype.kind == "O" else np.frombuffer(raw, dtype.dtype)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for ``codecs.encode``, which old pickles call on the bytes of their arrays."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for text in {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}


class _ArrayUnpickler(pickle.Unpickler):
    """Makes arrays, numbers, text and containers of them, and calls nothing but the functions above."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def read_cellpose_masks(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Return the label image of a ``_seg.npy`` file of Cellpose, or of a plain ``.npy`` file of labels.

    Raises
    ------
    PathMissingError
        If there is no such file.
    InputFileError
        If it is damaged, holds more than arrays (nothing of it was run then), or no masks.
    """
    if not path.is_file():
        raise PathMissingError(f"There is no label file {path}.")
    content = path.read_bytes()
    try:
        return _labels(_read(content), path)
    except InputFileError:
        raise
    except Exception as error:  # damaged pickles raise any kind; each means the same to the user
        raise InputFileError(
            f"{path} is damaged or holds more than arrays ({error}), and nothing of it was run: save the masks as TIFF "
            "from Cellpose (File, Save masks as PNG/tif)."
        ) from error


def _read(content: bytes) -> Any:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = head(stream)
    if not dtype.hasobject:
        return np.load(io.BytesIO(content), allow_pickle=False)
    return _ArrayUnpickler(stream).load()


def _labels(found: Any, path: Path) -> npt.NDArray[np.integer[Any]]:
    if isinstance(found, _Array) and isinstance(found.values, list) and len(found.values) == 1:
        found = found.values[0]
    if isinstance(found, dict):
        found = found.get("masks")
    if isinstance(found, _Array):
        found = found.values
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iub":
        raise InputFileError(f"{path} holds no masks: give a *_seg.npy file of Cellpose, or labels as TIFF.")
    return np.squeeze(found)
