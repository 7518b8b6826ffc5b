"""Step *niche_over_time*: the niche by organoid and session, remodelling of vessels, trends over weeks, and dwell."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.imaging import Transform
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.cell_classes import cells_with_classes
from napari_marrow.pipeline.steps.surroundings import LABELS
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.study import Study

NAN = float("nan")
EXIT_FACTOR = 1.5
"""A cell has left a compartment when it is this many times its radius away: noise must not count as leaving."""

CHANGE_COLUMNS = [
    "position", "organoid", "condition", "session_parent", "session_child", "gap_h", "before_um", "after_um",
    "stable_um", "lost_um", "gained_um", "lost_share", "lost_low", "lost_high", "gained_share", "gained_low",
    "gained_high", "tolerance_um", "note",
]  # fmt: skip


class NicheOverTimeStep(Step):
    """Tie the measured frames together, with the organoid as unit."""

    name = "niche_over_time"
    title = "Niche over time"
    version = 1
    reads = ("niche", "register", "structures", "surroundings", "curate")
    tables = ("niche_by_organoid", "niche_by_condition", "niche_trends", "vessel_changes", "niche_dwell")
    whole_study = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the tolerance of remodelling, the radius of dwell, and the seed."""
        section = recipe.niche
        return {
            "remodelling_um": section.remodelling_um,
            "niche_radius_um": section.niche_radius_um,
            "seed": recipe.seed,
        }

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit, if anything was measured."""
        return [Unit()] if study.committed("niche_metrics", context.keys["niche"]) else []

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Compute every table."""
        key = context.keys[self.name]
        metrics = study.table("niche_metrics", context.keys["niche"])
        by_organoid = organoid_values(metrics, study.layout)
        seed = context.recipe.seed
        study.commit("niche_by_condition", key, {}, condition_means(by_organoid, seed))
        study.commit("niche_trends", key, {}, condition_trends(by_organoid, seed))
        cancel.raise_if_cancelled()
        changes = _changes(study, context)
        study.commit("vessel_changes", key, {}, changes)
        study.commit("niche_dwell", key, {}, _dwell(study, context, cancel))
        study.commit(self.tables[0], key, {}, by_organoid)
        return {"values": len(by_organoid), "vessel comparisons": len(changes)}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Say where vessels could not be compared."""
        key = context.keys[self.name]
        if not study.has_table("vessel_changes", key):
            return []
        table = study.table("vessel_changes", key)
        refused = table[table["note"] != ""]
        return [
            f"{row.position}, sessions {row.session_parent} and {row.session_child}: vessels were not compared, "
            f"{row.note}."
            for row in refused.head(5).itertuples()
        ]


def organoid_values(metrics: pd.DataFrame, layout: pd.DataFrame) -> pd.DataFrame:
    """Return one value per organoid, session, metric and subject: the mean over its fields and frames.

    Parameters
    ----------
    metrics : DataFrame
        Table ``niche_metrics``.
    layout : DataFrame

    Returns
    -------
    DataFrame
        organoid, condition, session, time_h, metric, subject, value, null_mean, low, high, unit, n_frames, note. `low`
        and `high` bound the value (95 %, over blocks of tissue or branches), averaged as if the frames told the same;
        NaN where a frame has no interval. `note` says why a value is missing.
    """
    place = layout.drop_duplicates("position").set_index("position")
    table = metrics.assign(
        organoid=metrics["position"].map(place["organoid"]), condition=metrics["position"].map(place["condition"])
    )
    table["known"] = np.isfinite(table["value"].to_numpy(dtype=np.float64))
    keys = ["condition", "organoid", "session", "metric", "subject"]
    groups = table.groupby(keys, sort=True)
    out = groups.agg(
        time_h=("time_h", "mean"), value=("value", "mean"), null_mean=("null_mean", "mean"),
        low=("interval_low", "mean"), high=("interval_high", "mean"), unit=("unit", "first"),
        n_frames=("known", "sum"),
    )  # fmt: skip
    out["note"] = table[~table["known"]].groupby(keys)["note"].first()
    out["note"] = out["note"].fillna("").where(out["value"].isna(), "")
    return out.reset_index()


def condition_means(by_organoid: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return mean, interval and test against the null model in each condition and session, over organoids.

    Returns
    -------
    DataFrame
        condition, session, metric, subject, n_organoids, mean, low, high (95 %), null_mean, p_value (sign flips of
        value - null over organoids; NaN without a null), smallest_p, unit.
    """
    from napari_marrow.statistics import unit_mean

    rows = []
    keys = ["condition", "session", "metric", "subject"]
    for names, part in by_organoid.groupby(keys, sort=True):
        value, null = (part[c].to_numpy(dtype=np.float64) for c in ("value", "null_mean"))
        mean = unit_mean(value, seed=seed)
        excess = unit_mean(value - null, seed=seed)
        rows.append(
            {
                **dict(zip(keys, names, strict=True)), "n_organoids": mean.n, "mean": mean.mean, "low": mean.low,
                "high": mean.high, "null_mean": float(np.nanmean(null)) if excess.n else NAN,
                "p_value": excess.p_value, "smallest_p": excess.smallest_p, "unit": part["unit"].iloc[0],
            }
        )  # fmt: skip
    columns = [*keys, "n_organoids", "mean", "low", "high", "null_mean", "p_value", "smallest_p", "unit"]
    return pd.DataFrame(rows, columns=columns)


def condition_trends(by_organoid: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the change per week in each condition, over organoids."""
    from napari_marrow.statistics import trends

    found = trends(by_organoid, ["condition", "metric", "subject"], seed=seed)
    units = by_organoid.drop_duplicates("metric").set_index("metric")["unit"]
    return found.assign(unit=[f"{units[m]}/week" if units[m] else "1/week" for m in found["metric"]])


def _changes(study: Study, context: Context) -> pd.DataFrame:
    """Compare the vessels of each session's last frame with those of the next session's first."""
    vessels = study.table("vessels", context.keys["niche"])
    done = study.committed("vessels", context.keys["niche"])
    rows = []
    for _, place in study.layout.iterrows():
        position = place["position"]
        frames: dict[int, list[int]] = {}
        for unit in done:
            if unit["position"] == position:
                frames.setdefault(unit["session"], []).append(unit["t"])
        for before, after in pairwise(sorted(frames)):
            first, second = Unit(position, before, max(frames[before])), Unit(position, after, min(frames[after]))
            row = {
                "position": position, "organoid": place["organoid"], "condition": place["condition"],
                "session_parent": before, "session_child": after,
            }  # fmt: skip
            rows.append({**row, **_compare(study, context, vessels, first, second)})
    return pd.DataFrame(rows, columns=CHANGE_COLUMNS)


def _compare(
    study: Study, context: Context, vessels: pd.DataFrame, first: Unit, second: Unit
) -> dict[str, float | str]:
    from napari_marrow.niche import vessel_remodelling

    images = [study.image(u.position, u.session) for u in (first, second)]
    tolerance = context.recipe.niche.remodelling_um
    row: dict[str, float | str] = {
        "gap_h": float(images[1].times_h[second.t] - images[0].times_h[first.t]), "tolerance_um": tolerance,
    }  # fmt: skip
    unseen = [u.session for u in (first, second) if not _looked_for(study, context, u)]
    if unseen:
        return {**row, "note": f"no vessels were looked for in session {unseen[0]} (channel missing?)"}
    places = [_placed(study, context, u) for u in (first, second)]
    if not places[1].accepted:
        return {**row, "note": f"session {second.session} could not be registered"}
    tables = [_registered(vessels, u, place) for u, place in zip((first, second), places, strict=True)]
    for mine, other in ((0, 1), (1, 0)):
        there = places[other].inverse().apply(tables[mine][["y", "x"]].to_numpy(dtype=np.float64))
        shape, spacing = images[other].shape[3:], np.asarray(images[other].spacing[1:])
        tables[mine]["compared"] = ((there >= -0.5 * spacing) & (there < (np.asarray(shape) - 0.5) * spacing)).all(
            axis=1
        )
    found = vessel_remodelling(*tables, tolerance=tolerance)
    lengths = {f"{n}_um": getattr(found, n) for n in ("before", "after", "stable", "lost", "gained")}
    shares = {
        f"{n}_{end}": getattr(found, f"{n}_{end}") for n in ("lost", "gained") for end in ("share", "low", "high")
    }
    return {**row, **lengths, **shares, "note": found.note}


def _looked_for(study: Study, context: Context, unit: Unit) -> bool:
    table = study.table("structures", context.keys["structures"], unit=unit.as_dict())
    return bool(((table["t"] == unit.t) & (table["structure"] == LABELS["vessel"])).any())


def _placed(study: Study, context: Context, unit: Unit) -> Transform:
    table = study.table(
        "transforms", context.keys["register"], unit={"position": unit.position, "session": unit.session}
    )
    return Transform.from_row(table[table["t"] == unit.t].iloc[0])


def _registered(vessels: pd.DataFrame, unit: Unit, place: Transform) -> pd.DataFrame:
    here = vessels
    for column, value in {**unit.as_dict(), "structure": "vessel"}.items():
        here = here[here[column] == value]
    here = here.sort_values(["branch", "vertex"])
    moved = place.apply(here[["y", "x"]].to_numpy(dtype=np.float64))
    return here[["branch", "z"]].assign(y=moved[:, 0], x=moved[:, 1]).reset_index(drop=True)


def _dwell(study: Study, context: Context, cancel: CancelToken) -> pd.DataFrame:
    """Entry and exit rates of each structure's surroundings, by organoid and class of the cells when they are seen."""
    from napari_marrow.niche import niche_dwell

    key = context.keys["curate"]
    if not study.has_table("track_nodes", key):
        return _no_dwell()
    nodes = study.table("track_nodes", key)
    radius = context.recipe.niche.niche_radius_um
    place = ["position", "session", "t", "label"]
    rows = []
    for organoid, fields in study.layout.groupby("organoid", sort=False):
        parts = []
        for position in fields["position"]:
            unit = Unit(str(position))
            here = nodes[nodes["position"] == position]
            if here.empty or position not in study.positions:
                continue
            cells, classes = cells_with_classes(study, context, unit)
            around = study.table("cell_surroundings", context.keys["surroundings"], unit=unit.as_dict())
            held = cells[place].assign(**{f"is {name}": member for name, member in classes.items()})
            parts.append(here[[*place, "track_id", "time_h"]].merge(held, on=place).merge(
                around.drop(columns="time_h"), on=place))  # fmt: skip
        cancel.raise_if_cancelled()
        if not parts:
            continue
        table = pd.concat(parts, ignore_index=True)
        for column in [c for c in table.columns if str(c).startswith("is ")]:
            for name in LABELS:
                member = table[column].to_numpy(dtype=bool)
                if f"distance_{name}" not in table.columns or not member.any():
                    continue
                tracks = _whole_tracks(table, member).rename(columns={f"distance_{name}": "distance"})
                found = niche_dwell(tracks, r_in=radius, r_out=EXIT_FACTOR * radius)
                rows.append(
                    {
                        "organoid": organoid, "condition": fields["condition"].iloc[0], "structure": name,
                        "subject": column.removeprefix("is "), "n_tracks": tracks["track_id"].nunique(),
                        **vars(found), "r_in_um": radius, "r_out_um": EXIT_FACTOR * radius,
                        "note": "" if found.time_in + found.time_out > 0
                        else f"no cell was followed where '{name}' was seen (channel missing?)",
                    }
                )  # fmt: skip
    return pd.DataFrame(rows) if rows else _no_dwell()


def _whole_tracks(table: pd.DataFrame, member: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Return the tracks that are of the class in at least half of their frames, whole: gaps are no exits."""
    share = pd.Series(member.astype(np.float64), index=table.index).groupby(table["track_id"]).transform("mean")
    return table[share >= 0.5]


def _no_dwell() -> pd.DataFrame:
    return pd.DataFrame({"organoid": pd.Series([], dtype=object), "structure": pd.Series([], dtype=object)})
