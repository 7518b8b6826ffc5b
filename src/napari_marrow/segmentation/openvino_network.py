"""The Cellpose 1-3 network on the processor through OpenVINO, built from its weights without torch."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from functools import lru_cache
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from napari_marrow.segmentation.tiles import TILE
from napari_marrow.segmentation.weights import NetworkWeights, finite

Floats = npt.NDArray[np.float32]

_MOST_SIDE_BY_SIDE = 8  # tiles: more would wait for memory, and cancelling waits for all of them
_EPSILON = 1e-5  # of the batch normalisation


class OpenVINONetwork:
    """A compiled network.

    Parameters
    ----------
    weights : NetworkWeights
    precision : {"auto", "f32", "bf16"}
        "auto" takes bf16 where the processor computes in it.
    threads : int or None
        None takes what the machine has.
    streams : int
        Calls from different threads that are computed side by side.

    Attributes
    ----------
    precision : str
        "f32" or "bf16", what is really computed in.
    batch : int
        How many of Cellpose's tiles are best given at once: each is computed by a thread of its own, which wastes less
        than several threads on one tile. What comes out is the same for any number.
    """

    def __init__(
        self, weights: NetworkWeights, *, precision: str = "auto", threads: int | None = None, streams: int = 1
    ) -> None:
        self.weights = weights
        self.threads = threads
        self.precision = choose_precision(precision)
        self._model = _build(weights)
        self.streams = streams
        self.batch = min(_MOST_SIDE_BY_SIDE, threads or _processors()) if streams == 1 else 1
        self._compiled: dict[tuple[tuple[int, ...], int], Any] = {}
        self._lock = threading.Lock()
        self._local = threading.local()
        # Cellpose's tile is worth a compilation of its own (a tenth to a fifth faster); planes come in too many sizes.
        self._tile = (weights.n_channels, TILE, TILE)

    def __call__(self, tiles: Floats) -> Floats:
        """Return the output (N, 3, Y, X) of tiles (N, channels, Y, X) whose sides divide by 16."""
        return self._infer(tiles)[0]

    def with_style(self, tiles: Floats) -> tuple[Floats, Floats]:
        """Return the output of tiles, and their style vectors (N, C) of length 1."""
        output, style = self._infer(tiles)
        return output, style.reshape(len(tiles), -1)

    def _infer(self, tiles: Floats) -> tuple[Floats, Floats]:
        if len(tiles) > 1 and self.batch > 1 and tiles.shape[1:] == self._tile:
            return self._infer_side_by_side(tiles)
        shape = tiles.shape if tiles.shape[1:] == self._tile else ()
        requests: dict[tuple[int, ...], Any] = self._local.__dict__.setdefault("requests", {})
        if shape not in requests:
            requests[shape] = self._compile(shape).create_infer_request()
        found = requests[shape].infer([np.ascontiguousarray(tiles)])
        # copies: the request writes its next result into the same memory
        return finite(found[0].copy()), found[1].copy()

    def _infer_side_by_side(self, tiles: Floats) -> tuple[Floats, Floats]:
        """Return output and style of several tiles, each computed by one thread."""
        pool: list[Any] = self._local.__dict__.setdefault("pool", [])
        if not pool:
            compiled = self._compile((1, *self._tile), streams=self.batch)
            pool.extend(compiled.create_infer_request() for _ in range(self.batch))
        outputs = np.empty((len(tiles), 3, TILE, TILE), dtype=np.float32)
        styles = np.empty((len(tiles), self.weights.widths[-1], 1, 1), dtype=np.float32)
        for first in range(0, len(tiles), len(pool)):
            busy = list(zip(range(first, len(tiles)), pool, strict=False))
            for n, request in busy:
                request.start_async([np.ascontiguousarray(tiles[n : n + 1])])
            for n, request in busy:
                request.wait()
                outputs[n], styles[n] = request.get_output_tensor(0).data[0], request.get_output_tensor(1).data[0]
        return finite(outputs), styles

    def _compile(self, shape: tuple[int, ...], streams: int | None = None) -> Any:
        """Return the network compiled for tiles of this shape, or for any where it is empty."""
        streams = self.streams if streams is None else streams
        with self._lock:
            if (shape, streams) not in self._compiled:
                model = self._model.clone()
                if shape:
                    model.reshape(list(shape))
                settings: dict[str, Any] = {
                    "INFERENCE_PRECISION_HINT": self.precision,
                    "NUM_STREAMS": str(streams),
                    # pinned, the threads of several processes would all take the first cores and share them
                    "ENABLE_CPU_PINNING": False,
                }
                if self.threads is not None:
                    settings["INFERENCE_NUM_THREADS"] = self.threads
                self._compiled[shape, streams] = _core().compile_model(model, "CPU", settings)
            return self._compiled[shape, streams]


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


@lru_cache(maxsize=1)
def _core() -> Any:
    return _openvino().Core()


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report the import over the network."""
    if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
        # A module that is None in sys.modules cannot be imported; OpenVINO then takes its own empty stand-in.
        sys.modules["openvino_telemetry"] = cast("ModuleType", None)
        try:
            return importlib.import_module("openvino")
        finally:
            del sys.modules["openvino_telemetry"]
    return importlib.import_module("openvino")


def choose_precision(wish: str) -> str:
    """Return the precision that is meant; "auto" is bf16 on processors that compute in it, else f32."""
    if wish != "auto":
        return wish
    return "bf16" if "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def _build(weights: NetworkWeights) -> Any:
    """Return an openvino.Model with dynamic batch, height and width."""
    openvino = _openvino()
    ops = importlib.import_module("openvino.opset13")

    graph = _Graph(ops, weights.arrays)
    x = ops.parameter([-1, weights.n_channels, -1, -1], np.float32, name="tiles")
    levels: list[Any] = []
    for n in range(weights.n_levels):
        level = x if n == 0 else graph.pool(levels[-1])
        levels.append(graph.down(level, f"downsample.down.res_down_{n}"))
    style = graph.style(levels[-1])
    y = levels[-1]
    for n in reversed(range(weights.n_levels)):
        y = graph.up(y, levels[n], style, f"upsample.up.res_up_{n}", enlarged=n < weights.n_levels - 1)
    return openvino.Model([graph.conv(y, "output"), style], [x], "cpnet")


class _Graph:
    """The network's blocks as OpenVINO nodes; names are the prefixes of Cellpose's parameters."""

    def __init__(self, ops: Any, arrays: dict[str, Floats]) -> None:
        self.ops = ops
        self.arrays = arrays

    def constant(self, values: npt.NDArray[Any]) -> Any:
        return self.ops.constant(np.ascontiguousarray(values))

    def normalise(self, x: Any, name: str) -> Any:
        """Batch normalisation with the stored mean and variance: one scale and one shift per channel."""
        a = self.arrays
        scale = a[f"{name}.weight"] / np.sqrt(a[f"{name}.running_var"] + np.float32(_EPSILON))
        shift = a[f"{name}.bias"] - a[f"{name}.running_mean"] * scale
        x = self.ops.multiply(x, self.constant(scale.reshape(1, -1, 1, 1)))
        return self.ops.add(x, self.constant(shift.reshape(1, -1, 1, 1)))

    def convolve(self, x: Any, name: str) -> Any:
        kernel, bias = self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]
        pad = [kernel.shape[2] // 2] * 2
        y = self.ops.convolution(x, self.constant(kernel), [1, 1], pad, pad, [1, 1])
        return self.ops.add(y, self.constant(bias.reshape(1, -1, 1, 1)))

    def conv(self, x: Any, name: str) -> Any:
        """Normalisation, rectification, convolution."""
        return self.convolve(self.ops.relu(self.normalise(x, f"{name}.0")), f"{name}.2")

    def project(self, x: Any, name: str) -> Any:
        return self.convolve(self.normalise(x, f"{name}.0"), f"{name}.1")

    def down(self, x: Any, name: str) -> Any:
        add = self.ops.add
        y = self.conv(self.conv(x, f"{name}.conv.conv_0"), f"{name}.conv.conv_1")
        x = add(self.project(x, f"{name}.proj"), y)
        return add(x, self.conv(self.conv(x, f"{name}.conv.conv_2"), f"{name}.conv.conv_3"))

    def styled(self, x: Any, style: Any, name: str) -> Any:
        weight, bias = self.arrays[f"{name}.full.weight"], self.arrays[f"{name}.full.bias"]
        # A linear layer on a (N, C, 1, 1) map is a 1 x 1 convolution.
        feature = self.ops.convolution(style, self.constant(weight[:, :, None, None]), [1, 1], [0, 0], [0, 0], [1, 1])
        feature = self.ops.add(feature, self.constant(bias.reshape(1, -1, 1, 1)))
        return self.conv(self.ops.add(x, feature), f"{name}.conv")

    def up(self, x: Any, skip: Any, style: Any, name: str, *, enlarged: bool) -> Any:
        """Return a block of the decoder, whose input is enlarged first.

        What works on single pixels gives the same before the enlargement as after it, for a quarter of the work.
        """
        add, enlarge = self.ops.add, self.enlarge if enlarged else (lambda y: y)
        first = enlarge(self.ops.relu(self.normalise(x, f"{name}.conv.conv_0.0")))
        y = add(self.convolve(first, f"{name}.conv.conv_0.2"), skip)
        y = self.styled(y, style, f"{name}.conv.conv_1")
        x = add(enlarge(self.project(x, f"{name}.proj")), y)
        return add(x, self.styled(self.styled(x, style, f"{name}.conv.conv_2"), style, f"{name}.conv.conv_3"))

    def pool(self, x: Any) -> Any:
        return self.ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)

    def enlarge(self, x: Any) -> Any:
        scales = self.constant(np.array([2.0, 2.0], dtype=np.float32))
        axes = self.constant(np.array([2, 3], dtype=np.int64))
        return self.ops.interpolate(
            x,
            scales,
            "nearest",
            "scales",
            [0, 0, 0, 0],
            [0, 0, 0, 0],
            "asymmetric",
            "floor",
            False,
            -0.75,
            axes,
        )

    def style(self, x: Any) -> Any:
        """Return the mean over the plane divided by its length, (N, C, 1, 1)."""
        ops = self.ops
        mean = ops.reduce_mean(x, self.constant(np.array([2, 3], dtype=np.int64)), True)
        length = ops.sqrt(ops.reduce_sum(ops.multiply(mean, mean), self.constant(np.array([1], dtype=np.int64)), True))
        return ops.divide(mean, length)
