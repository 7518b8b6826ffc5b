"""The menu commands on a plain layer: segment, track, measure. Each runs beside the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import InputFileError, MarrowError, SettingsError
from napari_marrow.gui.activity import job_with_activity
from napari_marrow.gui.frame_features import FrameFeatures
from napari_marrow.gui.layer_frames import LayerFrames, layer_frames
from napari_marrow.gui.sentences import sentence
from napari_marrow.gui.warm_up import warm_up_labels
from napari_marrow.progress import CancelToken, Progress

if TYPE_CHECKING:
    from napari_marrow.gui.job import Job


def segment_active(viewer: Any) -> Job | None:
    """Segment the selected image layer, frame by frame, with the default network.

    Parameters
    ----------
    viewer : napari.Viewer

    Returns
    -------
    Job or None
        None where there is nothing to segment; the window says why.
    """
    image = _selected(viewer, "image", "segment", "an image layer")
    if image is None:
        return None
    job = job_with_activity(
        lambda progress, cancel: segment_frames(image, progress, cancel), f"Segmenting {image.name}"
    )
    job.succeeded.connect(lambda labels: viewer.add_labels(labels, name=f"{image.name} cells", **image.transform))
    job.start()
    return job


def track_active(viewer: Any) -> Job | None:
    """Track the selected labels layer; see `segment_active`."""
    labels = _selected(viewer, "labels", "track", "a labels layer")
    if labels is None:
        return None
    job = job_with_activity(lambda progress, cancel: track_frames(labels, progress, cancel), f"Tracking {labels.name}")
    job.succeeded.connect(
        lambda found: viewer.add_tracks(
            found[0], graph=found[1], features=found[2], name=f"{labels.name} tracks", **labels.transform
        )
    )
    job.start()
    return job


def measure_active(viewer: Any) -> Job | None:
    """Measure the selected labels layer in every image layer of its shape; see `segment_active`."""
    labels = _selected(viewer, "labels", "measure", "a labels layer")
    if labels is None:
        return None
    layer = viewer.layers.selection.active
    images = [
        frames
        for other in viewer.layers
        if other._type_string == "image" and not other.rgb and (frames := layer_frames(other)).shape == labels.shape
    ]
    job = job_with_activity(
        lambda progress, cancel: measure_frames(labels, images, progress, cancel), f"Measuring {labels.name}"
    )
    job.succeeded.connect(lambda cells: _show_cells(viewer, layer, cells, len(labels)))
    job.start()
    return job


def segment_frames(image: LayerFrames, progress: Progress, cancel: CancelToken) -> npt.NDArray[np.int32]:
    """Return the labels of every frame, in the shape of the image.

    Raises
    ------
    Cancelled
        If it was cancelled.
    """
    from napari_marrow.segmentation import load_segmenter

    progress(0, len(image), f"Segmenting {image.name}")
    segmenter = load_segmenter()
    frames = []
    for t, frame in enumerate(image):
        cancel.raise_if_cancelled()
        frames.append(segmenter.segment(frame, diameter=None, spacing=image.spacing, cancel=cancel).labels)
        progress(t + 1, len(image), f"Segmenting {image.name}")
    warm_up_labels()
    return np.stack(frames) if image.timed else frames[0]


def track_frames(
    labels: LayerFrames, progress: Progress, cancel: CancelToken
) -> tuple[npt.NDArray[np.float64], dict[int, list[int]], pd.DataFrame]:
    """Return vertices (track, t, (z,) y, x) in pixels, the graph daughter -> mother, and features of the vertices.

    Raises
    ------
    SettingsError
        If there is one frame only, or no cell.
    Cancelled
        If it was cancelled.
    """
    from napari_marrow.tracking import track_labels

    if len(labels) < 2:
        raise SettingsError(f"'{labels.name}' has one frame: tracking needs a time axis in front of y and x.")
    found, points = track_labels(labels, spacing=labels.spacing, progress=progress, cancel=cancel)
    if not len(points):
        raise SettingsError(f"'{labels.name}' holds no cell: segment an image first.")
    axes = ["z", "y", "x"][-len(labels.spacing) :]
    places = [points[axis].to_numpy() / size for axis, size in zip(axes, labels.spacing, strict=True)]
    vertices = np.column_stack([found.track_id, points["t"].to_numpy(), *places]).astype(np.float64)
    order = np.lexsort((vertices[:, 1], vertices[:, 0]))
    daughters = found.parent_track_id > 0
    graph = {
        int(child): [int(mother)]
        for child, mother in zip(found.track_id[daughters], found.parent_track_id[daughters], strict=True)
    }
    probability = pd.Series(found.link_probability).fillna(1.0).to_numpy()
    return vertices[order], graph, pd.DataFrame({"link_probability": probability[order]})


def measure_frames(
    labels: LayerFrames, images: list[LayerFrames], progress: Progress, cancel: CancelToken
) -> pd.DataFrame:
    """Return a row per cell and frame: t, label, place, size, shape and brightness in each image.

    Raises
    ------
    InputFileError
        If no image has the shape of the labels.
    Cancelled
        If it was cancelled.
    """
    from napari_marrow.segmentation import measure_cells

    if not images:
        raise InputFileError(
            f"No image layer has the shape {labels.shape} of '{labels.name}': open its image beside it."
        )
    names = [image.name for image in images]
    tables = []
    for t in range(len(labels)):
        cancel.raise_if_cancelled()
        channels = np.stack([image.volume(t) for image in images])
        cells = measure_cells(labels.volume(t), channels, names, spacing=labels.volume_spacing())
        tables.append(cells.assign(t=t))
        progress(t + 1, len(labels), f"Measuring {labels.name}")
    return pd.concat(tables, ignore_index=True)


def _selected(viewer: Any, kind: str, verb: str, wanted: str) -> LayerFrames | None:
    """Return the frames of the selected layer, or tell what to select."""
    from napari.utils.notifications import show_warning

    layer = viewer.layers.selection.active
    if layer is None or layer._type_string != kind:
        show_warning(f"Select {wanted} to {verb}.")
        return None
    try:
        frames = layer_frames(layer)
    except MarrowError as error:
        show_warning(sentence(error))
        return None
    if not frames.physical:
        show_warning(
            f"'{frames.name}' has no pixel size: lengths and areas are in pixels. Set layer.scale, and layer.units to "
            "µm, for others."
        )
    return frames


def _show_cells(viewer: Any, layer: Any, cells: pd.DataFrame, n_frames: int) -> None:
    from napari_marrow.gui.frame_follower import follow

    about = layer.metadata.get("marrow", {})
    features = FrameFeatures(cells, n_frames)
    layer.metadata["marrow"] = {**about, "role": "cells", "features": features, "table": cells}
    follow(viewer).update()
