"""The transformers of Cellpose 4, run by `cellpose` itself.

Imports torch and cellpose: never import this module at the top of another one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cellpose.models import CellposeModel
from cellpose.transforms import get_pad_yx
from cellpose.vit import CPDINO, CPSAM
from torch import nn

from napari_marrow.errors import MissingExtraError, ModelError
from napari_marrow.segmentation.state_files import read_state
from napari_marrow.segmentation.torch_network import check_device
from napari_marrow.segmentation.weights import finite

Floats = npt.NDArray[np.float32]

_NOT_IN_EVERY_FILE = {"diam_mean", "diam_labels"}
_OVERLAP = 0.1  # of tiles, Cellpose's own
_BATCH_ON_GPU = 8


class Cellpose4Network:
    """A network of Cellpose 4, applied to a plane by `CellposeModel.eval`.

    Parameters
    ----------
    network : torch module
        With the interface of Cellpose's networks: `device`, `dtype`, `backbone`, and a forward pass that gives
        (output (N, 3, Y, X), style).
    device : str
    precision : {"f32", "bf16"}
        What the network computes in.

    Attributes
    ----------
    seconds_per_tile : float or None
        Measured by `time_a_tile`.
    """

    def __init__(self, network: nn.Module, *, device: str, precision: str, name: str = "") -> None:
        self.network = network.eval()
        self.device = device
        self.precision = precision
        self.backbone = str(network.backbone)
        self.seconds_per_tile: float | None = None
        self._lock = threading.Lock()
        # Cellpose's own constructor reads the file again, takes random parameters for those that are missing in it, and
        # falls back to another model where there is no file: the network is given to it instead.
        self._model = CellposeModel.__new__(CellposeModel)
        self._model.net, self._model.backbone = network, self.backbone
        self._model.device, self._model.gpu = torch.device(device), device != "cpu"
        self._model.pretrained_model = name

    @property
    def tile(self) -> int:
        """Side of a tile, px."""
        return 256 if self.backbone == "sam_vitl" else 384

    def n_tiles(self, height: int, width: int) -> int:
        """Return how many tiles a plane of this size is cut into."""
        top, bottom, left, right = get_pad_yx(height, width, min_size=(self.tile, self.tile))
        sides = (height + top + bottom, width + left + right)
        counts = [1 if s <= self.tile else int(np.ceil((1 + 2 * _OVERLAP) * s / self.tile)) for s in sides]
        return counts[0] * counts[1]

    def time_a_tile(self, n_channels: int = 1) -> float:
        """Return the seconds that one tile takes here, measured once on an empty one."""
        with self._lock:
            if self.seconds_per_tile is None:
                tile = torch.zeros((1, n_channels, self.tile, self.tile), dtype=self._model.net.dtype)
                started = time.perf_counter()
                with torch.inference_mode():
                    self.network(tile.to(self.device))
                self.seconds_per_tile = time.perf_counter() - started
            return self.seconds_per_tile

    def __call__(self, planes: Floats, on_tile: Callable[[int, int], None] | None = None) -> Floats:
        """Return flow y, flow x and logit (3, Y, X) of the normalised channels (C, Y, X) of a plane.

        Parameters
        ----------
        planes : float32 array, shape (C, Y, X)
            Already at the size at which the network shall see it.
        on_tile : callable, optional
            Called as ``on_tile(done, total)`` before each tile (on a GPU: each batch of tiles); what it raises ends the
            work.
        """
        height, width = planes.shape[1:]
        total, done = self.n_tiles(height, width), 0

        def before(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            nonlocal done
            if on_tile is not None:
                on_tile(min(done, total), total)
            done += len(arguments[0])

        with self._lock:  # hooks of planes that run side by side would count each other's tiles
            hook = self.network.register_forward_pre_hook(before)
            try:
                _, (_, flow, logit), _ = self._model.eval(
                    planes.transpose(1, 2, 0),
                    channel_axis=2,
                    normalize={"normalize": False},
                    compute_masks=False,
                    tile_overlap=_OVERLAP,
                    batch_size=1 if self.device == "cpu" else _BATCH_ON_GPU,
                )
            finally:
                hook.remove()
        shape = (height, width)
        return finite(np.concatenate([flow.reshape(2, *shape), logit.reshape(1, *shape)]).astype(np.float32))


def read_cellpose4(path: Path, *, device: str = "cpu", precision: str = "f32") -> tuple[Cellpose4Network, str]:
    """Return the network of a Cellpose 4 file, and the file's SHA-256.

    The file is read by torch's restricted unpickler. Networks with fewer blocks than ViT-L are taken as they are.

    Raises
    ------
    PathMissingError, MissingExtraError, ModelError
        As `read_state`; also if a parameter is missing, of the wrong shape or not finite, or the backbone needs a
        package that is not installed.
    SettingsError
        If the device is not there.
    """
    check_device(device)
    state = read_state(path)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network = _build(state.arrays, path.name)
    _check(state.arrays, network, path.name)
    arrays = {name: torch.as_tensor(value).to(dtype) for name, value in state.arrays.items()}
    for name in _NOT_IN_EVERY_FILE - arrays.keys():
        arrays[name] = torch.full((1,), 30.0)
    network.load_state_dict(arrays, strict=False, assign=True)
    if any(value.is_meta for value in chain(network.parameters(), network.buffers())):
        raise ModelError(f"{path.name} does not fill the network of this version of cellpose: update the package.")
    network.dtype = dtype
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return Cellpose4Network(network.to(device), device=device, precision=precision, name=path.name), state.sha256


def _build(arrays: dict[str, Any], name: str) -> Any:
    """Return the network for these parameters, without values."""
    if "encoder.cls_token" in arrays:
        if find_spec("dinov3") is None:
            raise MissingExtraError(
                f"{name} is a cpdino model, which needs the package dinov3: "
                "pip install git+https://github.com/facebookresearch/dinov3"
            )
        large = arrays["encoder.cls_token"].shape[-1] == 1024
        return CPDINO(model_name="vitl" if large else "vitb")
    with torch.device("meta"):  # ViT-L has 300 million parameters: no random numbers for what is replaced
        network = CPSAM()
    n_blocks = len({key.split(".")[2] for key in arrays if key.startswith("encoder.blocks.")})
    network.encoder.blocks = network.encoder.blocks[:n_blocks]
    return network


def _check(arrays: dict[str, Any], network: nn.Module, name: str) -> None:
    for key, own in network.state_dict().items():
        if key not in arrays:
            if key in _NOT_IN_EVERY_FILE:
                continue
            raise ModelError(f"{name} lacks the parameter '{key}' of a Cellpose 4 network.")
        shape, expected = tuple(arrays[key].shape), tuple(own.shape)
        if shape != expected:
            raise ModelError(f"{name}: parameter '{key}' has shape {shape}, a network of its kind {expected}.")
        if not torch.isfinite(torch.as_tensor(arrays[key])).all():
            raise ModelError(f"{name}: parameter '{key}' holds values that are not finite.")
