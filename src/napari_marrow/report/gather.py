"""Everything that a report reads from a study, with what is absent as empty tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_marrow.report.figures.vessels import last_frames
from napari_marrow.report.outlines import Outline, colony_outlines
from napari_marrow.schemas import ALL
from napari_marrow.study.audit import audit_of
from napari_marrow.study.culture_log import Event, Exclusion

if TYPE_CHECKING:
    from napari_marrow.study import Study

_OPTIONAL = {
    "vessels": ["position", "session", "t", "branch", "y", "x", "radius"],
    "onset_thresholds": ["channel", "threshold"],
    "marker_thresholds": ["lineage", "channel", "threshold"],
    "quality": ["position", "session", "t", "time_h", "flags"],
    "corrections": ["position", "session", "channel", "accepted"],
    "clones": ["position", "founder_track_id", "n_end", "n_escaped", "extinct"],
    "blood_output": ["organoid", "condition", "session", "time_h", "lineage", "source", "n_cells"],
    "colony_emergence": [
        "condition",
        "organoid",
        "lineage",
        "time_h",
        "cumulative_incidence",
        "low",
        "high",
        "at_risk",
    ],
    "niche_coupling": ["exposure", "lineage", "covariate", "log_hazard_ratio", "low", "high", "p_value", "n_events"],
    "niche_by_organoid": [
        "condition", "organoid", "session", "metric", "subject", "time_h", "value", "null_mean", "low", "high", "unit",
    ],
    "niche_by_condition": ["condition", "session", "metric", "subject", "n_organoids", "mean", "low", "high"],
    "niche_trends": ["condition", "metric", "subject", "n_units", "slope", "low", "high"],
    "vessel_changes": [
        "position", "organoid", "condition", "session_parent", "session_child", "gap_h", "stable_um", "lost_um",
        "gained_um", "lost_share", "gained_share", "note",
    ],
    "niche_dwell": ["organoid"],
    "hidden_rates": ["transition", "rate", "low", "high", "note"],
    "division_times": ["condition", "organoid", "which", "median_h"],
    "division_types": ["type", "probability"],
    "onset_rates": ["condition", "to", "rate"],
    "generation_hazards": ["generation", "to", "rate"],
    "kin_correlations": ["quantity", "kind", "excess"],
    "onset_synchrony": ["kind", "measure", "observed"],
    "clone_summary": ["condition", "quantity", "value"],
    "session_links": ["position", "session_parent", "session_child", "registration", "accepted", "reason"],
    "well_matches": ["position", "session", "session_before", "channel", "looks_like", "mutual"],
}  # fmt: skip
_AUDIT = ("position", "session", "drawn", "judged", "wrong", "rate", "low", "high")


@dataclass(frozen=True, eq=False)
class StudyTables:
    """The tables of a study, its layout and its runs.

    Attributes
    ----------
    name : str
    file_name : str
        Name of the study's folder, without the folders above it.
    layout : DataFrame
        Table ``layout``, one row per position.
    tables : dict of DataFrame
        Every table of `napari_marrow.schemas`, and the optional ones; without rows where the study has none.
    present : frozenset of str
        Names of the tables that the study holds, even if they have no rows.
    runs : list of dict
        Records of what was computed.
    recipe : dict
        The parameters; empty where unknown.
    active : dict
        Key of the active result of each step.
    outlines : dict
        The lines around colonies where their masks are there, by position and session; of those that are mapped.
    left_out : list of Exclusion
        Sessions that are left out.
    events : list of Event
        What was done to the culture.
    audits : DataFrame
        Links that a person judged: position, session, drawn, judged, wrong, rate, low, high; without rows where none
        was.
    """

    name: str
    file_name: str
    layout: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    present: frozenset[str]
    runs: list[dict[str, Any]] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)
    active: dict[str, str] = field(default_factory=dict)
    outlines: dict[tuple[str, int], list[Outline]] = field(default_factory=dict)
    left_out: list[Exclusion] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    audits: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(_AUDIT)))

    def __getitem__(self, table: str) -> pd.DataFrame:
        return self.tables[table]

    @property
    def names(self) -> dict[str, str]:
        """Title of each position: its organoid, with the position where an organoid has several fields."""
        layout = self.layout.drop_duplicates("position")
        several = layout["organoid"].duplicated(keep=False)
        return {
            str(p): f"{o} ({p})" if more and str(o) != str(p) else str(o)
            for p, o, more in zip(layout["position"], layout["organoid"], several, strict=True)
        }


def gather(study: Study, recipe: dict[str, Any] | None) -> StudyTables:
    """Read the tables of a study.

    Parameters
    ----------
    study : Study
    recipe : dict, optional
        By default that of the latest run.

    Returns
    -------
    StudyTables
    """
    tables: dict[str, pd.DataFrame] = {}
    present = set()
    for name, schema in ALL.items():
        if name == "layout":
            continue
        if study.has_table(name):
            present.add(name)
            table = study.table(name)
            tables[name] = schema.conform(table) if len(table) else schema.empty()
        else:
            tables[name] = schema.empty()
    for name, columns in _OPTIONAL.items():
        if study.has_table(name):
            present.add(name)
            tables[name] = study.table(name)
        else:
            tables[name] = pd.DataFrame(columns=columns)
    tables["frames"] = _with_judgement(tables["frames"], tables["quality"])
    runs = [{**{k: v for k, v in r.items() if k != "info"}, **dict(r.get("info") or {})} for r in study.runs()]
    if recipe is None:
        recipe = next((r["recipe"] for r in reversed(runs) if isinstance(r.get("recipe"), dict)), {})
    layout = study.layout.copy()
    layout["condition"] = layout["condition"].fillna("").astype(str).replace("", "no condition")
    mapped = last_frames(tables["vessels"])[["position", "session"]].drop_duplicates()
    places = [(str(p), int(s)) for p, s in mapped.itertuples(index=False, name=None)]
    return StudyTables(
        study.name, study.path.name, layout, tables, frozenset(present), runs, dict(recipe), dict(study.active),
        colony_outlines(study, tables["colonies"], places), study.exclusions, study.events, _audits(study),
    )  # fmt: skip


def _audits(study: Study) -> pd.DataFrame:
    """Return the last audit of every session in which a person judged links."""
    entries = study.edits().standing(target="reviews")
    places = sorted({(e.position, int(e.action["session"])) for e in entries if e.action.get("action") == "draw audit"})
    rows = []
    for position, session in places:
        audit = audit_of(entries, position, session)
        rate = audit.rate
        if rate.judged:
            rows.append((position, session, len(audit.pairs), rate.judged, rate.wrong, rate.rate, rate.low, rate.high))
    return pd.DataFrame(rows, columns=list(_AUDIT))


def _with_judgement(frames: pd.DataFrame, quality: pd.DataFrame) -> pd.DataFrame:
    """Return the frames with the flags of the step *quality* joined to those that came with the images."""
    frames = frames.assign(flags=frames["flags"].fillna("").astype(str))
    if frames.empty or quality.empty:
        return frames
    key = ["position", "session", "t"]
    judged = quality[[*key, "flags"]].rename(columns={"flags": "judged"})
    both = frames.merge(judged, on=key, how="left")
    both["flags"] = [
        ",".join(dict.fromkeys(f for f in (*a.split(","), *b.split(",")) if f))
        for a, b in zip(both["flags"], both["judged"].fillna("").astype(str), strict=True)
    ]
    return both.drop(columns="judged")


def cells_per_frame(data: StudyTables) -> pd.DataFrame:
    """Return the number of cells in every frame of the segmented sessions, 0 where none was found."""
    frames = data["frames"][["position", "session", "t", "time_h"]]
    if "cells" not in data.present:
        return frames.head(0).assign(n=np.zeros(0, dtype=int))
    counts = data["cells"].groupby(["position", "session", "t"]).size().rename("n").reset_index()
    table = frames.merge(counts, on=["position", "session", "t"], how="left")
    return table.assign(n=table["n"].fillna(0).astype(int))


def session_transforms(data: StudyTables) -> pd.DataFrame:
    """Return the transform of the first frame of each session but a position's first, with shift and angle.

    Adds ``shift_um``, the displacement of the field's centre, where it is known, else of the origin; and ``angle_deg``.
    """
    table = data["transforms"]
    if table.empty:
        return table.assign(shift_um=np.zeros(0), angle_deg=np.zeros(0))
    first = table.sort_values(["position", "session", "t"]).groupby(["position", "session"], as_index=False).first()
    later = first[first["session"] > first.groupby("position")["session"].transform("min")].reset_index(drop=True)
    angle = np.degrees(np.arctan2(later["m10"].to_numpy(float), later["m00"].to_numpy(float)))
    centre = _field_centre(data)
    places = np.array([centre.get(str(p), (0.0, 0.0)) for p in later["position"]]).reshape(-1, 2)
    y, x = places[:, 0], places[:, 1]
    dy = later["m00"] * y + later["m01"] * x + later["ty"] - y
    dx = later["m10"] * y + later["m11"] * x + later["tx"] - x
    return later.assign(shift_um=np.hypot(dy, dx), angle_deg=angle)


def _field_centre(data: StudyTables) -> dict[str, tuple[float, float]]:
    """Middle of the cells' extent: a rotation about the origin would otherwise count as a long shift."""
    cells = data["cells"]
    if cells.empty:
        return {}
    grouped = cells.groupby("position")[["y", "x"]].median()
    return {str(p): (float(r["y"]), float(r["x"])) for p, r in grouped.iterrows()}
