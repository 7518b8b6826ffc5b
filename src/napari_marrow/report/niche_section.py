"""The report's section on the niche: vessels, distances, neighbours, compartments, and all of it over the weeks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.report import overviews, summaries
from napari_marrow.report.figures import distances, niche, niche_trends, vessels
from napari_marrow.report.gather import StudyTables
from napari_marrow.report.outlines import Outline
from napari_marrow.report.parts import FigurePart, Section, TablePart, drawn_part
from napari_marrow.report.wording import plural

if TYPE_CHECKING:
    from napari_marrow.study import Study

_PLACE = ["position", "session", "t", "label"]
_HEADINGS = {"low": "low (95 %)", "high": "high (95 %)", "null_mean": "null mean", "p_value": "p"}


def niche_section(data: StudyTables, study: Study) -> Section:
    """Return vessels, distances and neighbours against their null models, and how they change over the weeks."""
    figures, missing = [], []
    network = data["vessels"]
    if len(network):
        figures += [_map(data, network), *_in_space(data, study, network)]
    else:
        missing.append("No vessel was traced, so there is no vessel map.")
    found = [part for name in ("vessel", "scaffold", "stroma") for part in _distances(data, name)]
    if not found:
        missing.append("No distance distribution was measured.")
    figures += found + _neighbours(data) + _over_time(data)
    table = overviews.niche_table(data)
    caption = "Niche measurements of each field's last measured frame."
    tables = [TablePart("niche_metrics", caption, table, _HEADINGS, folded=True)] if len(table) else []
    captions = {
        "niche_by_organoid": "Every niche metric by organoid and session.",
        "niche_by_condition": "Means over organoids by condition and session; n is the number of organoids, p tests "
        "the difference from the null model.",
        "niche_trends": "Change per week, the mean of the organoids' slopes.",
        "vessel_changes": "Vessel length stable, lost and gained between sessions.",
        "niche_dwell": "Entries and exits of the surroundings of structures.",
    }
    tables += [
        TablePart(name, caption, data[name], _HEADINGS, folded=True, shown=_shortened(data[name]))
        for name, caption in captions.items()
        if len(data[name])
    ]
    paragraphs = [" ".join(summaries.niche(data))] if len(data["niche_metrics"]) else []
    return Section("niche", "Niche", paragraphs, figures, tables, missing)


MOST_ROWS = 60
"""Rows of a long table that the page shows; the CSV beside it holds all."""


def _shortened(table: pd.DataFrame) -> pd.DataFrame | None:
    """Return what the page shows of a table: nothing of one whose rows nobody would read there but its beginning."""
    return table.head(MOST_ROWS) if len(table) > MOST_ROWS else None


def _shown(fields: int, most: int) -> str:
    return f"{most} of {fields} fields are shown." if fields > most else ""


def _drawn_colonies(outlines: Mapping[tuple[str, int], list[Outline]]) -> str:
    if any(outlines.values()):
        return "dashed lines are the outlines of colonies of that session"
    return "dashed circles are colonies of that session, drawn with their area"


def _map(data: StudyTables, network: pd.DataFrame) -> FigurePart:
    shown = vessels.last_frames(network)
    fields = shown["position"].nunique()
    return drawn_part(
        "vessel_map",
        "Vessels, coloured by radius",
        f"Centre lines at each field's last measured frame; {_drawn_colonies(data.outlines)}. "
        f"{_shown(fields, vessels.MOST_PANELS)}",
        f"Maps of the vessel centre lines of {plural(fields, 'field')}; median radius "
        f"{shown['radius'].median():.1f} µm.",
        shown,
        lambda: vessels.vessel_map(network, data["colonies"], data.names, data.outlines),
    )


def _in_space(data: StudyTables, study: Study, network: pd.DataFrame) -> list[FigurePart]:
    """Return the vessels of the first field in space, where the study holds volumes."""
    if "z" not in network.columns:
        return []
    last = vessels.last_frames(network)
    one = last[last["position"] == last["position"].iloc[0]] if len(last) else last
    if one.empty or not np.ptp(one["z"].to_numpy(dtype=float)) > 0:  # the map shows a plane better
        return []
    cells = data["cells"].merge(one[_PLACE[:3]].drop_duplicates(), on=_PLACE[:3])
    if study.has_table("cell_surroundings"):
        around = study.table("cell_surroundings")
        if "distance_vessel" in around.columns:
            cells = cells.merge(around[[*_PLACE, "distance_vessel"]], on=_PLACE, how="left")
    name = data.names.get(str(one["position"].iloc[0]), str(one["position"].iloc[0]))
    return [
        drawn_part(
            "vessels_in_space",
            f"Vessels and cells of {name} in space",
            "Centre lines coloured by radius, cells by their distance to the nearest vessel, at the last measured "
            "frame.",
            f"Three-dimensional drawing of {plural(one['branch'].nunique(), 'vessel branch', 'vessel branches')} and "
            f"{plural(len(cells), 'cell')}.",
            one,
            lambda: niche.vessels_in_space(one, cells),
        )
    ]


def _distances(data: StudyTables, structure: str) -> list[FigurePart]:
    kind = f"distance_cdf_{structure}"
    curves = distances.pick_curves(data["niche_curves"], kind)
    if curves.empty or curves["observed"].isna().all():
        return []
    fields = data["niche_curves"].loc[data["niche_curves"]["curve"] == kind, "position"].nunique()
    where = {"vessel": "vessels", "scaffold": "the scaffold", "stroma": "stroma"}.get(structure, structure)
    return [
        drawn_part(
            f"distance_to_{structure}",
            f"Distance of cells to the nearest {structure}, against the null model",
            "Edge-corrected distribution at each field's last measured frame. A line that leaves the grey band says "
            f"that these cells lie nearer to {where} (above) or further away (below) than cells placed by the null "
            "model; p is that of the proximity effect. " + _shown(fields, distances.MOST_FIELDS),
            (" ".join(summaries.niche(data)) if structure == "vessel" else "")
            or "Cumulative distributions of distances over null bands.",
            curves,
            lambda: distances.distance_distributions(curves, data["niche_metrics"], data.names, structure=structure),
        )
    ]


def _neighbours(data: StudyTables) -> list[FigurePart]:
    """Return pair correlations and compartments."""
    figures = []
    pairs = niche.pick_pairs(data["niche_curves"])
    if len(pairs) and pairs["observed"].notna().any():
        every = data["niche_curves"][data["niche_curves"]["curve"].str.startswith("cross_g_")]
        figures.append(
            drawn_part(
                "pair_correlation",
                "Who lies beside whom",
                "Pair correlation g(r) with translation correction at each field's last measured frame: above 1 there "
                "are more such cells at this distance than at random. The grey band is left anywhere by 5 % of the "
                "null model's curves. " + _shown(every["position"].nunique(), niche.MOST_FIELDS),
                f"Pair correlations of {plural(pairs['subject'].nunique(), 'pair')} of kinds of cells over null bands.",
                pairs,
                lambda: niche.pair_correlations(pairs, data.names),
            )
        )
    by_organoid = data["niche_by_organoid"]
    shares = by_organoid[by_organoid["metric"].astype(str).str.startswith("compartment_")]
    if shares["metric"].astype(str).str.startswith("compartment_use_").any():
        figures.append(
            drawn_part(
                "compartments",
                "Compartments: share of the tissue and of each kind of cell",
                "At each organoid's last session. Symbols are organoids, bars their means, whiskers 95 % intervals "
                "over organoids. Cells that do not care lie in a compartment as often as its share of the tissue.",
                f"Bars of the use of compartments by {plural(shares['organoid'].nunique(), 'organoid')}.",
                shares,
                lambda: niche.compartment_bars(by_organoid),
            )
        )
    return figures


def _over_time(data: StudyTables) -> list[FigurePart]:
    """Return trends over weeks, and vessels lost and gained."""
    figures = []
    chosen = niche_trends.pick_trends(data["niche_by_organoid"])
    if len(chosen):
        figures.append(
            drawn_part(
                "niche_trends",
                "The niche over the weeks",
                "Thin lines are organoids, thick lines the mean of a condition with 95 % intervals over organoids; "
                "above each panel the mean of the organoids' slopes (95 % interval). Panels are scaled to the "
                "organoids: longer intervals are cut. Proximity is the effect against the null model: "
                "0 is chance, positive is nearer to vessels.",
                f"Trends of {plural(len(chosen[['metric', 'subject']].drop_duplicates()), 'metric')} over "
                f"{plural(chosen['session'].nunique(), 'session')}.",
                chosen,
                lambda: niche_trends.niche_trends(chosen, data["niche_trends"]),
            )
        )
    changes = niche_trends.remodelling_by_organoid(data["vessel_changes"])
    if len(changes):
        refused = int((data["vessel_changes"]["note"].fillna("") != "").sum())
        left_out = (
            f" {plural(refused, 'pair')} of sessions could not be compared; the table says why." if refused else ""
        )
        figures.append(
            drawn_part(
                "vessel_remodelling",
                "Vessels lost and gained between sessions",
                "From the last frame of a session to the first of the next, where both looked. Symbols are organoids, "
                "bars their means, whiskers 95 % intervals over organoids." + (left_out if refused else ""),
                f"Shares of vessel length lost and gained in {plural(changes['organoid'].nunique(), 'organoid')}.",
                changes,
                lambda: niche_trends.vessel_remodelling(changes),
            )
        )
    return figures
