"""One frame made ready: checked, in 2D or 3D, with its distance fields read at the cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.niche.compartments import assign_compartments
from napari_marrow.niche.distances import Field, edge_distance, read_at, signed_distance
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_mask, as_points, as_spacing, inside, measure_of
from napari_marrow.niche.intervals import Blocks, tissue_blocks
from napari_marrow.niche.null_models import quantile_strata
from napari_marrow.niche.settings import NicheSettings
from napari_marrow.niche.spots import Spots

_AXES = ("z", "y", "x")


@dataclass(frozen=True)
class Structure:
    """A structure with what is read from it.

    `window` is where it would have been seen (W and itself), `field` the signed distance, `depth` the distance to the
    window's edge, `distance` and `edge` both at the cells (µm, NaN outside the image).
    """

    mask: BoolArray
    window: BoolArray
    field: Field
    depth: Field
    distance: FloatArray
    edge: FloatArray
    spots: Spots | None = None

    def distance_at(self, points: FloatArray, spacing: tuple[float, ...]) -> FloatArray:
        """Return the distance at further points, µm; NaN outside the image."""
        read = read_at(self.field, points, spacing)
        return read if self.spots is None else np.where(np.isnan(read), np.nan, self.spots.distance(points))


@dataclass(frozen=True)
class Frame:
    """Cells, structures and tissue of one frame; arrays (Y, X) in 2D, (Z, Y, X) in 3D; lengths in native µm."""

    labels: npt.NDArray[np.int64]
    points: FloatArray
    in_tissue: BoolArray
    classes: dict[str, BoolArray]
    strata: npt.NDArray[np.int64] | None
    structures: dict[str, Structure]
    tissue: BoolArray
    spacing: tuple[float, ...]
    block_um: float | None = None

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return self.tissue.ndim

    @property
    def extent(self) -> tuple[float, ...]:
        """Size of the image along each axis, µm."""
        return tuple(n * s for n, s in zip(self.tissue.shape, self.spacing, strict=True))

    @property
    def measure(self) -> float:
        """|W| in µm² or µm³."""
        return measure_of(self.tissue, self.spacing)

    @property
    def pool(self) -> BoolArray:
        """Positions over which labels are shuffled, in the tissue."""
        return self.classes.get("all", np.ones(len(self.points), dtype=bool)) & self.in_tissue

    @property
    def per_measure(self) -> str:
        """Unit of numbers per tissue."""
        return "1/mm²" if self.ndim == 2 else "1/mm³"

    @property
    def number_factor(self) -> float:
        """Makes 1/µm^d a number per mm^d."""
        return 1e6 if self.ndim == 2 else 1e9

    @cached_property
    def blocks(self) -> Blocks:
        """Blocks of tissue behind intervals."""
        return tissue_blocks(self.tissue, self.spacing, edge=self.block_um)

    def compartments(self, radius: float) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
        """Return the compartments' names and their image; the structures' order is their priority."""
        fields = {n: s.field for n, s in self.structures.items() if s.mask.any()}
        return assign_compartments(fields, self.tissue, radius)


def absence(name: str, structure: Structure | None, frame: Frame) -> str:
    """Say why nothing can be measured on a structure, or nothing."""
    if structure is None:
        return f"no structure '{name}' in this frame (channel missing?)"
    if not frame.tissue.any():
        return "the tissue mask is empty"
    if not structure.mask.any():
        return f"structure '{name}' is empty"
    if structure.spots is None and not (frame.tissue & ~structure.mask).any():
        return f"structure '{name}' fills the tissue"
    return ""


@dataclass
class Rows:
    """Rows of the result tables as they are measured."""

    metrics: list[dict[str, object]] = field(default_factory=list)
    curves: list[pd.DataFrame] = field(default_factory=list)
    vessels: list[pd.DataFrame] = field(default_factory=list)

    def add(
        self,
        metric: str,
        subject: str,
        value: float,
        unit: str,
        *,
        low: float = float("nan"),
        high: float = float("nan"),
        null_mean: float = float("nan"),
        p_value: float = float("nan"),
        interval: tuple[float, float] = (float("nan"), float("nan")),
        note: str = "",
    ) -> None:
        """Add a metric; a NaN value must come with a note, and has no interval."""
        if not np.isfinite(value) and not note:
            note = "cannot be computed from this frame"
        self.metrics.append(
            {
                "metric": metric, "subject": subject, "value": float(value) if np.isfinite(value) else float("nan"),
                "low": low, "high": high, "null_mean": null_mean, "p_value": p_value, "unit": unit, "note": note,
                "interval_low": interval[0] if np.isfinite(value) else float("nan"),
                "interval_high": interval[1] if np.isfinite(value) else float("nan"),
            }
        )  # fmt: skip

    def add_curve(
        self,
        curve: str,
        subject: str,
        r: FloatArray,
        observed: FloatArray,
        null_mean: FloatArray,
        low: FloatArray,
        high: FloatArray,
    ) -> None:
        """Add a curve, unless nothing of it is known."""
        if np.isnan(observed).all():
            return
        self.curves.append(
            pd.DataFrame(
                {
                    "curve": curve, "subject": subject, "r": r, "observed": observed, "null_mean": null_mean,
                    "low": low, "high": high,
                }
            )
        )  # fmt: skip


def empty_cells(ndim: int) -> pd.DataFrame:
    """Return a cell table without rows."""
    return pd.DataFrame({axis: np.zeros(0) for axis in _AXES[3 - ndim :]})


def prepare(
    cells: pd.DataFrame,
    classes: Mapping[str, npt.ArrayLike],
    structures: Mapping[str, npt.ArrayLike | Spots],
    tissue: npt.ArrayLike,
    spacing: Sequence[float],
    settings: NicheSettings,
) -> Frame:
    """Check the input of `measure_niche` and read the distance fields at the cells."""
    whole, sampling, flat = _plane_or_volume(as_mask(tissue, "tissue mask"), spacing)
    scale = np.asarray([settings.shrinkage_z, settings.shrinkage_xy, settings.shrinkage_xy])[3 - whole.ndim :]
    native = tuple(float(s) for s in np.asarray(sampling) / scale)
    seen = {name: _Seen.of(name, given, whole, flat, native, scale) for name, given in structures.items()}
    window = whole.copy()
    for name in settings.solid:
        if name in seen and seen[name].spots is None:
            window &= ~seen[name].mask
    points = _points(cells, whole.ndim) / scale
    named = {name: _matching_class(name, value, len(points)) for name, value in classes.items()}
    strata = None
    if settings.strata_column is not None:
        if settings.strata_column not in cells.columns:
            raise TableError(f"The cell table has no column '{settings.strata_column}' to make strata from.")
        strata = quantile_strata(cells[settings.strata_column].to_numpy(dtype=np.float64), settings.n_strata)
    return Frame(
        labels=cells["label"].to_numpy(dtype=np.int64) if "label" in cells.columns else np.arange(1, len(cells) + 1),
        points=points,
        in_tissue=inside(points, window, native),
        classes=named,
        strata=strata,
        structures={name: _structure(one, window, points, native) for name, one in seen.items()},
        tissue=window,
        spacing=native,
        block_um=settings.block_um,
    )


def _plane_or_volume(tissue: BoolArray, spacing: Sequence[float]) -> tuple[BoolArray, tuple[float, ...], bool]:
    """Take the single plane out of a stack of one; its z spacing, often unknown, then plays no part."""
    if tissue.ndim == 3 and tissue.shape[0] == 1:
        given = tuple(spacing)
        return tissue[0], as_spacing(given[-2:] if len(given) == 3 else given, 2), True
    return tissue, as_spacing(spacing, tissue.ndim), False


def _matching(name: str, mask: npt.ArrayLike, tissue: BoolArray, flat: bool) -> BoolArray:
    array = as_mask(mask, f"structure '{name}'")
    if flat and array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.shape != tissue.shape:
        raise SettingsError(f"Structure '{name}' has shape {array.shape}, the tissue mask {tissue.shape}.")
    return array


def _matching_class(name: str, value: npt.ArrayLike, n: int) -> BoolArray:
    array = np.asarray(value, dtype=bool)
    if array.shape != (n,):
        raise SettingsError(f"Class '{name}' has shape {array.shape} for {n} cells: give one truth value per cell.")
    return array


def _points(cells: pd.DataFrame, ndim: int) -> FloatArray:
    axes = list(_AXES[3 - ndim :])
    missing = [axis for axis in axes if axis not in cells.columns]
    if missing:
        raise TableError(
            f"The cell table lacks the coordinate column(s) {', '.join(missing)}: it has {list(cells.columns)}."
        )
    return np.ascontiguousarray(cells[axes].to_numpy(dtype=np.float64).reshape(-1, ndim))


@dataclass(frozen=True)
class _Seen:
    """A structure as it was given: a mask, or spots of which the mask only says where there are any."""

    mask: BoolArray
    spots: Spots | None

    @classmethod
    def of(
        cls,
        name: str,
        given: npt.ArrayLike | Spots,
        tissue: BoolArray,
        flat: bool,
        spacing: tuple[float, ...],
        scale: FloatArray,
    ) -> _Seen:
        if not isinstance(given, Spots):
            return cls(_matching(name, given, tissue, flat), None)
        native = Spots(as_points(given.points, tissue.ndim, f"spots of '{name}'") / scale)
        return cls(native.voxels(tissue.shape, spacing), native)


def _structure(seen: _Seen, tissue: BoolArray, points: FloatArray, spacing: tuple[float, ...]) -> Structure:
    # In the window of a structure its own voxels count: the scaffold is no tissue, but where it is, it is seen.
    window = tissue if seen.spots is not None else tissue | seen.mask
    depth = edge_distance(window, spacing)
    edge = read_at(depth, points, spacing)
    if seen.spots is None:
        signed = signed_distance(seen.mask, spacing)
        return Structure(seen.mask, window, signed, depth, read_at(signed, points, spacing), edge)
    field = seen.spots.field(tissue.shape, spacing)
    distance = np.where(np.isnan(edge), np.nan, seen.spots.distance(points))
    return Structure(seen.mask, window, field, depth, distance, edge, seen.spots)
