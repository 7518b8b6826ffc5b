"""What cell tracking returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.tracking.points import Floats


@dataclass(frozen=True)
class Tracking:
    """Tracks of a point table, in the order of its rows.

    Attributes
    ----------
    track_id : (n,) int32
        Track of every row, 1..m, numbered by first frame, then by position. A division ends a track and begins two.
    parent_track_id : (n,) int32
        Track of the mother, 0 for none.
    link_probability : (n,) float64
        Probability of the link from the previous row of the track; NaN for its first.
    start_probability, end_probability : (n,) float64
        Probability that nothing precedes, nothing follows the row.
    edges : DataFrame
        ``parent_row, child_row`` (rows of the input), ``kind`` (link, gap, division), ``probability``, ``rival_row``
        (strongest competitor for either end, -1 without); sorted by child row.
    model : dict
        What was learned: displacement, appearance, rates, divisions; and the settings.
    """

    track_id: npt.NDArray[np.int32]
    parent_track_id: npt.NDArray[np.int32]
    link_probability: Floats
    start_probability: Floats
    end_probability: Floats
    edges: pd.DataFrame
    model: dict[str, Any] = field(default_factory=dict)

    @property
    def n_tracks(self) -> int:
        """Number of tracks."""
        return int(self.track_id.max(initial=0))
