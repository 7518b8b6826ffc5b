"""Cells, colonies and niche structures from images: arrays in, labels, masks and tables out."""

from __future__ import annotations

from napari_marrow.segmentation.colonies import cluster_colonies
from napari_marrow.segmentation.loading import load_segmenter
from napari_marrow.segmentation.measurement import measure_cells
from napari_marrow.segmentation.outline import outline_area
from napari_marrow.segmentation.protocol import Segmenter
from napari_marrow.segmentation.registry import ModelCard, models
from napari_marrow.segmentation.scoring import LabelScore, pool_scores, score_labels
from napari_marrow.segmentation.segmenter import CPnetSegmenter, Segmentation
from napari_marrow.segmentation.structures import organoid_mask, scaffold_mask, vessel_mask

__all__ = [
    "CPnetSegmenter",
    "LabelScore",
    "ModelCard",
    "Segmentation",
    "Segmenter",
    "cluster_colonies",
    "load_segmenter",
    "measure_cells",
    "models",
    "organoid_mask",
    "outline_area",
    "pool_scores",
    "scaffold_mask",
    "score_labels",
    "vessel_mask",
]
