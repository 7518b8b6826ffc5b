"""One row per track: where it stands in its pedigree, how it begins and how it ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import TableError
from napari_marrow.schemas import TRACK_EDGES, TRACK_NODES, TRACKS
from napari_marrow.tracking.found_tracks import Tracking
from napari_marrow.tracking.points import Floats, Ints


def track_tables(
    tracking: Tracking,
    points: pd.DataFrame,
    *,
    position: str,
    session: int,
    times_h: Sequence[float] | None = None,
    first_track_id: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a session's tracks as the tables `TRACK_NODES` and `TRACK_EDGES`.

    Parameters
    ----------
    tracking : Tracking
    points : DataFrame
        What was tracked: ``t, label`` and ``time_h``, unless times are given; further columns are kept.
    position : str
    session : int
    times_h : sequence of float, optional
        Time of every frame, hours.
    first_track_id : int
        Number of the first track, to make numbers unique within a study.

    Returns
    -------
    nodes, edges : DataFrame

    Raises
    ------
    TableError
        If the points have no labels or no times.
    """
    if "label" not in points.columns:
        raise TableError("The tracked points have no column 'label': nodes are named by frame and label.")
    nodes = points.reset_index(drop=True).assign(
        position=position,
        session=session,
        track_id=tracking.track_id + np.int32(first_track_id - 1),
        link_probability=tracking.link_probability,
    )
    if times_h is not None:
        nodes["time_h"] = np.asarray(times_h, np.float64)[nodes["t"].to_numpy(np.int64)]
    parent, child = tracking.edges["parent_row"].to_numpy(), tracking.edges["child_row"].to_numpy()
    edges = pd.DataFrame(
        {
            "position": position,
            "session": session,
            "t_parent": nodes["t"].to_numpy()[parent],
            "label_parent": nodes["label"].to_numpy()[parent],
            "t_child": nodes["t"].to_numpy()[child],
            "label_child": nodes["label"].to_numpy()[child],
            "kind": tracking.edges["kind"].to_numpy(),
            "probability": tracking.edges["probability"].to_numpy(),
        }
    )
    return TRACK_NODES.conform(nodes), TRACK_EDGES.conform(edges)


def summarise_tracks(
    nodes: pd.DataFrame,
    edges: pd.DataFrame,
    *,
    extent: Sequence[float] | Sequence[tuple[float, float]] | None = None,
    frames: Sequence[int] | None = None,
    border_um: float | None = None,
) -> pd.DataFrame:
    """Summarise tracks: pedigree, birth and fate.

    Parameters
    ----------
    nodes : DataFrame
        `TRACK_NODES`, of one or several sessions; with ``y, x`` and ``extent``, or with ``touches_border``, entry and
        exit are told from appearance and loss.
    edges : DataFrame
        `TRACK_EDGES`; those of kind ``division`` give the mothers.
    extent : (height, width) or ((low, high), (low, high)), optional
        Field of view in y and x, µm.
    frames : sequence of int, optional
        Frames of the session that were tracked: cells of the first start, cells of the last end. Without, the first and
        the last frame with a node are taken.
    border_um : float, optional
        How near the edge of the field a cell enters or leaves. Learned by default: the 95th percentile of the
        displacement from node to node.

    Returns
    -------
    DataFrame
        `TRACKS`, sorted by track. ``death`` is never told from ``loss`` here: that takes the images.

    Raises
    ------
    TableError
        If a column is missing or an edge names a node that is not there.
    """
    nodes, edges = TRACK_NODES.conform(nodes), TRACK_EDGES.conform(edges)
    if len(nodes) == 0:
        return TRACKS.empty()
    nodes = nodes.sort_values(["track_id", "t"], kind="stable", ignore_index=True)
    track = nodes["track_id"].to_numpy(np.int64)
    first = np.flatnonzero(np.concatenate([[True], track[1:] != track[:-1]]))
    last = np.concatenate([first[1:], [len(track)]]) - 1
    ids = track[first]
    parent = _parents(nodes, edges, ids)
    founder, generation = _climb(ids, parent)
    near = _near_border(nodes, track, extent, border_um)
    begins, ends = _session_ends(nodes, frames)
    is_mother = np.isin(ids, parent[parent > 0])
    birth = np.where(
        parent > 0, "division", np.where(begins[first], "start", np.where(near[first], "entry", "appearance"))
    )
    fate = np.where(is_mother, "division", np.where(ends[last], "end", np.where(near[last], "exit", "loss")))
    probability = nodes["link_probability"].groupby(track).mean().to_numpy()
    time_h = nodes["time_h"].to_numpy()
    return TRACKS.conform(
        pd.DataFrame(
            {
                "position": nodes["position"].to_numpy()[first],
                "session": nodes["session"].to_numpy()[first],
                "track_id": ids,
                "parent_track_id": parent,
                "founder_track_id": founder,
                "generation": generation,
                "t_start": nodes["t"].to_numpy()[first],
                "t_end": nodes["t"].to_numpy()[last],
                "start_h": time_h[first],
                "end_h": time_h[last],
                "birth": birth.astype(object),
                "fate": fate.astype(object),
                "n_nodes": last - first + 1,
                "mean_probability": probability,
            }
        )
    )


def _parents(nodes: pd.DataFrame, edges: pd.DataFrame, ids: Ints) -> Ints:
    """Track of every track's mother, 0 for none."""
    divisions = edges[edges["kind"] == "division"]
    keys = ["position", "session", "t", "label"]
    of_node = nodes.set_index(keys)["track_id"]
    if not of_node.index.is_unique:
        raise TableError("The table of track nodes names a label of a frame twice.")
    found = {}
    for side in ("parent", "child"):
        index = pd.MultiIndex.from_frame(
            divisions[["position", "session", f"t_{side}", f"label_{side}"]].set_axis(keys, axis=1)
        )
        found[side] = of_node.reindex(index).to_numpy(np.float64)
        if np.isnan(found[side]).any():
            raise TableError(
                f"A division's {side} is not among the track nodes: nodes and edges must be of the same tracking."
            )
    parent = np.zeros(len(ids), np.int64)
    parent[np.searchsorted(ids, found["child"].astype(np.int64))] = found["parent"].astype(np.int64)
    return parent


def _climb(ids: Ints, parent: Ints) -> tuple[Ints, Ints]:
    """Founder and generation of every track by walking up, all tracks at once."""
    generation = np.zeros(len(ids), np.int64)
    founder = ids.copy()
    above = parent.copy()
    for _ in range(len(ids)):
        climbing = above > 0
        if not climbing.any():
            break
        founder[climbing] = above[climbing]
        generation[climbing] += 1
        above[climbing] = parent[np.searchsorted(ids, above[climbing])]
    return founder, generation


def _session_ends(
    nodes: pd.DataFrame, frames: Sequence[int] | None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether a node stands in the first, in the last frame of its session."""
    t = nodes["t"].to_numpy()
    if frames is not None and len(frames):
        return t == min(frames), t == max(frames)
    by_session = nodes.groupby(["position", "session"])["t"]
    return t == by_session.transform("min").to_numpy(), t == by_session.transform("max").to_numpy()


def _near_border(
    nodes: pd.DataFrame,
    track: Ints,
    extent: Sequence[float] | Sequence[tuple[float, float]] | None,
    border_um: float | None,
) -> npt.NDArray[np.bool_]:
    near = np.zeros(len(nodes), bool)
    if "touches_border" in nodes.columns:
        near |= nodes["touches_border"].to_numpy(dtype=bool)
    if extent is None or not {"y", "x"} <= set(nodes.columns):
        return near
    limits = np.array([(0.0, e) if np.ndim(e) == 0 else e for e in extent], dtype=np.float64)
    x: Floats = nodes[["y", "x"]].to_numpy(np.float64)
    if border_um is None:
        same = track[1:] == track[:-1]
        step = np.sqrt(((x[1:] - x[:-1])[same] ** 2).sum(1))
        border_um = float(np.quantile(step, 0.95)) if len(step) else 0.0
    outside = (x < limits[:, 0] + border_um) | (x > limits[:, 1] - border_um)
    return np.asarray(near | outside.any(1))
