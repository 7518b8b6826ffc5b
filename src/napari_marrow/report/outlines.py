"""Outlines of colonies as their masks have them, for maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

if TYPE_CHECKING:
    from napari_marrow.study import Study

Outline = tuple[int, npt.NDArray[np.float64]]
"""Number of a colony, and the closed line (n, 2) around it, (x, y) in µm; a colony with holes has several."""


def colony_outlines(
    study: Study, colonies: pd.DataFrame, places: list[tuple[str, int]]
) -> dict[tuple[str, int], list[Outline]]:
    """Read the masks of colonies and return the lines around them.

    Parameters
    ----------
    study : Study
    colonies : DataFrame
        Table ``colonies``.
    places : list of (position, session)
        The colonies of each one's last frame with any are outlined.

    Returns
    -------
    dict
        An entry per place whose masks are there.
    """
    key = study.active.get("colonies")
    out: dict[tuple[str, int], list[Outline]] = {}
    for position, session in places:
        here = colonies[(colonies["position"] == position) & (colonies["session"] == session)]
        if key is None or here.empty or not study.has_labels("colonies", key, position, session):
            continue
        labels = study.labels("colonies", key, position, session)
        t = int(here["t"].max())
        if t not in set(labels.times):
            continue
        out[position, session] = outlines_of(labels.read(t).max(axis=0), study.image(position, session).spacing[1:])
    return out


def outlines_of(labels: npt.NDArray[Any], spacing: tuple[float, float]) -> list[Outline]:
    """Return the lines around the labels of a plane, through the middle between the pixels inside and outside.

    Parameters
    ----------
    labels : (Y, X) array of whole numbers
    spacing : (dy, dx), µm
    """
    from skimage.measure import approximate_polygon, find_contours

    lines: list[Outline] = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        mask = np.pad(labels[box] == number, 1).astype(np.float64)
        corner = np.array([part.start - 1 for part in box])
        for line in find_contours(mask, 0.5):
            smooth = approximate_polygon(line, 0.4) if len(line) > 8 else line
            lines.append((number, ((smooth + corner) * np.asarray(spacing))[:, ::-1]))
    return lines
