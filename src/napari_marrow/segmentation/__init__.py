"""Cells, colonies and niche structures from images: arrays in, labels, masks and tables out."""

from napari_marrow.segmentation.registry import ModelCard, models
from napari_marrow.segmentation.segmenter import Segmentation, Segmenter, load_segmenter

__all__ = ["ModelCard", "Segmentation", "Segmenter", "load_segmenter", "models"]
