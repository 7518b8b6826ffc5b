"""Which lineages arise, when, from which founders: pedigrees, marker onset, competing fates, clones, colonies.

Tables in, tables out; every time in hours. Where a value cannot be had it is NaN and a `note` says why.
"""

from napari_marrow.lineage.annotated import annotated_trees
from napari_marrow.lineage.birth_niche import birth_niche_output
from napari_marrow.lineage.choice import lineage_choice
from napari_marrow.lineage.clone_summary import clone_summary
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
from napari_marrow.lineage.colony_emergence import colony_emergence
from napari_marrow.lineage.competing import IncidenceCurves, aalen_johansen
from napari_marrow.lineage.coupling import COUPLING, coupling_test, niche_coupling
from napari_marrow.lineage.cox import CoxFit, cox_regression, cox_scores
from napari_marrow.lineage.deaths import DeathSettings, death_probabilities, with_deaths
from napari_marrow.lineage.divisions import division_curve, division_times, division_types
from napari_marrow.lineage.drawn import DrawnPedigree, PedigreeDraws, drawn_results
from napari_marrow.lineage.emergence_curves import emergence
from napari_marrow.lineage.endpoints import organoid_endpoints
from napari_marrow.lineage.exposure import exposure_spans
from napari_marrow.lineage.growth_models import colony_growth_models, fit_growth, growth_curve
from napari_marrow.lineage.hidden import HiddenCommitment, hidden_commitment
from napari_marrow.lineage.interval import IntervalCurve, turnbull
from napari_marrow.lineage.kinship import division_scores, kin_correlation, kin_pairs
from napari_marrow.lineage.onset import OnsetSettings, classify_cells, marker_onsets, track_lineages
from napari_marrow.lineage.output import blood_output, production_trend, recovery
from napari_marrow.lineage.pedigree import Pedigree
from napari_marrow.lineage.positivity import Positivity, control_positivity, given_positivity, mixture_positivity
from napari_marrow.lineage.proportion_limits import clustered_proportion_limits, unseen_limit
from napari_marrow.lineage.rates import hazard_by_generation, transition_rates
from napari_marrow.lineage.survival import SurvivalCurve, kaplan_meier, nelson_aalen
from napari_marrow.lineage.synchrony import onset_synchrony, pure_clades
from napari_marrow.lineage.thresholds import Mixture, fit_mixture, marker_thresholds
from napari_marrow.lineage.tracking_error import ESTIMATES, Estimate, repeated_over_pedigrees, with_tracking_error
from napari_marrow.lineage.tree_statistics import TREE_TABLES, tree_statistics

__all__ = [
    "COUPLING",
    "DEFAULT_RULES",
    "ESTIMATES",
    "TREE_TABLES",
    "ColonyRule",
    "CoxFit",
    "DeathSettings",
    "DrawnPedigree",
    "Estimate",
    "HiddenCommitment",
    "IncidenceCurves",
    "IntervalCurve",
    "Mixture",
    "OnsetSettings",
    "Pedigree",
    "PedigreeDraws",
    "Positivity",
    "SurvivalCurve",
    "aalen_johansen",
    "annotated_trees",
    "bias_null",
    "birth_death_pmf",
    "birth_niche_output",
    "blood_output",
    "classify_cells",
    "clone_summary",
    "clone_table",
    "clustered_proportion_limits",
    "colony_emergence",
    "colony_fates",
    "colony_growth",
    "colony_growth_models",
    "colony_types",
    "control_positivity",
    "coupling_test",
    "cox_regression",
    "cox_scores",
    "death_probabilities",
    "dirichlet_multinomial_rho",
    "division_curve",
    "division_scores",
    "division_times",
    "division_types",
    "drawn_results",
    "emergence",
    "entropy",
    "exposure_spans",
    "fit_growth",
    "fit_mixture",
    "given_positivity",
    "growth_curve",
    "hazard_by_generation",
    "hidden_commitment",
    "isolation_probability",
    "kaplan_meier",
    "kin_correlation",
    "kin_pairs",
    "lineage_choice",
    "marker_onsets",
    "marker_thresholds",
    "mixture_positivity",
    "nelson_aalen",
    "niche_coupling",
    "onset_synchrony",
    "organoid_endpoints",
    "output_bias",
    "production_trend",
    "pure_clades",
    "recovery",
    "repeated_over_pedigrees",
    "rules_from_table",
    "rules_table",
    "track_lineages",
    "transition_rates",
    "tree_statistics",
    "turnbull",
    "unseen_limit",
    "with_deaths",
    "with_tracking_error",
    "yule_pmf",
]
