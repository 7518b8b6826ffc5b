"""Who is in the experiment: organoids on a plate, donors, conditions, random effects, seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_marrow.schemas import LAYOUT
from napari_marrow.simulation.scenario import Effect, Scenario


@dataclass(frozen=True)
class OrganoidPlan:
    """One organoid: its place in the design and its true random effects."""

    organoid: str
    position: str
    well: str
    donor: str
    batch: str
    condition: str
    effect: Effect
    replicate: int
    seed: int
    commitment_factor: float
    founder_factor: float


def seed_for(*path: int) -> int:
    """Return an independent seed for a branch of the simulation, stable whatever is drawn elsewhere."""
    return int(np.random.SeedSequence(list(path)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def plan_organoids(scenario: Scenario) -> tuple[OrganoidPlan, ...]:
    """Lay organoids out on the plate: a row per condition from B, a column per replicate from 02, donors in turn."""
    design = scenario.design
    batch_rng = np.random.default_rng(seed_for(scenario.seed, 1))
    batch_effects = np.exp(batch_rng.normal(0.0, design.batch_sd, (design.donors, 2)))
    plans: list[OrganoidPlan] = []
    for row, (condition, effect) in enumerate(design.conditions.items()):
        for column in range(design.organoids_per_condition):
            number = len(plans)
            rng = np.random.default_rng(seed_for(scenario.seed, 2, number))
            own = np.exp(rng.normal(0.0, design.organoid_sd, 2))
            donor = column % design.donors
            well = f"{chr(ord('B') + row)}{column + 2:02d}"
            plans.append(
                OrganoidPlan(
                    organoid=f"organoid-{number + 1:02d}",
                    position=f"{well}_f00",
                    well=well,
                    donor=f"donor-{donor + 1}",
                    batch=f"batch-{donor + 1}",
                    condition=condition,
                    effect=effect,
                    replicate=column + 1,
                    seed=seed_for(scenario.seed, 3, number),
                    commitment_factor=float(own[0] * batch_effects[donor, 0]),
                    founder_factor=float(own[1] * batch_effects[donor, 1]),
                )
            )
    return tuple(plans)


def layout_table(plans: tuple[OrganoidPlan, ...]) -> pd.DataFrame:
    """Return the plate layout (schema `LAYOUT`)."""
    rows = [
        {
            "position": p.position, "well": p.well, "organoid": p.organoid, "donor": p.donor, "batch": p.batch,
            "condition": p.condition, "dose": p.effect.dose, "replicate": p.replicate,
        }
        for p in plans
    ]  # fmt: skip
    return LAYOUT.conform(pd.DataFrame(rows))


def effect_table(plans: tuple[OrganoidPlan, ...]) -> pd.DataFrame:
    """Return the true effects of every organoid: condition factors and random effects."""
    rows = [
        {
            "organoid": p.organoid, "position": p.position, "donor": p.donor, "batch": p.batch,
            "condition": p.condition,
            "commitment_erythroid": p.effect.commitment[0], "commitment_megakaryocytic": p.effect.commitment[1],
            "commitment_granulo_monocytic": p.effect.commitment[2], "cycle_speed": p.effect.speed,
            "death": p.effect.death, "random_commitment": p.commitment_factor, "random_founders": p.founder_factor,
        }
        for p in plans
    ]  # fmt: skip
    return pd.DataFrame(rows)
