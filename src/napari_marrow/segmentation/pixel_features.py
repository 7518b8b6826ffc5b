"""What a pixel classifier sees of a pixel: brightness, edges, ridges and texture at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation.curvature import gradient, hessian_eigenvalues, symmetric_eigenvalues
from napari_marrow.segmentation.resolution import enlarge, factors_for, smooth_coarse

Floats = npt.NDArray[np.float32]

GROUPS: tuple[str, ...] = ("intensity", "gradient", "laplacian", "structure", "hessian")
"""Kinds of features, in the order in which they are computed."""

SIGMAS: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
"""Default scales, µm."""


@dataclass(frozen=True)
class PixelFeatures:
    """Which features are computed.

    Attributes
    ----------
    ndim : int
        2 for planes, 3 for volumes.
    n_channels : int
    sigmas : tuple of float
        Scales, µm.
    groups : tuple of str
        Of `GROUPS`: the smoothed brightness; the length of its gradient; its Laplacian; the eigenvalues of the
        structure tensor (Förstner and Gülch 1987), averaged over twice the scale; those of the Hessian. Derivatives are
        multiplied by the scale as often as they derive, so that features of other pixel sizes compare.
    """

    ndim: int
    n_channels: int
    sigmas: tuple[float, ...] = SIGMAS
    groups: tuple[str, ...] = GROUPS

    def __post_init__(self) -> None:
        if self.ndim not in (2, 3) or not 1 <= self.n_channels <= 64:
            raise SettingsError(
                f"Features need 2 or 3 axes and 1 to 64 channels, not {self.ndim} and {self.n_channels}."
            )
        if not 1 <= len(self.sigmas) <= 16 or not all(0 < s <= 1000 for s in self.sigmas):
            raise SettingsError(f"The scales {self.sigmas} are not 1 to 16 lengths above 0 and up to 1000 µm.")
        if not self.groups or not set(self.groups) <= set(GROUPS):
            raise SettingsError(f"The features {self.groups} are not of {', '.join(GROUPS)}.")

    @property
    def names(self) -> list[str]:
        """Name of every feature, in order."""
        sizes = {"structure": self.ndim, "hessian": self.ndim}
        return [
            f"channel {c} {group}{f' {k + 1}' if group in sizes else ''} at {sigma:g} µm"
            for c in range(self.n_channels)
            for sigma in self.sigmas
            for group in GROUPS
            if group in self.groups
            for k in range(sizes.get(group, 1))
        ]

    def margin(self, spacing: Sequence[float]) -> list[int]:
        """Return how many pixels around a block its features depend on (9 scales hold 4 of both filters)."""
        return [int(np.ceil(9 * max(self.sigmas) / s)) + 2 for s in spacing]

    def compute(self, channels: Floats, spacing: Sequence[float]) -> Floats:
        """Return the features of every pixel.

        Parameters
        ----------
        channels : float32 array, shape (C, Y, X) or (C, Z, Y, X)
        spacing : sequence of float
            Pixel size, µm.

        Returns
        -------
        float32 array, shape (features, ...)
        """
        found = np.empty((len(self.names), *channels.shape[1:]), dtype=np.float32)
        row = 0
        for channel in channels:
            for sigma in self.sigmas:
                for feature in self._at_scale(channel, sigma, spacing):
                    found[row] = feature
                    row += 1
        return found

    def _at_scale(self, channel: Floats, sigma: float, spacing: Sequence[float]) -> list[Floats]:
        factors = factors_for(sigma, spacing)
        coarse = [s * f for s, f in zip(spacing, factors, strict=True)]
        smooth = smooth_coarse(channel, sigma, spacing, factors)
        slopes = gradient(smooth, coarse) * np.float32(sigma)
        curvature = hessian_eigenvalues(smooth, coarse) * np.float32(sigma**2)
        features: list[Floats] = []
        for group in GROUPS:
            if group not in self.groups:
                continue
            if group == "intensity":
                features.append(smooth)
            elif group == "gradient":
                features.append(np.sqrt((slopes**2).sum(axis=0)))
            elif group == "laplacian":
                features.append(curvature.sum(axis=0))
            elif group == "structure":
                features += list(self._structure_tensor(slopes, 2 * sigma, coarse))
            else:
                features += list(curvature)
        return [enlarge(feature, factors, channel.shape) for feature in features]

    def _structure_tensor(self, slopes: Floats, sigma: float, spacing: Sequence[float]) -> Floats:
        """Return the square roots of the eigenvalues: mean slopes across and along the local structure."""
        ones = [1] * self.ndim
        rows, columns = np.triu_indices(self.ndim)
        products = [
            smooth_coarse(slopes[i] * slopes[j], sigma, spacing, ones) for i, j in zip(rows, columns, strict=True)
        ]
        return np.sqrt(np.maximum(symmetric_eigenvalues(np.stack(products)), 0))
