"""One call of the segmenter: the network at a scale, and labels from what it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.progress import CancelToken, Progress
from napari_marrow.segmentation.diameter import DiameterEstimate, estimate_diameter
from napari_marrow.segmentation.dynamics import compute_masks, renumber
from napari_marrow.segmentation.registry import ModelCard
from napari_marrow.segmentation.stitching import stitch_planes
from napari_marrow.segmentation.tiles import Network, resize, run_network

Floats = npt.NDArray[np.float32]

LARGEST_INPUT = 60_000
"""Pixels along a side of the resized image; more means a diameter that cannot be meant."""


@dataclass(frozen=True)
class FindingSettings:
    """What decides the labels beside the network; see `Segmenter.segment`."""

    flow_threshold: float = 0.4
    cellprob_threshold: float = 0.0
    min_size: int = 15
    aspect: float = 1.0
    threads: int | None = None


class CellFinder:
    """The network at a scale, and labels from what it gives.

    Planes come as (C, Y, X) and volumes as (C, Z, Y, X), with one or two normalised channels.
    """

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
        self.usual = usual

    def output(self, planes: Floats, scale: float, message: str = "network") -> Floats:
        """Return the network's output (3, y, x) for a normalised plane that is scaled first."""
        height = max(1, int(planes.shape[1] * scale * self.settings.aspect))
        width = max(1, int(planes.shape[2] * scale))
        if max(height, width) > LARGEST_INPUT:
            raise SettingsError(
                f"A cell diameter of {self.card.diameter_px / scale:.3g} px would enlarge the image to "
                f"{height} x {width} px: give a larger one."
            )
        if self.card.smooth_reduction and scale < 0.8:
            from scipy.ndimage import gaussian_filter

            planes = gaussian_filter(planes, (0, 0.35 / scale, 0.35 / scale), mode="nearest")
        return self.apply(resize(planes, (height, width)), message)

    def apply(self, planes: Floats, message: str) -> Floats:
        """Return the network's output (3, y, x) for a plane that has the network's scale already."""

        def on_tile(done: int, total: int) -> None:
            if self.cancel is not None:
                self.cancel.raise_if_cancelled()
            self.progress(done, total, message)

        return run_network(self.network, planes, n_channels=self.n_channels, on_tile=on_tile)

    def plane(
        self, planes: Floats, diameter: float, *, min_size: int | None = None
    ) -> tuple[npt.NDArray[np.int32], Floats]:
        """Return labels and logit of a normalised plane."""
        scale = self.card.diameter_px / diameter
        return self.labels(self.output(planes, scale), planes.shape[1:], scale, min_size=min_size)

    def labels(
        self, output: Floats, shape: tuple[int, ...], scale: float, *, min_size: int | None = None
    ) -> tuple[npt.NDArray[np.int32], Floats]:
        """Return labels and logit at the plane's own size from the network's output at a scale."""
        output = resize(output, (shape[0], shape[1]))
        labels = compute_masks(
            output[:2],
            output[2],
            n_steps=int(200 / scale),
            cellprob_threshold=self.settings.cellprob_threshold,
            flow_threshold=self.settings.flow_threshold,
            min_size=self.settings.min_size if min_size is None else min_size,
            threads=self.settings.threads,
        )
        return labels, output[2]

    def volume(
        self, volume: Floats, diameter: float, threshold: float, *, keep_logit: bool
    ) -> tuple[npt.NDArray[np.int32], Floats | None]:
        """Return labels (and logit) of a normalised volume, segmented plane by plane and stitched."""
        shape = volume.shape[1:]
        planes = np.zeros(shape, dtype=np.int32)
        logit = np.zeros(shape, dtype=np.float32) if keep_logit else None
        for z in range(len(planes)):
            # Planes keep their small sections (holes are filled): size counts in the volume.
            planes[z], cellprob = self.plane(volume[:, z], diameter, min_size=1)
            if logit is not None:
                logit[z] = cellprob
        labels = stitch_planes(planes, threshold=threshold)
        large = np.bincount(labels.ravel()) >= max(1, self.settings.min_size)
        flat = renumber(labels.reshape(len(labels), -1), large)
        return flat.reshape(shape), logit

    def estimate(self, image: Floats) -> DiameterEstimate:
        """Return the median diameter, measured on up to three bright planes of a volume."""
        planes = [image]
        if image.ndim == 4:
            brightness = np.percentile(image[0].reshape(image.shape[1], -1), 95, axis=1)
            planes = [image[:, z] for z in np.sort(np.argsort(-brightness, kind="stable")[:3])]
        return estimate_diameter(
            lambda plane, scale: self.output(plane, scale, "diameter"),
            planes,
            self.card.diameter_px,
            usual=self.usual,
        )
