"""The Cellpose 1-3 network in torch, with Cellpose's own parameter names.

Needed for training, and as the reference that the OpenVINO graph is tested against. Imports torch: never import this
module at the top of another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation.weights import NetworkWeights, finite

_MOMENTUM = 0.05


def _conv(n_in: int, n_out: int, size: int) -> nn.Sequential:
    """Return normalisation, rectification and convolution, in this order."""
    return nn.Sequential(
        nn.BatchNorm2d(n_in, eps=1e-5, momentum=_MOMENTUM),
        nn.ReLU(),
        nn.Conv2d(n_in, n_out, size, padding=size // 2),
    )


def _projection(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(n_in, eps=1e-5, momentum=_MOMENTUM), nn.Conv2d(n_in, n_out, 1))


class _Down(nn.Module):
    """Two residual pairs of convolutions."""

    def __init__(self, n_in: int, n_out: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Sequential()
        self.proj = _projection(n_in, n_out)
        for t in range(4):
            self.conv.add_module(f"conv_{t}", _conv(n_in if t == 0 else n_out, n_out, size))

    def forward(self, x: Any) -> Any:
        x = self.proj(x) + self.conv[1](self.conv[0](x))
        return x + self.conv[3](self.conv[2](x))


class _Styled(nn.Module):
    """A convolution of (input + skip connection + linear map of the style)."""

    def __init__(self, n_in: int, n_out: int, n_style: int, size: int) -> None:
        super().__init__()
        self.conv = _conv(n_in, n_out, size)
        self.full = nn.Linear(n_style, n_out)

    def forward(self, style: Any, x: Any, skip: Any = None) -> Any:
        if skip is not None:
            x = x + skip
        return self.conv(x + self.full(style)[:, :, None, None])


class _Up(nn.Module):
    """The decoder's residual block; the skip connection enters before the second convolution."""

    def __init__(self, n_in: int, n_out: int, n_style: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Sequential()
        self.conv.add_module("conv_0", _conv(n_in, n_out, size))
        for t in range(1, 4):
            self.conv.add_module(f"conv_{t}", _Styled(n_out, n_out, n_style, size))
        self.proj = _projection(n_in, n_out)

    def forward(self, x: Any, skip: Any, style: Any) -> Any:
        x = self.proj(x) + self.conv[1](style, self.conv[0](x), skip)
        return x + self.conv[3](style, self.conv[2](style, x))


class _Encoder(nn.Module):
    def __init__(self, widths: Sequence[int], size: int) -> None:
        super().__init__()
        self.down = nn.Sequential()
        self.pool = nn.MaxPool2d(2, stride=2)
        for n in range(len(widths) - 1):
            self.down.add_module(f"res_down_{n}", _Down(widths[n], widths[n + 1], size))

    def forward(self, x: Any) -> list[Any]:
        levels: list[Any] = []
        for n, block in enumerate(self.down):
            levels.append(block(x if n == 0 else self.pool(levels[-1])))
        return levels


class _Decoder(nn.Module):
    def __init__(self, widths: Sequence[int], size: int) -> None:
        super().__init__()
        self.up = nn.Sequential()
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        for n in range(1, len(widths)):
            self.up.add_module(f"res_up_{n - 1}", _Up(widths[n], widths[n - 1], widths[-1], size))

    def forward(self, style: Any, levels: list[Any]) -> Any:
        x = self.up[-1](levels[-1], levels[-1], style)
        for n in range(len(self.up) - 2, -1, -1):
            x = self.up[n](self.enlarge(x), levels[n], style)
        return x


class CPnet(nn.Module):
    """Residual U-net of Cellpose 1-3 (Stringer et al. 2021; Pachitariu & Stringer 2022).

    Parameters
    ----------
    widths : sequence of int
        Input channels and the encoder's widths, ``(2, 32, 64, 128, 256)`` for Cellpose's own models.
    n_out : int
        3: flow y, flow x (times 5), cell probability (logit).
    size : int
        Kernel size.
    diam_mean : float
        Diameter in px that cells have in the network's input.
    """

    def __init__(self, widths: Sequence[int], n_out: int = 3, *, size: int = 3, diam_mean: float = 30.0) -> None:
        super().__init__()
        decoder = [*widths[1:], widths[-1]]
        self.downsample = _Encoder(widths, size)
        self.upsample = _Decoder(decoder, size)
        self.output = _conv(decoder[0], n_out, 1)
        self.diam_mean = nn.Parameter(torch.full((1,), float(diam_mean)), requires_grad=False)
        self.diam_labels = nn.Parameter(torch.full((1,), float(diam_mean)), requires_grad=False)

    def forward(self, x: Any) -> tuple[Any, Any]:
        """Return (output (N, 3, Y, X), style (N, C)) of an input (N, 2, Y, X) whose sides divide by 8."""
        levels = self.downsample(x)
        style = levels[-1].mean(dim=(2, 3))
        style = style / (style**2).sum(dim=1, keepdim=True) ** 0.5
        return self.output(self.upsample(style, levels)), style


class TorchNetwork:
    """A network on a GPU (or on the CPU, for comparison) with the interface of `OpenVINONetwork`.

    Parameters
    ----------
    weights : NetworkWeights
    device : str
        "cuda", "cuda:1", "mps" or "cpu".
    precision : {"auto", "f32", "bf16"}
        "auto" is f32, as in Cellpose 3; bf16 needs half the memory and time on newer GPUs.
    """

    def __init__(self, weights: NetworkWeights, *, device: str, precision: str = "auto") -> None:
        check_device(device)
        self.weights = weights
        self.precision = "bf16" if precision == "bf16" else "f32"
        self.device = device
        self.batch = 1 if device == "cpu" else 8
        self.network = from_weights(weights).to(device)

    def __call__(self, tiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the output (N, 3, Y, X) of tiles (N, channels, Y, X)."""
        return self.with_style(tiles)[0]

    def with_style(self, tiles: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the output of tiles, and their style vectors (N, C) of length 1."""
        kind = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(kind, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            output, style = self.network(torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device))
        return finite(output.float().cpu().numpy()), style.float().cpu().numpy()


def check_device(device: str) -> None:
    """Refuse a device that torch does not find.

    Raises
    ------
    SettingsError
        With the remedy.
    """
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise SettingsError(f"Device '{device}' was asked for, but torch finds no CUDA GPU: use device='cpu'.")
        number = device.partition(":")[2]
        if number and int(number) >= torch.cuda.device_count():
            raise SettingsError(
                f"Device '{device}' was asked for, but torch finds {torch.cuda.device_count()} GPU(s), numbered from 0."
            )
    if device == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("Device 'mps' was asked for, but torch finds no Apple GPU: use device='cpu'.")


def from_weights(weights: NetworkWeights) -> CPnet:
    """Return the torch network with these weights, ready for inference."""
    size = weights.arrays["downsample.down.res_down_0.conv.conv_0.2.weight"].shape[-1]
    network = CPnet(weights.widths, size=size, diam_mean=weights.diam_mean)
    state = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.arrays.items()}
    network.load_state_dict(state, strict=False)  # torch's counters of batches are not in every file
    return network.eval()
