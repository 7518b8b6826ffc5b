"""The structures of one frame, each by the way that the recipe asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.pipeline.pixel_classes import class_mask
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.steps.correct import CorrectedSession
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.segmentation import ScaffoldThreshold

Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

FINE = 1.0
"""Sigma of the smoothing of cells with thin processes, µm; struts of scaffold take more."""
_SHORTEST = 5.0
"""Bright specks shorter than this are no cells, µm."""
NO_FLUORESCENCE = frozenset({"scaffold", "brightfield"})


@dataclass(frozen=True)
class Found:
    """A structure of one frame.

    Attributes
    ----------
    name : str
        organoid, scaffold, vessels, pericytes or stroma; the name of its label image.
    source : str
        Channels or classifier that it was found in.
    labels : int32 array, shape (Y, X) or (Z, Y, X)
        Organoids are numbered from the largest; the others are 1.
    pixel : float
        µm² or µm³ of a pixel.
    threshold : float
        Brightness above which it begins; NaN where there is no such.
    contrast : float
        Difference of the means in it and beside it in pooled standard deviations; NaN where one of them is empty.
    """

    name: str
    source: str
    labels: Labels
    pixel: float
    threshold: float
    contrast: float

    @property
    def count(self) -> int:
        """Number of organoids; of the others, whether there is any."""
        return int(self.labels.max(initial=0))

    def row(self) -> dict[str, Any]:
        """Return its row of the table `structures`."""
        inside = int(np.count_nonzero(self.labels))
        return {
            "structure": self.name,
            "source": self.source,
            "n": self.count,
            "amount": inside * self.pixel,
            "share": inside / self.labels.size,
            "threshold": self.threshold,
            "contrast": self.contrast,
        }


def find_structures(
    session: CorrectedSession,
    t: int,
    recipe: Recipe,
    *,
    threshold: Callable[[str], ScaffoldThreshold],
    cancel: CancelToken,
) -> list[Found]:
    """Return the structures of a frame that its channels show.

    Parameters
    ----------
    session : CorrectedSession
    t : int
        Frame.
    recipe : Recipe
    threshold : callable
        Returns the session's threshold of a structure that is found by brightness.
    cancel : CancelToken
    """
    frame = _Frame(session, t, recipe, cancel)
    found = [frame.organoid()]
    cancel.raise_if_cancelled()
    tissue = found[0].labels > 0 if found[0] is not None else np.ones(frame.shape, dtype=np.bool_)
    scaffolds = frame.scaffold(threshold)
    cancel.raise_if_cancelled()
    if scaffolds is not None:
        tissue &= scaffolds.labels == 0
    found += [scaffolds, frame.vessels(tissue)]
    for name, channel in bright_structures(recipe).items():
        cancel.raise_if_cancelled()
        found.append(frame.bright(name, channel, tissue, threshold))
    return [structure for structure in found if structure is not None]


def bright_structures(recipe: Recipe) -> dict[str, str]:
    """Return the channels of the structures that are found by brightness alone, by name of the structure."""
    section = recipe.structures
    wanted = {"pericytes": section.pericyte_channel, "stroma": section.stroma_channel}
    return {name: channel for name, channel in wanted.items() if channel is not None}


class _Frame:
    """A frame whose channels are read when they are needed."""

    def __init__(self, session: CorrectedSession, t: int, recipe: Recipe, cancel: CancelToken) -> None:
        self.session, self.t, self.recipe, self.cancel = session, t, recipe, cancel
        whole = tuple(int(n) for n in session.image.shape[2:])
        self.flat = whole[0] == 1
        self.shape = whole[1:] if self.flat else whole
        self.spacing = tuple(session.image.spacing[1:] if self.flat else session.image.spacing)
        self.pixel = float(np.prod(self.spacing))

    def read(self, channel: str) -> npt.NDArray[np.float32]:
        """Return a channel, (Y, X) or (Z, Y, X)."""
        volume = self.session.read(self.t, channel)
        return volume[0] if self.flat else volume

    def organoid(self) -> Found | None:
        """Return the organoid in the sum of channels, in bright field, or by a classifier."""
        from napari_marrow.segmentation import brightfield_texture, organoid_labels, tissue_signal

        section = self.recipe.structures
        by_class = self.classified("organoid", section.organoid_classifier)
        if by_class is not None:
            return self._found("organoid", by_class[1], by_class[0].astype(np.int32))
        channels = self._tissue_channels()
        if not channels:
            return None
        if channels == ["brightfield"]:
            plane = brightfield_texture(self.read("brightfield"), spacing=self.spacing).energy
            signal = plane if self.flat else np.broadcast_to(plane, self.shape)
        else:
            signal = tissue_signal((self.read(name) for name in channels), spacing=self.spacing)
        labels = organoid_labels(signal, spacing=self.spacing, max_organoids=section.organoids)
        return self._found("organoid", " + ".join(channels), labels, image=signal)

    def _tissue_channels(self) -> list[str]:
        wanted = self.recipe.structures.organoid_channels
        if wanted:
            return [name for name in wanted if name in self.session.channels]
        roles = {channel.name: channel.role for channel in self.session.image.channels}
        bright = [name for name, role in roles.items() if role not in NO_FLUORESCENCE]
        return bright or [name for name, role in roles.items() if role == "brightfield"]

    def scaffold(self, threshold: Callable[[str], ScaffoldThreshold]) -> Found | None:
        """Return the scaffold above the session's threshold, or by a classifier."""
        from napari_marrow.segmentation import scaffold_mask

        section = self.recipe.structures
        by_class = self.classified("scaffold", section.scaffold_classifier)
        if by_class is not None:
            return self._found("scaffold", by_class[1], by_class[0].astype(np.int32))
        if section.scaffold_channel not in self.session.channels:
            return None
        image, value = self.read(section.scaffold_channel), threshold("scaffold").value
        mask = scaffold_mask(image, spacing=self.spacing, threshold=value)
        return self._found("scaffold", section.scaffold_channel, mask.astype(np.int32), image=image, threshold=value)

    def bright(
        self, name: str, channel: str, tissue: Mask, threshold: Callable[[str], ScaffoldThreshold]
    ) -> Found | None:
        """Return what is bright in the tissue, by the session's threshold, with its thin processes."""
        from napari_marrow.segmentation import scaffold_mask

        if channel not in self.session.channels:
            return None
        image, value = self.read(channel), threshold(name).value
        mask = scaffold_mask(image, spacing=self.spacing, threshold=value, smoothing=FINE, min_size=_SHORTEST) & tissue
        return self._found(name, channel, mask.astype(np.int32), image=image, threshold=value, within=tissue)

    def vessels(self, tissue: Mask) -> Found | None:
        """Return the vessels in the tissue by the ridge filter, or by a classifier."""
        from napari_marrow.segmentation import vessel_mask

        niche = self.recipe.niche
        by_class = self.classified("vessels", self.recipe.structures.vessel_classifier)
        if by_class is not None:
            return self._found("vessels", by_class[1], by_class[0].astype(np.int32), within=tissue)
        if niche.vessel_channel not in self.session.channels:
            return None
        image = self.read(niche.vessel_channel)
        mask = vessel_mask(image, spacing=self.spacing, radii=niche.vessel_radii_um, within=tissue)
        return self._found("vessels", niche.vessel_channel, mask.astype(np.int32), image=image, within=tissue)

    def classified(self, structure: str, file: str | None) -> tuple[Mask, str] | None:
        """Return the mask of a structure by a pixel classifier and the classifier's name, None without one."""
        if file is None:
            return None
        mask, name = class_mask(
            file, structure, self.read, available=self.session.channels, spacing=self.spacing, cancel=self.cancel
        )
        return mask, f"classifier {name}"

    def _found(
        self,
        name: str,
        source: str,
        labels: Labels,
        *,
        image: npt.NDArray[np.float32] | None = None,
        threshold: float = float("nan"),
        within: Mask | None = None,
    ) -> Found:
        from napari_marrow.segmentation.thresholds import standardised_difference

        contrast = float("nan")
        if image is not None:
            inside = labels > 0
            contrast = standardised_difference(image, inside, ~inside if within is None else within & ~inside)
        return Found(name, source, labels, self.pixel, threshold, contrast)
