"""Simulator of blood-making organoids with full truth: arrays and tables out, no disk.

Examples
--------
>>> from napari_marrow import simulation
>>> experiment = simulation.simulate(simulation.preset("sample", seed=1))
>>> session = experiment.sessions(experiment.positions[0])[0]
>>> session.frame(0).shape
(6, 1, 256, 256)
"""

from napari_marrow.simulation.experiment import Experiment, RenderedFrame, SimulatedSession, render_frames, simulate
from napari_marrow.simulation.metrics import cumulative_incidence
from napari_marrow.simulation.microscope import CHANNELS, Faults, Imaging
from napari_marrow.simulation.motion import run_and_tumble_msd
from napari_marrow.simulation.presets import PRESETS, preset
from napari_marrow.simulation.scenario import (
    LINEAGE_MARKERS,
    LINEAGES,
    TYPES,
    Design,
    Effect,
    Geometry,
    Kinetics,
    Motion,
    Niche,
    Scenario,
    SessionPlan,
)
from napari_marrow.simulation.structures import TrueStructures, true_structures

__all__ = [
    "CHANNELS",
    "LINEAGES",
    "LINEAGE_MARKERS",
    "PRESETS",
    "TYPES",
    "Design",
    "Effect",
    "Experiment",
    "Faults",
    "Geometry",
    "Imaging",
    "Kinetics",
    "Motion",
    "Niche",
    "RenderedFrame",
    "Scenario",
    "SessionPlan",
    "SimulatedSession",
    "TrueStructures",
    "cumulative_incidence",
    "preset",
    "render_frames",
    "run_and_tumble_msd",
    "simulate",
    "true_structures",
]
