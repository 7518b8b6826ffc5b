"""Read the arrays of a network from a file that nobody vouches for: safetensors, or torch's format.

Nothing in the file is run, and no more memory is taken than the file has bytes (a file may claim anything).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_marrow.errors import MissingExtraError, ModelError, PathMissingError

Kind = Literal["cpnet", "cellpose4"]

_LEAST_BYTES = 100
_ZIP, _LEGACY_TORCH, _NUMPY = b"PK\x03\x04", b"\x80\x02", b"\x93NUMPY"
_LARGEST_HEADER = 100_000_000  # safetensors' own limit


@dataclass(frozen=True)
class StateFile:
    """What a model file holds.

    Attributes
    ----------
    arrays : dict
        By parameter name, without the prefix "module." of networks trained on several GPUs. Arrays of a safetensors
        file are numpy's, those of a torch file torch's.
    sha256 : str
        Of the file.
    """

    arrays: dict[str, Any]
    sha256: str


def read_state(path: Path) -> StateFile:
    """Read a safetensors file, or a torch file by torch's restricted unpickler.

    Raises
    ------
    PathMissingError
        If there is no file.
    MissingExtraError
        If the file needs torch and torch is not installed.
    ModelError
        If the file is damaged, would run code, claims more than it holds, or is no file of a network.
    """
    start = _start(path)
    arrays = _read_safetensors(path) if _is_safetensors(path, start) else _read_torch(path, start)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return StateFile({str(name).removeprefix("module."): value for name, value in arrays.items()}, checksum)


def file_kind(path: Path) -> Kind:
    """Return which kind of network a model file holds: "cpnet" (Cellpose 1-3) or "cellpose4".

    Of a safetensors file only the head is read; a torch file needs torch.

    Raises
    ------
    PathMissingError, MissingExtraError, ModelError
        As `read_state`.
    """
    start = _start(path)
    names = _safetensors_names(path) if _is_safetensors(path, start) else _read_torch(path, start)
    return kind_of(str(name).removeprefix("module.") for name in names)


def kind_of(names: Any) -> Kind:
    """Return the kind of network that has parameters of these names; a network that is neither counts as "cpnet".

    A Cellpose 4 network is known by its readout `W2` and its encoder of transformer blocks.
    """
    own = ("encoder.patch_embed", "encoder.blocks")
    return "cellpose4" if any(name == "W2" or name.startswith(own) for name in names) else "cpnet"


def _start(path: Path) -> bytes:
    """Return the first bytes of what might be a model file."""
    if not path.is_file():
        raise PathMissingError(f"There is no model file {path}.")
    size = path.stat().st_size
    if size < _LEAST_BYTES:
        raise ModelError(f"{path} is no model file: it has {size} bytes.")
    with path.open("rb") as file:
        return file.read(16)


def _is_safetensors(path: Path, start: bytes) -> bool:
    """Return whether it begins with a header length and a JSON object."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < max(path.stat().st_size, _LARGEST_HEADER)


def _safetensors_names(path: Path) -> list[str]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, _LARGEST_HEADER)))
        except ValueError as error:
            raise _damaged(path, error) from error
    return [name for name in header if name != "__metadata__"]


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path} is a damaged safetensors file: {error}.")


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(path.read_bytes()))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path, start: bytes) -> dict[str, Any]:
    if start.startswith(_NUMPY):
        raise ModelError(
            f"{path} is a numpy file, as Cellpose's size models are, and no network: give the network's own file (its "
            "name has no 'size_' and no '.npy'); the cell diameter is estimated without a size model."
        )
    if not start.startswith((_ZIP, _LEGACY_TORCH)):
        raise ModelError(f"{path} is no model file: it is neither safetensors nor a torch file.")
    is_zip = start.startswith(_ZIP)
    if is_zip:
        _check_archive(path)
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(
            f"{path.name} is a torch file; reading it needs torch: pip install 'napari-marrow[cellpose]'."
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # the restricted unpickler raises many kinds; each means the same to the user
        raise ModelError(
            f"{path} is no safe torch state dict: it is damaged or holds more than arrays, and nothing of it was run."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} is a torch file, but no state dict of a Cellpose network.")
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > path.stat().st_size:
        raise ModelError(f"{path} claims arrays of {claimed:,} bytes, but has only {path.stat().st_size:,}.")
    return {name: value.detach() for name, value in state.items()}


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is; torch stores without compression."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is no safe torch state dict: it is damaged or holds more than arrays, and nothing of it was run."
        ) from error
    if unpacked > path.stat().st_size:
        raise ModelError(f"{path} claims arrays of {unpacked:,} bytes, but has only {path.stat().st_size:,}.")
