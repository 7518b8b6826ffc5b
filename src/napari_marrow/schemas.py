"""Names, dtypes and units of every table of a study: the one place where they are written down.

Conventions: lengths in µm (areas µm², volumes µm³), times in hours since the study's t0 (`time_h`), labels and
ids are positive integers, 0 stands for *none*. `position` is the imaged field (``"B02_f00"``: well and field),
`organoid` the unit of replication, `session` one uninterrupted mounting of the plate, `t` the frame number within
the session. Coordinates ``z, y, x`` are in the position's own frame of the session; ``z_reg, y_reg, x_reg`` in the
frame of the position's first session.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from napari_marrow.errors import TableError

QUALITY_FLAGS = ("blank", "defocus", "saturation", "drift", "duplicate", "media_change", "gap")
"""What a frame may be flagged for, in the order in which flags are written."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    dtype : str
        A numpy dtype name, or ``"str"``.
    unit : str
        Physical unit, ``""`` for counts, names and ratios.
    meaning : str
        What a value says, in a few words.
    """

    name: str
    dtype: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Schema:
    """The required columns of a table; a table may have further ones (features, markers) behind them."""

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    def empty(self) -> pd.DataFrame:
        """Return a table without rows that has every column with its dtype."""
        return pd.DataFrame({c.name: pd.Series([], dtype=_pandas_dtype(c.dtype)) for c in self.columns})

    def conform(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table with this schema's columns first, cast to their dtypes.

        Raises
        ------
        TableError
            If a column is missing or cannot be cast.
        """
        missing = [name for name in self.names if name not in table.columns]
        if missing:
            raise TableError(
                f"Table '{self.name}' lacks the column(s) {', '.join(missing)}: it has {list(table.columns)}."
            )
        try:
            cast = table.astype({c.name: _pandas_dtype(c.dtype) for c in self.columns})
        except (ValueError, TypeError) as error:
            raise TableError(f"Table '{self.name}' holds a value of the wrong kind: {error}.") from error
        rest = [name for name in table.columns if name not in self.names]
        return cast[self.names + rest]


def _pandas_dtype(dtype: str) -> Any:
    return "object" if dtype == "str" else np.dtype(dtype)


def _schema(name: str, columns: Iterable[tuple[str, str, str, str]]) -> Schema:
    return Schema(name, tuple(Column(*c) for c in columns))


_PLACE = (
    ("position", "str", "", "imaged field, well and field number"),
    ("session", "int32", "", "session number within the study"),
)
_FRAME = (
    *_PLACE,
    ("t", "int32", "", "frame number within the session"),
    ("time_h", "float64", "h", "time since t0"),
)

LAYOUT = _schema(
    "layout",
    (
        ("position", "str", "", "imaged field"),
        ("well", "str", "", "well of the plate, row letter and column"),
        ("organoid", "str", "", "unit of replication"),
        ("donor", "str", "", "donor of the cells"),
        ("batch", "str", "", "culture batch"),
        ("condition", "str", "", "drug, mutation or control"),
        ("dose", "float64", "", "dose of the drug in the unit of the layout, NaN where none"),
        ("replicate", "int32", "", "replicate number within the condition"),
    ),
)
FRAMES = _schema(
    "frames",
    (
        *_FRAME,
        ("time_s", "float64", "s", "time since the session's first frame"),
        ("utc", "str", "", "acquisition time, ISO 8601, empty where unknown"),
        ("stage_z", "float64", "µm", "stage position, NaN where unknown"),
        ("stage_y", "float64", "µm", "stage position, NaN where unknown"),
        ("stage_x", "float64", "µm", "stage position, NaN where unknown"),
        ("source_file", "str", "", "file that the frame was read from"),
        ("source_index", "int32", "", "number of the time point in that file"),
        (
            "flags",
            "str",
            "",
            "quality flags, comma separated: blank, defocus, saturation, drift, duplicate, media_change, gap",
        ),
    ),
)
TRANSFORMS = _schema(
    "transforms",
    (
        *_FRAME,
        ("kind", "str", "", "what was estimated: identity, translation, rigid, affine"),
        ("m00", "float64", "", "matrix row y: y_reg = m00 y + m01 x + ty"),
        ("m01", "float64", "", "matrix row y"),
        ("ty", "float64", "µm", "shift in y"),
        ("m10", "float64", "", "matrix row x: x_reg = m10 y + m11 x + tx"),
        ("m11", "float64", "", "matrix row x"),
        ("tx", "float64", "µm", "shift in x"),
        ("residual", "float64", "µm", "median residual of the landmarks, NaN where none"),
        ("accepted", "bool", "", "whether identity may be carried over on it"),
    ),
)
CELLS = _schema(
    "cells",
    (
        *_FRAME,
        ("label", "int32", "", "value of the cell in the frame's label image"),
        ("z", "float64", "µm", "centroid, 0 in 2D"),
        ("y", "float64", "µm", "centroid"),
        ("x", "float64", "µm", "centroid"),
        ("z_reg", "float64", "µm", "registered centroid"),
        ("y_reg", "float64", "µm", "registered centroid"),
        ("x_reg", "float64", "µm", "registered centroid"),
        ("area", "float64", "µm² (3D: µm³)", "size"),
        ("eccentricity", "float64", "", "0 circle to 1 line; NaN in 3D"),
        ("touches_border", "bool", "", "whether the label touches the image border"),
    ),
)
"""Further columns, one per channel: ``intensity_<channel>`` (mean over the cell minus local background, counts) and
``sd_<channel>``."""

TRACK_NODES = _schema(
    "track_nodes",
    (
        *_FRAME,
        ("label", "int32", "", "the cell's label in that frame"),
        ("track_id", "int32", "", "track within the study, 1..n"),
        (
            "link_probability",
            "float64",
            "",
            "probability of the link from the previous node of the track; NaN for a first node",
        ),
    ),
)
TRACK_EDGES = _schema(
    "track_edges",
    (
        *_PLACE,
        ("t_parent", "int32", "", "frame of the parent node"),
        ("label_parent", "int32", "", "label of the parent node"),
        ("t_child", "int32", "", "frame of the child node"),
        ("label_child", "int32", "", "label of the child node"),
        ("kind", "str", "", "link, gap (frames skipped) or division"),
        ("probability", "float64", "", "posterior that the edge is right"),
    ),
)
TRACKS = _schema(
    "tracks",
    (
        *_PLACE,
        ("track_id", "int32", "", "track within the study"),
        ("parent_track_id", "int32", "", "mother's track, 0 for none"),
        ("founder_track_id", "int32", "", "first track of the clone (pedigree)"),
        ("generation", "int32", "", "divisions since the founder, which has 0"),
        ("t_start", "int32", "", "first frame"),
        ("t_end", "int32", "", "last frame"),
        ("start_h", "float64", "h", "time of the first frame"),
        ("end_h", "float64", "h", "time of the last frame"),
        ("birth", "str", "", "how it begins: division, start (first frame), entry, appearance"),
        ("fate", "str", "", "how it ends: division, end (last frame), exit, loss, death"),
        ("n_nodes", "int32", "", "frames in which it was seen"),
        ("mean_probability", "float64", "", "mean link probability"),
    ),
)
LOSSES = _schema(
    "losses",
    (
        *_PLACE,
        ("track_id", "int32", "", "track that ends without division, exit or the movie's end"),
        ("end_h", "float64", "h", "its last frame"),
        ("area_change", "float64", "", "log ratio of its last area to what it used to be, NaN where unknown"),
        ("light_change", "float64", "", "the same of its nuclear brightness"),
        ("eccentricity_change", "float64", "", "difference of its last eccentricity to what it used to be"),
        ("death_probability", "float64", "", "probability that it died, NaN where nobody can say"),
        ("evidence", "str", "", "annotated, marker, appearance, appearance of strangers, none"),
        ("note", "str", "", "why there is no probability"),
    ),
)
STRUCTURES = _schema(
    "structures",
    (
        *_FRAME,
        ("structure", "str", "", "organoid, scaffold or vessels: the name of its label image"),
        ("source", "str", "", "channels or classifier that it was found in"),
        ("n", "int32", "", "organoids; of scaffold and vessels 1 where there is any, 0 where there is none"),
        ("amount", "float64", "µm² (3D: µm³)", "its area or volume"),
        ("share", "float64", "", "of the field of view"),
        ("threshold", "float64", "", "brightness above which it begins; NaN where there is no such"),
        ("contrast", "float64", "", "difference of the means in it and beside it in pooled standard deviations"),
    ),
)
CARRY_OVER = _schema(
    "carry_over",
    (
        ("position", "str", "", "imaged field"),
        ("session_parent", "int32", "", "session before the gap"),
        ("session_child", "int32", "", "session after it"),
        ("gap_h", "float64", "h", "from the last frame before it to the first after it"),
        ("density", "float64", "1/µm² (3D: 1/µm³)", "cells after the gap, NaN where not judged"),
        ("sigma", "float64", "µm", "displacement per coordinate over the gap, NaN where unknown"),
        ("ceiling", "float64", "", "chance that the nearest cell is the right one"),
        ("allowed", "bool", "", "whether cells were carried over"),
        ("n_links", "int32", "", "cells that were"),
        ("reason", "str", "", "why, or why not"),
    ),
)
COLONIES = _schema(
    "colonies",
    (
        *_FRAME,
        ("colony", "int32", "", "colony within the position, session and frame"),
        ("colony_id", "int32", "", "identity across sessions, 1..n within the position"),
        ("y", "float64", "µm", "centroid"),
        ("x", "float64", "µm", "centroid"),
        ("y_reg", "float64", "µm", "registered centroid"),
        ("x_reg", "float64", "µm", "registered centroid"),
        ("area", "float64", "µm²", "area of the colony's outline"),
        ("radius", "float64", "µm", "radius of the circle of that area"),
        ("n_cells", "int32", "", "cells in it"),
        ("founders", "str", "", "colony_ids of the first session that it descends from, ';' separated"),
    ),
)
"""Further columns: ``fraction_<lineage>`` per lineage marker of the recipe."""

COLONY_EDGES = _schema(
    "colony_edges",
    (
        ("position", "str", "", "imaged field"),
        ("session_parent", "int32", "", "earlier session"),
        ("colony_parent", "int32", "", "colony in it"),
        ("session_child", "int32", "", "later session"),
        ("colony_child", "int32", "", "colony in it"),
        ("kind", "str", "", "same, merge, split, gap (one session missed it; edited: link) or refused"),
        ("probability", "float64", "", "P(same colony)"),
    ),
)
NICHE_METRICS = _schema(
    "niche_metrics",
    (
        *_FRAME,
        (
            "metric",
            "str",
            "",
            "vessel_length_density, median_distance_vessel, proximity_effect_vessel, cross_k...",
        ),
        ("subject", "str", "", "which cells or structure: all, HSPC, erythroid..."),
        ("value", "float64", "", "the estimate"),
        ("low", "float64", "", "lower end of its 95 % interval or null band, NaN where none"),
        ("high", "float64", "", "upper end"),
        ("null_mean", "float64", "", "mean under the null model, NaN where none"),
        ("p_value", "float64", "", "Monte-Carlo p against the null model, NaN where none"),
        ("unit", "str", "", "unit of the value"),
        ("note", "str", "", "why a value is missing or what to beware of"),
    ),
)
NICHE_CURVES = _schema(
    "niche_curves",
    (
        *_FRAME,
        ("curve", "str", "", "distance_cdf_vessel, cross_l_<a>_<b>, ..."),
        ("subject", "str", "", "which cells"),
        ("r", "float64", "µm", "argument"),
        ("observed", "float64", "", "observed function"),
        ("null_mean", "float64", "", "mean of the null simulations"),
        ("low", "float64", "", "lower global 95 % envelope"),
        ("high", "float64", "", "upper global 95 % envelope"),
    ),
)
ONSETS = _schema(
    "onsets",
    (
        *_PLACE,
        ("track_id", "int32", "", "track in which the marker comes on, or that was followed without"),
        ("founder_track_id", "int32", "", "its clone"),
        ("generation", "int32", "", "its generation"),
        ("lineage", "str", "", "lineage whose marker came on, '' for none (censored)"),
        ("event", "str", "", "onset, division, death, loss, exit, end"),
        ("entry_h", "float64", "h", "begin of observation (left truncation)"),
        ("left_h", "float64", "h", "last time seen negative"),
        ("right_h", "float64", "h", "first time seen positive; inf where censored"),
    ),
)
EMERGENCE = _schema(
    "emergence",
    (
        ("condition", "str", "", "condition, 'all' for pooled"),
        ("organoid", "str", "", "organoid, 'all' for the condition's mean"),
        ("lineage", "str", "", "competing event"),
        ("time_h", "float64", "h", "time since the start of observation"),
        ("cumulative_incidence", "float64", "", "Aalen-Johansen estimate"),
        ("low", "float64", "", "lower 95 % limit (organoid bootstrap for conditions)"),
        ("high", "float64", "", "upper 95 % limit"),
        ("at_risk", "int32", "", "tracks at risk"),
    ),
)
COLONY_GROWTH = _schema(
    "colony_growth",
    (
        ("position", "str", "", "imaged field"),
        ("organoid", "str", "", "organoid"),
        ("condition", "str", "", "condition"),
        ("colony_id", "int32", "", "identity across sessions"),
        ("n_sessions", "int32", "", "sessions in which it was seen"),
        ("growth_rate", "float64", "1/h", "slope of log cell count"),
        ("doubling_time", "float64", "h", "ln 2 / slope, NaN where it does not grow"),
        ("merged", "bool", "", "whether it merged with another"),
    ),
)
COMPARISONS = _schema(
    "comparisons",
    (
        ("endpoint", "str", "", "what is compared"),
        ("unit", "str", "", "its unit"),
        ("condition_a", "str", "", "reference"),
        ("condition_b", "str", "", "compared with it"),
        ("n_a", "int32", "", "organoids of the reference"),
        ("n_b", "int32", "", "organoids of the other"),
        ("mean_a", "float64", "", "mean over organoids"),
        ("mean_b", "float64", "", "mean over organoids"),
        ("difference", "float64", "", "mean_b - mean_a"),
        ("low", "float64", "", "lower 95 % limit of the difference"),
        ("high", "float64", "", "upper 95 % limit"),
        ("p_value", "float64", "", "permutation p over organoids"),
        ("smallest_p", "float64", "", "smallest p that this number of organoids can give"),
        ("p_adjusted", "float64", "", "Benjamini-Hochberg over the endpoints"),
    ),
)
ORGANOID_SUMMARY = _schema(
    "organoid_summary",
    (
        ("organoid", "str", "", "organoid"),
        ("condition", "str", "", "condition"),
        ("endpoint", "str", "", "what is summarised"),
        ("value", "float64", "", "one value per organoid"),
        ("unit", "str", "", "its unit"),
    ),
)

ALL: dict[str, Schema] = {
    s.name: s
    for s in (
        LAYOUT, FRAMES, TRANSFORMS, CELLS, TRACK_NODES, TRACK_EDGES, TRACKS, LOSSES, CARRY_OVER, STRUCTURES, COLONIES,
        COLONY_EDGES,
        NICHE_METRICS, NICHE_CURVES, ONSETS, EMERGENCE, COLONY_GROWTH, COMPARISONS, ORGANOID_SUMMARY,
    )
}  # fmt: skip
"""Every schema by name."""
