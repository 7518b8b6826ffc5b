"""Cells, colonies and niche structures from images: arrays in, labels, masks and tables out."""

from __future__ import annotations

from napari_marrow.segmentation.brightfield import BrightfieldTexture, brightfield_texture
from napari_marrow.segmentation.colonies import cluster_colonies
from napari_marrow.segmentation.colony_masks import (
    ColonyMasks,
    colonies_from_brightfield,
    colonies_from_cells,
    colonies_from_channel,
)
from napari_marrow.segmentation.loading import load_segmenter
from napari_marrow.segmentation.measurement import measure_cells
from napari_marrow.segmentation.organoid import organoid_labels, organoid_mask, tissue_signal
from napari_marrow.segmentation.protocol import Segmenter
from napari_marrow.segmentation.registry import ModelCard, models
from napari_marrow.segmentation.scaffold import ScaffoldThreshold, scaffold_mask, scaffold_threshold
from napari_marrow.segmentation.scoring import LabelScore, pool_scores, score_labels
from napari_marrow.segmentation.segmenter import CPnetSegmenter, Segmentation
from napari_marrow.segmentation.vessels import vessel_mask

__all__ = [
    "BrightfieldTexture",
    "CPnetSegmenter",
    "ColonyMasks",
    "LabelScore",
    "ModelCard",
    "ScaffoldThreshold",
    "Segmentation",
    "Segmenter",
    "brightfield_texture",
    "cluster_colonies",
    "colonies_from_brightfield",
    "colonies_from_cells",
    "colonies_from_channel",
    "load_segmenter",
    "measure_cells",
    "models",
    "organoid_labels",
    "organoid_mask",
    "pool_scores",
    "scaffold_mask",
    "scaffold_threshold",
    "score_labels",
    "tissue_signal",
    "vessel_mask",
]
