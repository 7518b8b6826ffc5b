"""Translation between frames of one session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import fft

from napari_marrow.errors import SettingsError
from napari_marrow.imaging.filtering import Plane, as_plane, band_pass, compress, taper
from napari_marrow.imaging.residuals import block_displacements
from napari_marrow.imaging.still_structures import Spectrum, StillStructures, correlation_near, faint_structure
from napari_marrow.imaging.transform import Transform

_REACH = 6
"""Pixels that a block of a frame may have moved in the field and still be found."""
_STILL_REACH_UM = 5.0
"""How far from the place of the moving cells that of the resting structures may lie."""
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
    first, second = (_spectrum(compress(_band(plane, step))) for plane in (fixed, other))
    return _translation(first, second, step, upsample, max_shift_um)


def _spacing(spacing: tuple[float, float]) -> npt.NDArray[np.float64]:
    step = np.asarray(spacing, dtype=np.float64)
    if step.shape != (2,) or not (step > 0).all():
        raise SettingsError(f"The pixel size must be two positive numbers (y, x) in µm, not {spacing}.")
    return step


def _band(plane: Plane, step: npt.NDArray[np.float64]) -> Plane:
    # A nucleus is about 8 µm wide: keep 1 µm (at least 1 px) to 10 µm.
    fine = tuple(float(max(1.0, 1.0 / s)) for s in step)
    coarse = tuple(float(max(3.0, 10.0 / s)) for s in step)
    return band_pass(plane, fine=(fine[0], fine[1]), coarse=(coarse[0], coarse[1]))


def _spectrum(plane: Plane) -> Spectrum:
    return Spectrum.of(plane * taper((plane.shape[0], plane.shape[1])))


def _best_shift(fixed: Spectrum, moving: Spectrum, upsample: int) -> tuple[npt.NDArray[np.float64], float]:
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
        fine = correlation_near(product, fixed.shape, peak, steps)
        at = np.unravel_index(int(np.argmax(fine)), fine.shape)
        peak = peak + steps[list(at)]
        best = float(fine[at])
    return peak, max(0.0, best / (fixed.norm * moving.norm))


def _translation(
    fixed: Spectrum,
    moving: Spectrum,
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
    fixed: Spectrum, moving: Spectrum, shift: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return both planes, the second one moved by `shift` pixels, and where the second is defined."""
    inside = np.ones(moving.shape, dtype=bool)
    for axis, length in enumerate(np.ceil(np.abs(shift)).astype(int)):
        gone = slice(0, length) if shift[axis] > 0 else slice(moving.shape[axis] - length, None)
        inside[(gone, slice(None)) if axis == 0 else (slice(None), gone)] = False
    return fft.irfft2(fixed.values, fixed.shape), fft.irfft2(moving.moved(shift), moving.shape), inside


class DriftTracker:
    """Follow the field through a session, one frame at a time, with memory for one frame.

    Each frame is registered to a key frame, not to its predecessor, so that errors do not add up; when the texture
    has changed too much (correlation below `renew`), the last good frame becomes the key frame. The place that is found
    so is then looked for once more among the faint structures that all frames so far have in common, see
    `StillStructures`: cells that wander are no part of these.

    Parameters
    ----------
    spacing : (float, float), µm
    upsample : int
        Fractions of a pixel that are resolved.
    renew : float
        Correlation below which the key frame is replaced.
    residuals : bool
        Whether to measure what displacement is left, see `add`.
    still : bool
        Whether to look at the faint structures that rest. It takes about as long again.
    """

    def __init__(
        self,
        *,
        spacing: tuple[float, float],
        upsample: int = 10,
        renew: float = 0.5,
        residuals: bool = False,
        still: bool = True,
    ) -> None:
        self._step = _spacing(spacing)
        self._still = StillStructures(reach=_STILL_REACH_UM / float(self._step.mean())) if still else None
        self._upsample = upsample
        self._renew = renew
        self._residuals = residuals
        self._key: Spectrum | None = None
        self._key_transform = Transform(kind="translation")
        self._key_place = np.zeros(2)
        self._last = Transform(kind="translation")
        self._previous: tuple[Spectrum, Transform, npt.NDArray[np.float64]] | None = None
        self._off = np.zeros(2)

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
        band = _band(as_plane(frame), self._step)
        plane = _spectrum(compress(band))
        if self._key is None:
            if plane.norm == 0.0:
                return Transform(kind="translation", accepted=False, correlation=0.0)
            self._key = plane
            first = Transform(kind="translation", residual=0.0 if self._residuals else float("nan"), correlation=1.0)
            self._key_transform = first
            if self._still is not None:
                self._still.add(_spectrum(faint_structure(band)), np.zeros(2))
            return first
        if plane.shape != self._key.shape:
            raise SettingsError(f"Frames of one session must have one shape, not {self._key.shape} and {plane.shape}.")
        found = self._place(plane)
        if not found.accepted:
            shift = self._last.shift + self._off
            return Transform(shift=shift, kind="translation", accepted=False, correlation=found.correlation)
        shift = self._in_its_place(band, found)
        if self._residuals:
            found = replace(found, residual=self._left_over(plane, shift))
        self._last = found
        self._previous = (plane, found, shift)
        return replace(found, shift=shift)

    def _in_its_place(self, band: Plane, found: Transform) -> npt.NDArray[np.float64]:
        """Return the shift by what rests, µm; by the cells, and what they were off by last, where nothing does."""
        if self._still is None:
            return found.shift
        faint = _spectrum(faint_structure(band))
        moved = float(np.hypot(*(found.shift / self._step)))
        at_rest = self._still.place(faint, (found.shift + self._off) / self._step, moved, self._upsample)
        if at_rest is not None:
            self._off = at_rest * self._step - found.shift
        shift = found.shift + self._off
        self._still.add(faint, shift / self._step)
        return np.asarray(shift)

    def _left_over(self, plane: Spectrum, shift: npt.NDArray[np.float64]) -> float:
        """Return the residual, µm: NaN where fewer than three blocks can be compared."""
        assert self._key is not None
        moved = (shift - self._key_place) / self._step
        blocks = block_displacements(
            *_overlaid(self._key, plane, moved), reach=_REACH, size=int(np.clip(min(plane.shape) // 8, 16, 128))
        )
        if len(blocks.correlation) < 3:
            return float("nan")
        left = float(np.median(np.hypot(*(blocks.displacement * self._step).T)))
        return float(np.hypot(left, np.nan_to_num(self._key_transform.residual)))

    def _place(self, plane: Spectrum) -> Transform:
        assert self._key is not None
        step = _translation(self._key, plane, self._step, self._upsample, None)
        if self._previous is not None and (not step.accepted or step.correlation < self._renew):
            if plane.norm == 0.0:
                return step
            self._key, self._key_transform, self._key_place = self._previous
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
