"""Read a Cellpose 1-3 state dict and check that it is one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import MissingExtraError, ModelError, PathMissingError

Floats = npt.NDArray[np.float32]

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
    if not path.is_file():
        raise PathMissingError(f"There is no model file {path}.")
    content = path.read_bytes()
    arrays = _read_safetensors(content, path) if _is_safetensors(content) else _read_torch(path)
    return check_weights(arrays, name=path.name, sha256=hashlib.sha256(content).hexdigest())


def _is_safetensors(content: bytes) -> bool:
    """Return whether it begins with a header length and a JSON object."""
    return len(content) > 9 and content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content)


def _read_safetensors(content: bytes, path: Path) -> dict[str, Floats]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return {name: np.asarray(value, dtype=np.float32) for name, value in load(content).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is a damaged safetensors file: {error}.") from error


def _read_torch(path: Path) -> dict[str, Floats]:
    if path.stat().st_size < 100:
        raise ModelError(f"{path} is no model file: it has {path.stat().st_size} bytes.")
    with path.open("rb") as file:
        start = file.read(2)
    if start not in (b"PK", b"\x80\x02"):
        raise ModelError(f"{path} is no model file: it is neither safetensors nor a torch file.")
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(
            f"{path.name} is a torch file; reading it needs torch: pip install 'napari-marrow[cellpose]'."
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises many kinds; each means the same to the user
        raise ModelError(
            f"{path} is no safe torch state dict: it is damaged or holds more than arrays, and nothing of it was run."
        ) from error
    if not isinstance(state, dict) or not all(hasattr(value, "numpy") for value in state.values()):
        raise ModelError(f"{path} is a torch file, but no state dict of a Cellpose network.")
    return {str(name): value.detach().float().numpy() for name, value in state.items()}


def check_weights(arrays: dict[str, Floats], *, name: str, sha256: str = "") -> NetworkWeights:
    """Return the weights as a network, or say why they are none.

    Raises
    ------
    ModelError
        If a parameter is missing, has the wrong shape, or is not finite.
    """
    arrays = {key.removeprefix("module."): value for key, value in arrays.items()}
    if any(key.startswith(("encoder.patch_embed", "encoder.blocks", "W2")) for key in arrays):
        raise ModelError(f"{name} is a Cellpose 4 (transformer) model: it is no residual U-net of Cellpose 1-3.")
    levels = sorted(int(m.group(1)) for m in map(_LEVEL.match, arrays) if m)
    if not levels or levels != list(range(len(levels))) or arrays["downsample.down.res_down_0.proj.1.weight"].ndim != 4:
        raise ModelError(f"{name} holds no Cellpose 1-3 network: it lacks the parameters 'downsample.down.res_down_*'.")
    first = arrays["downsample.down.res_down_0.proj.1.weight"]
    widths = [int(first.shape[1])]
    widths += [int(arrays[f"downsample.down.res_down_{n}.proj.1.weight"].shape[0]) for n in levels]
    for key, shape in expected_shapes(widths, arrays).items():
        if key not in arrays:
            raise ModelError(f"{name} lacks the parameter '{key}' of a Cellpose 1-3 network.")
        if arrays[key].shape != shape:
            raise ModelError(f"{name}: parameter '{key}' has shape {arrays[key].shape}, a network of its kind {shape}.")
        if not np.isfinite(arrays[key]).all():
            raise ModelError(f"{name}: parameter '{key}' holds values that are not finite.")
    # Cellpose 1 files had no diameters; 30 px was the only one then.
    diam_mean = float(arrays["diam_mean"].ravel()[0]) if "diam_mean" in arrays else 30.0
    diam_labels = float(arrays["diam_labels"].ravel()[0]) if "diam_labels" in arrays else diam_mean
    if not 1 <= diam_mean <= 1000:
        raise ModelError(f"{name} claims a mean diameter of {diam_mean:g} px, which cannot be.")
    return NetworkWeights(arrays, tuple(widths), diam_mean, diam_labels, sha256)


def expected_shapes(widths: list[int], arrays: dict[str, Floats]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of a network of these widths; the kernel size is read from `arrays`."""
    kernel = arrays.get("downsample.down.res_down_0.conv.conv_0.2.weight", np.zeros((1, 1, 3, 3)))
    size = int(kernel.shape[-1])
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
