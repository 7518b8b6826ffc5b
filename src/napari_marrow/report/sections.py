"""The report's sections: each says what its tables hold, or plainly why there is nothing to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.progress import CancelToken
from napari_marrow.report import overviews, summaries
from napari_marrow.report.correction_examples import correction_examples
from napari_marrow.report.figures import (
    clones,
    corrections,
    emergence,
    growth,
    overview,
    pedigrees,
    quality,
)
from napari_marrow.report.figures import comparisons as comparison_figures
from napari_marrow.report.gather import StudyTables, cells_per_frame, session_transforms
from napari_marrow.report.lineage_estimates import RESULT_TABLES, estimates_part
from napari_marrow.report.parts import FigurePart, Section, TablePart, drawn_part
from napari_marrow.report.thumbnails import collect_tiles
from napari_marrow.report.wording import plural

if TYPE_CHECKING:
    from napari_marrow.study import Study


def design(data: StudyTables, study: Study, cancel: CancelToken) -> Section:
    """Return what was cultured and imaged, with an overview of all organoids."""
    table = overviews.design_table(data)
    if data["frames"].empty:
        return Section("design", "Design and overview", missing=["The study holds no images."])
    tiles, channels, notes = collect_tiles(study, data.layout, cancel=cancel)
    listing = pd.DataFrame(
        [
            {
                "organoid": t.organoid,
                "condition": t.condition,
                "position": t.position,
                "session": t.session,
                "day": t.day,
            }
            for t in tiles
        ]
    )
    excluded = table.loc[table["exclusion"] != "", ["organoid", "exclusion"]]
    words = "; ".join(f"{o}: {reason}" for o, reason in excluded.itertuples(index=False))
    left_out = f"Left out of lineages and comparisons: {words}."
    paragraphs = [left_out if words else "No organoid was left out."]
    if data.left_out:
        words = "; ".join(f"{e.session}{f' of {e.position}' if e.position else ''}: {e.reason}" for e in data.left_out)
        paragraphs.append(f"Sessions left out of everything: {words}.")
    figures = []
    if tiles:
        figures = [
            drawn_part(
                "overview",
                "Every organoid in every session",
                "First frame of each session, maximum projection. A channel has the same contrast in all pictures. "
                + " ".join(notes),
                f"Grid of {len(tiles)} small composite pictures, a row per imaged field and a column per session; "
                f"channels "
                f"{', '.join(n for n, _ in channels)}.",
                listing,
                lambda: overview.organoid_overview(tiles, channels),
            )
        ]
    headings = {
        "first_day": "first imaged (day)", "last_day": "last imaged (day)", "exclusion": "left out because",
    }  # fmt: skip
    return Section(
        "design",
        "Design and overview",
        paragraphs,
        figures,
        [
            TablePart("design", "Organoids of the study. The organoid is the unit of replication.", table, headings),
            *_events(data),
        ],
    )


def _events(data: StudyTables) -> list[TablePart]:
    if not data.events:
        return []
    rows = [(e.time_h / 24.0, e.kind, e.position or "all", e.note, e.author) for e in data.events]
    table = pd.DataFrame(rows, columns=["day", "event", "field", "note", "noted_by"])
    return [TablePart("events", "What was done to the culture.", table, {"noted_by": "noted by"})]


def quality_section(data: StudyTables, study: Study) -> Section:
    """Return flags, registration, segmentation counts and link confidence."""
    frames = data["frames"]
    if frames.empty:
        return Section("quality", "Quality", missing=["There are no frames to judge."])
    missing = []
    figures = [
        drawn_part(
            "frame_flags",
            "Frames and their quality flags",
            "Each tick is a frame; symbols mark flagged frames.",
            f"Time line of {plural(frames['position'].nunique(), 'imaged field')} with {plural(len(frames), 'frame')}, "
            f"{int((frames['flags'] != '').sum())} of them flagged.",
            frames[["position", "session", "t", "time_h", "flags"]],
            lambda: quality.frame_timeline(frames, data.names),
        )
    ]
    transforms, cells, edges = session_transforms(data), cells_per_frame(data), data["track_edges"]
    if len(transforms) or len(cells) or len(edges):
        figures.append(
            drawn_part(
                "confidence",
                "Confidence of registration, segmentation and links",
                "Left to right, as far as measured: median residual after registration per field and session; cells "
                "per "
                "frame, a line per field and session; probability that a link between cells is right.",
                summaries.links(data)[0],
                _confidence_data(transforms, cells, edges),
                lambda: quality.confidence(transforms, cells, edges),
            )
        )
    figures += _corrections(data, study)
    if "cells" not in data.present:
        missing.append("Cells were not segmented.")
    if "track_edges" not in data.present:
        missing.append("Cells were not tracked.")
    paragraphs = [" ".join(summaries.registration(data))]
    if "track_edges" in data.present:
        unaudited = ["No link was audited by a person: the expected number trusts the probabilities."]
        paragraphs.append(" ".join(summaries.links(data) + (summaries.audit(data) or unaudited)))
    if len(data["carry_over"]):
        paragraphs.append(" ".join(summaries.carry_over(data)))
    listing = overviews.quality_table(data)
    table = TablePart(
        "quality",
        "Quality by field and session.",
        listing,
        folded=len(listing) > 30,
        shown=overviews.compact_quality(listing),
    )
    tables = [table]
    if len(data.audits):
        heads = {"rate": "share wrong", "low": "low (95 %)", "high": "high (95 %)"}
        tables.append(TablePart("audit", "Links judged by a person, by field and session.", data.audits, heads))
    return Section("quality", "Quality", paragraphs, figures, tables, missing)


def _corrections(data: StudyTables, study: Study) -> list[FigurePart]:
    examples, place = correction_examples(study, data["corrections"])
    if not examples:
        return []
    table = data["corrections"].drop(columns=["field", "levels", "factors"])
    return [
        drawn_part(
            "corrections",
            "Correction of the pixels",
            f"A frame of each channel ({place}) as acquired and corrected, the illumination that was divided out, and, "
            "where it was asked for, the signal of the frames before and after. Both pictures show their darkest 90 % "
            "in half of the grey scale.",
            f"{plural(len(examples), 'channel')} before and after correction.",
            table,
            lambda: corrections.before_and_after(examples),
        )
    ]


def _confidence_data(transforms: pd.DataFrame, cells: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    parts = []
    if len(transforms):
        parts.append(transforms[["position", "session", "residual", "accepted"]].assign(panel="registration"))
    if len(cells):
        parts.append(cells.assign(panel="cells per frame"))
    if len(edges):
        counts, bins = np.histogram(edges["probability"].dropna(), bins=np.linspace(0, 1, 21))
        parts.append(pd.DataFrame({"panel": "links", "probability_from": bins[:-1], "links": counts}))
    return pd.concat(parts, ignore_index=True)


def colonies(data: StudyTables) -> Section:
    """Return the growth of colonies."""
    table, rates = data["colonies"], data["colony_growth"]
    if "colonies" not in data.present:
        return Section("colonies", "Colonies", missing=["Colonies were not looked for."])
    if table.empty:
        return Section("colonies", "Colonies", missing=["No colony was found: there are no groups of cells to follow."])
    drawn = drawn_part(
        "colony_growth",
        "Growth of colonies",
        "Thin lines: colonies that were told apart over time. Thick lines with symbols: geometric mean over the "
        "colonies of "
        "an organoid. All organoids are shown.",
        " ".join(summaries.colonies(data)),
        growth.series(table, data.layout),
        lambda: growth.colony_growth(table, rates, data.layout),
    )
    missing = [] if len(rates) else ["Growth rates need colonies that are seen at two times or more."]
    tables = (
        [
            TablePart(
                "colony_growth", "Growth of each colony.", rates,
                {"growth_rate": "growth rate (1/h)", "doubling_time": "doubling time (h)"}, folded=True,
            )
        ]
        if len(rates)
        else []
    )  # fmt: skip
    return Section("colonies", "Colonies", [" ".join(summaries.colonies(data))], [drawn], tables, missing)


def lineage(data: StudyTables) -> Section:
    """Return emergence curves and pedigrees."""
    figures, missing = [], []
    curves = data["emergence"]
    if len(curves):
        figures.append(
            drawn_part(
                "emergence",
                "Emergence of lineages",
                "Aalen-Johansen cumulative incidence of each competing event. Thick lines with 95 % bands: "
                "conditions; thin "
                "lines: organoids. Dotted: the limits with the error of tracking in them. Below each panel the number "
                "of cells at risk.",
                " ".join(summaries.lineage(data)),
                curves,
                lambda: emergence.emergence_curves(curves),
            )
        )
    else:
        missing.append(
            "There is no emergence curve: it needs a session with frames close enough to follow cells, and a lineage "
            "marker."
        )
    by_colony = data["colony_emergence"]
    if len(by_colony) and len(set(by_colony["time_h"])) > 1 and by_colony["cumulative_incidence"].notna().any():
        figures.append(
            drawn_part(
                "colony_emergence",
                "Emergence of lineages in colonies",
                "Share of colonies in which a lineage has arisen by each session, over the weeks in which colonies are "
                "followed and single cells are not. Colonies count until they merge. Thick lines with 95 % bands: "
                "conditions; thin lines: organoids.",
                "",
                by_colony,
                lambda: emergence.emergence_curves(by_colony, subject="colonies"),
            )
        )
    tracks = data["tracks"]
    if len(tracks) and (tracks["generation"] > 0).any():
        figures.append(
            drawn_part(
                "pedigrees",
                "Pedigrees",
                "The largest clones with at least one division, sorted by size. A line takes the lineage's colour "
                "where its "
                "marker is first seen; the offspring keep it.",
                f"Division trees of {plural(int((tracks['generation'] == 0).sum()), 'clone')} with "
                f"{plural(int((tracks['fate'] == 'division').sum()), 'division')}; the largest are drawn.",
                tracks,
                lambda: pedigrees.pedigree_forest(tracks, data["onsets"], data.layout),
            )
        )
    elif len(tracks):
        missing.append("No division was seen, so there are no pedigrees.")
    else:
        missing.append("No cell was followed over time, so there are no pedigrees.")
    figures += _clone_figures(data)
    tables = []
    for name in ("marker_thresholds", "onset_thresholds"):
        if len(data[name]):
            tables.append(
                TablePart(name, "Marker thresholds.", data[name], {"threshold": "threshold (counts)"}, folded=True)
            )
    titles = {
        "niche_coupling": "Log hazard ratio of onset per unit of the covariate; primary: the test settled beforehand, "
        "of the distance to vessels. All else is to be looked at.",
        "hidden_rates": "Rates (1/h) of a hidden decision and of the marker that shows it, from division trees.",
    }
    tables += [TablePart(name, title, data[name], folded=True) for name, title in titles.items() if len(data[name])]
    tables += estimates_part({name: data[name] for name in RESULT_TABLES})
    paragraphs = [" ".join(summaries.lineage(data))] if len(curves) else []
    paragraphs += [*summaries.deaths(data), *summaries.coupling(data)]
    return Section("lineage", "Lineage emergence", paragraphs, figures, tables, missing)


def _clone_figures(data: StudyTables) -> list[FigurePart]:
    """Return onsets by generation and time, sizes of clones, and blood output over the weeks."""
    figures = []
    onsets, sizes, output = data["onsets"], data["clones"], data["blood_output"]
    if (onsets["event"] == "onset").any():
        figures.append(
            drawn_part(
                "generations",
                "Onsets by generation and time",
                "Onsets per cell-hour at risk; the numbers are onsets. Grey: nobody was at risk. The generation counts "
                "divisions since the founder was first seen.",
                f"Maps of {plural(int((onsets['event'] == 'onset').sum()), 'onset')} by generation and time.",
                onsets,
                lambda: clones.generation_time_map(onsets),
            )
        )
    if len(sizes):
        figures.append(
            drawn_part(
                "clone_sizes",
                "Sizes of clones",
                "Left: share of clones with at least n cells alive at the end. Right: clones that died out, clones "
                "that lost cells from sight (their size is a lower bound), and those seen whole.",
                f"Size distribution of {plural(len(sizes), 'clone')} by condition.",
                sizes,
                lambda: clones.clone_sizes(sizes, data.layout),
            )
        )
    if len(output) and output["session"].max() > output["session"].min():
        figures.append(
            drawn_part(
                "blood_output",
                "Blood output over the sessions",
                "Cells in the field of each organoid (thin lines) and the mean of a condition (thick), by lineage.",
                f"Cell numbers of {plural(output['organoid'].nunique(), 'organoid')} over "
                f"{plural(output['session'].nunique(), 'session')}.",
                output,
                lambda: clones.blood_output_curves(output),
            )
        )
    return figures


def comparison(data: StudyTables) -> Section:
    """Return the comparisons of conditions over organoids."""
    table = data["comparisons"]
    # A difference of two single organoids has neither interval nor p: it is not shown as a comparison.
    usable = table[np.isfinite(table[["difference", "p_value"]].to_numpy(float)).all(axis=1)]
    if usable.empty:
        values = overviews.organoid_values(data)
        shown = TablePart("organoid_values", "Value of each organoid.", values, folded=True)
        title = "Comparison of conditions"
        return Section("comparisons", title, tables=[shown] if len(values) else [], missing=[_why_not_compared(data)])
    ordered = usable.sort_values(["p_adjusted", "p_value"], kind="stable")
    most = comparison_figures.MOST_ENDPOINTS
    drawn = drawn_part(
        "comparisons",
        "Differences between conditions",
        "Each point is an organoid, the bar the mean of its condition; the diamond is the difference of means with its "
        f"95 % interval. {f'The {most} endpoints with the smallest p are shown.' if len(ordered) > most else ''}",
        " ".join(summaries.comparison_sentence(row) for _, row in ordered.head(4).iterrows()),
        data["organoid_summary"],
        lambda: comparison_figures.estimation_plots(ordered, data["organoid_summary"]),
    )
    shown = TablePart(
        "comparisons",
        "All comparisons; n is the number of organoids.",
        overviews.comparison_table(data),
        shown=overviews.compact_comparisons(ordered),
    )
    without = len(table) - len(usable)
    missing = [f"{plural(without, 'endpoint')} could not be compared; the CSV says why."] if without else []
    text = [" ".join(summaries.comparisons(data))]
    return Section("comparisons", "Comparison of conditions", text, [drawn], [shown], missing)


def _why_not_compared(data: StudyTables) -> str:
    if data.layout["condition"].nunique() < 2:
        return "The layout names one condition only: there is nothing to compare."
    return "No endpoint could be compared: each condition needs at least two organoids with a value."
