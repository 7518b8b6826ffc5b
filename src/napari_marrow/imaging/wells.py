"""Wells that changed places between two sessions, told by their images: one that fits another's past, not its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from napari_marrow.imaging.filtering import as_plane
from napari_marrow.imaging.sessions import register_sessions
from napari_marrow.imaging.transform import Transform

Plane = npt.NDArray[np.float32]
Place = Callable[[npt.ArrayLike, npt.ArrayLike], Transform]

MOST_PAIRS = 240
"""Pairs of wells that are compared at most: half a second each."""
_SIDE = 512


@dataclass(frozen=True)
class WellMatch:
    """A well whose images fit the past of another one.

    Attributes
    ----------
    well : str
        Where the images were found.
    looks_like : str
        The well whose earlier images they fit.
    correlation : float
        Normalised correlation of the registered images.
    residual : float, µm
        Median displacement of blocks of the registered images.
    mutual : bool
        Whether the other well's images fit this one's past in turn.
    """

    well: str
    looks_like: str
    correlation: float
    residual: float
    mutual: bool = False


def small_plane(plane: npt.ArrayLike, spacing: tuple[float, float]) -> tuple[Plane, tuple[float, float]]:
    """Return a plane averaged over blocks until its longer side is below twice 512 px, and its pixel size.

    Registration looks at no more; so the planes of a whole plate fit into memory.

    Parameters
    ----------
    plane : array_like, shape (Y, X)
    spacing : (float, float), µm
        Pixel size (y, x).
    """
    from napari_marrow.imaging.plane_kernels import block_mean

    whole = as_plane(plane)
    factor = max(1, max(whole.shape) // _SIDE)
    if factor == 1 or min(whole.shape) < factor:
        return whole, spacing
    return as_plane(block_mean(whole, factor)), (factor * spacing[0], factor * spacing[1])


def match_wells(
    before: Mapping[str, npt.ArrayLike],
    after: Mapping[str, npt.ArrayLike],
    *,
    spacing: tuple[float, float],
    refused: Iterable[str] = (),
    kind: str = "rigid",
    max_shift_um: float = 200.0,
    max_angle_deg: float = 6.0,
    most_pairs: int = MOST_PAIRS,
    check: Callable[[], None] = lambda: None,
) -> list[WellMatch]:
    """Look for the well whose past fits, for wells that do not fit their own.

    Every well of `after` is registered to the past of every other well, see `register_sessions`; of the accepted ones
    the best correlated is named. Where all pairs would be too many, the pasts of wells that are refused themselves are
    tried first: two that changed places both are.

    Parameters
    ----------
    before : mapping of str to array_like, shape (Y, X)
        The last frame of the earlier session, by well.
    after : mapping of str to array_like, shape (Y, X)
        The first frame of the later session, of wells that do not fit their own past.
    spacing : (float, float), µm
        Pixel size (y, x), the same in all.
    refused : iterable of str
        All wells that do not fit their own past; those of `after` by default.
    kind, max_shift_um, max_angle_deg
        See `register_sessions`.
    most_pairs : int
        Pairs that are compared at most; of each well as many.
    check : callable
        Called before each comparison; may raise to end it.

    Returns
    -------
    list of WellMatch
        By well. Two wells that name each other are `mutual`.
    """
    place: Place = partial(
        register_sessions, spacing=spacing, kind=kind, max_shift_um=max_shift_um, max_angle_deg=max_angle_deg
    )
    suspects = set(refused) or set(after)
    each = max(1, most_pairs // max(1, len(after)))
    best: dict[str, tuple[str, Transform]] = {}
    for well in sorted(after):
        others = sorted((other for other in before if other != well), key=lambda name: (name not in suspects, name))
        for other in others[:each]:
            check()
            found = place(before[other], after[well])
            if found.accepted and (well not in best or found.correlation > best[well][1].correlation):
                best[well] = other, found
    return [
        WellMatch(well, other, found.correlation, found.residual, best.get(other, ("",))[0] == well)
        for well, (other, found) in best.items()
    ]
