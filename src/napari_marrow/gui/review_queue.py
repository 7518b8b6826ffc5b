"""What a person should look at first: the least certain links, divisions and marker onsets, each with its reason.

Knows no Qt. The probabilities are the tracker's own posteriors, which are calibrated; an onset's is the chance that the
frames on both sides of it are on the sides of the threshold that they are said to be, from the two populations that
`lineage.thresholds.fit_mixture` finds in its channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.tracking.edit_graph import Node, Pair, TrackGraph

if TYPE_CHECKING:
    from napari_marrow.lineage.thresholds import Mixture

Floats = npt.NDArray[np.float64]

LONGEST = 2000
"""Entries that a queue holds at most: nobody looks at more in one go."""

KINDS = ("link", "gap", "division", "onset")
COLUMNS = [
    "kind", "probability", "reason", "t_parent", "label_parent", "t", "label", "second_t", "second_label", "track_id",
    "lineage",
]  # fmt: skip

_RIVAL = 1.5


def link_queue(edges: pd.DataFrame, cells: pd.DataFrame, nodes: pd.DataFrame) -> pd.DataFrame:
    """List the links and divisions of a session, the least certain first.

    Parameters
    ----------
    edges : DataFrame
        Rows of `track_edges` of one session.
    cells : DataFrame
        Rows of `cells` of that session: t, label, y, x (µm; z where there is one), area.
    nodes : DataFrame
        Rows of `track_nodes` of that session.

    Returns
    -------
    DataFrame
        `COLUMNS`: kind (link, gap, division), probability, reason, the parent's frame and label (t_parent,
        label_parent), the child's (t, label), for a division the second daughter's (second_t, second_label; 0
        otherwise; daughters may be seen first in different frames), the child's track, and an empty lineage. At most
        `LONGEST` rows. A division has the probability of its less certain half.
    """
    if edges.empty:
        return _empty()
    whole = ["t_parent", "label_parent"]
    divided = edges[edges["kind"] == "division"].sort_values([*whole, "t_child", "label_child"])
    firsts = divided.drop_duplicates(whole)
    seconds = divided[divided.duplicated(whole)].drop_duplicates(whole)
    paired = firsts.merge(
        seconds[[*whole, "t_child", "label_child", "probability"]], on=whole, how="left", suffixes=("", "_2")
    )
    paired["probability"] = paired[["probability", "probability_2"]].min(axis=1)
    paired = paired.assign(second_t=paired["t_child_2"].fillna(0), second_label=paired["label_child_2"].fillna(0))
    rows = pd.concat([edges[edges["kind"] != "division"].assign(second_t=0, second_label=0), paired], ignore_index=True)
    rows = rows.sort_values(["probability", "t_child", "label_child"], kind="stable", ignore_index=True)[:LONGEST]
    out = rows.rename(columns={"t_child": "t", "label_child": "label"})
    out = out.astype({"second_t": np.int64, "second_label": np.int64})
    out["reason"] = _reasons(out, edges, cells)
    tracks = nodes.drop_duplicates(["t", "label"])[["t", "label", "track_id"]]
    out = out.merge(tracks, on=["t", "label"], how="left").assign(lineage="")
    out["track_id"] = out["track_id"].fillna(0).astype(np.int64)
    return out[COLUMNS].reset_index(drop=True)


def _reasons(rows: pd.DataFrame, edges: pd.DataFrame, cells: pd.DataFrame) -> list[str]:
    """Say of each link why it may be wrong: the first that holds."""
    step, change = _steps(rows, cells)
    usual_step, usual_change = _steps(edges[edges["kind"] == "link"], cells)
    far = float(np.nanquantile(usual_step, 0.98)) if len(usual_step) else np.inf
    unlike = float(np.nanquantile(usual_change, 0.98)) if len(usual_change) else np.inf
    kind = rows["kind"].to_numpy()
    return [
        str(word)
        for word in np.select(
            [kind == "division", kind == "gap", _rivalled(rows, step, cells), step > far, change > unlike],
            ["division", "unseen in between", "another cell as near", "moved far", "size changed"],
            "nothing stands out",
        )
    ]


def _steps(rows: pd.DataFrame, cells: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return the distance (µm) and the change of the logarithm of the area along each link."""
    child_t, child = ("t", "label") if "label" in rows.columns else ("t_child", "label_child")
    a = _values(cells, rows["t_parent"], rows["label_parent"])
    b = _values(cells, rows[child_t], rows[child])
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(np.log(b[:, -1] / a[:, -1]))
    return np.sqrt(((b[:, :-1] - a[:, :-1]) ** 2).sum(1)), change


def _values(cells: pd.DataFrame, t: pd.Series, label: pd.Series) -> Floats:
    columns = [name for name in ("z", "y", "x") if name in cells.columns]
    indexed = cells.set_index(["t", "label"])
    size = next((name for name in ("area", "volume") if name in cells.columns), None)
    table = indexed[columns].assign(size=1.0 if size is None else indexed[size])
    wanted = pd.MultiIndex.from_arrays([t.to_numpy(), label.to_numpy()])
    return np.asarray(table[~table.index.duplicated()].reindex(wanted).to_numpy(np.float64))


def _rivalled(rows: pd.DataFrame, step: Floats, cells: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether another cell of the child's frame is hardly further from the parent than the child."""
    from scipy.spatial import cKDTree

    columns = [name for name in ("z", "y", "x") if name in cells.columns]
    parents = _values(cells, rows["t_parent"], rows["label_parent"])[:, :-1]
    found = np.zeros(len(rows), bool)
    frames, wanted = cells["t"].to_numpy(), rows["t"].to_numpy()
    for t in np.unique(wanted):
        frame = cells[frames == t]
        index = np.flatnonzero((wanted == t) & np.isfinite(parents).all(1))
        if len(frame) < 2 or not len(index):
            continue
        distance, _ = cKDTree(frame[columns].to_numpy(np.float64)).query(parents[index], k=2)
        found[index] = distance[:, 1] < np.maximum(_RIVAL * step[index], 1e-9)
    return found


def onset_queue(
    onsets: pd.DataFrame, cells: pd.DataFrame, nodes: pd.DataFrame, markers: dict[str, str]
) -> pd.DataFrame:
    """List the marker onsets of a session, the least certain first.

    Parameters
    ----------
    onsets : DataFrame
        Rows of `onsets` of one session.
    cells, nodes : DataFrame
        Rows of `cells` (with time_h and ``intensity_<channel>``) and of `track_nodes` of that session.
    markers : dict of str to str
        Lineage to channel.

    Returns
    -------
    DataFrame
        `COLUMNS` with kind "onset": t and label are those of the first positive frame, t_parent and label_parent those
        of the last negative one in the same track (-1 and 0 where the track has none). The probability is NaN where a
        channel has no two populations.
    """
    seen = onsets[(onsets["event"] == "onset") & onsets["lineage"].isin(list(markers))]
    if seen.empty:
        return _empty()
    columns = [f"intensity_{c}" for c in dict.fromkeys(markers.values()) if f"intensity_{c}" in cells.columns]
    places = nodes[["t", "label", "track_id"]].merge(cells[["t", "label", "time_h", *columns]], on=["t", "label"])
    of_track = {int(str(k)): rows.sort_values("t") for k, rows in places.groupby("track_id")}
    mixtures = _mixtures(cells, columns)
    found = []
    for track, lineage, right in zip(seen["track_id"], seen["lineage"], seen["right_h"], strict=True):
        rows = of_track.get(int(track))
        name = f"intensity_{markers[str(lineage)]}"
        if rows is None or name not in rows.columns:
            continue
        after = rows[rows["time_h"] >= float(right) - 1e-6]
        before = rows[rows["time_h"] < float(right) - 1e-6]
        if after.empty:
            continue
        mixture = mixtures.get(name)
        chance = _chance(mixture, float(after[name].iloc[0]))
        at = {"t_parent": -1, "label_parent": 0}
        if len(before):
            chance *= 1 - _chance(mixture, float(before[name].iloc[-1]))
            at = {"t_parent": int(before["t"].iloc[-1]), "label_parent": int(before["label"].iloc[-1])}
        reason = _onset_reason(mixture, after[name].to_numpy(np.float64), len(before))
        first = {"t": int(after["t"].iloc[0]), "label": int(after["label"].iloc[0])}
        found.append(
            {"kind": "onset", "probability": chance, "reason": reason, **at, **first, "second_t": 0, "second_label": 0,
             "track_id": int(track), "lineage": str(lineage)}
        )  # fmt: skip
    table = pd.DataFrame(found, columns=COLUMNS) if found else _empty()
    return table.sort_values(["probability", "t", "label"], kind="stable", ignore_index=True)[:LONGEST]


def _mixtures(cells: pd.DataFrame, columns: list[str]) -> dict[str, Mixture]:
    from napari_marrow.lineage.thresholds import fit_mixture

    fitted = {name: fit_mixture(cells[name]) for name in columns}
    return {name: m for name, m in fitted.items() if np.isfinite(m.threshold)}


def _chance(mixture: Mixture | None, value: float) -> float:
    """Chance that a cell of this brightness is positive."""
    if mixture is None or not np.isfinite(value):
        return float("nan")
    x = np.arcsinh(value / mixture.scale)
    mean, sd, weight = (np.asarray(v, np.float64) for v in (mixture.means, mixture.sds, mixture.weights))
    # a normal's tail is thinner than a marker's: what lies beyond its own mean is of that population
    x = float(np.clip(x, mean[0], mean[1]))
    density = weight / sd * np.exp(-(((x - mean) / sd) ** 2) / 2)
    return float(density[1] / density.sum()) if density.sum() > 0 else float("nan")


def _onset_reason(mixture: Mixture | None, after: Floats, n_before: int) -> str:
    if n_before == 0:
        return "not seen negative in this track"
    if mixture is None:
        return "threshold given, no populations"
    if np.nanmin(after[:3]) < mixture.threshold:
        return "falls below the threshold again"
    return "brightness near the threshold" if len(after) > 2 else "seen positive in few frames"


def _empty() -> pd.DataFrame:
    return pd.DataFrame(columns=COLUMNS).astype(
        {"kind": str, "probability": np.float64, "reason": str, "lineage": str}
        | dict.fromkeys(["t_parent", "label_parent", "t", "label", "second_t", "second_label", "track_id"], np.int64)
    )


def nodes_of(row: Any, session: int) -> list[Node]:
    """Return the cells of an entry: parent and child, or mother and daughters; of an onset the last negative first.

    Parameters
    ----------
    row : mapping
        A row of a queue.
    session : int
    """
    found = [] if int(row["t_parent"]) < 0 else [Node(session, int(row["t_parent"]), int(row["label_parent"]))]
    found.append(Node(session, int(row["t"]), int(row["label"])))
    if int(row["second_label"]):
        found.append(Node(session, int(row["second_t"]), int(row["second_label"])))
    return found


def pairs_of(row: Any, session: int) -> list[Pair]:
    """Return the links of an entry; none of an onset."""
    if row["kind"] == "onset":
        return []
    parent, *children = nodes_of(row, session)
    return [(parent, child) for child in children]


def state_of(pairs: list[Pair], graph: TrackGraph) -> str:
    """Return what a person has said of an entry's links: open, accepted, or changed."""
    edges = [graph.edges.get(pair) for pair in pairs]
    if any(edge is None for edge in edges):
        return "changed"
    return "accepted" if all(edge is not None and edge.confirmed for edge in edges) else "open"
