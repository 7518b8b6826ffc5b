"""A plain layer as frames in time with a physical pixel size. Knows no Qt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError

_NAMES = ("t", "c", "z", "y", "x")
_TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


@dataclass(frozen=True, eq=False)
class LayerFrames:
    """The pixels of a layer, frame by frame.

    Attributes
    ----------
    data : array-like
        (Y, X), (Z, Y, X), (T, Y, X) or (T, Z, Y, X), full resolution.
    name : str
        The layer's.
    timed : bool
        Whether the first axis is time.
    spacing : tuple of float
        Pixel size along the axes of a frame: in µm where the layer has a unit of length, else its scale as it is.
    transform : dict
        Arguments that put another layer in the same place of the world.
    """

    data: Any
    name: str
    timed: bool
    spacing: tuple[float, ...]
    transform: dict[str, Any]

    @property
    def physical(self) -> bool:
        """Whether the pixel size is a length: it has a unit, or a scale that somebody gave; else pixels are counted."""
        named = all(str(unit) != "pixel" for unit in self.transform["units"][-2:])
        return named or any(size != 1.0 for size in self.spacing[-2:])

    def __len__(self) -> int:
        return int(self.data.shape[0]) if self.timed else 1

    def frame(self, t: int) -> npt.NDArray[Any]:
        """Return frame `t`: (Y, X) or (Z, Y, X)."""
        return np.asarray(self.data[t] if self.timed else self.data)

    def volume(self, t: int) -> npt.NDArray[Any]:
        """Return frame `t` as (Z, Y, X)."""
        frame = self.frame(t)
        return frame[np.newaxis] if frame.ndim == 2 else frame

    def volume_spacing(self) -> tuple[float, float, float]:
        """Return the pixel size (z, y, x); z is 1 for a plane."""
        dz, dy, dx = (1.0, *self.spacing)[-3:]
        return (dz, dy, dx)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return (self.frame(t) for t in range(len(self)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all pixels."""
        return tuple(int(n) for n in self.data.shape)


def layer_frames(layer: Any) -> LayerFrames:
    """Return the frames of an image or labels layer.

    The first of three axes is time unless it is called ``z``; of four axes the first is time, the second z.

    Raises
    ------
    InputFileError
        If the layer is no grey image or labels of two to four axes in the order t, z, y, x, or holds no pixel.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    if getattr(layer, "rgb", False):
        raise InputFileError(f"'{layer.name}' is a colour picture: split it into channels (Layers > Data > Split RGB).")
    if not 2 <= data.ndim <= 4:
        raise InputFileError(f"'{layer.name}' has {data.ndim} axes: pick a layer of (t, z,) y and x.")
    if 0 in data.shape:
        raise InputFileError(
            f"'{layer.name}' has the shape {tuple(data.shape)} and holds no pixel: pick another layer."
        )
    axes = [str(label).strip().lower() for label in layer.axis_labels]
    _check_order(layer.name, axes)
    timed = data.ndim == 4 or (data.ndim == 3 and axes[0] != "z")
    first = 1 if timed else 0
    scaled = zip(layer.scale[first:], layer.units[first:], strict=True)
    spacing = tuple(abs(float(size)) * _micrometres(unit) for size, unit in scaled)
    return LayerFrames(data, layer.name, timed, spacing, {name: getattr(layer, name) for name in _TRANSFORM})


def _check_order(name: str, axes: list[str]) -> None:
    """Refuse axes that say themselves that they are others than their place makes them."""
    leading: list[set[str]] = {2: [], 3: [{"t", "z"}], 4: [{"t"}, {"z"}]}[len(axes)]
    wanted = [*leading, {"y"}, {"x"}]
    if all(axis not in _NAMES or axis in places for axis, places in zip(axes, wanted, strict=True)):
        return
    remedy = "split its channels first (Layers > Data > Split Stack)" if "c" in axes else "reorder its axes"
    raise InputFileError(f"'{name}' has the axes {', '.join(axes)}, wanted are (t, z,) y, x: {remedy}.")


def _micrometres(unit: Any) -> float:
    """Return how many µm a unit of a layer is, 1 for one that is no length (napari's default is the pixel)."""
    one = 1 * unit
    return float(one.to("micrometer").magnitude) if one.check("[length]") else 1.0
