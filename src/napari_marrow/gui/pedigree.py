"""Division trees laid out for drawing, out of the tables `tracks` and `onsets`. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_marrow.palette import GREY, lineage_colours

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Branch:
    """One cell's life as a horizontal line.

    Attributes
    ----------
    track_id, founder : int
    start_h, end_h : float
        Hours since t0.
    y : float
        Height of the line; daughters lie above and below their mother.
    mother_y : float
        Height of the mother's line, NaN for a founder.
    mother_end_h : float
        Where the mother's line ends, a frame before this one begins; NaN for a founder.
    colour : str
        Of the lineage whose marker came on in it or in an ancestor, from `onset_h` on; grey before.
    onset_h : float
        When it came on; -inf where it was on from the start, inf for never.
    fate : str
        How the line ends.
    """

    track_id: int
    founder: int
    start_h: float
    end_h: float
    y: float
    mother_y: float
    mother_end_h: float
    colour: str
    onset_h: float
    fate: str


@dataclass(frozen=True)
class Clone:
    """A founder and its descendants."""

    founder: int
    n_cells: int
    n_divisions: int

    def __str__(self) -> str:
        return f"Clone {self.founder}: {self.n_cells} cells, {self.n_divisions} divisions"


def clones(tracks: pd.DataFrame) -> list[Clone]:
    """Return the clones of a table `tracks`, those with most divisions first."""
    divisions = tracks["fate"].eq("division").groupby(tracks["founder_track_id"]).sum()
    sizes = tracks.groupby("founder_track_id").size()
    found = [Clone(int(f), int(sizes[f]), int(divisions[f])) for f in sizes.index]
    return sorted(found, key=lambda c: (-c.n_divisions, -c.n_cells, c.founder))


def lay_out(
    tracks: pd.DataFrame, onsets: pd.DataFrame | None, founders: list[int], *, gap: float = 1.0
) -> list[Branch]:
    """Return the branches of some clones, one tree above the other.

    Parameters
    ----------
    tracks : DataFrame
        Table `tracks`.
    onsets : DataFrame or None
        Table `onsets`.
    founders : list of int
        Clones in the order in which they are drawn, the first at the top.
    gap : float
        Free height between trees; the lines of a tree are 1 apart.

    Returns
    -------
    list of Branch
        Mothers before daughters.
    """
    chosen = tracks[tracks["founder_track_id"].isin(founders)].set_index("track_id")
    children: dict[int, list[int]] = {}
    for track, mother in zip(chosen.index, chosen["parent_track_id"], strict=True):
        children.setdefault(int(mother), []).append(int(track))
    onset = _onsets(onsets)
    colours = lineage_colours(sorted({lineage for lineage, _ in onset.values()}))
    branches: list[Branch] = []
    top = 0.0
    for founder in founders:
        if founder not in chosen.index:
            continue
        height, top = _heights(founder, children, top)
        branches += _tree(founder, chosen, children, height, onset, colours)
        top -= gap
    return branches


def _onsets(onsets: pd.DataFrame | None) -> dict[int, tuple[str, float]]:
    if onsets is None or onsets.empty:
        return {}
    seen = onsets[(onsets["event"] == "onset") & (onsets["lineage"] != "")]
    return {
        int(track): (str(lineage), float(right if np.isfinite(left) else left))
        for track, lineage, left, right in zip(
            seen["track_id"], seen["lineage"], seen["left_h"], seen["right_h"], strict=True
        )
    }


def _heights(founder: int, children: dict[int, list[int]], top: float) -> tuple[dict[int, float], float]:
    """Give each leaf its own line, each mother the mean of her daughters; no recursion, pedigrees may be deep."""
    order, stack = [], [founder]
    while stack:
        track = stack.pop()
        order.append(track)
        stack.extend(sorted(children.get(track, []), reverse=True))
    height: dict[int, float] = {}
    for track in order:
        if not children.get(track):
            height[track] = top
            top -= 1.0
    for track in reversed(order):
        if track not in height:
            height[track] = float(np.mean([height[child] for child in children[track]]))
    return height, top


def _tree(
    founder: int,
    tracks: pd.DataFrame,
    children: dict[int, list[int]],
    height: dict[int, float],
    onset: dict[int, tuple[str, float]],
    colours: dict[str, str],
) -> list[Branch]:
    branches = []
    nan = float("nan")
    stack: list[tuple[int, tuple[float, float], str]] = [(founder, (nan, nan), "")]
    while stack:
        track, mother, inherited = stack.pop()
        lineage, onset_h = (inherited, -np.inf) if inherited else onset.get(track, ("", np.inf))
        row = tracks.loc[track]
        branches.append(
            Branch(
                track,
                founder,
                float(row["start_h"]),
                float(row["end_h"]),
                height[track],
                *mother,
                colours.get(lineage, GREY),
                float(onset_h),
                str(row["fate"]),
            )
        )
        place = (height[track], float(row["end_h"]))
        stack.extend((child, place, lineage) for child in children.get(track, []))
    return branches
