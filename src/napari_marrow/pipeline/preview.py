"""What a recipe's segmentation gives on a piece of one frame, in a second or two."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, step_keys
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.study import Study


@dataclass(frozen=True, eq=False)
class Preview:
    """Cells of a piece of one frame.

    Attributes
    ----------
    recipe : Recipe
    labels : (Y, X) int32
    image : (Y, X) float32
        What was segmented, in counts.
    position : str
    session, t, z : int
    origin : (int, int)
        Row and column of the piece's first pixel.
    diameter_um : float
        Given or estimated.
    seconds : float
        Wall time, without loading the network.
    spacing : (float, float)
        Pixel size (y, x), µm.
    """

    recipe: Recipe
    labels: npt.NDArray[np.int32]
    image: npt.NDArray[np.float32]
    position: str
    session: int
    t: int
    z: int
    origin: tuple[int, int]
    diameter_um: float
    seconds: float
    spacing: tuple[float, float] = field(default=(1.0, 1.0))

    @property
    def n_cells(self) -> int:
        """How many cells there are."""
        return int(self.labels.max(initial=0))


def preview_segmentation(
    study_path: Path | str,
    recipe: Recipe,
    position: str,
    session: int,
    t: int,
    *,
    centre: tuple[float, float] | None = None,
    size: int = 512,
    z: int | None = None,
    cancel: CancelToken | None = None,
) -> Preview:
    """Segment a piece of one frame with a recipe; nothing is written.

    A frame that fits into the piece gets exactly the labels that the recipe gives it. A larger frame is cut: brightness
    is then normalised over the piece, and an empty diameter is estimated in it.

    Parameters
    ----------
    study_path : path
    recipe : Recipe
    position : str
    session, t : int
    centre : (float, float), optional
        Row and column of the piece's middle; the frame's middle by default.
    size : int
        Side of the piece, pixels.
    z : int, optional
        Plane of a volume; the middle one by default. Volumes are previewed plane by plane.
    cancel : CancelToken, optional

    Returns
    -------
    Preview

    Raises
    ------
    SettingsError
        If the session lacks the channel that the recipe segments, or there is no such frame.
    """
    from napari_marrow.pipeline.steps.segment import _channels, _segmenter
    from napari_marrow.study import Study

    study = Study.open(study_path)
    image = study.image(position, session)
    channels = _channels(image, recipe)
    if not channels:
        raise SettingsError(
            f"{position} session {session} has no channel '{recipe.segment.channel}': choose another in the recipe."
        )
    if not 0 <= t < image.shape[0]:
        raise SettingsError(f"{position} session {session} has no frame {t}: it has {image.shape[0]}.")
    z = image.shape[2] // 2 if z is None else min(max(z, 0), image.shape[2] - 1)
    rows, columns = _piece(image.shape[3:], centre, size)
    planes = [_read(study, recipe, position, session, t, name)[z, rows, columns] for name in channels]
    section, spacing = recipe.segment, image.spacing
    segmenter = _segmenter(section)
    started = time.perf_counter()
    diameter = None if section.diameter_um is None else section.diameter_um / spacing[2]
    second = planes[1] if len(planes) > 1 else None
    if diameter is None and segmenter.needs_diameter:
        known = planes
        if planes[0].shape == image.shape[3:]:  # as the step does it
            middle = image.shape[0] // 2
            known = [_read(study, recipe, position, session, middle, name).max(axis=0) for name in channels]
        diameter = segmenter.estimate_diameter(known[0], second=known[1] if len(known) > 1 else None)
    found = segmenter.segment(
        planes[0],
        second=second,
        diameter=diameter,
        spacing=spacing[1:],
        flow_threshold=section.flow_threshold,
        cellprob_threshold=section.cellprob_threshold,
        min_size=round(section.min_area_um2 / (spacing[1] * spacing[2])),
        cancel=cancel or CancelToken(),
    )
    return Preview(
        recipe,
        np.asarray(found.labels, np.int32),
        np.asarray(planes[0], np.float32),
        position,
        session,
        t,
        z,
        (rows.start, columns.start),
        float(found.diameter * spacing[2]),
        time.perf_counter() - started,
        (spacing[1], spacing[2]),
    )


def _piece(shape: tuple[int, ...], centre: tuple[float, float] | None, size: int) -> tuple[slice, slice]:
    """Return rows and columns of a piece that lies within the frame."""
    cut = []
    for n, middle in zip(shape, centre or (shape[0] / 2, shape[1] / 2), strict=True):
        start = int(np.clip(round(middle - size / 2), 0, max(n - size, 0)))
        cut.append(slice(start, min(start + size, n)))
    return cut[0], cut[1]


def _read(study: Study, recipe: Recipe, position: str, session: int, t: int, channel: str) -> npt.NDArray[np.float32]:
    """Read a frame, corrected where the recipe's corrections have been computed."""
    from napari_marrow.pipeline.steps.correct import corrected_session

    keys = _correction_key(study, recipe)
    if study.is_committed("corrections", keys["correct"], {"session": session}):
        return corrected_session(study, position, session, Context(recipe, keys)).read(t, channel)
    return study.image(position, session).read(t, channel).astype(np.float32)


def _correction_key(study: Study, recipe: Recipe) -> dict[str, str]:
    from napari_marrow.pipeline.steps import STEPS

    names = [step.name for step in STEPS]
    return step_keys(STEPS[: names.index("correct") + 1], recipe, study)
