"""Inference with the organoid as the unit of replication: tests, intervals, mixed models, multiple testing."""

from napari_marrow.statistics.bootstrap import BootstrapInterval, cluster_bootstrap
from napari_marrow.statistics.comparisons import compare
from napari_marrow.statistics.design import check_design, unit_table
from napari_marrow.statistics.mixed import mixed_model
from napari_marrow.statistics.multiplicity import benjamini_hochberg, holm
from napari_marrow.statistics.over_time import UnitMean, trends, unit_mean, unit_slopes
from napari_marrow.statistics.permutation import PermutationResult, permutation_test

__all__ = [
    "BootstrapInterval",
    "PermutationResult",
    "UnitMean",
    "benjamini_hochberg",
    "check_design",
    "cluster_bootstrap",
    "compare",
    "holm",
    "mixed_model",
    "permutation_test",
    "trends",
    "unit_mean",
    "unit_slopes",
    "unit_table",
]
