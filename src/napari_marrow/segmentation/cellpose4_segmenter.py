"""Segment cells with a transformer of Cellpose 4: the network through `cellpose`, all after it as for the others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SlowDeviceWarning
from napari_marrow.progress import CancelToken, Progress
from napari_marrow.segmentation.finding import CellFinder, FindingSettings
from napari_marrow.segmentation.resizing import RowSource
from napari_marrow.segmentation.segmenter import CPnetSegmenter, Segmentation

if TYPE_CHECKING:
    from napari_marrow.segmentation.cellpose4_network import Cellpose4Network

Floats = npt.NDArray[np.float32]


class Cellpose4Finder(CellFinder):
    """Cells by a network that cuts its own tiles."""

    network: Any

    def network_strips(self, source: RowSource, shape: tuple[int, int], message: str) -> Iterator[Floats]:
        """Yield the network's output (3, y, x) for a plane at once."""
        planes = source(0, shape[0])
        self._warn_of_time(planes.shape)
        yield self.network(planes, lambda done, total: self.check(done, total, message))

    def _warn_of_time(self, shape: tuple[int, ...]) -> None:
        """Say, before the first plane on the CPU, how long it will take."""
        if self.network.device != "cpu" or self.network.seconds_per_tile is not None:
            return
        seconds, n = self.network.time_a_tile(shape[0]), self.network.n_tiles(*shape[1:])
        warnings.warn(
            f"'{self.card.name}' is a large network: on this CPU a tile takes {seconds:.1f} s, so a plane of "
            f"{shape[1]} x {shape[2]} px takes about {_duration(n * seconds)} ({n} tiles). A GPU (device "
            "'cuda' or 'mps') is far faster.",
            SlowDeviceWarning,
            stacklevel=2,
        )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@dataclass(frozen=True)
class Cellpose4Segmenter(CPnetSegmenter):
    """A loaded network of Cellpose 4.

    It takes cells as large as they are; a diameter rescales the image as in Cellpose.
    """

    network: Cellpose4Network

    @property
    def needs_diameter(self) -> bool:
        """False: these networks know cells of many sizes."""
        return False

    def segment(self, image: npt.NDArray[Any], *, diameter: float | None = None, **options: Any) -> Segmentation:
        """Find the cells of an image; see `CPnetSegmenter.segment`.

        Without a diameter the image is not rescaled, and the result's diameter is the median of the cells found.
        """
        if diameter is not None:
            return super().segment(image, diameter=diameter, **options)
        found = super().segment(image, diameter=self.card.diameter_px, **options)
        areas = np.bincount(found.labels.ravel())[1:]
        planes = found.labels.shape[0] if found.labels.ndim == 3 else 1
        if areas.size == 0 or planes > 1:  # the volume of a cell in voxels says little of its diameter
            return replace(found, estimated=True)
        return replace(found, diameter=float(2 * np.sqrt(np.median(areas) / np.pi)), estimated=True)

    def estimate_diameter(self, image: npt.NDArray[Any], *, second: npt.NDArray[Any] | None = None) -> float:
        """Return the median diameter of the cells that the network finds, px."""
        return self.segment(image, second=second).diameter

    def _finder(self, settings: FindingSettings, progress: Progress, cancel: CancelToken | None) -> CellFinder:
        return Cellpose4Finder(self.network, self.card, self.n_channels, settings, progress, cancel)
