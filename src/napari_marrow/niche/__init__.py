"""Niche: where cells live relative to vessels, scaffold and each other, against null models, in 2D and 3D.

`measure_niche` measures one frame; the functions behind it stand alone. Arrays and tables in, arrays and tables out;
lengths in µm, spacing per axis everywhere.
"""

from napari_marrow.niche.attraction import Attraction, local_density, relabelled_cross_l, uniform_cross_l
from napari_marrow.niche.cell_classes import DEFAULT_RULES, ClassRule, classify_by_rules, parse_rules
from napari_marrow.niche.compartments import SelectionIndex, assign_compartments, selection_index
from napari_marrow.niche.coverage import Coverage, surface_area, surface_coverage
from napari_marrow.niche.distances import distance_to_points, edge_distance, read_at, signed_distance, surface_distance
from napari_marrow.niche.dwell import Dwell, hysteresis, niche_dwell
from napari_marrow.niche.edge_correction import (
    DistanceSummary,
    hanisch_cdf,
    kaplan_meier_cdf,
    reduced_sample_cdf,
    summarise_distances,
)
from napari_marrow.niche.enrichment import Enrichment, neighbour_pairs, neighbourhood_enrichment
from napari_marrow.niche.envelopes import GlobalEnvelope, global_envelope
from napari_marrow.niche.intervals import (
    Blocks,
    DistanceInterval,
    distance_interval,
    length_density_interval,
    ratio_interval,
    tissue_blocks,
)
from napari_marrow.niche.marks import MarkCorrelation, mark_correlation
from napari_marrow.niche.nearest import NearestFunctions, nearest_functions
from napari_marrow.niche.null_models import (
    UniformPlaces,
    monte_carlo_p,
    permutations,
    quantile_strata,
    relabel,
    uniform_positions,
)
from napari_marrow.niche.orientation import Orientation, isotropic_band, orientation_tensor
from napari_marrow.niche.point_patterns import PairFunctions, SetCovariance, cross_k, set_covariance
from napari_marrow.niche.proximity import ProximityEffect, proximity_effect
from napari_marrow.niche.remodelling import Remodelling, vessel_remodelling
from napari_marrow.niche.settings import NicheSettings
from napari_marrow.niche.spots import Spots, window_of_points
from napari_marrow.niche.summary import NicheResult, measure_niche
from napari_marrow.niche.surroundings import Surroundings
from napari_marrow.niche.vessels import VesselGraph, VesselSettings, vessel_graph

__all__ = [
    "DEFAULT_RULES",
    "Attraction",
    "Blocks",
    "ClassRule",
    "Coverage",
    "DistanceInterval",
    "DistanceSummary",
    "Dwell",
    "Enrichment",
    "GlobalEnvelope",
    "MarkCorrelation",
    "NearestFunctions",
    "NicheResult",
    "NicheSettings",
    "Orientation",
    "PairFunctions",
    "ProximityEffect",
    "Remodelling",
    "SelectionIndex",
    "SetCovariance",
    "Spots",
    "Surroundings",
    "UniformPlaces",
    "VesselGraph",
    "VesselSettings",
    "assign_compartments",
    "classify_by_rules",
    "cross_k",
    "distance_interval",
    "distance_to_points",
    "edge_distance",
    "global_envelope",
    "hanisch_cdf",
    "hysteresis",
    "isotropic_band",
    "kaplan_meier_cdf",
    "length_density_interval",
    "local_density",
    "mark_correlation",
    "measure_niche",
    "monte_carlo_p",
    "nearest_functions",
    "neighbour_pairs",
    "neighbourhood_enrichment",
    "niche_dwell",
    "orientation_tensor",
    "parse_rules",
    "permutations",
    "proximity_effect",
    "quantile_strata",
    "ratio_interval",
    "read_at",
    "reduced_sample_cdf",
    "relabel",
    "relabelled_cross_l",
    "selection_index",
    "set_covariance",
    "signed_distance",
    "summarise_distances",
    "surface_area",
    "surface_coverage",
    "surface_distance",
    "tissue_blocks",
    "uniform_cross_l",
    "uniform_positions",
    "vessel_graph",
    "vessel_remodelling",
    "window_of_points",
]
