"""The style vector of an image: what the deepest level of a network of Cellpose 1-3 holds, averaged over the plane."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation.weights import NetworkWeights

Floats = npt.NDArray[np.float32]


class StyledNetwork(Protocol):
    """A network that gives the style of its tiles as well."""

    @property
    def weights(self) -> NetworkWeights:
        """Its parameters."""

    def with_style(self, tiles: Floats) -> tuple[Floats, Floats]:
        """Return output (N, 3, Y, X) and style (N, C) of tiles (N, channels, Y, X)."""


class StyleRecorder:
    """Passes tiles to a network and adds up their styles.

    Parameters
    ----------
    network : StyledNetwork

    Raises
    ------
    SettingsError
        If the network has no style.
    """

    def __init__(self, network: Any) -> None:
        if not hasattr(network, "with_style"):
            raise SettingsError("This network has no style vector: take a network of Cellpose 1-3.")
        self._network: StyledNetwork = network
        self.batch = int(getattr(network, "batch", 1))
        self._total: Floats | None = None

    def __call__(self, tiles: Floats) -> Floats:
        """Return the network's output."""
        output, style = self._network.with_style(tiles)
        added: Floats = style.sum(axis=0)
        self._total = added if self._total is None else self._total + added
        return output

    @property
    def style(self) -> Floats:
        """Sum of the tiles' styles, of length 1, as Cellpose averages them; zeros before the first tile."""
        if self._total is None:
            return np.zeros(self._network.weights.widths[-1], dtype=np.float32)
        normed: Floats = self._total / np.sqrt((self._total**2).sum())
        return normed
