"""What is remembered of a frame to judge it by: brightness, saturation, sharpness, structure, and what repeats."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError

_ROWS = 128
"""Rows, at least, that a tall plane's fine structures and its digest are taken from."""
_BLOCK = 4
"""Of them, how many lie together."""
_TALL = 512
"""Rows from which on every second one tells as much of coarse structures."""
_SMALLEST = 4


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
    if stack.shape[0] == 1 and stack.dtype in (np.uint8, np.uint16) and min(stack.shape[1:]) >= _SMALLEST:
        survey = _survey(stack[0])
        distribution = _of_counts(survey.counts, stack.dtype, maximum)
        texture = _texture(stack[0], survey)
    else:
        distribution = _distribution(stack if finite is None or share == 1.0 else stack[finite], maximum)
        plane = stack.max(axis=0) if stack.shape[0] > 1 else stack[0]
        texture = _texture(np.nan_to_num(plane, nan=distribution[2]) if share < 1.0 else plane)
    mean, sd, level, saturated = distribution
    sharp, structure, peak = texture
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


@dataclass(frozen=True, eq=False)
class _Survey:
    """What one reading of a plane tells.

    Attributes
    ----------
    counts : ndarray of int64
        Pixels of each value.
    half : ndarray of float32, shape (Y // 2, X // 2)
        Means of 2 x 2 pixels.
    diagonal : float
        Mean absolute second difference over 2 x 2 pixels: a measure of the noise.
    """

    counts: npt.NDArray[np.int64]
    half: npt.NDArray[np.float32]
    diagonal: float


def _survey(plane: npt.NDArray[Any]) -> _Survey:
    """Read a plane of at most 16 bits once: it comes from the disk, and reading it again takes as long as the work."""
    from napari_marrow.imaging.plane_kernels import survey

    by_turn = np.zeros((4, np.iinfo(plane.dtype).max + 1), dtype=np.int64)
    half = np.empty((plane.shape[0] // 2, plane.shape[1] // 2), np.float32)
    diagonal = survey(plane, by_turn, half)
    return _Survey(by_turn.sum(axis=0), half, diagonal)


def _distribution(values: npt.NDArray[Any], maximum: float | None) -> tuple[float, float, float, float]:
    """Return mean, standard deviation, median and share of saturated pixels, of small integers by counting."""
    if values.dtype in (np.uint8, np.uint16):
        from napari_marrow.imaging.plane_kernels import count_values

        by_turn = np.zeros((4, np.iinfo(values.dtype).max + 1), dtype=np.int64)
        count_values(values.reshape(-1), by_turn)
        return _of_counts(by_turn.sum(axis=0), values.dtype, maximum)
    top = _saturation_value(values.dtype, float(values.max()), maximum)
    saturated = 0.0 if top is None else float(np.mean(values >= top))
    mean, sd = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return mean, sd, float(np.median(values)), saturated


def _of_counts(
    counts: npt.NDArray[np.int64], dtype: np.dtype[Any], maximum: float | None
) -> tuple[float, float, float, float]:
    """Return mean, standard deviation, median and share of saturated pixels from the number of pixels of each value."""
    present = np.flatnonzero(counts)
    weights = counts[present]
    size = int(weights.sum())
    mean = float((present * weights).sum()) / size
    sd = float(np.sqrt((np.square(present - mean) * weights).sum() / size))
    below = np.cumsum(weights)
    middle = [present[np.searchsorted(below, k, side="right")] for k in ((size - 1) // 2, size // 2)]
    top = _saturation_value(dtype, float(present[-1]), maximum)
    saturated = 0.0 if top is None else float(weights[present >= top].sum()) / size
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


def _texture(plane: npt.NDArray[Any], survey: _Survey | None = None) -> tuple[float, float, float]:
    """Return sharpness, structure and peak of a plane, 0 without any."""
    if min(plane.shape) < _SMALLEST:
        return 0.0, 0.0, 0.0
    from napari_marrow.imaging.plane_kernels import band_energies, half_kernel, mean_diagonal, pair_mean

    if survey is None:
        plane = plane.astype(np.float32, copy=False)
        half, diagonal = pair_mean(plane), mean_diagonal(plane)
        constant = bool(plane.max() == plane.min())
    else:
        half, diagonal = survey.half, survey.diagonal
        constant = np.count_nonzero(survey.counts) == 1
    if constant:
        return 0.0, 0.0, 0.0
    noise = (diagonal / 2.0 * np.sqrt(np.pi / 2.0)) ** 2
    fine_noise, coarse_noise = noise * _noise_gain(1.0, 2.0), noise / 4.0 * _noise_gain(1.5, 3.0)
    floor = coarse_noise + 1e-12
    # The coarse band is taken at half resolution: a quarter of the work, and noise of a quarter of the variance.
    # Clipped at 4 standard deviations of the noise: hot pixels then weigh little, and real structures still enough.
    # Of a tall plane every second row is looked at: a structure of this band is three rows high and more.
    every = 1 + (half.shape[0] >= _TALL)
    coarse, clipped, peak = band_energies(half, half_kernel(1.5), half_kernel(3.0), 16.0 * floor, every)
    energy = coarse - coarse_noise
    sharp = max(0.0, _fine_energy(plane) - fine_noise) / energy if energy > 0.0 else 0.0
    return sharp, clipped / floor - 1.0, peak / float(np.sqrt(floor))


def _fine_energy(plane: npt.NDArray[Any]) -> float:
    """Return the energy of structures of 1 to 2 px, of a tall plane from blocks of rows that are spread over it."""
    from napari_marrow.imaging.plane_kernels import band_energies, half_kernel, sampled_energy

    fine, coarse = half_kernel(1.0), half_kernel(2.0)
    if plane.shape[0] < 4 * _ROWS:
        return float(band_energies(plane.astype(np.float32, copy=False), fine, coarse, 0.0, 1)[0])
    return float(sampled_energy(plane, fine, coarse, _ROWS // _BLOCK, _BLOCK))


def _noise_gain(fine: float, coarse: float) -> float:
    """Variance of white noise of unit variance after the difference of two Gaussians."""
    return (1 / fine**2 + 1 / coarse**2 - 4 / (fine**2 + coarse**2)) / (4 * np.pi)


def statistics_table(statistics: Iterable[FrameStatistics]) -> pd.DataFrame:
    """Return frame statistics as a table, one row per frame and channel."""
    rows = [asdict(s) for s in statistics]
    columns = list(FrameStatistics.__dataclass_fields__)
    return pd.DataFrame(rows, columns=columns)
