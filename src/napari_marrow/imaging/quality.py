"""Quality flags of frames, judged against the other frames of the same session."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.schemas import QUALITY_FLAGS

FLAGS = QUALITY_FLAGS
"""Names of the flags, in the order in which they are written."""

_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class QualitySettings:
    """Limits of the quality flags.

    Attributes
    ----------
    saturation : float
        Fraction of saturated pixels above which a channel counts as saturated.
    defocus_ratio : float
        Share of the session's median sharpness below which a frame may be out of focus.
    deviation : float
        Robust standard deviations from the neighbouring frames that a jump or loss must exceed as well.
    jump_ratio : float
        Relative change of the background level that may be a change of medium.
    jump_um : float, µm
        Displacement between two frames that may be a change of medium.
    drift_um : float, µm
        Distance from the session's first frame above which `drift` is set.
    gap_ratio : float
        Interval, in median intervals, above which `gap` is set.
    """

    saturation: float = 0.005
    defocus_ratio: float = 0.6
    deviation: float = 5.0
    jump_ratio: float = 0.08
    jump_um: float = 5.0
    drift_um: float = 5.0
    gap_ratio: float = 1.6

    def __post_init__(self) -> None:
        bad = [name for name, value in asdict(self).items() if not value > 0]
        if bad:
            raise SettingsError(f"Quality settings must be positive numbers: {', '.join(bad)} is not.")


def quality_flags(
    statistics: pd.DataFrame, *, shifts: npt.ArrayLike | None = None, settings: QualitySettings | None = None
) -> pd.DataFrame:
    """Judge the frames of one session against each other.

    ``blank``: every channel is constant, not a number, or noise alone. ``duplicate``: all channels repeat an earlier
    frame bit for bit. ``saturation``: too many pixels of a channel at the detector's maximum. ``defocus``: sharpness,
    as the mean of log ratios over the channels, far below the session's. ``gap``: the interval to the previous frame
    is too long, or time does not go forward. ``drift``: the field has moved away from where the session began.
    ``media_change``: from one frame to the next the field or the background level jumps, and stays.

    Parameters
    ----------
    statistics : DataFrame
        Rows as `statistics_table` gives them.
    shifts : array_like, shape (T, 2), µm, optional
        Displacement (y, x) of each frame from the session's first, in order of t; without it drift is not judged.
    settings : QualitySettings, optional

    Returns
    -------
    DataFrame
        ``t``, ``flags`` (comma separated, '' for none), and one boolean column per flag; one row per frame.

    Raises
    ------
    TableError
        If a column is missing.
    SettingsError
        If the number of shifts is not the number of frames.
    """
    limits = settings or QualitySettings()
    needed = [
        "t",
        "time_s",
        "channel",
        "sd",
        "level",
        "saturation",
        "sharpness",
        "structure",
        "peak",
        "finite",
        "digest",
    ]
    missing = [name for name in needed if name not in statistics.columns]
    if missing:
        raise TableError(f"The frame statistics lack the column(s) {', '.join(missing)}.")
    frames = sorted(statistics["t"].unique())
    wide = {name: _by_channel(statistics, name) for name in needed[3:]}
    time = statistics.groupby("t")["time_s"].first().loc[frames].to_numpy(dtype=np.float64)
    path = None if shifts is None else np.asarray(shifts, dtype=np.float64).reshape(-1, 2)
    if path is not None and len(path) != len(frames):
        raise SettingsError(f"There are {len(frames)} frames and {len(path)} shifts: give one shift per frame.")

    blank = _blank(wide)
    blurred = _defocus(wide["sharpness"].to_numpy(dtype=np.float64), blank, limits)
    keys = wide["digest"].agg("|".join, axis=1)
    flags = {
        "blank": blank,
        "duplicate": keys.duplicated().to_numpy() & ~blank,
        "saturation": (wide["saturation"] > limits.saturation).any(axis=1).to_numpy() & ~blank,
        "defocus": blurred,
        "gap": _gaps(time, limits),
        "drift": _drifted(path, blank, limits),
        "media_change": _jumps(wide["level"].to_numpy(dtype=np.float64), path, blank | blurred, limits),
    }
    table = pd.DataFrame({"t": np.asarray(frames, dtype=np.int32), **{name: flags[name] for name in FLAGS}})
    table.insert(1, "flags", [",".join(n for n in FLAGS if row[n]) for row in table.to_dict("records")])
    return table


def _blank(wide: dict[str, pd.DataFrame]) -> npt.NDArray[np.bool_]:
    """Return frames of which no channel shows anything: constant, noise alone, or far less than the session shows."""
    structure = wide["structure"].fillna(0.0)
    empty = ~(wide["sd"].fillna(0.0) > 0)
    # Noise alone has no peak beyond 7 standard deviations; hot pixels may, so a frame is also held against the others.
    noise = (structure < 0.5) & (wide["peak"].fillna(0.0) < 7.0)
    if len(structure) >= 4:
        noise |= (structure < 0.5) & (structure < 0.05 * structure.median())
    return np.asarray((empty | noise).all(axis=1))


def _by_channel(statistics: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one column per channel, one row per frame in order of t."""
    return statistics.set_index(["t", "channel"])[name].unstack("channel").sort_index()  # noqa: PD010 - no aggregation


def _robust_sd(values: npt.NDArray[np.float64]) -> float:
    return float(_MAD_TO_SD * np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def _defocus(
    sharp: npt.NDArray[np.float64], blank: npt.NDArray[np.bool_], limits: QualitySettings
) -> npt.NDArray[np.bool_]:
    flagged = np.zeros(len(sharp), dtype=bool)
    good = ~blank
    # Without company a frame cannot be called blurred: sharpness has no absolute scale across specimens.
    if good.sum() < 4:
        return flagged
    floor = 1e-6 + 1e-3 * np.nanmedian(sharp[good], axis=0)
    logs = np.log(np.maximum(np.nan_to_num(sharp[good]), floor))
    score = (logs - np.median(logs, axis=0)).mean(axis=1)
    flagged[good] = (score < np.log(limits.defocus_ratio)) & (score < -limits.deviation * _robust_sd(score))
    return flagged


def _gaps(time: npt.NDArray[np.float64], limits: QualitySettings) -> npt.NDArray[np.bool_]:
    flagged = np.zeros(len(time), dtype=bool)
    steps = np.diff(time)
    forward = steps[steps > 0]
    if len(steps) == 0:
        return flagged
    usual = float(np.median(forward)) if forward.size else 0.0
    flagged[1:] = (steps <= 0) | ((steps > limits.gap_ratio * usual) & (len(steps) >= 2))
    return flagged


def _drifted(
    path: npt.NDArray[np.float64] | None, blank: npt.NDArray[np.bool_], limits: QualitySettings
) -> npt.NDArray[np.bool_]:
    if path is None:
        return np.zeros(len(blank), dtype=bool)
    return np.asarray((np.hypot(path[:, 0], path[:, 1]) > limits.drift_um) & ~blank)


def _jumps(
    level: npt.NDArray[np.float64],
    path: npt.NDArray[np.float64] | None,
    unfit: npt.NDArray[np.bool_],
    limits: QualitySettings,
) -> npt.NDArray[np.bool_]:
    """Flag the first frame after a step that lasts: medians of three frames before and after differ by as much.

    A frame that is blank or out of focus has no level or place to be compared.
    """
    flagged = np.zeros(len(unfit), dtype=bool)
    good = np.flatnonzero(~unfit)
    if good.size < 4:
        return flagged
    logs = np.log(np.maximum(level[good], 1e-6))
    usable = np.isfinite(logs).all(axis=0)
    hit = np.zeros(good.size, dtype=bool)
    for channel in np.flatnonzero(usable):
        hit |= _lasting_steps(logs[:, channel, None], np.log1p(limits.jump_ratio), limits.deviation)
    if path is not None:
        hit |= _lasting_steps(path[good], limits.jump_um, limits.deviation)
    flagged[good] = hit
    return flagged


def _lasting_steps(values: npt.NDArray[np.float64], least: float, deviation: float) -> npt.NDArray[np.bool_]:
    """Return where `values` (n, d) step by more than `least` and `deviation` robust SDs, and stay there."""
    steps = np.diff(values, axis=0)
    size = np.linalg.norm(steps - np.median(steps, axis=0), axis=1)
    hit = np.zeros(len(values), dtype=bool)
    for i in np.flatnonzero(size > max(least, deviation * _MAD_TO_SD * float(np.median(size)))):
        before = np.median(values[max(0, i - 2) : i + 1], axis=0)
        after = np.median(values[i + 1 : i + 4], axis=0)
        hit[i + 1] = np.linalg.norm(after - before) > 0.6 * size[i]
    return hit
