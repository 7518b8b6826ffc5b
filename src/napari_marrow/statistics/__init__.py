"""Inference with the organoid as the unit of replication: tests, intervals, mixed models, multiple testing."""

from napari_marrow.statistics.bootstrap import BootstrapInterval, cluster_bootstrap
from napari_marrow.statistics.comparisons import compare
from napari_marrow.statistics.design import check_design, unit_table
from napari_marrow.statistics.donors import donor_responses, sign_flip_test
from napari_marrow.statistics.dose_response import (
    DoseResponse,
    dose_response,
    dose_response_by_donor,
    four_parameter_logistic,
    therapeutic_window,
)
from napari_marrow.statistics.mixed import mixed_model
from napari_marrow.statistics.multiplicity import benjamini_hochberg, holm
from napari_marrow.statistics.over_time import UnitMean, trends, unit_mean, unit_slopes
from napari_marrow.statistics.permutation import PermutationResult, permutation_test
from napari_marrow.statistics.poisson import PoissonRate, poisson_rate
from napari_marrow.statistics.power import next_experiment, organoids_needed, smallest_p, two_group_power

__all__ = [
    "BootstrapInterval",
    "DoseResponse",
    "PermutationResult",
    "PoissonRate",
    "UnitMean",
    "benjamini_hochberg",
    "check_design",
    "cluster_bootstrap",
    "compare",
    "donor_responses",
    "dose_response",
    "dose_response_by_donor",
    "four_parameter_logistic",
    "holm",
    "mixed_model",
    "next_experiment",
    "organoids_needed",
    "permutation_test",
    "poisson_rate",
    "sign_flip_test",
    "smallest_p",
    "therapeutic_window",
    "trends",
    "two_group_power",
    "unit_mean",
    "unit_slopes",
    "unit_table",
]
