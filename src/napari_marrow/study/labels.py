"""Label images beside the images of a session: one int32 array per name and key, one file per time point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import CorruptDataError, PathMissingError, SettingsError
from napari_marrow.study import ome
from napari_marrow.study.durable import ZARR, read_document, second_name, write_document
from napari_marrow.study.naming import check_key, check_word
from napari_marrow.study.pyramid import halve_labels, level_shape
from napari_marrow.study.remote import is_remote
from napari_marrow.study.session_image import SessionImage


def labels_folder(image: Path, name: str, key: str) -> Path:
    """Return the folder of a label image: ``labels/<name>_<key>`` below the image."""
    return image / "labels" / f"{check_word(name, 'name of labels')}_{check_key(key)}"


class SessionLabels:
    """The labels of a session, read a frame at a time.

    Attributes
    ----------
    shape : (T, Z, Y, X)
    path : Path
    """

    def __init__(self, path: Path) -> None:
        from napari_marrow.study.arrays import TimeShards

        if not (path / "zarr.json").is_file():
            raise PathMissingError(f"There are no labels at '{path}': segment first.")
        read_document(path / "zarr.json", where=ZARR)
        self.path = path
        self._array = TimeShards(path / "0")
        t, _, z, y, x = self._array.shape
        self.shape: tuple[int, int, int, int] = (t, z, y, x)

    @property
    def times(self) -> list[int]:
        """Frames that have been written."""
        if is_remote(self.path):  # a request per frame would take minutes
            about = read_document(self.path / "zarr.json", where=ZARR)["attributes"]["marrow"]
            return [int(t) for t in about.get("frames", [])]
        return [t for t in range(self.shape[0]) if self._array.has(t)]

    def read(self, t: int) -> npt.NDArray[np.int32]:
        """Read the labels of a frame.

        Returns
        -------
        ndarray of int32, shape (Z, Y, X)

        Raises
        ------
        CorruptDataError
            If the frame was not written or is damaged; the sentence names the file.
        SettingsError
            If there is no such frame.
        """
        if not 0 <= t < self.shape[0]:
            raise SettingsError(f"'{self.path.name}' has no frame {t}: it has frames 0 to {self.shape[0] - 1}.")
        return self._array.read(t, (0,)).astype(np.int32, copy=False)

    def dask(self) -> Any:
        """Return all frames as a lazy dask array (T, Z, Y, X), a plane a chunk."""
        from napari_marrow.study.lazy import lazy_array

        return lazy_array(self._array.folder, self._array.shape, self._array.dtype, drop_channel=True)


def has_labels(image: Path, name: str, key: str) -> bool:
    """Whether a label image was begun."""
    return (labels_folder(image, name, key) / "zarr.json").is_file()


def names_of_key(image: Path, key: str) -> list[str]:
    """Return the names of an image's label images of a key, by the list of its label images."""
    if not (image / "labels" / "zarr.json").is_file():
        return []
    listed = read_document(image / "labels" / "zarr.json", where=ZARR)["attributes"]["ome"]["labels"]
    return [name.rpartition("_")[0] for name in listed if name.rpartition("_")[2] == key]


def write_labels(image: SessionImage, name: str, key: str, t: int, labels: npt.ArrayLike) -> None:
    """Write the labels of a frame, each resolution in one atomic file, the full one last.

    Parameters
    ----------
    image : SessionImage
    name, key : str
    t : int
    labels : array of int, shape (Z, Y, X), or (Y, X) where Z is 1

    Raises
    ------
    SettingsError
        If the shape is not the image's, the type is not integer, or a value does not fit int32.
    """
    from napari_marrow.study.arrays import TimeShards

    frame = _checked(image, t, labels)
    folder = labels_folder(image.path, name, key)
    if not (folder / "zarr.json").is_file():
        _create(image, folder)
    levels = [frame]
    for _ in range(1, image.levels):
        levels.append(halve_labels(levels[-1]))
    for level in reversed(range(image.levels)):
        TimeShards(folder / str(level)).write(t, levels[level][np.newaxis])


def share_labels(image: SessionImage, name: str, source: str, key: str, t: int) -> None:
    """Give a frame's labels a second key without a second copy, where the file system has hard links.

    No file of a frame is ever written to once it has its name, so that neither key can change the other's.

    Raises
    ------
    PathMissingError
        If there are no labels of the key `source`.
    """
    from napari_marrow.study.arrays import TimeShards

    there, folder = labels_folder(image.path, name, source), labels_folder(image.path, name, key)
    if not (there / "zarr.json").is_file():
        raise PathMissingError(f"There are no labels at '{there}': segment first.")
    if not (folder / "zarr.json").is_file():
        _create(image, folder)
    for level in reversed(range(image.levels)):
        old, new = TimeShards(there / str(level)).file(t), TimeShards(folder / str(level)).file(t)
        second_name(old, new)


def _checked(image: SessionImage, t: int, labels: npt.ArrayLike) -> npt.NDArray[np.int32]:
    frame = np.asarray(labels)
    where = f"labels of {image.position} session {image.session} frame {t}"
    if not 0 <= t < image.shape[0]:
        raise SettingsError(f"There is no frame for the {where}: the session has {image.shape[0]} frames.")
    if frame.ndim == 2 and image.shape[2] == 1:
        frame = frame[np.newaxis]
    if frame.shape != image.shape[2:]:
        raise SettingsError(f"The {where} have the shape {frame.shape}: the image has {image.shape[2:]}.")
    if frame.dtype.kind not in "iub":
        raise SettingsError(f"The {where} are {frame.dtype}: labels are integers.")
    if frame.size and (int(frame.min()) < 0 or int(frame.max()) > np.iinfo(np.int32).max):
        raise SettingsError(f"The {where} hold values outside 0 to 2147483647.")
    return frame.astype(np.int32, copy=False)


def _create(image: SessionImage, folder: Path) -> None:
    """Write the metadata; several processes may do so at once, they all write the same."""
    from napari_marrow.study.arrays import create_label_array

    n_frames, _, n_planes, height, width = image.shape
    for level in range(image.levels):
        if not (folder / str(level) / "zarr.json").is_file():
            create_label_array(folder / str(level), (n_frames, 1, n_planes, *level_shape(height, width, level)))
    attributes: dict[str, Any] = {
        "multiscales": [
            ome.multiscales(
                name=folder.name,
                spacing=image.spacing,
                levels=image.levels,
                step_h=step_hours(image.time_s),
                start_h=image.start_h,
                centred=False,
            )
        ],
        "image-label": {"source": {"image": "../../"}},
    }
    write_document(folder / "zarr.json", ome.group(attributes), where=ZARR)
    list_labels(folder.parent)


def record_frames(images: list[Path], keys: set[str]) -> None:
    """Write down which frames the label images of finished steps have, so that a lost one is missed.

    Parameters
    ----------
    images : list of Path
        Folders of images.
    keys : set of str
        Keys of the finished steps. Not every step labels every frame, so the list cannot be guessed later.
    """
    for image in images:
        if (image / "labels").is_dir():
            list_labels(image / "labels")  # a kill may have come between a label image and its entry in the list
        for folder in (image / "labels").iterdir() if (image / "labels").is_dir() else ():
            if folder.name.rpartition("_")[2] in keys and (folder / "zarr.json").is_file():
                document = read_document(folder / "zarr.json", where=ZARR)
                before = document["attributes"]["marrow"].get("frames", [])
                # What was there once and is gone is a loss that `verify` has to go on reporting.
                frames = sorted({*before, *SessionLabels(folder).times})
                if frames != before:
                    document["attributes"]["marrow"]["frames"] = frames
                    write_document(folder / "zarr.json", document, where=ZARR)


def step_hours(time_s: npt.NDArray[np.float64]) -> float:
    """Return the mean frame interval in hours, 1 for a single frame: OME-Zarr asks for a positive scale."""
    if len(time_s) < 2 or time_s[-1] <= time_s[0]:
        return 1.0
    return float((time_s[-1] - time_s[0]) / (len(time_s) - 1) / 3600.0)


def list_labels(parent: Path) -> None:
    """Write the list of label images from what is there.

    Two processes may add labels at once: each looks again after it wrote, so the last to write has seen both.
    """
    while True:
        names = sorted(entry.name for entry in parent.iterdir() if (entry / "zarr.json").is_file())
        try:
            document = read_document(parent / "zarr.json", where=ZARR)
            if document["attributes"]["ome"]["labels"] == names:
                return
        except (CorruptDataError, KeyError):
            pass
        write_document(parent / "zarr.json", ome.group({"labels": names}), where=ZARR)
