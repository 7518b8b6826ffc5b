"""Compartments of the tissue and which of them a class of cells prefers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.distances import Field
from napari_marrow.niche.geometry import BoolArray, FloatArray
from napari_marrow.niche.null_models import relabel


def assign_compartments(
    fields: Mapping[str, Field], tissue: BoolArray, radius: float
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Give each voxel of the tissue to the first structure that is within `radius`.

    Parameters
    ----------
    fields : mapping of str to ndarray float32
        Signed distance field of each structure in order of priority, µm: where two meet, the first takes the voxel.
    tissue : ndarray bool
    radius : float
        µm.

    Returns
    -------
    names : tuple of str
        The structures, then "elsewhere".
    image : ndarray int64
        Index into `names`, -1 outside the tissue.
    """
    names = (*fields, "elsewhere")
    image = np.where(tissue, len(names) - 1, -1).astype(np.int64)
    for k in range(len(names) - 2, -1, -1):
        image[tissue & (fields[names[k]] <= radius)] = k
    return names, image


@dataclass(frozen=True)
class SelectionIndex:
    """How a class of cells uses compartments; each array (k,) float64.

    Attributes
    ----------
    used, available : ndarray
        n_k / n and V_k / V.
    index : ndarray
        w_k = used / available: 1 without preference, NaN where a compartment is empty.
    null_mean, low, high : ndarray
        Mean and central 95 % of w_k when the class is re-labelled over all positions: what packing alone gives.
    p_value : ndarray
        Two-sided Monte-Carlo p against re-labelling.
    note : str
    """

    used: FloatArray
    available: FloatArray
    index: FloatArray
    null_mean: FloatArray
    low: FloatArray
    high: FloatArray
    p_value: FloatArray
    note: str


def selection_index(
    compartment: npt.ArrayLike,
    subject: npt.ArrayLike,
    volumes: npt.ArrayLike,
    *,
    strata: npt.ArrayLike | None = None,
    n_simulations: int = 999,
    seed: int = 0,
) -> SelectionIndex:
    """Compute the selection index w_k = (n_k / n) / (V_k / V) (Manly's selection ratio).

    Parameters
    ----------
    compartment : array (n,) int
        Compartment 0..k-1 of every cell; negative is left out.
    subject : array (n,) bool
        The class.
    volumes : array (k,)
        Area or volume of each compartment in any one unit.
    strata : array (n,) or None
        Re-label within equal values only.
    n_simulations, seed : int
    """
    where = np.asarray(compartment, dtype=np.int64)
    member = np.asarray(subject, dtype=bool)
    size = np.asarray(volumes, dtype=np.float64)
    if where.ndim != 1 or member.shape != where.shape or (len(where) and where.max() >= len(size)):
        raise SettingsError(f"{where.shape} compartments, {member.shape} subjects and {size.shape} volumes do not fit.")
    held = where >= 0
    where, member = where[held], member[held]
    groups = None if strata is None else np.asarray(strata)[held]
    nan = np.full(len(size), np.nan)
    available = size / size.sum() if size.sum() > 0 else nan
    if not member.any():
        return SelectionIndex(nan, available, nan, nan, nan, nan, nan, "no cell of this class in the tissue")
    one_hot = (where[:, None] == np.arange(len(size))).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(available > 0, 1.0 / available, np.nan) / member.sum()
    index = (member @ one_hot) * scale
    used = index * available
    if member.all():
        return SelectionIndex(used, available, index, nan, nan, nan, nan, "")
    samples = relabel(member, n_simulations, np.random.default_rng(seed), strata=groups)
    null = (samples @ one_hot) * scale
    every = np.concatenate([index[None], null])
    away = np.abs(every - every.mean(axis=0))
    p = (1 + (away[1:] >= away[0] - 1e-12).sum(axis=0)) / (n_simulations + 1)
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    return SelectionIndex(
        used, available, index, null.mean(axis=0), low, high, np.where(np.isfinite(index), p, np.nan), ""
    )
