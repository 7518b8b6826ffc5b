"""Step *cell_classes*: names by rules on several markers, each threshold with its uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.classify import PLACE, classified_cells
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.study import Study


class CellClassesStep(Step):
    """Give each cell a class of the recipe's rules, "ambiguous" or "other"."""

    name = "cell_classes"
    title = "Naming cell classes"
    version = 1
    reads = ("measure",)
    tables = ("cell_classes", "class_thresholds")
    whole_study = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the rules, the thresholds that are given, and the seed."""
        section = recipe.niche
        return {
            "rules": list(section.cell_classes.items()),  # their order decides between fallbacks
            "thresholds": section.class_thresholds,
            "control": section.class_control,
            "control_quantile": section.class_control_quantile,
            "min_probability": section.min_class_probability,
            "seed": recipe.seed,
        }

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit, if a rule can hold at all: rules whose markers were never imaged name no cell."""
        if not study.committed("cells", context.keys["measure"]):
            return []
        imaged = {c.name for p in study.positions for s in study.sessions(p) for c in study.image(p, s).channels}
        return [Unit()] if any(imaged >= set(rule.markers) for rule in _rules(context.recipe)) else []

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Estimate how likely each marker is on in each cell, then apply the rules."""
        from napari_marrow.niche import classify_by_rules

        cells = study.table("cells", context.keys["measure"])
        layout = study.layout.drop_duplicates("position").set_index("position")
        organoid = cells["position"].map(layout["organoid"]).to_numpy()
        rules, section = _rules(context.recipe), context.recipe.niche
        control = control_cells(cells["position"].map(layout["condition"]), section.class_control)
        positive, rows = {}, []
        for marker in dict.fromkeys(m for rule in rules for m in rule.markers):
            cancel.raise_if_cancelled()
            if f"intensity_{marker}" in cells.columns:
                values = cells[f"intensity_{marker}"].to_numpy(dtype=np.float64)
                positive[marker], row = marker_positivity(
                    values, organoid, control, given=section.class_thresholds.get(marker),
                    quantile=section.class_control_quantile, seed=context.recipe.seed,
                )  # fmt: skip
                rows.append({"marker": marker, **row})
        named = classify_by_rules(
            pd.DataFrame(positive, index=cells.index), rules, min_probability=section.min_class_probability
        )
        key = context.keys[self.name]
        study.commit("class_thresholds", key, {}, pd.DataFrame(rows))
        study.commit(self.tables[0], key, {}, cells[PLACE].join(named))
        counts = named["cell_class"].value_counts()
        return {str(name): int(n) for name, n in counts.items()}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Name the markers without a threshold, and what the interval of a control leaves out."""
        key = context.keys[self.name]
        if not study.has_table("class_thresholds", key):
            return []
        table = study.table("class_thresholds", key)
        said = table["method"].isin(["none", "control"]) & (table["note"] != "")
        return [f"{row.marker}: {row.note}." for row in table[said].itertuples()]


def _rules(recipe: Recipe) -> Any:
    from napari_marrow.niche import parse_rules

    return parse_rules(recipe.niche.cell_classes)


def control_cells(condition: pd.Series[Any], control: str | None) -> npt.NDArray[np.bool_] | None:
    """Return which cells lie in wells of the negative control; None where no control is named.

    Raises
    ------
    SettingsError
        If no cell was measured in a well of that condition.
    """
    if control is None:
        return None
    held = (condition == control).to_numpy(dtype=bool)
    if not held.any():
        known = ", ".join(sorted(condition.dropna().astype(str).unique()))
        raise SettingsError(
            f"No cell was measured in a well of the condition '{control}' (recipe: niche.class_control): cells are "
            f"known of {known or 'none'}."
        )
    return held


def marker_positivity(
    values: npt.NDArray[np.float64],
    organoid: npt.NDArray[Any],
    control: npt.NDArray[np.bool_] | None,
    *,
    given: float | None,
    quantile: float,
    seed: int,
) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
    """P(on) of each cell and the row of its threshold: a number that is known, else control wells, else a mixture.

    Parameters
    ----------
    values : ndarray (n,) float64
        Intensities [counts]; NaN where not imaged.
    organoid : ndarray (n,)
        Drawn as a whole: cells of an organoid are no replicates of each other.
    control : ndarray (n,) bool or None
        Cells of the negative control. A control in which the marker was not imaged gives no threshold; a mixture does
        not take its place, since the recipe asked for the control.
    given : float or None
        Threshold that is known [counts].
    quantile : float
        Share of the control's cells that counts as off.
    seed : int
    """
    from napari_marrow.lineage import control_positivity, given_positivity, mixture_positivity

    note = ""
    if given is not None:
        found = given_positivity(values, given)
    elif control is not None:
        found = control_positivity(values, values[control], clusters=organoid[control], quantile=quantile, seed=seed)
        if len(pd.unique(organoid[control & np.isfinite(values)])) == 1:
            note = "one control organoid only: the interval leaves out how control wells differ"
    else:
        found = mixture_positivity(values, clusters=organoid, seed=seed)
    row = {
        "threshold": found.threshold, "low": found.low, "high": found.high, "method": found.method,
        "note": found.note or note, "n_cells": int(np.isfinite(values).sum()),
    }  # fmt: skip
    return found.probability, row


def cells_with_classes(
    study: Study, context: Context, unit: Unit
) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.bool_]]]:
    """Return the cells of a position, session or frame, and which of them are of each class.

    Classes are "all", the lineages of the recipe's markers, and the classes of its rules where the step has run.
    """
    cells = classified_cells(study, context, unit)
    classes = {"all": np.ones(len(cells), dtype=bool)}
    classes |= {name: (cells["lineage"] == name).to_numpy() for name in sorted(context.recipe.lineage.markers)}
    key = context.keys[CellClassesStep.name]
    if study.is_committed("cell_classes", key, {}):
        named = study.table("cell_classes", key)
        for column, value in unit.as_dict().items():
            named = named[named[column] == value]
        cells = cells.merge(named, on=PLACE, how="left", validate="one_to_one")
        for rule in _rules(context.recipe):
            classes[rule.name] = (cells["cell_class"] == rule.name).to_numpy()
    return cells, classes
