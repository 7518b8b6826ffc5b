"""Questions that an experiment was made for: doses, windows, donors, recovery after an insult."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from napari_marrow import lineage, statistics
from napari_marrow.errors import DesignError, SettingsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Experiment:
    """What is asked of an experiment beyond the tables that every study has.

    Attributes
    ----------
    reference : str, optional
        Condition that effects are relative to; the one called control by default, else the first.
    insult_h : float, optional
        Time of an insult [h since t0]; needs counts of cells before and after it.
    benefit, harm : str, optional
        Endpoints of a therapeutic window; both or none.
    """

    reference: str | None = None
    insult_h: float | None = None
    benefit: str | None = None
    harm: str | None = None

    def __post_init__(self) -> None:
        if (self.benefit is None) != (self.harm is None):
            raise SettingsError("A therapeutic window needs two endpoints: give both benefit and harm.")

    def reference_of(self, layout: pd.DataFrame) -> str:
        """Return the reference condition.

        Raises
        ------
        DesignError
            If the layout does not have it.
        """
        conditions = list(dict.fromkeys(layout["condition"].astype(str)))
        usual = (c for c in conditions if c.lower() in ("control", "vehicle", "dmso"))
        chosen = self.reference or next(usual, conditions[0])
        if chosen not in conditions:
            raise DesignError(f"The reference condition '{chosen}' is not in the layout, which has {conditions}.")
        return chosen


def add_experiment(
    tables: dict[str, pd.DataFrame], layout: pd.DataFrame, asked: Experiment
) -> tuple[dict[str, Callable[[], Figure]], list[str]]:
    """Add comparisons, the plan for the next experiment and whatever else the design allows or was asked for.

    Returns
    -------
    figures, notes
        Dose-response curves of endpoints with an effect, and sentences on what could not be done.

    Raises
    ------
    DesignError
        If the reference is not in the layout, or a window is asked for without doses.
    SettingsError
        If an endpoint is not there, or an insult is asked about without counts.
    """
    reference, summary, notes = asked.reference_of(layout), tables["organoid_summary"], []
    for name in (asked.benefit, asked.harm):
        if name is not None and name not in set(summary["endpoint"]):
            raise SettingsError(
                f"There is no endpoint '{name}': choose of {', '.join(sorted(set(summary['endpoint'])))}."
            )
    if "comparisons" not in tables and len(set(layout["condition"])) > 1:
        try:
            tables["comparisons"] = statistics.compare(summary, layout, reference=reference)
        except DesignError as error:
            notes.append(str(error))
    tables["next_experiment"] = statistics.next_experiment(summary, reference=reference)
    donors = _donor_responses(summary, layout, reference)
    if len(donors):
        tables["donor_responses"] = donors
    if asked.insult_h is not None:
        if not len(tables.get("blood_output", pd.DataFrame())):
            raise SettingsError("Recovery after an insult needs counts of cells over time: give a study.")
        tables["recovery"] = lineage.recovery(tables["blood_output"], asked.insult_h)
    figures = _dose_responses(summary, layout, tables)
    if asked.benefit is not None and asked.harm is not None:
        benefit, harm = (statistics.dose_response(summary, layout, name) for name in (asked.benefit, asked.harm))
        window = statistics.therapeutic_window(benefit, harm)
        tables["therapeutic_window"] = pd.DataFrame([{"benefit": asked.benefit, "harm": asked.harm, **window}])
    return figures, notes


def _donor_responses(summary: pd.DataFrame, layout: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Compare every condition with the reference within donors, where two donors or more have both."""
    both = layout.groupby("donor")["condition"].agg(set)
    rows = []
    for other in sorted(set(layout["condition"].astype(str)) - {reference}):
        if sum({reference, other} <= conditions for conditions in both) < 2:
            continue
        for endpoint in sorted(set(summary["endpoint"])):
            try:
                found = statistics.donor_responses(summary, layout, endpoint, reference=reference, other=other)
            except DesignError:
                continue  # no donor has values of both conditions
            rows.append(found.assign(endpoint=endpoint, reference=reference, condition=other))
    if not rows:
        return pd.DataFrame()
    table = pd.concat(rows, ignore_index=True)
    first = ["endpoint", "reference", "condition"]
    return table[[*first, *(c for c in table.columns if c not in first)]]


def _dose_responses(
    summary: pd.DataFrame, layout: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> dict[str, Callable[[], Figure]]:
    """Fit every endpoint if there are four doses; add the table and return the figures of those with an effect."""
    from napari_marrow.report.figures.experiments import dose_response_curve

    figures: dict[str, Callable[[], Figure]] = {}
    if layout["dose"].fillna(0.0).nunique() < 4:
        return figures
    rows = []
    for endpoint in sorted(set(summary["endpoint"])):
        try:
            fit = statistics.dose_response(summary, layout, endpoint)
        except DesignError as error:
            rows.append({"endpoint": endpoint, "note": str(error)})
            continue
        names = ("ec50", "ec50_low", "ec50_high", "hill", "bottom", "top", "p_value", "n_organoids", "n_doses", "note")
        rows.append({"endpoint": endpoint, **{name: getattr(fit, name) for name in names}})
        if fit.p_value < 0.05:
            points = summary[summary["endpoint"] == endpoint].merge(
                layout[["organoid", "donor", "dose"]].drop_duplicates("organoid"), on="organoid"
            )
            name = f"dose_response_{endpoint.replace(' ', '_')}"
            figures[name] = partial(
                dose_response_curve, points, fit, endpoint=endpoint, unit=str(points["unit"].iloc[0])
            )
    tables["dose_response"] = pd.DataFrame(rows)
    return figures
