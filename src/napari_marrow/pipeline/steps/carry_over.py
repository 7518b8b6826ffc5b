"""Single cells over the gaps between sessions, for the step *track*."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.pipeline.step import Context, Unit
from napari_marrow.pipeline.steps.frames import usable_frames
from napari_marrow.schemas import CARRY_OVER

if TYPE_CHECKING:
    from napari_marrow.study import Study

_CARRIED = ["position", "session_parent", "t_parent", "label_parent", "session_child", "t_child", "label_child"]


def cells_carried_over(
    study: Study, context: Context, nodes: Sequence[pd.DataFrame], edges: Sequence[pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judge every gap between neighbouring sessions, and link the cells over those that allow it.

    Parameters
    ----------
    study : Study
    context : Context
    nodes, edges : sequence of DataFrame
        Tracks of each tracked session, nodes with ``y, x``: they tell how far cells move.

    Returns
    -------
    summary : DataFrame
        `CARRY_OVER`, a row per position and gap.
    carried : DataFrame
        Frame and label of each carried cell on both sides, and its probability.
    """
    from napari_marrow.tracking import carry_over

    steps: dict[str, tuple[float, float]] = {}
    for own_nodes, own_edges in zip(nodes, edges, strict=True):
        step = _step(own_nodes, own_edges)
        if step is not None:
            steps[str(own_nodes["position"].iloc[0])] = step  # the latest session with frames enough
    known = list(steps.values())
    usual = (float(np.median([s for s, _ in known])), float(np.median([h for _, h in known]))) if known else None
    rows, carried = [], []
    for position in study.positions:
        sessions = study.sessions(position)
        for a, b in pairwise(sessions):
            image_a, image_b = study.image(position, a), study.image(position, b)
            frames_a, frames_b = (usable_frames(study, Unit(position, s), context) for s in (a, b))
            # where quality forbids every frame of a session, what is left are its ends
            last, first = (frames_a or [image_a.shape[0] - 1])[-1], (frames_b or [0])[0]
            gap_h = float(image_b.times_h[first] - image_a.times_h[last])
            step = steps.get(position, usual)
            if step is None or gap_h <= 0:
                why = (
                    "how far cells move is unknown: no session has several frames" if step is None else "there is none"
                )
                reason = f"Cells are not carried over the gap: {why}."
                rows.append((position, a, b, gap_h, np.nan, np.nan, 0.0, False, 0, reason))
                continue
            before, after = _frame(study, context, position, a, last), _frame(study, context, position, b, first)
            found = carry_over(
                before, after, gap_h, step_um=step[0], step_h=step[1], min_ceiling=context.recipe.track.min_ceiling
            )
            rows.append((position, a, b, gap_h, found.density, found.sigma, found.ceiling, found.allowed,
                         len(found.links), found.reason))  # fmt: skip
            ends = (
                before["label"].to_numpy()[found.links["row_before"]],
                after["label"].to_numpy()[found.links["row_after"]],
            )
            part = pd.DataFrame({"label_parent": ends[0], "label_child": ends[1]})
            part = part.assign(position=position, session_parent=a, t_parent=last, session_child=b, t_child=first)
            carried.append(part[_CARRIED].assign(probability=found.links["probability"].to_numpy()))
    filled = [part for part in carried if len(part)]
    none = pd.DataFrame({name: pd.Series([], dtype=object if name == "position" else np.int64) for name in _CARRIED})
    links = pd.concat(filled, ignore_index=True) if filled else none.assign(probability=np.zeros(0))
    return pd.DataFrame(rows, columns=CARRY_OVER.names), links


def _frame(study: Study, context: Context, position: str, session: int, t: int) -> pd.DataFrame:
    """Return the cells of a frame; those of a volume with z."""
    unit = {"position": position, "session": session}
    cells = study.table("cells", context.keys["measure"], unit=unit)
    flat = study.image(position, session).shape[2] == 1
    here = cells[cells["t"] == t].sort_values("label", ignore_index=True)
    return here[["label", *([] if flat else ["z_reg"]), "y_reg", "x_reg"]]


def _step(nodes: pd.DataFrame, edges: pd.DataFrame) -> tuple[float, float] | None:
    """Return displacement per coordinate (µm) and duration (h) of links over one frame."""
    links = edges[edges["kind"] == "link"]
    if len(links) < 20:
        return None
    place = nodes[["session", "t", "label", "time_h", "y", "x"]]
    ends = links.merge(
        place.rename(columns={"t": "t_parent", "label": "label_parent"}), on=["session", "t_parent", "label_parent"]
    )
    ends = ends.merge(
        place.rename(columns={"t": "t_child", "label": "label_child"}), on=["session", "t_child", "label_child"],
        suffixes=("_parent", "_child"),
    )  # fmt: skip
    squared = (ends["y_child"] - ends["y_parent"]) ** 2 + (ends["x_child"] - ends["x_parent"]) ** 2
    hours = float((ends["time_h_child"] - ends["time_h_parent"]).median())
    sigma = float(np.sqrt(squared.mean() / 2))
    return (sigma, hours) if sigma > 0 and hours > 0 else None
