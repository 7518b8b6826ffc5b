"""One call of the segmenter: the network at a scale, and labels from what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.progress import CancelToken, Progress
from napari_marrow.segmentation.diameter import DiameterEstimate, estimate_diameter
from napari_marrow.segmentation.dynamics import LARGE_PLANE, STRIP_PIXELS, compute_masks
from napari_marrow.segmentation.intensities import ScaledImage, exact_percentiles
from napari_marrow.segmentation.mask_stream import MaskStream
from napari_marrow.segmentation.registry import ModelCard
from napari_marrow.segmentation.resizing import RowSource, resize_strips, resized_rows
from napari_marrow.segmentation.tiles import Network, join_strips, network_rows

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

LARGEST_INPUT = 60_000
"""Pixels along a side of the resized image; more means a diameter that cannot be meant."""
_WINDOW = 1024  # side of the nine windows in which the diameter of a large plane is measured


@dataclass(frozen=True)
class FindingSettings:
    """What decides the labels beside the network; see `CPnetSegmenter.segment`."""

    flow_threshold: float = 0.4
    cellprob_threshold: float = 0.0
    min_size: int = 15
    aspect: float = 1.0
    threads: int | None = None


class CellFinder:
    """The network at a scale, and labels from what it gives."""

    def __init__(
        self,
        network: Network,
        card: ModelCard,
        n_channels: int,
        settings: FindingSettings,
        progress: Progress,
        cancel: CancelToken | None,
        *,
        usual: float | None = None,
    ) -> None:
        self.network = network
        self.card = card
        self.n_channels = n_channels
        self.settings = settings
        self.progress = progress
        self.cancel = cancel
        self.part: tuple[int, int] | None = None  # planes done and planes in all, while a volume is worked on
        self.usual = usual

    def check(self, done: int, total: int, message: str) -> None:
        """Tell the progress (of tiles, or of `part` where it is set), and stop if that was asked for."""
        if self.cancel is not None:
            self.cancel.raise_if_cancelled()
        done, total = self.part or (done, total)
        self.progress(done, total, message)

    def network_strips(self, source: RowSource, shape: tuple[int, int], message: str) -> Iterator[Floats]:
        """Yield the network's output (3, n, x) for a plane of this shape, of which `source` gives the rows."""
        return network_rows(
            self.network,
            source,
            shape,
            n_channels=self.n_channels,
            on_tile=lambda done, total: self.check(done, total, message),
        )

    def input_shape(self, shape: tuple[int, ...], scale: float, aspect: float) -> tuple[int, int]:
        """Return the size at which the network sees a plane of pixels that are `aspect` times as high as wide."""
        height, width = max(1, int(shape[0] * scale * aspect)), max(1, int(shape[1] * scale))
        if max(height, width) > LARGEST_INPUT:
            raise SettingsError(
                f"A cell diameter of {self.card.diameter_px / scale:.3g} px would enlarge the image to "
                f"{height} x {width} px: give a larger one."
            )
        return height, width

    def scaled_strips(self, plane: ScaledImage, scale: float, message: str) -> tuple[Iterator[Floats], tuple[int, int]]:
        """Return the network's output for a plane at a scale, in strips, and its shape."""
        shape = self.input_shape(plane.shape, scale, self.settings.aspect)
        # A network that was trained on images that were smoothed before a reduction gets the same.
        sigma = 0.35 / scale if self.card.smooth_reduction and scale < 0.8 else 0.0
        return self.network_strips(resized_rows(plane, shape, sigma=sigma), shape, message), shape

    def output(self, plane: ScaledImage, scale: float, message: str = "network") -> Floats:
        """Return the network's output (3, y, x) for a plane at a scale."""
        strips, shape = self.scaled_strips(plane, scale, message)
        return join_strips(strips, shape)

    def strips(self, plane: ScaledImage, scale: float, message: str = "network") -> Iterator[Floats]:
        """Yield the network's output in strips (3, n, X) at the plane's own size."""
        strips, shape = self.scaled_strips(plane, scale, message)
        return resize_strips(strips, shape[0], (plane.shape[0], plane.shape[1]))

    def plane(
        self,
        plane: ScaledImage,
        diameter: float,
        *,
        min_size: int | None = None,
        out: Labels | None = None,
        logit: Floats | None = None,
        message: str = "network",
    ) -> Labels:
        """Return the labels of a plane, in `out` if it is given; the logit is written into `logit`."""
        scale = self.card.diameter_px / diameter
        strips = self.strips(plane, scale, message)
        if plane.shape[0] * plane.shape[1] <= LARGE_PLANE:
            output = join_strips(strips, (plane.shape[0], plane.shape[1]))
            return self.labels(output, scale, min_size=min_size, out=out, logit=logit)
        labels = np.empty(plane.shape, dtype=np.int32) if out is None else out
        y = 0
        for rows in self.label_strips(plane, diameter, min_size=min_size, logit=logit):
            labels[y : y + len(rows)] = rows
            y += len(rows)
        return labels

    def label_strips(
        self, plane: ScaledImage, diameter: float, *, min_size: int | None = None, logit: Floats | None = None
    ) -> Iterator[Labels]:
        """Yield the labels of a large plane in strips from the top; what is held does not grow with its height."""
        scale = self.card.diameter_px / diameter
        height, width = plane.shape
        given: list[Labels] = []
        stream = MaskStream(
            (height, width), lambda first, rows: given.append(rows), **self._mask_settings(scale, min_size)
        )
        y = 0
        for strip in _thick(self.strips(plane, scale), max(1, STRIP_PIXELS // width)):
            if self.cancel is not None:
                self.cancel.raise_if_cancelled()
            stream.push(strip[:2], strip[2])
            if logit is not None:
                logit[y : y + strip.shape[1]] = strip[2]
            y += strip.shape[1]
            yield from given
            given.clear()

    def labels(
        self,
        output: Floats,
        scale: float,
        *,
        min_size: int | None = None,
        out: Labels | None = None,
        logit: Floats | None = None,
    ) -> Labels:
        """Return the labels of a plane from the network's output (3, Y, X) at its own size."""
        labels = compute_masks(output[:2], output[2], **self._mask_settings(scale, min_size))
        if logit is not None:
            logit[...] = output[2]
        if out is None:
            return labels
        out[...] = labels
        return out

    def _mask_settings(self, scale: float, min_size: int | None) -> dict[str, Any]:
        return {
            "n_steps": int(200 / scale),
            "cellprob_threshold": self.settings.cellprob_threshold,
            "flow_threshold": self.settings.flow_threshold,
            "min_size": self.settings.min_size if min_size is None else min_size,
            "threads": self.settings.threads,
        }

    def estimate(self, image: ScaledImage) -> DiameterEstimate:
        """Return the median diameter: on up to three bright planes of a volume, in nine windows of a large plane."""
        planes = [image]
        if len(image.shape) == 3:
            brightness = np.array([exact_percentiles(plane, (95,))[0] for plane in image.channels[0].values])
            planes = [image.view(z) for z in np.sort(np.argsort(-brightness, kind="stable")[:3])]
        planes = [window for plane in planes for window in _windows(plane)]
        return estimate_diameter(
            lambda plane, scale: self.output(plane, scale, "diameter"),
            planes,
            self.card.diameter_px,
            usual=self.usual,
        )


def _windows(plane: ScaledImage) -> list[ScaledImage]:
    """Return the plane, or nine windows spread over one that is too large to be looked at as a whole."""
    if plane.shape[0] * plane.shape[1] <= LARGE_PLANE:
        return [plane]
    starts = [np.unique(np.linspace(0, max(0, side - _WINDOW), 3).astype(int)) for side in plane.shape]
    return [plane.view(slice(y, y + _WINDOW), slice(x, x + _WINDOW)) for y in starts[0] for x in starts[1]]


def _thick(strips: Iterator[Floats], least: int) -> Iterator[Floats]:
    """Join strips until they have so many rows."""
    held: list[Floats] = []
    for strip in strips:
        held.append(strip)
        if sum(s.shape[1] for s in held) >= least:
            yield held[0] if len(held) == 1 else np.concatenate(held, axis=1)
            held = []
    if held:
        yield np.concatenate(held, axis=1)
