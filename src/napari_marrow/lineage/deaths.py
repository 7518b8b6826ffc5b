"""Which lost cells died: what a cell looked like before it was lost, against cells that were seen to live on.

A tracker cannot tell death from loss: both end a track. A dying cell shrinks and its nucleus condenses for some hours
before it falls apart, a cell that segmentation missed looks as it always did. What living and dividing cells do over
the same time is known from the movie itself; what remains of the losses is the dying ones, if there are such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage.pedigree import Ints, Pedigree
from napari_marrow.lineage.thresholds import intensity_column
from napari_marrow.schemas import LOSSES

Floats = npt.NDArray[np.float64]
CHANGES = ("area_change", "light_change", "eccentricity_change")
_FREEDOM = 5.0  # of the t distributions: tails as heavy as those of segmented areas
_MOST_CONTROLS = 4000


@dataclass(frozen=True)
class DeathSettings:
    """How deaths are told from losses.

    Attributes
    ----------
    dying_h : float
        Time over which a dying cell is seen to change before it is lost [h].
    light_channel : str
        Channel that stains nuclei; left out where the nodes have no such intensity.
    death_channel : str, optional
        Channel of a death marker (annexin V, caspase, propidium iodide). Where it is given it decides alone.
    death_threshold : float, optional
        Intensity from which that marker is on; needed with `death_channel`.
    reference_frames : int
        Frames before the dying time that say what the cell used to look like.
    min_losses : int
        Losses that a decision from appearance needs.
    seed : int
        Of the choice of living cells to compare with.
    """

    dying_h: float = 4.0
    light_channel: str = "nuclei"
    death_channel: str | None = None
    death_threshold: float | None = None
    reference_frames: int = 8
    min_losses: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.dying_h > 0:
            raise SettingsError(f"dying_h is {self.dying_h}: give hours above 0.")
        if self.reference_frames < 1 or self.min_losses < 4:
            raise SettingsError("reference_frames must be 1 or more, min_losses 4 or more.")
        if self.death_channel is not None and self.death_threshold is None:
            raise SettingsError(f"The death marker {self.death_channel} has no threshold: give death_threshold.")


def death_probabilities(
    tracks: pd.DataFrame | Pedigree, nodes: pd.DataFrame, *, settings: DeathSettings | None = None
) -> pd.DataFrame:
    """Give every lost cell the probability that it died.

    Parameters
    ----------
    tracks : pandas.DataFrame or Pedigree
        TRACKS table.
    nodes : pandas.DataFrame
        TRACK_NODES joined with `area` [µm² or µm³] and, where measured, `eccentricity` and ``intensity_<channel>``.
    settings : DeathSettings, optional

    Returns
    -------
    pandas.DataFrame
        LOSSES table, a row per track of fate ``loss`` or ``death``: `area_change`, `light_change` (log ratios of the
        last frame to what the cell used to look like), `eccentricity_change`, `death_probability`, `evidence`
        (annotated, marker, appearance, appearance of strangers, none) and `note`. Without evidence the probability is
        NaN: nobody can say. The sum of the probabilities is the expected number of deaths among the losses.

    Raises
    ------
    TableError
        If a column is missing or a node belongs to no track.

    Notes
    -----
    Changes of losses are a mixture π₀ f₀ + π_d f_d + π₁ f₁: f₀ of cells that live on (windows after which the cell is
    seen for another `dying_h`), f_d of cells about to divide, both multivariate t with 5 degrees of freedom fitted to
    the same movie and kept; f₁ and the shares are found by expectation maximisation and taken as death only if its
    cells shrink and the Bayesian information criterion wants it. A cell lost too early to have a past of its own is
    compared with the median cell of its frame, against living cells compared likewise.

    It cannot be known whether a cell died that was lost before it showed anything (frames further apart than dying
    takes), that left the field, or whose loss and shrinking have one cause (sinking out of focus).
    """
    settings = settings or DeathSettings()
    pedigree = tracks if isinstance(tracks, Pedigree) else Pedigree.from_tracks(tracks)
    fate = pedigree.tracks["fate"].astype(str).to_numpy()
    lost = np.flatnonzero(np.isin(fate, ["loss", "death"]))
    out = pedigree.tracks.loc[lost, ["position", "session", "track_id", "end_h"]].reset_index(drop=True)
    probability = np.full(len(lost), np.nan)
    evidence = np.full(len(lost), "none", dtype=object)
    looks = _Looks.of(pedigree, nodes, settings)
    changes = np.full((len(lost), 3), np.nan)
    seen = looks.stop[lost] > looks.first[lost]
    changes[seen] = _full(looks, looks.changes(looks.stop[lost[seen]] - 1, own=True))
    note = ""
    if settings.death_channel is not None:
        positive = _marker_on(looks, lost, settings)
        probability[:] = positive
        evidence[np.isfinite(positive)] = "marker"
    else:
        note = _by_appearance(pedigree, looks, lost, fate, settings, probability, evidence)
    annotated = fate[lost] == "death"
    probability[annotated] = 1.0
    evidence[annotated] = "annotated"
    for name, values in zip(CHANGES, changes.T, strict=True):
        out[name] = values
    out["death_probability"] = probability
    out["evidence"] = evidence
    once = (looks.stop - looks.first)[lost] < 2
    why = np.where(once, "seen in one frame at most", note or "nothing to compare it with")
    out["note"] = np.where(np.isnan(probability), why, "")
    return LOSSES.conform(out)


def with_deaths(tracks: pd.DataFrame, losses: pd.DataFrame, *, least: float = 0.5) -> pd.DataFrame:
    """Return the tracks with the fate ``death`` where a lost cell more probably died than not.

    Parameters
    ----------
    tracks : pandas.DataFrame
        TRACKS table.
    losses : pandas.DataFrame
        LOSSES table.
    least : float
        Probability from which a loss is a death, in (0, 1].
    """
    if not 0 < least <= 1:
        raise SettingsError(f"least is {least}: give a probability above 0, up to 1.")
    key = ["position", "session", "track_id"]
    dead = losses.loc[losses["death_probability"] >= least, key]
    fates = tracks[key].merge(dead.assign(died=True), on=key, how="left")["died"].notna().to_numpy()
    return tracks.assign(fate=tracks["fate"].astype(str).where(~(fates & (tracks["fate"] == "loss")), "death"))


class _Looks(NamedTuple):
    """Nodes in order of track and time; rows of track i are first[i] to stop[i]."""

    row: Ints
    time: Floats
    values: Floats  # (n, k): log area, log light, eccentricity, as far as measured
    typical: Floats  # (n, k): median of the node's frame
    first: Ints
    stop: Ints
    columns: tuple[int, ...]
    marker: Floats
    dying_h: float
    reference: int

    @classmethod
    def of(cls, pedigree: Pedigree, nodes: pd.DataFrame, settings: DeathSettings) -> _Looks:
        missing = [c for c in ("position", "session", "time_h", "track_id", "area") if c not in nodes.columns]
        if missing:
            raise TableError(f"The track nodes lack the column(s) {', '.join(missing)}: join them with the cells.")
        rows = pedigree.rows_of(nodes)
        if (rows < 0).any():
            raise TableError("A track node belongs to a track that the tracks table does not have.")
        light = f"intensity_{settings.light_channel}"
        columns = [
            _log(_column(nodes, "area")),
            _log(_column(nodes, light)),
            _column(nodes, "eccentricity"),
        ]  # fmt: skip
        used = tuple(i for i, c in enumerate(columns) if i == 0 or np.isfinite(c).mean() > 0.9)
        table = np.column_stack([columns[i] for i in used])
        frame = nodes.groupby(["position", "session", "time_h"], sort=False).ngroup()
        typical = pd.DataFrame(table).groupby(frame.to_numpy()).transform("median").to_numpy()
        time = nodes["time_h"].to_numpy(dtype=np.float64)
        order = np.lexsort((time, rows))
        row = rows[order]
        n = np.arange(len(pedigree))
        marker = np.full(len(nodes), np.nan)
        if settings.death_channel is not None:
            marker = intensity_column(nodes, settings.death_channel).to_numpy(dtype=np.float64)
        return cls(
            row, time[order], table[order], typical[order],
            np.searchsorted(row, n, side="left"), np.searchsorted(row, n, side="right"),
            used, marker[order], settings.dying_h, settings.reference_frames,
        )  # fmt: skip

    def changes(self, at: Ints, *, own: bool) -> Floats:
        """Return how nodes differ from what their cells used to look like (NaN without a past), or from their frame."""
        if not own:
            return self.values[at] - self.typical[at]
        begin = self.first[self.row[at]]
        # The first node of the dying time, found on the line of one track: times there only grow.
        before = at.copy()
        searching = np.ones(len(at), dtype=bool)
        while searching.any():
            searching &= (before >= begin) & (self.time[np.maximum(before, 0)] > self.time[at] - self.dying_h)
            before[searching] -= 1
        index = before[:, None] - np.arange(self.reference)
        inside = index >= begin[:, None]
        past = np.where(inside[:, :, None], self.values[np.maximum(index, 0)], np.nan)
        reference = np.full((len(at), self.values.shape[1]), np.nan)
        some = inside.sum(axis=1) >= 2
        if some.any():
            reference[some] = np.nanmedian(past[some], axis=1)
        return self.values[at] - reference


def _column(nodes: pd.DataFrame, name: str) -> Floats:
    return nodes[name].to_numpy(dtype=np.float64) if name in nodes.columns else np.full(len(nodes), np.nan)


def _log(numbers: Floats) -> Floats:
    return np.where(numbers > 0, np.log(np.where(numbers > 0, numbers, 1.0)), np.nan)


def _full(looks: _Looks, changes: Floats) -> Floats:
    out = np.full((len(changes), 3), np.nan)
    out[:, list(looks.columns)] = changes
    return out


def _marker_on(looks: _Looks, lost: Ints, settings: DeathSettings) -> Floats:
    """1 where the death marker was on within the dying time before the loss, 0 where it was measured and off."""
    out = np.full(len(lost), np.nan)
    for i, row in enumerate(lost):
        part = slice(looks.first[row], looks.stop[row])
        near = looks.time[part] > looks.time[part][-1:].sum() - settings.dying_h
        values = looks.marker[part][near]
        values = values[np.isfinite(values)]
        if len(values):
            out[i] = float((values >= settings.death_threshold).any())
    return out


def _by_appearance(
    pedigree: Pedigree,
    looks: _Looks,
    lost: Ints,
    fate: npt.NDArray[np.object_],
    settings: DeathSettings,
    probability: Floats,
    evidence: npt.NDArray[np.object_],
) -> str:
    """Fill in probability and evidence; return why there is none."""
    has = looks.stop > looks.first
    losses = lost[has[lost] & (fate[lost] == "loss")]
    if len(losses) < settings.min_losses:
        return f"{len(losses)} losses, {settings.min_losses} needed: deaths cannot be told from them"
    living = _living_nodes(looks, settings)
    mothers = np.flatnonzero((fate == "division") & has)
    place = np.searchsorted(lost, losses)
    note = "no group of losses looks like dying cells"
    for own in (True, False):
        ends = looks.changes(looks.stop[losses] - 1, own=own)
        # A cell seen once may be debris or half a newborn: it is not judged.
        usable = np.isfinite(ends).all(axis=1) & (looks.stop[losses] - looks.first[losses] > 1)
        # Cells without a past of their own are young, and young cells are small: they are compared with such.
        peers = living if own else living[np.isnan(looks.changes(living, own=True)).any(axis=1)]
        alive = _finite(looks.changes(peers, own=own))
        dividing = _finite(looks.changes(looks.stop[mothers] - 1, own=own))
        if usable.sum() < settings.min_losses or len(alive) < 20:
            note = "too few living cells with a past to compare the losses with"
            continue
        found = _dying_share(ends[usable], alive, dividing)
        if found is None:
            continue
        p = np.full(len(losses), np.nan)
        p[usable] = found
        new = usable & np.isnan(probability[place])
        probability[place[new]] = p[new]
        evidence[place[new]] = "appearance" if own else "appearance of strangers"
    return note


def _living_nodes(looks: _Looks, settings: DeathSettings) -> Ints:
    """Nodes after which the cell is seen for another dying time, at most `_MOST_CONTROLS` of them."""
    last = looks.time[looks.stop[looks.row] - 1]
    nodes = np.flatnonzero(last - looks.time >= settings.dying_h)
    if len(nodes) > _MOST_CONTROLS:
        nodes = np.sort(np.random.default_rng(settings.seed).choice(nodes, _MOST_CONTROLS, replace=False))
    return nodes.astype(np.int64)


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values).all(axis=1)]


def _dying_share(losses: Floats, alive: Floats, dividing: Floats) -> Floats | None:
    """P(dying) of each loss, None if no component of shrinking cells is wanted."""
    known = [_log_t(losses, *_fit_t(alive))]
    if len(dividing) >= 20:
        known.append(_log_t(losses, *_fit_t(dividing)))
    density = np.exp(np.column_stack(known))
    without = _fit_shares(density)
    shrunk = losses[:, 0] < np.quantile(alive[:, 0], 0.02)
    if shrunk.sum() < 3:
        return None
    weight = np.where(shrunk, 0.9, 0.05)
    share = np.full(density.shape[1] + 1, 1 / (density.shape[1] + 1))
    for _ in range(300):
        centre, spread = _fit_t(losses, weight)
        all_of = np.column_stack([density, np.exp(_log_t(losses, centre, spread))]) * share
        total = all_of.sum(axis=1)
        new = all_of[:, -1] / total
        share = (all_of / total[:, None]).mean(axis=0)
        change = float(np.abs(new - weight).max())
        weight = new
        if change < 1e-5:
            break
    free = losses.shape[1] + losses.shape[1] * (losses.shape[1] + 1) / 2 + 1
    gain = float(np.log(total).sum()) - without
    if centre[0] >= np.quantile(alive[:, 0], 0.1) or gain < 0.5 * free * np.log(len(losses)):
        return None
    return weight


def _fit_shares(density: Floats) -> float:
    share = np.full(density.shape[1], 1 / density.shape[1])
    for _ in range(200):
        part = density * share
        share = (part / part.sum(axis=1, keepdims=True)).mean(axis=0)
    return float(np.log((density * share).sum(axis=1)).sum())


def _fit_t(x: Floats, weight: Floats | None = None) -> tuple[Floats, Floats]:
    """Centre and scatter of a multivariate t by its own expectation maximisation (Lange et al. 1989, JASA 84:881)."""
    w = np.ones(len(x)) if weight is None else weight
    centre, spread = np.median(x, axis=0) if weight is None else np.average(x, axis=0, weights=w), np.cov(x.T)
    k = x.shape[1]
    floor = np.eye(k) * 1e-3
    spread = np.atleast_2d(spread) + floor
    for _ in range(40):
        away = x - centre
        u = w * (_FREEDOM + k) / (_FREEDOM + _squared_distance(away, spread))
        before = centre
        centre = u @ x / u.sum()
        away = x - centre
        # The floor keeps a handful of losses from collapsing onto a line.
        new = (u[:, None] * away).T @ away / max(w.sum(), 1.0) + floor
        change = max(float(np.abs(new - spread).max()), float(np.abs(centre - before).max()))
        spread = new
        if change < 1e-9:
            break
    return centre, spread


def _squared_distance(away: Floats, spread: Floats) -> Floats:
    return np.asarray(((away @ np.linalg.inv(spread)) * away).sum(axis=1), dtype=np.float64)


def _log_t(x: Floats, centre: Floats, spread: Floats) -> Floats:
    k = x.shape[1]
    away = x - centre
    distance = _squared_distance(away, spread)
    constant = gammaln((_FREEDOM + k) / 2) - gammaln(_FREEDOM / 2) - 0.5 * k * np.log(_FREEDOM * np.pi)
    log_det = np.linalg.slogdet(spread)[1]
    return np.asarray(constant - 0.5 * log_det - 0.5 * (_FREEDOM + k) * np.log1p(distance / _FREEDOM), dtype=np.float64)
