"""Charts of the *Lineage* dock: emergence, colony growth, blood output and clone sizes, the organoid as unit. No Qt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.gui.charts import DASHES, Chart, ChartKind, Key, Pick, Series, Tables, View, floats
from napari_marrow.palette import BLACK, condition_colours, condition_order, lineage_colours, lineage_order


def emergence(tables: Tables, view: View) -> Chart:
    """Cumulative incidence of each lineage by condition (dash) with its 95 % band; of one organoid where one is chosen.

    Parameters
    ----------
    tables : mapping
        ``emergence``, at least one row.
    view : View
        Curves are told per session: of the chosen one, else of the one on display, else of the first that has some.
    """
    table = of_one_session(tables["emergence"], view)
    chosen = view.subset.of(table, sessions=False)
    whose = view.subset.organoid or "all"
    rows = chosen[(chosen["organoid"] == whose) & np.isfinite(chosen["cumulative_incidence"])]
    shown = condition_order(c for c in rows["condition"].astype(str) if c != "all") or ["all"]
    everyone = [c for c in conditions_of(tables, table) if c != "all"] or ["all"]
    dashes = {name: DASHES[i % len(DASHES)] for i, name in enumerate(everyone)}
    lineages = [name for name in lineage_order(rows["lineage"]) if name not in ("", "death")]
    colours = lineage_colours(lineages)
    series, drawn, at_risk = [], [], {}
    for condition in shown:
        for lineage in lineages:
            part = rows[(rows["condition"] == condition) & (rows["lineage"] == lineage)].sort_values("time_h")
            if part.empty:
                continue
            drawn.append(part)
            at_risk[condition] = (floats(part, "time_h"), part["at_risk"].to_numpy(np.int64))
            series.append(
                Series(
                    floats(part, "time_h"), floats(part, "cumulative_incidence"), colours[lineage],
                    f"{lineage}, {condition}", "steps", floats(part, "low"), floats(part, "high"), dashes[condition],
                )
            )  # fmt: skip
    top = max((float(np.nanmax([s.y, s.y if s.high is None else s.high])) for s in series), default=1.0)
    return Chart(
        "Emergence", "time since the start of observation (h)", "cumulative incidence", tuple(series),
        _columns(drawn, ["condition", "organoid", "session", "lineage", "time_h", "cumulative_incidence", "low", "high",
                         "at_risk"]),
        _note(drawn, "This part of the study has no cell whose lineage could be followed."),
        y_range=(0.0, min(1.0, max(top * 1.05, 0.05))), at_risk=at_risk, keys=_keys(colours, dashes, shown),
    )  # fmt: skip


def of_one_session(table: pd.DataFrame, view: View) -> pd.DataFrame:
    """Return the rows of one session: the chosen one, the one on display, or the first that has rows."""
    if "session" not in table.columns or table.empty:
        return table
    if view.subset.session is not None:
        return table[table["session"] == view.subset.session]
    known = set(table["session"])
    return table[table["session"] == (view.session if view.session in known else min(known))]


def growth(tables: Tables, view: View) -> Chart:
    """Cells of each colony over the days, on a logarithmic scale; a click on a line selects the colony.

    Parameters
    ----------
    tables : mapping
        ``colonies`` and ``layout``; of a session with several frames the last one counts. ``colony_growth``, where it
        is there, tells the median doubling time of each organoid.
    view : View
    """
    placed = _placed(tables["colonies"], tables)
    last = placed[placed["t"] == placed.groupby(["position", "session"])["t"].transform("max")]
    rows = view.subset.of(last).sort_values("time_h")
    colours = condition_colours(conditions_of(tables, placed))
    series = []
    named: set[str] = set()
    for _, part in rows.groupby(["position", "colony_id"], sort=True):
        condition = str(part["condition"].iloc[0])
        pick = Pick(str(part["position"].iloc[0]), int(part["colony_id"].iloc[0]))
        series.append(
            Series(
                floats(part, "time_h") / 24.0, floats(part, "n_cells"), colours[condition],
                "" if condition in named else condition, width=1.5, pick=pick,
            )
        )  # fmt: skip
        named.add(condition)
    return Chart(
        "Colony growth", "day", "cells of the colony", tuple(series),
        _columns([rows], ["condition", "organoid", "position", "session", "time_h", "colony_id", "n_cells", "area"]),
        _doubling(tables, view) if series else "No colony was found in this part of the study.", log_y=True,
        handles=_colony_handles(rows),
    )  # fmt: skip


def _colony_handles(rows: pd.DataFrame) -> pd.DataFrame:
    """Return where colonies are on their lines."""
    position, colony = rows["position"].astype(str).to_numpy(), rows["colony_id"].to_numpy()
    day, cells = floats(rows, "time_h") / 24.0, floats(rows, "n_cells")
    return pd.DataFrame({"x": day, "y": cells, "position": position, "colony": colony})


def _doubling(tables: Tables, view: View) -> str:
    if "colony_growth" not in tables:
        return ""
    rows = view.subset.of(tables["colony_growth"]).dropna(subset="doubling_time")
    if rows.empty:
        return "No colony was seen often enough for a doubling time."
    told = [
        f"{organoid}: {part['doubling_time'].median():.0f} h ({len(part)})"
        for organoid, part in rows.groupby("organoid", sort=True)
    ]
    return "Median doubling time (colonies): " + ", ".join(told[:6]) + (" ..." if len(told) > 6 else "")


def output_options(tables: Tables) -> list[str]:
    """Return the lineages whose output is known, all of them first."""
    present = tables["blood_output"]["lineage"] if "blood_output" in tables else pd.Series([], dtype=str)
    names = lineage_order(present)
    return ["all lineages"] + [name for name in names if name not in ("all", "death")]


def blood_output(tables: Tables, view: View) -> Chart:
    """Cells that an organoid holds (or has released) of each lineage over the days, with means over organoids.

    Parameters
    ----------
    tables : mapping
        ``blood_output``.
    view : View
        `option`: one lineage, told by condition; or all lineages, coloured by lineage.
    """
    table = tables["blood_output"]
    wanted = output_options(tables)[1:] if view.option == "all lineages" else [view.option]
    rows = view.subset.of(table)
    rows = rows[rows["lineage"].isin(wanted)]
    conditions = conditions_of(tables, table)
    by_lineage = view.option == "all lineages"
    shown = condition_order(rows["condition"])
    tints = lineage_colours(wanted) if by_lineage else condition_colours(conditions)
    series: list[Series] = []
    for _, part in rows.groupby(["source", "condition", "lineage"], sort=False):
        source, condition, lineage = (str(part[name].iloc[0]) for name in ("source", "condition", "lineage"))
        colour = tints[lineage if by_lineage else condition]
        dash = DASHES[conditions.index(str(condition)) % len(DASHES)] if by_lineage else "solid"
        name = f"{lineage}, {condition}" if by_lineage else str(condition)
        name += "" if source == "held" else f" ({source})"
        series += over_organoids(part, "n_cells", colour, name, dash)
    return Chart(
        "Blood output", "day", "cells of an organoid", tuple(series),
        _columns([rows], ["condition", "organoid", "session", "time_h", "lineage", "source", "n_cells", "fraction",
                          "rate_per_h"]),
        "" if series else "No cells of this kind were counted in this part of the study.",
        keys=_keys(tints, dict(zip(conditions, DASHES * len(conditions), strict=False)), shown) if by_lineage else (),
    )  # fmt: skip


def over_organoids(part: pd.DataFrame, value: str, colour: str, name: str, dash: str = "solid") -> list[Series]:
    """Return a faint line per organoid and their mean over time with its 95 % interval; of one organoid only its line.

    Parameters
    ----------
    part : DataFrame
        organoid, session, time_h (h) and the value, one row per organoid and session.
    value : str
        Column.
    colour, name, dash : str
        Of the mean.
    """
    from napari_marrow.statistics import unit_mean

    lines = [rows.sort_values("time_h") for _, rows in part.groupby("organoid", sort=True)]
    if len(lines) == 1:
        days, found = floats(lines[0], "time_h") / 24.0, floats(lines[0], value)
        return [Series(days, found, colour, name, dash=dash)]
    series = [
        Series(floats(rows, "time_h") / 24.0, floats(rows, value), colour, width=1.0, faint=True) for rows in lines
    ]
    means = [
        (float(rows["time_h"].mean()) / 24.0, unit_mean(rows[value].to_numpy(np.float64)))
        for _, rows in part.groupby("session", sort=True)
    ]
    days, mean, low, high = (
        np.array(v, np.float64) for v in zip(*((d, m.mean, m.low, m.high) for d, m in means), strict=True)
    )
    return [*series, Series(days, mean, colour, name, low=low, high=high, dash=dash)]


def clone_sizes(tables: Tables, view: View) -> Chart:
    """Share of clones with at least n cells at the end; means over organoids, whose own shares are faint.

    Parameters
    ----------
    tables : mapping
        ``clones`` (founder, n_end, n_escaped) and ``layout``. Extinct clones count with 0 cells.
    view : View
    """
    placed = _placed(tables["clones"], tables)
    rows = view.subset.of(of_one_session(placed, view))
    colours = condition_colours(conditions_of(tables, placed))
    n = np.arange(0.0, float(rows["n_end"].max() if len(rows) else 0) + 2.0)
    series: list[Series] = []
    numbers, handles = [], []
    for condition in condition_order(rows["condition"]):
        shares, counts = [], 0
        for organoid, part in rows[rows["condition"] == condition].groupby("organoid", sort=True):
            share = (part["n_end"].to_numpy(np.float64)[:, None] >= n).mean(axis=0)
            shares.append(share)
            counts += len(part)
            handles.append(_clone_handles(part, share))
            numbers.append(pd.DataFrame({"condition": condition, "organoid": organoid, "n": n, "share_at_least": share,
                                         "clones": len(part)}))  # fmt: skip
        mean = np.mean(shares, axis=0)
        if len(shares) > 1:
            series += [Series(n, share, colours[condition], kind="steps", width=1.0, faint=True) for share in shares]
        name = f"{condition} ({counts} clones, {len(shares)} organoid{'s' if len(shares) > 1 else ''})"
        series.append(Series(n, mean, colours[condition], name, "steps"))
    escaped = int((rows["n_escaped"] > 0).sum()) if "n_escaped" in rows.columns else 0
    note = f"{escaped} of {len(rows)} clones lost cells from view: their size is a lower bound." if escaped else ""
    return Chart(
        "Clone sizes", "cells of the clone at the end, n", "share of clones ≥ n", tuple(series),
        pd.concat(numbers, ignore_index=True) if numbers else pd.DataFrame(),
        note if series else "No clone was followed in this part of the study.", y_range=(0.0, 1.05),
        handles=pd.concat(handles, ignore_index=True) if handles else pd.DataFrame(),
    )  # fmt: skip


def _clone_handles(part: pd.DataFrame, share: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return where the clones of an organoid are on its curve of shares, which begins at size 0."""
    size = part["n_end"].to_numpy(np.int64)
    session = part["session"].to_numpy(np.int64) if "session" in part.columns else np.full(len(part), -1)
    position, founder = part["position"].astype(str).to_numpy(), part["founder_track_id"].to_numpy(np.int64)
    places = {"x": size.astype(np.float64), "y": share[size]}
    return pd.DataFrame({**places, "position": position, "session": session, "founder": founder})


def _keys(colours: dict[str, str], dashes: dict[str, str], conditions: list[str]) -> tuple[Key, ...]:
    """Say lineages by their colour and conditions by their dash, each once."""
    return (
        *(Key(name, colour, "") for name, colour in colours.items()),
        *(Key(name, BLACK, dashes[name]) for name in conditions if name in dashes),
    )


def _placed(table: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Give rows of positions their organoid and condition."""
    return with_organoid(table, tables["layout"])


def with_organoid(table: pd.DataFrame, layout: pd.DataFrame) -> pd.DataFrame:
    """Return a table by position with the columns organoid and condition of the layout.

    Positions that the layout does not name are their own organoid, of no condition.
    """
    known = layout.drop_duplicates("position").set_index("position")
    position = table["position"].astype(str)
    table = table.drop(columns=[name for name in ("organoid", "condition") if name in table.columns])
    organoid = position.map(known["organoid"]) if "organoid" in known.columns else pd.Series(np.nan, index=table.index)
    condition = position.map(known["condition"]) if "condition" in known.columns else pd.Series("", index=table.index)
    return table.assign(
        organoid=[str(o) if o and o == o else p for o, p in zip(organoid, position, strict=True)],
        condition=condition.fillna("").astype(str),
    )


def conditions_of(tables: Tables, table: pd.DataFrame) -> list[str]:
    """Return every condition of the study, so that one has the same colour and dash in every chart and every subset."""
    layout = tables.get("layout")
    known: list[str] = []
    if layout is not None and "condition" in layout.columns:
        known = [str(name) for name in layout["condition"].dropna()]
    return condition_order([*(name for name in known if name), *table["condition"].astype(str)])


def _columns(parts: list[pd.DataFrame], names: list[str]) -> pd.DataFrame:
    if not parts:
        return pd.DataFrame(columns=names)
    table = pd.concat(parts, ignore_index=True)
    return table[[name for name in names if name in table.columns]]


def _note(parts: list[pd.DataFrame], empty: str) -> str:
    if not parts:
        return empty
    notes = {str(note) for part in parts if "note" in part.columns for note in part["note"] if note}
    return "; ".join(sorted(notes))


LINEAGE_CHARTS = (
    ChartKind("Emergence", ("emergence",), emergence),
    ChartKind("Colony growth", ("colonies", "layout"), growth, also=("colony_growth",)),
    ChartKind("Blood output", ("blood_output",), blood_output, output_options),
    ChartKind("Clone sizes", ("clones", "layout"), clone_sizes),
)
LINEAGE_TABLES = {
    "emergence": "lineage", "colonies": "colonies", "colony_growth": "lineage", "blood_output": "lineage",
    "clones": "lineage",
}  # fmt: skip
"""Tables that the charts read, each with the step whose result it is."""
