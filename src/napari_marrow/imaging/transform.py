"""Affine transforms of positions in µm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from napari_marrow.errors import SettingsError

KINDS = ("identity", "translation", "rigid", "affine")


def _identity_matrix() -> npt.NDArray[np.float64]:
    return np.eye(2)


def _no_shift() -> npt.NDArray[np.float64]:
    return np.zeros(2)


@dataclass(frozen=True, eq=False)
class Transform:
    """Map from a moving frame into the reference frame: ``y_reg = matrix @ y + shift``.

    Pixel ``i`` of an image lies at ``i * spacing`` µm; points are (y, x).

    Attributes
    ----------
    matrix : ndarray of float64, shape (2, 2)
        Linear part; identity for a translation.
    shift : ndarray of float64, shape (2,), µm
        Translation (y, x).
    kind : {"identity", "translation", "rigid", "affine"}
        What was estimated.
    residual : float, µm
        Median displacement left between the images, NaN where it was not measured.
    correlation : float
        Normalised correlation of the registered images, NaN where it was not measured.
    accepted : bool
        Whether identity may be carried over on this transform.
    """

    matrix: npt.NDArray[np.float64] = field(default_factory=_identity_matrix)
    shift: npt.NDArray[np.float64] = field(default_factory=_no_shift)
    kind: str = "identity"
    residual: float = float("nan")
    correlation: float = float("nan")
    accepted: bool = True

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        shift = np.array(self.shift, dtype=np.float64)
        if matrix.shape != (2, 2) or shift.shape != (2,):
            raise SettingsError(
                f"A Transform needs a 2 x 2 matrix and 2 numbers of shift, not shapes {matrix.shape} and {shift.shape}."
            )
        if self.kind not in KINDS:
            raise SettingsError(f"Unknown kind of transform '{self.kind}': use one of {', '.join(KINDS)}.")
        matrix.setflags(write=False)
        shift.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "shift", shift)

    @property
    def angle_deg(self) -> float:
        """Rotation of the polar decomposition's orthogonal part, degrees, positive from y towards x."""
        u, _, vt = np.linalg.svd(self.matrix)
        rotation = u @ vt
        return float(np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0])))

    @property
    def scale(self) -> float:
        """Mean linear magnification, the square root of the determinant's size."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    def apply(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return points of the moving frame in the reference frame.

        Parameters
        ----------
        points : array_like, shape (n, 2), µm
            Rows (y, x); n may be 0.

        Returns
        -------
        ndarray of float64, shape (n, 2), µm
        """
        array = np.asarray(points, dtype=np.float64)
        if array.size == 0:
            return np.zeros((0, 2))
        if array.ndim != 2 or array.shape[1] != 2:
            raise SettingsError(f"Points must have shape (n, 2), rows (y, x), not {array.shape}.")
        return np.asarray(array @ self.matrix.T + self.shift)

    def inverse(self) -> Transform:
        """Return the map from the reference frame into the moving frame.

        Raises
        ------
        SettingsError
            If the matrix is singular.
        """
        if abs(np.linalg.det(self.matrix)) < 1e-12:
            raise SettingsError("The transform cannot be inverted: its matrix is singular.")
        inverse = np.asarray(np.linalg.inv(self.matrix), dtype=np.float64)
        return Transform(inverse, -inverse @ self.shift, self.kind, self.residual, self.correlation, self.accepted)

    def compose(self, first: Transform) -> Transform:
        """Return the transform that applies `first` and then this one.

        Residuals add in quadrature (independent errors), the lower correlation counts, and the result is accepted
        only when both are.
        """
        kind = KINDS[max(KINDS.index(self.kind), KINDS.index(first.kind))]
        residuals = [r for r in (self.residual, first.residual) if np.isfinite(r)]
        correlations = [c for c in (self.correlation, first.correlation) if np.isfinite(c)]
        return Transform(
            self.matrix @ first.matrix,
            self.matrix @ first.shift + self.shift,
            kind,
            float(np.hypot.reduce(residuals)) if residuals else float("nan"),
            min(correlations) if correlations else float("nan"),
            self.accepted and first.accepted,
        )

    def warp(
        self,
        image: npt.NDArray[Any],
        *,
        spacing: tuple[float, float],
        output_shape: tuple[int, int] | None = None,
        order: int = 1,
        fill: float = 0.0,
    ) -> npt.NDArray[Any]:
        """Resample an image of the moving frame onto the reference frame's pixels.

        Parameters
        ----------
        image : ndarray, shape (Y, X)
        spacing : (float, float), µm
            Pixel size (y, x), the same in both frames.
        output_shape : (int, int), optional
            Shape of the reference image; the image's own by default.
        order : int
            Spline order; 0 for label images.
        fill : float
            Value outside the moving image.

        Returns
        -------
        ndarray, shape `output_shape`, dtype of `image`
        """
        back = self.inverse()
        step = np.asarray(spacing, dtype=np.float64)
        matrix = back.matrix * step[np.newaxis, :] / step[:, np.newaxis]
        return np.asarray(
            ndimage.affine_transform(
                image,
                matrix,
                offset=back.shift / step,
                output_shape=output_shape or image.shape,
                order=order,
                mode="constant",
                cval=fill,
            )
        )

    def to_row(self) -> dict[str, object]:
        """Return the columns of the `transforms` table that the transform fills."""
        return {
            "kind": self.kind,
            "m00": float(self.matrix[0, 0]),
            "m01": float(self.matrix[0, 1]),
            "ty": float(self.shift[0]),
            "m10": float(self.matrix[1, 0]),
            "m11": float(self.matrix[1, 1]),
            "tx": float(self.shift[1]),
            "residual": float(self.residual),
            "accepted": bool(self.accepted),
            "correlation": float(self.correlation),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | pd.Series) -> Transform:
        """Build the transform of a row of the `transforms` table."""
        return cls(
            np.array([[row["m00"], row["m01"]], [row["m10"], row["m11"]]], dtype=np.float64),
            np.array([row["ty"], row["tx"]], dtype=np.float64),
            str(row["kind"]),
            float(row["residual"]),
            float(row.get("correlation", float("nan"))),
            bool(row["accepted"]),
        )
