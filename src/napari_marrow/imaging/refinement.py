"""Sub-pixel refinement of a rigid or affine transform, by robust Gauss-Newton steps on the images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Float = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]


def warp_back(
    moving: Float, matrix: Vector, shift: Vector, shape: tuple[int, ...]
) -> tuple[Float, npt.NDArray[np.bool_]]:
    """Resample `moving` on the fixed grid, given ``fixed = matrix @ moving + shift`` in pixels; NaN-free, with mask."""
    back = np.linalg.inv(matrix)
    offset = -back @ shift
    image = ndimage.affine_transform(moving, back, offset, output_shape=shape, order=1, mode="nearest")
    corners = [back[i, 0] * np.arange(shape[0])[:, None] + back[i, 1] * np.arange(shape[1]) + offset[i] for i in (0, 1)]
    inside = np.ones(shape, dtype=bool)
    for coordinate, size in zip(corners, moving.shape, strict=True):
        inside &= (coordinate >= 0) & (coordinate <= size - 1)
    return image, inside


def correlate(fixed: Float, image: Float, inside: npt.NDArray[np.bool_]) -> float:
    """Return Pearson's correlation of two images within a mask, 0 where it is not defined."""
    if inside.sum() < 16:
        return 0.0
    a, b = fixed[inside].astype(np.float64), image[inside].astype(np.float64)
    a -= a.mean()
    b -= b.mean()
    norm = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def refine(
    fixed: Float, moving: Float, matrix: Vector, shift: Vector, *, affine: bool, iterations: int = 12
) -> tuple[Vector, Vector, float]:
    """Improve a transform until its steps are under 0.01 pixel at the image's rim.

    Gauss-Newton on the difference of the textures with Tukey weights, so that cells that moved do not pull. The step
    is taken in the fixed frame about its centre: (dy, dx) = shift + angle x lever (rigid) or a full matrix (affine).

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (Y, X)
        Textures.
    matrix, shift : ndarray of float64, shapes (2, 2) and (2,), pixels
        ``fixed = matrix @ moving + shift``.
    affine : bool
        Whether scale and shear are free.
    iterations : int

    Returns
    -------
    matrix, shift, correlation
        The best transform met on the way, never worse than the one given.

    References
    ----------
    Baker S, Matthews I (2004) Int J Comput Vis 56, 221-255.
    """
    centre = (np.asarray(fixed.shape) - 1) / 2.0
    lever_y = (np.arange(fixed.shape[0]) - centre[0])[:, None] * np.ones((1, fixed.shape[1]))
    lever_x = (np.arange(fixed.shape[1]) - centre[1])[None, :] * np.ones((fixed.shape[0], 1))
    rim = float(np.hypot(*centre))
    image, inside = warp_back(moving, matrix, shift, fixed.shape)
    best = (matrix, shift, correlate(fixed, image, inside))
    for _ in range(iterations):
        step = _step(fixed, image, inside, lever_y, lever_x, affine)
        if step is None:
            break
        change, translation = step
        matrix = (np.eye(2) + change) @ matrix
        shift = (np.eye(2) + change) @ (shift - centre) + centre + translation
        if not affine:
            u, _, vt = np.linalg.svd(matrix)
            matrix = u @ vt
        image, inside = warp_back(moving, matrix, shift, fixed.shape)
        correlation = correlate(fixed, image, inside)
        if correlation > best[2]:
            best = (matrix, shift, correlation)
        elif correlation < best[2] - 0.05:
            break
        if float(np.abs(translation).max()) + rim * float(np.abs(change).max()) < 0.01:
            break
    return best


def _step(
    fixed: Float,
    image: Float,
    inside: npt.NDArray[np.bool_],
    lever_y: Vector,
    lever_x: Vector,
    affine: bool,
) -> tuple[Vector, Vector] | None:
    """Return the change of matrix and the translation that best move `image` onto `fixed`; None where undetermined."""
    rows = np.flatnonzero(ndimage.binary_erosion(inside, border_value=0).ravel())
    if rows.size < 64:
        return None
    gradient_y, gradient_x = np.gradient(image)
    gy, gx = gradient_y.ravel()[rows].astype(np.float64), gradient_x.ravel()[rows].astype(np.float64)
    ly, lx = lever_y.ravel()[rows], lever_x.ravel()[rows]
    a, b = fixed.ravel()[rows].astype(np.float64), image.ravel()[rows].astype(np.float64)
    # Brightness and contrast may differ between sessions.
    a -= a.mean()
    b -= b.mean()
    gain = float((a * b).sum()) / max(float(np.square(b).sum()), 1e-12)
    gain = gain if gain > 0.05 else 1.0
    difference = a / gain - b
    spread = 1.4826 * float(np.median(np.abs(difference - np.median(difference)))) + 1e-9
    weight = np.clip(1.0 - (difference / (4.685 * spread)) ** 2, 0.0, None) ** 2
    # Content moves by d, so image(y - d) = image - grad.d: the normal equations carry a minus sign.
    columns = [gy, gx, gy * ly, gy * lx, gx * ly, gx * lx] if affine else [gy, gx, gx * ly - gy * lx]
    design = -np.stack(columns, axis=1)
    weighted = design * weight[:, None]
    # einsum, not @: sums over pixels with three to six columns, where BLAS threads cost more than they bring and would
    # make the last bits depend on their number.
    normal = np.einsum("ni,nj->ij", weighted, design)
    if np.linalg.cond(normal) > 1e14:
        return None
    p = np.linalg.solve(normal, np.einsum("ni,n->i", weighted, difference))
    change = np.array([[p[2], p[3]], [p[4], p[5]]]) if affine else np.array([[0.0, -p[2]], [p[2], 0.0]])
    return change, p[:2]
