"""Which lineages arise, when, from which founders: pedigrees, marker onset, competing fates, clones, colonies.

Tables in, tables out; every time in hours. Where a value cannot be had it is NaN and a `note` says why.
"""

from napari_marrow.lineage.clones import (
    bias_null,
    birth_death_pmf,
    clone_table,
    dirichlet_multinomial_rho,
    entropy,
    output_bias,
    yule_pmf,
)
from napari_marrow.lineage.colonies import (
    DEFAULT_RULES,
    ColonyRule,
    colony_fates,
    colony_growth,
    colony_types,
    isolation_probability,
    rules_from_table,
    rules_table,
)
from napari_marrow.lineage.competing import IncidenceCurves, aalen_johansen
from napari_marrow.lineage.divisions import division_curve, division_times, division_types
from napari_marrow.lineage.emergence_curves import emergence
from napari_marrow.lineage.endpoints import organoid_endpoints
from napari_marrow.lineage.interval import IntervalCurve, turnbull
from napari_marrow.lineage.kinship import division_scores, kin_correlation, kin_pairs
from napari_marrow.lineage.onset import OnsetSettings, classify_cells, marker_onsets, track_lineages
from napari_marrow.lineage.pedigree import Pedigree
from napari_marrow.lineage.positivity import Positivity, control_positivity, given_positivity, mixture_positivity
from napari_marrow.lineage.rates import hazard_by_generation, transition_rates
from napari_marrow.lineage.survival import SurvivalCurve, kaplan_meier, nelson_aalen
from napari_marrow.lineage.thresholds import Mixture, fit_mixture, marker_thresholds

__all__ = [
    "DEFAULT_RULES",
    "ColonyRule",
    "IncidenceCurves",
    "IntervalCurve",
    "Mixture",
    "OnsetSettings",
    "Pedigree",
    "Positivity",
    "SurvivalCurve",
    "aalen_johansen",
    "bias_null",
    "birth_death_pmf",
    "classify_cells",
    "clone_table",
    "colony_fates",
    "colony_growth",
    "colony_types",
    "control_positivity",
    "dirichlet_multinomial_rho",
    "division_curve",
    "division_scores",
    "division_times",
    "division_types",
    "emergence",
    "entropy",
    "fit_mixture",
    "given_positivity",
    "hazard_by_generation",
    "isolation_probability",
    "kaplan_meier",
    "kin_correlation",
    "kin_pairs",
    "marker_onsets",
    "marker_thresholds",
    "mixture_positivity",
    "nelson_aalen",
    "organoid_endpoints",
    "output_bias",
    "rules_from_table",
    "rules_table",
    "track_lineages",
    "transition_rates",
    "turnbull",
    "yule_pmf",
]
