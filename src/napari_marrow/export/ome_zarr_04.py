"""OME-Zarr 0.4 (zarr v2) of a study's images and labels, for programs that do not read 0.5 yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import zarr

from napari_marrow.export.new_places import new_folder
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.study import ome
from napari_marrow.study.naming import image_path, split_position
from napari_marrow.study.pyramid import halve_labels

if TYPE_CHECKING:
    from napari_marrow.study import SessionImage, Study

VERSION = "0.4"
CHUNK = 1024


@dataclass(frozen=True)
class _Labels:
    name: str
    key: str


def write_ome_zarr_04(
    study: Study,
    out: Path,
    *,
    positions: Sequence[str] | None = None,
    labels: bool = True,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> None:
    """Write a plate with all sessions and the active label images into a new folder, all or nothing.

    Parameters
    ----------
    study : Study
    out : Path
        Must not exist, or be an empty folder; by custom it ends in ``.ome.zarr``.
    positions : sequence of str, optional
        All by default.
    labels : bool
        Whether the active label images are written as well.
    progress : callable
        Called after each frame.
    cancel : CancelToken, optional

    Raises
    ------
    PathExistsError, StorageError
        If something is there, or the disk does not take the files.
    CorruptDataError
        If a frame of the study is damaged.
    """
    cancel = cancel or CancelToken()
    places = [(p, s) for p in study.positions if positions is None or p in positions for s in study.sessions(p)]
    total = sum(int(study.image(*place).shape[0]) for place in places)
    done = 0
    with new_folder(out) as folder:
        root = zarr.create_group(folder, zarr_format=2)
        plate = ome.plate(study.name, places, {})["plate"]
        root.attrs["plate"] = {**plate, "version": VERSION}
        for row, column in sorted({split_position(position)[:2] for position, _ in places}):
            here = [place for place in places if split_position(place[0])[:2] == (row, column)]
            well = root.require_group(f"{row}/{column}")
            well.attrs["well"] = {**ome.well(here)["well"], "version": VERSION}
        for position, session in places:
            image = study.image(position, session)
            group = root.require_group(image_path(position, session))
            names = list(_active_labels(study, position, session)) if labels else []
            for _ in _write_image(group, study, image, names, cancel):
                done += 1
                progress(done, total, "Writing OME-Zarr 0.4")


def _active_labels(study: Study, position: str, session: int) -> Iterator[_Labels]:
    for key in dict.fromkeys(study.active.values()):
        for name in study.label_names(key, position, session):
            yield _Labels(name, key)


def _write_image(
    group: zarr.Group, study: Study, image: SessionImage, names: list[_Labels], cancel: CancelToken
) -> Iterator[None]:
    """Write a session frame by frame."""
    from napari_marrow.study.labels import step_hours

    n_frames = image.shape[0]
    about: dict[str, Any] = {"spacing": image.spacing, "step_h": step_hours(image.time_s), "start_h": image.start_h}
    multiscales = ome.multiscales(name=image.name, levels=image.levels, centred=True, **about)
    largest = float(np.iinfo(image.dtype).max) if image.dtype.kind in "iu" else 1.0
    group.attrs["multiscales"] = [{**multiscales, "version": VERSION}]
    group.attrs["omero"] = {
        **ome.omero([(c.name, c.color) for c in image.channels], largest=largest),
        "version": VERSION,
    }
    arrays = [
        _array(group, str(level), (n_frames, *image.read(0, level=level).shape), image.dtype)
        for level in range(image.levels)
    ]
    masks: dict[str, list[Any]] = {}
    if names:
        parent = group.require_group("labels")
        parent.attrs["labels"] = [each.name for each in names]
        for each in names:
            child = parent.require_group(each.name)
            scales = ome.multiscales(name=each.name, levels=image.levels, centred=False, **about)
            child.attrs["multiscales"] = [{**scales, "version": VERSION}]
            child.attrs["image-label"] = {"version": VERSION, "source": {"image": "../../"}}
            shape = [(n_frames, 1, *array.shape[2:]) for array in arrays]
            masks[each.name] = [_array(child, str(k), s, np.dtype(np.int32)) for k, s in enumerate(shape)]
    stored = {each.name: study.labels(each.name, each.key, image.position, image.session) for each in names}
    labelled = {name: set(found.times) for name, found in stored.items()}
    for t in range(n_frames):
        cancel.raise_if_cancelled()
        for level, array in enumerate(arrays):
            array[t] = image.read(t, level=level)
        for name, found in stored.items():
            if t in labelled[name]:  # frames that were not labelled stay empty
                frame = found.read(t)
                for array in masks[name]:
                    array[t, 0] = frame
                    frame = halve_labels(frame)
        yield


def _array(group: zarr.Group, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    return group.create_array(
        name,
        shape=tuple(shape),
        dtype=dtype,
        chunks=(1, 1, 1, min(CHUNK, shape[3]), min(CHUNK, shape[4])),
        compressors=numcodecs.Blosc(cname="zstd", clevel=1, shuffle=numcodecs.Blosc.BITSHUFFLE),
        chunk_key_encoding={"name": "v2", "separator": "/"},
        fill_value=0,
    )
