"""Registration of two sessions: the plate was taken off the stage and put back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.imaging.correlation import Candidate, rotation, search
from napari_marrow.imaging.drift import _spacing
from napari_marrow.imaging.filtering import as_plane, texture
from napari_marrow.imaging.refinement import correlate, refine, warp_back
from napari_marrow.imaging.residuals import block_displacements
from napari_marrow.imaging.transform import Transform

Vector = npt.NDArray[np.float64]
Float = npt.NDArray[np.float32]

_COARSE_SIDE = 112
_FINE_SIDE = 512


def register_sessions(
    reference: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    spacing: tuple[float, float],
    kind: str = "rigid",
    max_shift_um: float = 200.0,
    max_angle_deg: float = 6.0,
    max_residual_um: float = 4.0,
    min_correlation: float = 0.2,
) -> Transform:
    """Find the rotation and translation that bring one session onto another.

    All rotations and displacements are tried on a coarse image by normalised correlation over the overlap; the best
    three are refined down a pyramid by robust Gauss-Newton steps, and the best of them kept. Blocks of the registered
    images are then compared: the residual is the median of their displacements. Use a channel that stays: scaffold or
    bright field before nuclei; vessels remodel.

    Parameters
    ----------
    reference, moving : array_like, shapes (Y, X), may differ
        A frame (or projection) of each session.
    spacing : (float, float), µm
        Pixel size (y, x), the same in both.
    kind : {"translation", "rigid", "affine"}
        What is estimated. An affine refinement starts from the rigid one and is kept only when it correlates better
        and changes lengths by less than a quarter.
    max_shift_um : float
        Longest displacement of the field's centre.
    max_angle_deg : float
        Largest rotation to either side.
    max_residual_um : float
        Larger residuals are not accepted.
    min_correlation : float
        Lower correlations are not accepted.

    Returns
    -------
    Transform
        From the moving frame into the reference frame. Not accepted when the correlation is low, the best place does
        not stand out, the blocks disagree, or an image has no texture.

    Raises
    ------
    SettingsError
        If an image is not 2D, the kind is unknown or a limit is negative.

    Notes
    -----
    The residual is measured in µm on a grid of at most 512 pixels a side, to about a tenth of its pixel.
    """
    if kind not in ("translation", "rigid", "affine"):
        raise SettingsError(f"Unknown kind of registration '{kind}': use translation, rigid or affine.")
    if max_shift_um < 0 or max_angle_deg < 0:
        raise SettingsError("The largest shift and angle of a registration must not be negative.")
    step = _spacing(spacing)
    fixed, other = as_plane(reference, name="reference"), as_plane(moving, name="moving image")
    extent = max(float((np.asarray(p.shape) * step).max()) for p in (fixed, other))
    pitches = list(_pyramid(extent, float(step.max())))
    coarse = _level(fixed, step, pitches[0]), _level(other, step, pitches[0])
    if not coarse[0].any() or not coarse[1].any():
        return Transform(kind=kind, accepted=False, correlation=0.0)
    angles = _angles(0.0 if kind == "translation" else max_angle_deg, max(coarse[1].shape))
    candidates, distinctness = search(*coarse, angles, max_shift=max_shift_um / pitches[0])
    if not candidates:
        return Transform(kind=kind, accepted=False, correlation=0.0)
    found = [_start(c, coarse[1].shape, pitches[0]) for c in candidates]
    planes = coarse
    for i, pitch in enumerate(pitches):
        planes = coarse if i == 0 else (_level(fixed, step, pitch), _level(other, step, pitch))
        refined = [_refine(*planes, m, s, pitch, "translation" if kind == "translation" else "rigid") for m, s in found]
        # All candidates are followed through the coarse level only; the best one goes on.
        found = [max(refined, key=lambda r: r[2])[:2]]
    matrix, shift = found[0]
    kept = kind
    if kind == "affine":
        matrix, shift, kept = _affine(*planes, matrix, shift, pitches[-1])
    residual, correlation, agreement, blocks = _check(*planes, matrix, shift, pitches[-1], max_residual_um)
    accepted = bool(
        correlation >= min_correlation
        and distinctness >= _least_distinctness(blocks)
        and agreement >= 0.5
        and residual <= max_residual_um
    )
    return Transform(matrix, shift, kept, residual, correlation, accepted)


def _least_distinctness(blocks: int) -> float:
    # Many blocks that agree are proof by themselves; with few the peak has to stand out.
    return 4.0 if blocks >= 12 else 5.0


def _pyramid(extent: float, pixel: float) -> Iterator[float]:
    """Yield pixel sizes in µm from coarse to fine, halving."""
    finest = max(extent / _FINE_SIDE, pixel)
    pitch = max(extent / _COARSE_SIDE, finest)
    while pitch > 1.5 * finest:
        yield pitch
        pitch /= 2
    yield finest


def _level(plane: Float, step: Vector, pitch: float) -> Float:
    """Return the texture of an image on a square grid of `pitch` µm whose pixel i lies at ``i * pitch`` µm."""
    fine = np.maximum(1.0 * pitch, 1.5) / step
    coarse = np.maximum(7.0 * pitch, 12.0) / step
    band = texture(plane, fine=(fine[0], fine[1]), coarse=(coarse[0], coarse[1]))
    ratio = pitch / step
    if np.allclose(ratio, 1.0):
        return band
    shape = tuple(int(np.floor((n - 1) / r)) + 1 for n, r in zip(plane.shape, ratio, strict=True))
    return np.asarray(ndimage.affine_transform(band, ratio, output_shape=shape, order=1))


def _angles(limit_deg: float, side: int) -> Vector:
    """Return angles in radians whose steps move the image's rim by at most 1.5 pixels."""
    limit = float(np.radians(limit_deg))
    count = int(np.ceil(limit / (1.5 / (side / 2)))) if limit > 0 else 0
    return np.linspace(-limit, limit, 2 * count + 1) if count else np.zeros(1)


def _start(candidate: Candidate, shape: tuple[int, ...], pitch: float) -> tuple[Vector, Vector]:
    """Return matrix and shift (µm) of a candidate of the coarse search."""
    centre = (np.asarray(shape) - 1) / 2
    matrix = rotation(candidate.angle)
    return matrix, (centre - matrix @ centre + np.asarray(candidate.shift)) * pitch


def _refine(
    fixed: Float, moving: Float, matrix: Vector, shift: Vector, pitch: float, kind: str
) -> tuple[Vector, Vector, float]:
    new_matrix, new_shift, correlation = refine(fixed, moving, matrix, shift / pitch, affine=kind == "affine")
    if kind == "translation":
        # A rigid step turned it by a hair: keep what happened to the centre and drop the turn.
        centre = (np.asarray(moving.shape) - 1) / 2
        new_matrix, new_shift = np.eye(2), new_matrix @ centre + new_shift - centre
    return new_matrix, new_shift * pitch, correlation


def _affine(fixed: Float, moving: Float, matrix: Vector, shift: Vector, pitch: float) -> tuple[Vector, Vector, str]:
    """Return the affine refinement where it helps and is plausible, otherwise the rigid transform."""
    image, inside = warp_back(moving, matrix, shift / pitch, fixed.shape)
    before = correlate(fixed, image, inside)
    free_matrix, free_shift, after = refine(fixed, moving, matrix, shift / pitch, affine=True, iterations=25)
    stretch = np.linalg.svd(free_matrix, compute_uv=False)
    if after > before + 0.01 and stretch.max() < 1.25 and stretch.min() > 0.8:
        return free_matrix, free_shift * pitch, "affine"
    return matrix, shift, "rigid"


def _check(
    fixed: Float, moving: Float, matrix: Vector, shift: Vector, pitch: float, tolerance: float
) -> tuple[float, float, float, int]:
    """Return residual (µm), correlation, share of blocks within the tolerance, and number of blocks."""
    image, inside = warp_back(moving, matrix, shift / pitch, fixed.shape)
    correlation = correlate(fixed, image, inside)
    reach = int(np.clip(np.ceil(3.0 * tolerance / pitch), 4, 16))
    size = int(np.clip(min(fixed.shape) // 8, 16, 48))
    blocks = block_displacements(fixed, image, inside, reach=reach, size=size)
    count = len(blocks.correlation)
    if count < 3:
        return float("nan"), correlation, 0.0, count
    distance = np.hypot(blocks.displacement[:, 0], blocks.displacement[:, 1]) * pitch
    return float(np.median(distance)), correlation, float(np.mean(distance <= max(tolerance, 2 * pitch))), count
