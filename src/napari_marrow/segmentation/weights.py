"""The parameters of a Cellpose 1-3 network: read from a file, and checked that they are one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import ModelError
from napari_marrow.segmentation.state_files import kind_of, read_state

Floats = npt.NDArray[np.float32]

MOST_LEVELS = 5
"""Resolution levels that planes are padded for (their sides divide by 16)."""
_LARGEST_KERNEL = 15
_LEVEL = re.compile(r"^downsample\.down\.res_down_(\d+)\.proj\.1\.weight$")


@dataclass(frozen=True)
class NetworkWeights:
    """Parameters of a residual U-net of Cellpose 1-3.

    Attributes
    ----------
    arrays : dict of float32 arrays
        Under Cellpose's own names.
    widths : tuple of int
        Input channels and encoder widths, e.g. (2, 32, 64, 128, 256).
    diam_mean : float
        Diameter in px that cells have in the network's input.
    diam_labels : float
        Median diameter of the cells it was trained on, px.
    sha256 : str
        Of the file.
    """

    arrays: dict[str, Floats]
    widths: tuple[int, ...]
    diam_mean: float
    diam_labels: float
    sha256: str

    @property
    def n_channels(self) -> int:
        """Input channels."""
        return self.widths[0]

    @property
    def n_levels(self) -> int:
        """Resolution levels."""
        return len(self.widths) - 1


def read_weights(path: Path) -> NetworkWeights:
    """Read weights from a safetensors file or a torch file of Cellpose 1-3.

    A torch file is read by torch's restricted unpickler, which runs no code from the file.

    Raises
    ------
    PathMissingError
        If there is no file.
    MissingExtraError
        If the file needs torch and torch is not installed.
    ModelError
        If the file is damaged, would run code, or holds another network.
    """
    state = read_state(path)
    _check_kind(state.arrays, path.name)
    arrays = {name: _as_float32(value, name, path) for name, value in state.arrays.items()}
    return check_weights(arrays, name=path.name, sha256=state.sha256)


def _as_float32(value: Any, name: str, path: Path) -> Floats:
    """Return an array of numpy or torch as numpy's float32."""
    array = np.asarray(value.float().numpy() if hasattr(value, "numpy") else value)
    if array.dtype.kind not in "fiu":
        raise ModelError(f"{path.name}: parameter '{name}' is of type {array.dtype}, a network's are real numbers.")
    return np.array(array, dtype=np.float32)  # a copy: torch maps the file into memory


def _check_kind(arrays: dict[str, Any], name: str) -> None:
    if kind_of(arrays) == "cellpose4":
        raise ModelError(f"{name} is a Cellpose 4 (transformer) model: it is no residual U-net of Cellpose 1-3.")


def check_weights(arrays: dict[str, Floats], *, name: str, sha256: str = "") -> NetworkWeights:
    """Return the weights as a network, or say why they are none.

    Raises
    ------
    ModelError
        If a parameter is missing, has the wrong shape, or is not finite.
    """
    arrays = {key.removeprefix("module."): value for key, value in arrays.items()}
    _check_kind(arrays, name)
    levels = sorted(int(m.group(1)) for m in map(_LEVEL.match, arrays) if m)
    projections = [arrays.get(f"downsample.down.res_down_{n}.proj.1.weight") for n in range(len(levels))]
    if not levels or any(projection is None or projection.ndim != 4 for projection in projections):
        raise ModelError(f"{name} holds no Cellpose 1-3 network: it lacks the parameters 'downsample.down.res_down_*'.")
    if len(levels) > MOST_LEVELS:
        raise ModelError(f"{name} halves the image {len(levels) - 1} times; Cellpose's networks do so up to 4 times.")
    known = [projection for projection in projections if projection is not None]
    widths = [int(known[0].shape[1]), *(int(projection.shape[0]) for projection in known)]
    for key, shape in expected_shapes(widths, kernel_size(arrays, name)).items():
        if key not in arrays:
            raise ModelError(f"{name} lacks the parameter '{key}' of a Cellpose 1-3 network.")
        if arrays[key].shape != shape:
            raise ModelError(f"{name}: parameter '{key}' has shape {arrays[key].shape}, a network of its kind {shape}.")
        if not np.isfinite(arrays[key]).all():
            raise ModelError(f"{name}: parameter '{key}' holds values that are not finite.")
        if key.endswith("running_var") and (arrays[key] < 0).any():
            raise ModelError(f"{name}: parameter '{key}' holds variances below 0.")
    # Cellpose 1 files had no diameters; 30 px was the only one then.
    diam_mean = float(arrays["diam_mean"].ravel()[0]) if "diam_mean" in arrays else 30.0
    diam_labels = float(arrays["diam_labels"].ravel()[0]) if "diam_labels" in arrays else diam_mean
    if not 1 <= diam_mean <= 1000:
        raise ModelError(f"{name} claims a mean diameter of {diam_mean:g} px, which cannot be.")
    return NetworkWeights(arrays, tuple(widths), diam_mean, diam_labels, sha256)


def finite(output: Floats) -> Floats:
    """Return a network's output if all of it is finite.

    Raises
    ------
    ModelError
        If it is not: labels would be missing without a word.
    """
    if not np.isfinite(output).all():
        raise ModelError("The network gives values that are not finite: its weights are damaged, or far out of range.")
    return output


def kernel_size(arrays: dict[str, Floats], name: str) -> int:
    """Return the side of the network's kernels, px.

    Raises
    ------
    ModelError
        If it is even or beyond what a network of Cellpose has.
    """
    kernel = arrays.get("downsample.down.res_down_0.conv.conv_0.2.weight")
    size = int(kernel.shape[-1]) if kernel is not None and kernel.ndim == 4 else 3
    if size % 2 == 0 or size > _LARGEST_KERNEL:
        raise ModelError(f"{name} has kernels of {size} px; Cellpose's have an odd number up to {_LARGEST_KERNEL}.")
    return size


def expected_shapes(widths: Sequence[int], size: int = 3) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of a network of these widths and this kernel size."""
    shapes: dict[str, tuple[int, ...]] = {}

    def normalisation(name: str, n: int) -> None:
        shapes.update({f"{name}.{part}": (n,) for part in ("weight", "bias", "running_mean", "running_var")})

    def convolution(name: str, n_in: int, n_out: int, side: int) -> None:
        shapes[f"{name}.weight"] = (n_out, n_in, side, side)
        shapes[f"{name}.bias"] = (n_out,)

    def block(name: str, n_in: int, n_out: int, *, styled: bool) -> None:
        normalisation(f"{name}.proj.0", n_in)
        convolution(f"{name}.proj.1", n_in, n_out, 1)
        for t in range(4):
            part = f"{name}.conv.conv_{t}"
            if styled and t > 0:
                shapes[f"{part}.full.weight"] = (n_out, widths[-1])
                shapes[f"{part}.full.bias"] = (n_out,)
                part += ".conv"
            normalisation(f"{part}.0", n_in if t == 0 else n_out)
            convolution(f"{part}.2", n_in if t == 0 else n_out, n_out, size)

    for n in range(len(widths) - 1):
        block(f"downsample.down.res_down_{n}", widths[n], widths[n + 1], styled=False)
    decoder = [*widths[1:], widths[-1]]
    for n in range(1, len(decoder)):
        block(f"upsample.up.res_up_{n - 1}", decoder[n], decoder[n - 1], styled=True)
    normalisation("output.0", decoder[0])
    convolution("output.2", decoder[0], 3, 1)
    return shapes
