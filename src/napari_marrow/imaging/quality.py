"""Quality flags of frames, judged against the other frames of the same session."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.schemas import QUALITY_FLAGS

FLAGS = QUALITY_FLAGS
"""Names of the flags, in the order in which they are written."""

_MAD_TO_SD = 1.4826
_ROWS = 128
"""Rows, at least, that the energy of fine structures is taken from."""
_TALL = 512
"""Rows from which on every second one tells as much of coarse structures."""


@dataclass(frozen=True)
class FrameStatistics:
    """What is remembered of one channel of one frame.

    Attributes
    ----------
    t : int
        Frame number within the session.
    time_s : float, s
        Time since the session's first frame.
    channel : str
    mean, sd : float, counts
    level : float, counts
        Median of the pixels: the background of a sparse image.
    saturation : float
        Fraction of pixels at the detector's maximum.
    sharpness : float
        Energy of structures of 1 to 2 px over that of 3 to 6 px, after the noise's share was taken off; falls with
        defocus, does not change with brightness.
    structure : float
        Energy of structures of 3 to 6 px, clipped at 4 standard deviations of the noise, over the noise's own, less 1:
        about 0 for noise alone, at most 15.
    peak : float
        Largest such structure in standard deviations of the noise: about 5 for noise alone.
    finite : float
        Fraction of pixels that are numbers.
    digest : str
        Hash of the raw pixels: equal only for a repeated frame.
    """

    t: int
    time_s: float
    channel: str
    mean: float
    sd: float
    level: float
    saturation: float
    sharpness: float
    structure: float
    peak: float
    finite: float
    digest: str


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


def frame_statistics(
    frame: npt.NDArray[Any], *, t: int, time_s: float, channels: Sequence[str], maximum: float | None = None
) -> list[FrameStatistics]:
    """Measure one frame.

    Parameters
    ----------
    frame : ndarray, shape (C, Z, Y, X)
    t : int
        Frame number within the session.
    time_s : float, s
        Time since the session's first frame.
    channels : sequence of str
        Name of each channel.
    maximum : float, optional
        Value of a saturated pixel, in counts; by default the largest value of an integer dtype, or, when no pixel
        reaches it, 4095 or 16383 when exactly that is the frame's maximum (12- and 14-bit cameras).

    Returns
    -------
    list of FrameStatistics
        One per channel.
    """
    if frame.ndim != 4 or frame.shape[0] != len(channels):
        raise SettingsError(
            f"A frame must have shape (C, Z, Y, X) with {len(channels)} channels ({', '.join(channels)}), "
            f"not {frame.shape}."
        )
    return [_channel_statistics(frame[i], t, time_s, name, maximum) for i, name in enumerate(channels)]


def _channel_statistics(
    stack: npt.NDArray[Any], t: int, time_s: float, channel: str, maximum: float | None
) -> FrameStatistics:
    stack = np.ascontiguousarray(stack)
    finite = np.isfinite(stack) if stack.dtype.kind == "f" else None
    share = 1.0 if finite is None else float(finite.mean())
    if share == 0.0:
        nan = float("nan")
        return FrameStatistics(t, time_s, channel, nan, nan, nan, 0.0, nan, nan, nan, 0.0, _digest(stack, nan, nan))
    values = stack if finite is None or share == 1.0 else stack[finite]
    mean, sd, level, saturated = _distribution(values, maximum)
    plane = stack.max(axis=0) if stack.shape[0] > 1 else stack[0]
    if share < 1.0:
        plane = np.nan_to_num(plane, nan=level)
    sharp, structure, peak = _texture(plane)
    return FrameStatistics(
        t=t,
        time_s=time_s,
        channel=channel,
        mean=mean,
        sd=sd,
        level=level,
        saturation=saturated,
        sharpness=sharp,
        structure=structure,
        peak=peak,
        finite=share,
        digest=_digest(stack, mean, sd),
    )


def _digest(stack: npt.NDArray[Any], mean: float, sd: float) -> str:
    """Return what two frames share only by repetition: moments of all pixels, and the CRC-32 of rows spread over them.

    A camera's noise makes every row another one each time, so that some hundred rows tell as much as all.
    """
    every = max(1, stack.shape[-2] // _ROWS)
    rows = stack if every == 1 else np.ascontiguousarray(stack[..., ::every, :])
    return f"{zlib.crc32(rows.data):08x} {mean!r} {sd!r}"


def _distribution(values: npt.NDArray[Any], maximum: float | None) -> tuple[float, float, float, float]:
    """Return mean, standard deviation, median and share of saturated pixels, of small integers by counting."""
    if values.dtype not in (np.uint8, np.uint16):
        top = _saturation_value(values.dtype, float(values.max()), maximum)
        saturated = 0.0 if top is None else float(np.mean(values >= top))
        return (
            float(values.mean(dtype=np.float64)),
            float(values.std(dtype=np.float64)),
            float(np.median(values)),
            saturated,
        )
    from napari_marrow.imaging.plane_kernels import count_values

    by_turn = np.zeros((4, np.iinfo(values.dtype).max + 1), dtype=np.int64)
    count_values(values.reshape(-1), by_turn)
    counts = by_turn.sum(axis=0)
    present = np.flatnonzero(counts)
    weights = counts[present]
    mean = float((present * weights).sum()) / values.size
    sd = float(np.sqrt((np.square(present - mean) * weights).sum() / values.size))
    below = np.cumsum(weights)
    middle = [present[np.searchsorted(below, k, side="right")] for k in ((values.size - 1) // 2, values.size // 2)]
    top = _saturation_value(values.dtype, float(present[-1]), maximum)
    saturated = 0.0 if top is None else float(weights[present >= top].sum()) / values.size
    return mean, sd, float(middle[0] + middle[1]) / 2, saturated


def _saturation_value(dtype: np.dtype[Any], peak: float, maximum: float | None) -> float | None:
    """Return the count of a saturated pixel, None where it cannot be known (a float image without a given value)."""
    if maximum is not None:
        return maximum
    if dtype.kind not in "iu":
        return None
    return peak if peak in (4095, 16383) else float(np.iinfo(dtype).max)


def sharpness(plane: npt.NDArray[np.float32]) -> float:
    """Return the energy of fine over that of coarse structures, free of the noise's share.

    Differences of Gaussians (1, 2 px) and (3, 6 px); white noise of standard deviation s adds a known multiple of s²
    to each, s being estimated from the finest diagonal differences (Immerkaer 1996).

    Parameters
    ----------
    plane : ndarray of float32, shape (Y, X), counts

    Returns
    -------
    float
        0 for a plane without structure.
    """
    return _texture(plane)[0]


def _texture(pixels: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Return sharpness, structure and peak of a plane, 0 without any."""
    if min(pixels.shape) < 4 or pixels.max() == pixels.min():
        return 0.0, 0.0, 0.0
    from napari_marrow.imaging.plane_kernels import band_energies, half_kernel, mean_diagonal, pair_mean

    plane = pixels.astype(np.float32, copy=False)
    noise = (mean_diagonal(plane) / 2.0 * np.sqrt(np.pi / 2.0)) ** 2
    fine_noise, coarse_noise = noise * _noise_gain(1.0, 2.0), noise / 4.0 * _noise_gain(1.5, 3.0)
    floor = coarse_noise + 1e-12
    fine, _, _ = band_energies(plane, half_kernel(1.0), half_kernel(2.0), 0.0, max(1, plane.shape[0] // _ROWS))
    # The coarse band is taken at half resolution: a quarter of the work, and noise of a quarter of the variance.
    # Clipped at 4 standard deviations of the noise: hot pixels then weigh little, and real structures still enough.
    # Of a tall plane every second row is looked at: a structure of this band is three rows high and more.
    half = pair_mean(pixels)
    every = 1 + (half.shape[0] >= _TALL)
    coarse, clipped, peak = band_energies(half, half_kernel(1.5), half_kernel(3.0), 16.0 * floor, every)
    energy = coarse - coarse_noise
    sharp = max(0.0, fine - fine_noise) / energy if energy > 0.0 else 0.0
    return sharp, clipped / floor - 1.0, peak / float(np.sqrt(floor))


def _noise_gain(fine: float, coarse: float) -> float:
    """Variance of white noise of unit variance after the difference of two Gaussians."""
    return (1 / fine**2 + 1 / coarse**2 - 4 / (fine**2 + coarse**2)) / (4 * np.pi)


def statistics_table(statistics: Iterable[FrameStatistics]) -> pd.DataFrame:
    """Return frame statistics as a table, one row per frame and channel."""
    rows = [asdict(s) for s in statistics]
    columns = list(FrameStatistics.__dataclass_fields__)
    return pd.DataFrame(rows, columns=columns)


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
