"""When a lineage marker comes on in a cell: thresholds with hysteresis, k frames in a row, interval-censored.

An onset is counted once, in the cell in which it happens; what descends from a positive cell is positive by inheritance
and no longer at risk. Cells that are positive when they are first seen (`prevalent`) came on before observation began:
they are listed, and left out of incidences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage.marker_runs import MarkerOnsets, last_known, one_marker_onsets
from napari_marrow.lineage.pedigree import Pedigree
from napari_marrow.lineage.thresholds import intensity_column, marker_thresholds
from napari_marrow.schemas import ONSETS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OnsetSettings:
    """How a marker's onset is decided.

    Attributes
    ----------
    consecutive : int
        Measured frames in a row that confirm an onset; they may go on in a daughter. A track with fewer measured frames
        must be positive in all of them.
    hysteresis : float
        A positive cell stays positive until it falls below this fraction of the threshold, in (0, 1].
    thresholds : mapping
        Channel to threshold [counts] from a negative control; others are estimated by a two-component mixture.
    background : mapping
        Channel to what is subtracted from its intensities before anything else: a number [counts], or the name of a
        column of the nodes that holds each cell's own (a ring around it, the frame's median). In a study the step
        *correct* has taken it off the pixels already.
    bleaching_per_frame : mapping
        Channel to the fraction of signal lost per frame; intensities are divided by (1 - rate)^t.
    quantity : {"mean", "total"}
        ``mean``: brightness of the cell. ``total``: brightness times area over the median area, which does not rise
        when a cell rounds up nor fall when it spreads; given thresholds must be of the same quantity.
    min_cells : int
        Cells needed for a mixture.
    min_separation : float
        Ashman's D needed for a mixture.
    """

    consecutive: int = 2
    hysteresis: float = 0.7
    thresholds: Mapping[str, float] = field(default_factory=dict)
    background: Mapping[str, float | str] = field(default_factory=dict)
    bleaching_per_frame: Mapping[str, float] = field(default_factory=dict)
    quantity: Literal["mean", "total"] = "mean"
    min_cells: int = 30
    min_separation: float = 2.5

    def __post_init__(self) -> None:
        if self.consecutive < 1:
            raise SettingsError(f"consecutive is {self.consecutive}: an onset needs 1 frame or more.")
        if self.quantity not in ("mean", "total"):
            raise SettingsError(f"Unknown quantity {self.quantity!r}: choose mean or total.")
        if not 0 < self.hysteresis <= 1:
            raise SettingsError(f"hysteresis is {self.hysteresis}: give a fraction of the threshold in (0, 1].")
        for channel, level in self.background.items():
            if not isinstance(level, str) and not np.isfinite(level):
                raise SettingsError(f"The background of {channel} is {level}: give counts, or the name of a column.")
        for channel, rate in self.bleaching_per_frame.items():
            if not 0 <= rate < 1:
                raise SettingsError(f"The bleaching of {channel} is {rate} per frame: give a fraction in [0, 1).")


def marker_onsets(
    tracks: pd.DataFrame | Pedigree,
    nodes: pd.DataFrame,
    *,
    markers: Mapping[str, str],
    settings: OnsetSettings | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the onset of lineage markers in every track that was not positive by inheritance.

    Parameters
    ----------
    tracks : pandas.DataFrame or Pedigree
        TRACKS table.
    nodes : pandas.DataFrame
        TRACK_NODES joined with the CELLS' intensities: position, session, t, time_h, track_id and
        ``intensity_<channel>`` for each marker. NaN intensities (channel not imaged in the frame) are left out.
    markers : mapping
        Lineage to channel.
    settings : OnsetSettings, optional

    Returns
    -------
    onsets : pandas.DataFrame
        ONSETS table. ``event`` is ``onset``, the track's fate where no marker came on, or ``prevalent`` for tracks of
        unknown history that are positive when first measured (left_h = -inf). Of several markers the first to come on
        wins; of two in the same frame, the one further above its threshold. `entry_h` of a founder is its first
        measured frame, of a daughter her mother's last one, so that no time at risk is lost between the two; `left_h`
        of a track that ends without onset is the last time it was known to be negative (of a dead cell its last frame).
        Further columns `followed_from_h` and `followed_to_h`: hours over which the nucleus was followed after its line
        was first looked at, whether markers were looked at or not, a daughter's from her own first frame on, and to
        the middle between its last frame and the next where it ends between them; NaN where markers never were looked
        at. `watched_to_h`: the last
        look at which an onset could still have been confirmed, up to which a cell is at risk of one (with two frames in
        a row the last look but one of a cell that leaves no daughters); of an onset the look that confirmed it, up to
        which the cell's death would have counted as that of a negative one.
    thresholds : pandas.DataFrame
        As `marker_thresholds`; a lineage without threshold has no onsets, and its note says why.

    Raises
    ------
    TableError
        If a column is missing or a node belongs to no track.
    SettingsError
        If no marker is given.
    """
    settings = settings or OnsetSettings()
    if not markers:
        raise SettingsError("No lineage marker is given: name at least one, for example erythroid: CD235a.")
    pedigree = tracks if isinstance(tracks, Pedigree) else Pedigree.from_tracks(tracks)
    measured = _prepare(pedigree, nodes, markers, settings)
    thresholds = marker_thresholds(
        measured,
        markers,
        given=settings.thresholds,
        min_cells=settings.min_cells,
        min_separation=settings.min_separation,
    )
    best = _Best.nothing(len(pedigree))
    watched = _Watched.nothing(len(pedigree))
    levels = thresholds["threshold"].to_numpy(dtype=np.float64)
    for number, (channel, threshold) in enumerate(zip(thresholds["channel"], levels, strict=True)):
        if np.isfinite(threshold):
            found = _one_marker(pedigree, measured, channel, float(threshold), settings)
            best.take(number, found)
            watched = watched.joined(found)
    return _table(pedigree, best, watched, list(markers)), thresholds


def classify_cells(
    cells: pd.DataFrame, markers: Mapping[str, str], *, thresholds: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Name each cell's lineage from its intensities in one frame.

    Parameters
    ----------
    cells : pandas.DataFrame
        CELLS table with ``intensity_<channel>``.
    markers : mapping
        Lineage to channel.
    thresholds : pandas.DataFrame, optional
        As returned by `marker_thresholds`; estimated from these cells by default.

    Returns
    -------
    pandas.DataFrame
        With the index and the columns position, session, t, label (as far as present) of `cells`, and `lineage`: the
        one marker that is on, ``""`` for none, ``"ambiguous"`` for several. A lineage without threshold is never named.
    """
    table = marker_thresholds(cells, markers) if thresholds is None else thresholds
    names = np.array([*table["lineage"], "ambiguous", ""], dtype=object)
    on = np.zeros((len(cells), len(table)), dtype=bool)
    levels = table["threshold"].to_numpy(dtype=np.float64)
    for i, (channel, threshold) in enumerate(zip(table["channel"], levels, strict=True)):
        if np.isfinite(threshold):
            on[:, i] = intensity_column(cells, str(channel)).to_numpy(dtype=np.float64) >= threshold
    number = on.sum(axis=1)
    which = np.where(
        number == 1, on.argmax(axis=1) if len(table) else 0, np.where(number > 1, len(table), len(table) + 1)
    )
    out = cells[[c for c in ("position", "session", "t", "label") if c in cells.columns]].copy()
    out["lineage"] = names[which]
    return out


def track_lineages(pedigree: Pedigree, onsets: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return each track's lineage at its end, its own or inherited; "" for none."""
    lineage = np.full(len(pedigree), "", dtype=object)
    mine = onsets[onsets["event"].isin(["onset", "prevalent"])]
    rows = pedigree.rows_of(mine)
    lineage[rows[rows >= 0]] = mine["lineage"].to_numpy()[rows >= 0]
    for level in pedigree.levels()[1:]:
        heir = level[lineage[level] == ""]
        lineage[heir] = lineage[pedigree.mother[heir]]
    return lineage


@dataclass(frozen=True, eq=False)
class _Watched:
    """Per track: first and last time at which any marker was measured, and the last at which an onset was confirmed."""

    first_h: Floats
    last_h: Floats
    confirmed_h: Floats

    @classmethod
    def nothing(cls, n: int) -> _Watched:
        return cls(np.full(n, np.inf), np.full(n, -np.inf), np.full(n, -np.inf))

    def joined(self, found: MarkerOnsets) -> _Watched:
        return _Watched(
            np.fmin(self.first_h, found.first_h),
            np.fmax(self.last_h, found.last_h),
            np.fmax(self.confirmed_h, found.confirmed_h),
        )


@dataclass(eq=False)
class _Best:
    """Per track: the first of all markers' onsets."""

    lineage: Ints
    left_h: Floats
    right_h: Floats
    prevalent: Bools
    excess: Floats
    sure_h: Floats

    @classmethod
    def nothing(cls, n: int) -> _Best:
        return cls(
            np.full(n, -1, dtype=np.int64),
            np.full(n, -np.inf),
            np.full(n, np.inf),
            np.zeros(n, bool),
            np.full(n, -np.inf),
            np.full(n, -np.inf),
        )

    def take(self, lineage: int, found: MarkerOnsets) -> None:
        """Keep whichever is earlier; at the same time, whichever is brighter."""
        earlier = found.right_h < self.right_h
        earlier |= np.isfinite(found.right_h) & (found.right_h == self.right_h) & (found.excess > self.excess)
        self.lineage[earlier] = lineage
        for mine, new in (
            (self.left_h, found.left_h),
            (self.right_h, found.right_h),
            (self.prevalent, found.prevalent),
            (self.excess, found.excess),
            (self.sure_h, found.sure_h),
        ):
            mine[earlier] = new[earlier]


def _prepare(
    pedigree: Pedigree, nodes: pd.DataFrame, markers: Mapping[str, str], settings: OnsetSettings
) -> pd.DataFrame:
    """Nodes of the tracks in order of track and time, with background and bleaching undone."""
    missing = [c for c in ("position", "session", "t", "time_h", "track_id") if c not in nodes.columns]
    if missing:
        raise TableError(f"The track nodes lack the column(s) {', '.join(missing)}.")
    rows = pedigree.rows_of(nodes)
    if (rows < 0).any():
        node = nodes.iloc[int(np.argmax(rows < 0))]
        raise TableError(
            f"A node of {node['position']}, session {node['session']}, belongs to track {node['track_id']}, "
            "which the tracks table does not have."
        )
    out = pd.DataFrame({"row": rows, "t": nodes["t"].to_numpy(), "time_h": nodes["time_h"].to_numpy(dtype=np.float64)})
    size: Floats | float = 1.0
    if settings.quantity == "total":
        if "area" not in nodes.columns:
            raise TableError("The total brightness needs the column 'area' of the cells: join the nodes with it.")
        area = nodes["area"].to_numpy(dtype=np.float64)
        size = area / np.nanmedian(area)
    for channel in dict.fromkeys(markers.values()):
        values = intensity_column(nodes, channel).to_numpy(dtype=np.float64)
        values = values - _background(nodes, channel, settings)
        rate = settings.bleaching_per_frame.get(channel, 0.0)
        out[f"intensity_{channel}"] = size * values / (1 - rate) ** out["t"].to_numpy(dtype=np.float64)
    return out.sort_values(["row", "time_h"], kind="stable", ignore_index=True)


def _background(nodes: pd.DataFrame, channel: str, settings: OnsetSettings) -> Floats | float:
    level = settings.background.get(channel, 0.0)
    if not isinstance(level, str):
        return float(level)
    if level not in nodes.columns:
        raise TableError(f"The track nodes lack the column '{level}' with the background of {channel}.")
    return nodes[level].to_numpy(dtype=np.float64)


def _one_marker(
    pedigree: Pedigree, measured: pd.DataFrame, channel: str, threshold: float, settings: OnsetSettings
) -> MarkerOnsets:
    looks = measured.loc[np.isfinite(measured[f"intensity_{channel}"])]
    return one_marker_onsets(
        pedigree, looks["row"].to_numpy(), looks["time_h"].to_numpy(),
        looks[f"intensity_{channel}"].to_numpy(dtype=np.float64),
        threshold=threshold, consecutive=settings.consecutive, hysteresis=settings.hysteresis,
    )  # fmt: skip


def _followed(pedigree: Pedigree, entry: Floats, heir: Bools, measured: Bools) -> tuple[Floats, Floats]:
    """Hours over which each nucleus was followed after its line was first looked at; NaN where it never was.

    A death is known of cells only that were seen alive: they are followed from their own first frame. One that divides,
    dies or is lost does so between its last frame and the next, on average after half of that time.
    """
    start, end = (pedigree.tracks[c].to_numpy(dtype=np.float64) for c in ("start_h", "end_h"))
    frames = (pedigree.tracks["t_end"] - pedigree.tracks["t_start"]).to_numpy(dtype=np.float64)
    several = frames > 0
    step = float(np.median((end - start)[several] / frames[several])) if several.any() else 0.0
    division = pedigree.division_h()
    goes = pedigree.tracks["fate"].isin(["death", "loss", "exit"]).to_numpy()
    finish = np.where(np.isfinite(division), (division + end) / 2, end + np.where(goes, step / 2, 0.0))
    begin = start
    # Before its first look a line is only known because it lived to see it.
    begin = np.where(heir, begin, np.maximum(begin, entry))
    known = heir | measured
    return np.where(known, begin, np.nan), np.where(known, np.maximum(finish, begin), np.nan)


def _table(pedigree: Pedigree, best: _Best, watched: _Watched, lineages: list[str]) -> pd.DataFrame:
    tracks = pedigree.tracks
    mother = pedigree.mother
    own = best.lineage >= 0
    inherited = np.zeros(len(pedigree), dtype=bool)
    for level in pedigree.levels()[1:]:
        inherited[level] = (own | inherited)[mother[level]]
    start, end = (tracks[c].to_numpy(dtype=np.float64) for c in ("start_h", "end_h"))
    measured = np.isfinite(watched.last_h)
    # A line of descent is at risk from when it was first known to be negative. A daughter takes over where her mother
    # was last measured: no hour is lost between the two, and none is claimed in which nobody looked.
    known = last_known(pedigree, watched.last_h)
    heir = (mother >= 0) & np.isfinite(known[mother])
    entry = np.where(heir, known[mother], np.where(measured, watched.first_h, start))
    # Cells of unknown history (no mother seen) that are on when first measured came on before anyone looked.
    event = np.where(own, np.where(best.prevalent, "prevalent", "onset"), tracks["fate"].astype(str).to_numpy())
    seen_until = np.where(measured, np.maximum(watched.last_h, entry), entry)
    dead = (tracks["fate"] == "death").to_numpy() & measured
    left = np.where(own, best.left_h, np.where(dead, np.maximum(end, entry), seen_until))
    left = np.where(own & ~best.prevalent, np.maximum(left, np.minimum(entry, best.right_h)), left)
    out = tracks[["position", "session", "track_id", "founder_track_id", "generation"]].copy()
    out["lineage"] = np.array([*lineages, ""], dtype=object)[best.lineage]
    out["event"] = event
    out["entry_h"] = entry
    out["left_h"] = left
    out["right_h"] = np.where(own, best.right_h, np.inf)
    out["followed_from_h"], out["followed_to_h"] = _followed(pedigree, entry, heir, measured)
    out["watched_to_h"] = np.where(own, best.sure_h, np.maximum(watched.confirmed_h, entry))
    return ONSETS.conform(out[~inherited].reset_index(drop=True))
