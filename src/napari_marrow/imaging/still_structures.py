"""The faint structures that rest in a field of moving cells, gathered over the frames of a session.

Cells that wander say little about where the field is: the mean of their steps is what one frame can tell, and its
errors add up. But a channel of nuclei also shows, dimly, what stays: light of scaffold and vessels from other channels,
debris, the glow of the tissue. The mean over many frames, each put back in its place, shows it better with each.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from napari_marrow.imaging.filtering import Plane

_MAD_TO_SD = 1.4826
_CLIP = 1.0
"""Robust standard deviations at which a structure begins to count no more than others: cells are far above it."""
_SAMPLE = 1 << 16
_LAG = 3
"""Frames that a frame is not compared with: cells have not gone far by then."""
_MEMORY = 64
"""Frames that count: older ones fade, so that the mean follows slow changes of the tissue."""
_LEAST_PEAK = 10.0
"""Standard deviations by which a place has to stand out. Cells that wander reach 7, the simulator's walls 19 to 36."""
_DISTINCT = 1.5
"""How much higher the place has to be than any other within reach: cells that move little make many."""
_APART_PX = 3.5
_AHEAD = 1.3
"""How much better structures have to fit the sample than the camera, once the field has moved."""
_AT_REST_PX = 1.5
"""A field that moved by less cannot tell dust from structure, and a mistake costs no more."""
_SMOOTH_PX = 1.5
"""Standard deviation of the Gaussian that the sharp correlation is smoothed by."""


def faint_structure(band: Plane) -> Plane:
    """Return a band-passed plane in which faint structures count as much as bright cells.

    Parameters
    ----------
    band : ndarray of float32, shape (Y, X)
        Of about zero mean.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        ``tanh`` of the deviation from the median in robust standard deviations; all zero without any.
    """
    sample = band.ravel()[:: max(1, band.size // _SAMPLE)]
    middle = np.float32(np.median(sample))
    spread = np.float32(_MAD_TO_SD * np.median(np.abs(sample - middle)))
    if not spread > 0:
        return np.zeros_like(band)
    return np.asarray(np.tanh((band - middle) / (np.float32(_CLIP) * spread)))


@dataclass(frozen=True)
class Spectrum:
    """The Fourier transform of a plane, its half that a real plane needs."""

    values: npt.NDArray[np.complex64]
    shape: tuple[int, int]
    norm: float

    @classmethod
    def of(cls, plane: Plane) -> Spectrum:
        """Return the transform of a plane."""
        norm = float(np.sqrt(np.square(plane, dtype=np.float64).sum()))
        return cls(fft.rfft2(plane), (plane.shape[0], plane.shape[1]), norm)

    def moved(self, shift: npt.NDArray[np.float64]) -> npt.NDArray[np.complex64]:
        """Return the transform of the plane moved by `shift` pixels, its content leaving and coming in at the edges."""
        rows, columns = np.fft.fftfreq(self.shape[0]), np.fft.rfftfreq(self.shape[1])
        turn = [np.exp(-2j * np.pi * s * f).astype(np.complex64) for s, f in zip(shift, (rows, columns), strict=True)]
        return np.asarray(self.values * turn[0][:, None] * turn[1])


class StillStructures:
    """Mean of earlier frames in the places where they were put, and as the camera saw them.

    Frames are compared by their phases alone (Kuglin & Hines 1975): structures that rest keep them at every scale,
    those of cells are scattered by their steps. A frame is compared with those a few frames back and more, when the
    cells have left.

    Parameters
    ----------
    reach : float, pixels
        How far from where it is expected a frame is looked for.
    """

    def __init__(self, *, reach: float) -> None:
        self._reach = max(2, round(reach))
        self._waiting: deque[tuple[Spectrum, npt.NDArray[np.float64]]] = deque()
        self._count = 0
        self._sample: npt.NDArray[np.complex64] | None = None
        self._camera: npt.NDArray[np.complex64] | None = None

    def add(self, frame: Spectrum, shift: npt.NDArray[np.float64]) -> None:
        """Take in a frame in its place, pixels."""
        self._waiting.append((frame, shift))
        if len(self._waiting) < _LAG:
            return
        frame, shift = self._waiting.popleft()
        self._count += 1
        share = np.float32(1.0 / min(self._count, _MEMORY))
        here = frame.moved(shift)
        if self._sample is None or self._camera is None:
            self._sample, self._camera = here, frame.values.copy()
            return
        self._sample += share * (here - self._sample)
        self._camera += share * (frame.values - self._camera)

    def place(
        self, frame: Spectrum, expected: npt.NDArray[np.float64], moved: float, upsample: int
    ) -> npt.NDArray[np.float64] | None:
        """Return where a frame fits, pixels; None where no place near the expected one stands out.

        Nor is one returned where the structures fit the camera about as well as the sample although the field has
        moved: dust, and pixels that differ, do not move with it.

        Parameters
        ----------
        frame : Spectrum
        expected : ndarray of float64, shape (2,), pixels
        moved : float, pixels
            How far from where it began the field lies, by what else is known.
        upsample : int
            Fractions of a pixel that are resolved.

        References
        ----------
        Kuglin CD, Hines DC (1975) Proc IEEE Int Conf Cybernetics and Society, 163-165.
        """
        if self._sample is None or self._camera is None or frame.norm == 0.0:
            return None
        phases, scale = _phases(self._sample, frame)
        near = np.round(expected)
        steps = np.arange(-self._reach, self._reach + 1, dtype=np.float64)
        surface = correlation_near(phases, frame.shape, near, steps)
        at = np.unravel_index(int(np.argmax(surface)), surface.shape)
        if min(at) == 0 or max(at) == len(steps) - 1:
            return None
        others = np.hypot(steps[:, None] - steps[at[0]], steps - steps[at[1]]) >= _APART_PX
        if surface[at] < _DISTINCT * surface.max(where=others, initial=0.0):
            return None
        place = near + steps[list(at)]
        fine = np.arange(-upsample, upsample + 1) / upsample
        surface = correlation_near(phases, frame.shape, place, fine)
        at = np.unravel_index(int(np.argmax(surface)), surface.shape)
        height = float(surface[at]) / scale
        if height < _LEAST_PEAK:
            return None
        if moved > _AT_REST_PX:
            phases, scale = _phases(self._camera, frame)
            at_rest = correlation_near(phases, frame.shape, np.zeros(2), np.zeros(1))
            if height < _AHEAD * float(at_rest[0, 0]) / scale:
                return None
        return np.asarray(place + fine[list(at)])


def _phases(fixed: npt.NDArray[np.complex64], moving: Spectrum) -> tuple[npt.NDArray[np.complex64], float]:
    """Return the smoothed cross-spectrum of unit modulus, and the standard deviation of its correlation by chance."""
    rows, columns = np.fft.fftfreq(moving.shape[0]), np.fft.rfftfreq(moving.shape[1])
    smooth = [np.exp(-2.0 * (np.pi * _SMOOTH_PX * f) ** 2).astype(np.float32) for f in (rows, columns)]
    product = fixed * np.conj(moving.values)
    size = np.abs(product)
    product *= (smooth[0][:, None] * smooth[1]) / np.maximum(size, np.float32(1e-12) + np.float32(1e-6) * size.max())
    # Phases by chance are even: the variance is the sum of the squared weights, of both halves of the spectrum.
    both = 2.0 * float(np.square(smooth[1], dtype=np.float64).sum()) - 1.0
    power = float(np.square(smooth[0], dtype=np.float64).sum()) * both
    return np.asarray(product), float(np.sqrt(power)) / (moving.shape[0] * moving.shape[1])


def correlation_near(
    product: npt.NDArray[np.complex64],
    shape: tuple[int, int],
    centre: npt.NDArray[np.float64],
    steps: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the circular cross-correlation at places around a centre, by a small Fourier sum.

    Parameters
    ----------
    product : ndarray of complex64, shape (Y, X // 2 + 1)
        Transform of the fixed plane times the conjugate of the moving one's.
    shape : (int, int)
        Of the planes.
    centre : ndarray of float64, shape (2,), pixels
    steps : ndarray of float64, shape (n,), pixels
        Distances from the centre, the same along y and x.

    Returns
    -------
    ndarray of float64, shape (n, n)

    References
    ----------
    Guizar-Sicairos M, Thurman ST, Fienup JR (2008) Opt Lett 33, 156-158.
    """
    from napari_marrow.imaging.plane_kernels import fourier_sums

    rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    twice = np.full(len(columns), 2.0)  # the half of the spectrum that is not stored
    twice[0] = 1.0
    if shape[1] % 2 == 0:
        twice[-1] = 1.0
    along_y = np.exp(2j * np.pi * (centre[0] + steps)[:, None] * rows).astype(np.complex64)
    along_x = (twice * np.exp(2j * np.pi * (centre[1] + steps)[:, None] * columns)).astype(np.complex64)
    return fourier_sums(along_y, np.ascontiguousarray(product), along_x) / (shape[0] * shape[1])
