"""Translation between frames of one session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import fft

from napari_marrow.errors import SettingsError
from napari_marrow.imaging.filtering import as_plane, taper, texture
from napari_marrow.imaging.residuals import block_displacements
from napari_marrow.imaging.transform import Transform

_REACH = 6
"""Pixels that a block of a frame may have moved in the field and still be found."""
MIN_CORRELATION = 0.15
"""Correlation of the textures below which a translation is not accepted."""


def register_translation(
    reference: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    spacing: tuple[float, float],
    upsample: int = 10,
    max_shift_um: float | None = None,
) -> Transform:
    """Find the translation that brings one frame onto another of the same session.

    Cross-correlation of band-passed and compressed images by FFT, its peak refined by an up-sampled Fourier transform.
    Cells that move in all directions widen the peak and do not shift it.

    Parameters
    ----------
    reference, moving : array_like, shape (Y, X)
    spacing : (float, float), µm
        Pixel size (y, x).
    upsample : int
        Fractions of a pixel that are resolved.
    max_shift_um : float, optional
        A longer translation is not accepted; a quarter of the shorter side by default.

    Returns
    -------
    Transform
        Kind "translation"; ``shift`` is added to positions of `moving`. Identity and not accepted when a frame has no
        texture.

    Raises
    ------
    SettingsError
        If the shapes differ or the spacing is not positive.

    References
    ----------
    Guizar-Sicairos M, Thurman ST, Fienup JR (2008) Opt Lett 33, 156-158.
    """
    step = _spacing(spacing)
    fixed, other = as_plane(reference, name="reference"), as_plane(moving, name="moving image")
    if fixed.shape != other.shape:
        raise SettingsError(f"Frames of one session must have one shape, not {fixed.shape} and {other.shape}.")
    return _translation(
        _spectrum(_prepare(fixed, step)), _spectrum(_prepare(other, step)), step, upsample, max_shift_um
    )


def _spacing(spacing: tuple[float, float]) -> npt.NDArray[np.float64]:
    step = np.asarray(spacing, dtype=np.float64)
    if step.shape != (2,) or not (step > 0).all():
        raise SettingsError(f"The pixel size must be two positive numbers (y, x) in µm, not {spacing}.")
    return step


def _prepare(plane: npt.NDArray[np.float32], step: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    # A nucleus is about 8 µm wide: keep 1 µm (at least 1 px) to 10 µm.
    fine = tuple(float(max(1.0, 1.0 / s)) for s in step)
    coarse = tuple(float(max(3.0, 10.0 / s)) for s in step)
    return texture(plane, fine=(fine[0], fine[1]), coarse=(coarse[0], coarse[1])) * taper(
        (plane.shape[0], plane.shape[1])
    )


@dataclass(frozen=True)
class _Spectrum:
    """The Fourier transform of a plane, its half that a real plane needs."""

    values: npt.NDArray[np.complex64]
    shape: tuple[int, int]
    norm: float


def _spectrum(plane: npt.NDArray[np.float32]) -> _Spectrum:
    norm = float(np.sqrt(np.square(plane, dtype=np.float64).sum()))
    return _Spectrum(fft.rfft2(plane), (plane.shape[0], plane.shape[1]), norm)


def _best_shift(fixed: _Spectrum, moving: _Spectrum, upsample: int) -> tuple[npt.NDArray[np.float64], float]:
    """Return the shift in pixels that brings `moving` onto `fixed`, and the correlation there.

    The circular cross-correlation's largest pixel, then its largest value on a grid of 1/upsample px around it, from
    the same spectrum by a small Fourier sum.
    """
    product = fixed.values * np.conj(moving.values)
    plane = fft.irfft2(product, fixed.shape)
    peak = np.array(np.unravel_index(int(np.argmax(plane)), plane.shape), dtype=np.float64)
    size = np.array(fixed.shape)
    peak = np.where(peak > size // 2, peak - size, peak)
    best = float(plane.max())
    if upsample > 1:
        steps = np.arange(-upsample, upsample + 1) / upsample
        rows, columns = np.fft.fftfreq(fixed.shape[0]), np.fft.rfftfreq(fixed.shape[1])
        twice = np.full(len(columns), 2.0)  # the half of the spectrum that is not stored
        twice[0] = 1.0
        if fixed.shape[1] % 2 == 0:
            twice[-1] = 1.0
        along_y = np.exp(2j * np.pi * (peak[0] + steps)[:, None] * rows).astype(np.complex64)
        along_x = (twice * np.exp(2j * np.pi * (peak[1] + steps)[:, None] * columns)).astype(np.complex64)
        fine = (along_y @ product @ along_x.T).real / (fixed.shape[0] * fixed.shape[1])
        at = np.unravel_index(int(np.argmax(fine)), fine.shape)
        peak = peak + steps[list(at)]
        best = float(fine[at])
    return peak, max(0.0, best / (fixed.norm * moving.norm))


def _translation(
    fixed: _Spectrum,
    moving: _Spectrum,
    step: npt.NDArray[np.float64],
    upsample: int,
    max_shift_um: float | None,
) -> Transform:
    if fixed.norm == 0.0 or moving.norm == 0.0:
        return Transform(kind="translation", accepted=False, correlation=0.0)
    shift, correlation = _best_shift(fixed, moving, upsample)
    limit = max_shift_um if max_shift_um is not None else 0.25 * float(min(np.asarray(fixed.shape) * step))
    moved = shift * step
    accepted = correlation >= MIN_CORRELATION and float(np.hypot(*moved)) <= limit
    return Transform(shift=moved, kind="translation", correlation=correlation, accepted=accepted)


def _overlaid(
    fixed: _Spectrum, moving: _Spectrum, shift: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return both planes, the second one moved by `shift` pixels, and where the second is defined."""
    rows, columns = np.fft.fftfreq(moving.shape[0]), np.fft.rfftfreq(moving.shape[1])
    turn = np.exp(-2j * np.pi * (shift[0] * rows[:, None] + shift[1] * columns)).astype(np.complex64)
    inside = np.ones(moving.shape, dtype=bool)
    for axis, length in enumerate(np.ceil(np.abs(shift)).astype(int)):
        gone = slice(0, length) if shift[axis] > 0 else slice(moving.shape[axis] - length, None)
        inside[(gone, slice(None)) if axis == 0 else (slice(None), gone)] = False
    return fft.irfft2(fixed.values, fixed.shape), fft.irfft2(moving.values * turn, moving.shape), inside


class DriftTracker:
    """Follow the field through a session, one frame at a time, with memory for one frame.

    Each frame is registered to a key frame, not to its predecessor, so that errors do not add up; when the texture
    has changed too much (correlation below `renew`), the last good frame becomes the key frame.

    Parameters
    ----------
    spacing : (float, float), µm
    upsample : int
        Fractions of a pixel that are resolved.
    renew : float
        Correlation below which the key frame is replaced.
    residuals : bool
        Whether to measure what displacement is left, see `add`.
    """

    def __init__(
        self, *, spacing: tuple[float, float], upsample: int = 10, renew: float = 0.5, residuals: bool = False
    ) -> None:
        self._step = _spacing(spacing)
        self._upsample = upsample
        self._renew = renew
        self._residuals = residuals
        self._key: _Spectrum | None = None
        self._key_transform = Transform(kind="translation")
        self._last = Transform(kind="translation")
        self._previous: tuple[_Spectrum, Transform] | None = None

    def add(self, frame: npt.ArrayLike) -> Transform:
        """Return the translation of the next frame into the session's first frame.

        A frame without texture, or one that cannot be placed, keeps the last position and is not accepted. With
        `residuals`, blocks of the frame are compared with the key frame once the field has been put back: the residual
        is the median length of their displacements, and that of the key frame added in quadrature. Where it is far
        above the correlation's own precision, what the frame shows has moved apart: cells, growth, a turn.

        Parameters
        ----------
        frame : array_like, shape (Y, X)
        """
        plane = _spectrum(_prepare(as_plane(frame), self._step))
        if self._key is None:
            if plane.norm == 0.0:
                return Transform(kind="translation", accepted=False, correlation=0.0)
            self._key = plane
            first = Transform(kind="translation", residual=0.0 if self._residuals else float("nan"), correlation=1.0)
            self._key_transform = first
            return first
        if plane.shape != self._key.shape:
            raise SettingsError(f"Frames of one session must have one shape, not {self._key.shape} and {plane.shape}.")
        found = self._place(plane)
        if not found.accepted:
            return Transform(shift=self._last.shift, kind="translation", accepted=False, correlation=found.correlation)
        if self._residuals:
            found = replace(found, residual=self._left_over(plane, found))
        self._last = found
        self._previous = (plane, found)
        return found

    def _left_over(self, plane: _Spectrum, found: Transform) -> float:
        """Return the residual, µm: NaN where fewer than three blocks can be compared."""
        assert self._key is not None
        moved = (found.shift - self._key_transform.shift) / self._step
        blocks = block_displacements(
            *_overlaid(self._key, plane, moved), reach=_REACH, size=int(np.clip(min(plane.shape) // 8, 16, 128))
        )
        if len(blocks.correlation) < 3:
            return float("nan")
        left = float(np.median(np.hypot(*(blocks.displacement * self._step).T)))
        return float(np.hypot(left, np.nan_to_num(self._key_transform.residual)))

    def _place(self, plane: _Spectrum) -> Transform:
        assert self._key is not None
        step = _translation(self._key, plane, self._step, self._upsample, None)
        if self._previous is not None and (not step.accepted or step.correlation < self._renew):
            if plane.norm == 0.0:
                return step
            self._key, self._key_transform = self._previous
            self._previous = None
            step = _translation(self._key, plane, self._step, self._upsample, None)
        return Transform(
            shift=self._key_transform.shift + step.shift,
            kind="translation",
            correlation=step.correlation,
            accepted=step.accepted,
        )


def register_drift(
    frames: Iterable[npt.ArrayLike], *, spacing: tuple[float, float], upsample: int = 10
) -> list[Transform]:
    """Return the translation of every frame of a session into its first frame.

    Parameters
    ----------
    frames : iterable of array_like, shape (Y, X)
        In order of time; may be lazy.
    spacing : (float, float), µm
    upsample : int

    Returns
    -------
    list of Transform
        One per frame; see `DriftTracker`.
    """
    tracker = DriftTracker(spacing=spacing, upsample=upsample)
    return [tracker.add(frame) for frame in frames]
