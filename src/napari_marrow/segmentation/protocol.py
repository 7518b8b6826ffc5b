"""What every network that finds cells offers, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation.registry import ModelCard
from napari_marrow.segmentation.segmenter import Segmentation, StripSegmentation


@runtime_checkable
class Segmenter(Protocol):
    """A loaded network: an image in, labels out.

    `load_segmenter` returns one: a `CPnetSegmenter` for networks of Cellpose 1-3.
    """

    @property
    def card(self) -> ModelCard:
        """What is known of the model."""

    @property
    def needs_diameter(self) -> bool:
        """Whether images are brought to the network's own cell diameter first (else a diameter is optional)."""

    @property
    def device(self) -> str:
        """What computes: "cpu", "cuda:0", "mps"."""

    @property
    def precision(self) -> str:
        """What is computed in: "f32" or "bf16"."""

    def segment(
        self,
        image: npt.NDArray[Any],
        *,
        second: npt.NDArray[Any] | None = None,
        diameter: float | None = None,
        spacing: Sequence[float] | None = None,
        flow_threshold: float = 0.4,
        cellprob_threshold: float = 0.0,
        min_size: int = 15,
        volume_mode: str = "planes",
        stitch_threshold: float = 0.25,
        flow_smoothing: float | Sequence[float] = 0.0,
        return_probability: bool = False,
        out: npt.NDArray[np.int32] | None = None,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
    ) -> Segmentation:
        """Find the cells of an image (Y, X) or (Z, Y, X); see `CPnetSegmenter.segment`."""

    def segment_in_strips(
        self,
        image: npt.NDArray[Any],
        *,
        second: npt.NDArray[Any] | None = None,
        diameter: float | None = None,
        spacing: Sequence[float] | None = None,
        flow_threshold: float = 0.4,
        cellprob_threshold: float = 0.0,
        min_size: int = 15,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
    ) -> StripSegmentation:
        """Find the cells of a plane (Y, X) of which not even the labels need be held."""

    def estimate_diameter(self, image: npt.NDArray[Any], *, second: npt.NDArray[Any] | None = None) -> float:
        """Return the median cell diameter of an image in px."""
