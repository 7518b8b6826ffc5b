"""Score a network on annotated images that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_marrow.progress import CancelToken
from napari_marrow.segmentation.annotation import AnnotatedImage
from napari_marrow.segmentation.protocol import Segmenter
from napari_marrow.segmentation.registry import ModelCard
from napari_marrow.segmentation.scoring import LabelScore, pool_scores, score_labels
from napari_marrow.segmentation.segmenter import CPnetSegmenter
from napari_marrow.segmentation.weights import NetworkWeights

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Check:
    """A scoring of the held-out images.

    Attributes
    ----------
    step : int
        Steps taken; 0 is the base.
    score : LabelScore
    """

    step: int
    score: LabelScore

    @property
    def value(self) -> float:
        """What is to become large: the mean of the average precisions at IoU .5 and .75; 0 where it is not defined."""
        precision = self.score.average_precision
        value = (precision[0.5] + precision[0.75]) / 2
        return value if np.isfinite(value) else 0.0


def score_held_out(
    segmenter: Segmenter,
    images: Sequence[AnnotatedImage],
    *,
    diameter: float | None = None,
    cancel: CancelToken | None = None,
) -> tuple[LabelScore, list[Labels]]:
    """Return the pooled score of a model on annotated images, and the labels that it gave.

    Labels that lie mostly where nobody annotated do not count.
    """
    scores, found = [], []
    for image in images:
        labels = segmenter.segment(image.image, diameter=diameter, cancel=cancel).labels
        found.append(labels)
        counted = labels
        if image.ignored is not None:
            size = np.bincount(labels.ravel())
            hidden = np.bincount(labels[image.ignored], minlength=size.size)
            counted = np.where((2 * hidden > size)[labels], 0, labels)
        scores.append(score_labels(image.labels, counted))
    return pool_scores(scores), found


def segmenter_of(
    weights: NetworkWeights, card: ModelCard | None = None, *, threads: int | None = None
) -> CPnetSegmenter:
    """Return a segmenter on the CPU with weights that are in memory."""
    from napari_marrow.segmentation.openvino_network import OpenVINONetwork

    card = card or ModelCard("network", "cpnet", "", "", "", weights.diam_mean, "CPU", smooth_reduction=True)
    network = OpenVINONetwork(weights, threads=threads)
    return CPnetSegmenter(
        replace(card, diameter_px=weights.diam_mean, sha256=weights.sha256),
        network,
        weights.n_channels,
        threads,
        usual_diameter=weights.diam_labels,
    )
