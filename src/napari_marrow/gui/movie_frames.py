"""The pictures of a movie and the file that they go into. Knows no Qt.

Without napari-animation a movie is a folder of PNG pictures over time. With it the camera moves, too, and the movie is
one file; its key frames, their interpolation and the encoder come from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import MissingExtraError, PathExistsError, SettingsError, write_refused
from napari_marrow.gui.napari_names import camera

if TYPE_CHECKING:
    import napari

    from napari_marrow.study.saved_view import SavedView

Picture = npt.NDArray[np.uint8]
TURN_STEPS, FLIGHT_STEPS, FPS = 72, 60, 10
FILMS = (".mp4", ".gif")


def needs_animation() -> str:
    """Return what to install for movies in one file, '' where it is there."""
    if find_spec("napari_animation") is not None:
        return ""
    return "napari-animation is not installed: `pip install 'napari-marrow[movie]'` brings it."


class Frames(Protocol):
    """Pictures that the window can show, one after the other."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def show(self, k: int) -> None:
        """Bring picture `k` into the window."""
        ...


class TimeFrames:
    """Every frame of the session, with the camera where it is.

    Parameters
    ----------
    viewer : napari.Viewer
    n_frames : int
    """

    def __init__(self, viewer: napari.Viewer, n_frames: int) -> None:
        self._viewer, self._n = viewer, n_frames

    def __len__(self) -> int:
        return self._n

    def show(self, k: int) -> None:
        """Go to frame `k`."""
        self._viewer.dims.set_current_step(0, k)


class KeyFrames:
    """A way of the camera: key frames of napari-animation, and what it puts between them.

    Parameters
    ----------
    viewer : napari.Viewer
    looks : sequence of (dict, int)
        Values of the camera in each key frame, and in how many steps it is reached.

    Raises
    ------
    MissingExtraError
        If napari-animation is not installed.
    """

    def __init__(self, viewer: napari.Viewer, looks: Sequence[tuple[dict[str, Any], int]]) -> None:
        if needs_animation():
            raise MissingExtraError(needs_animation())
        from napari_animation.frame_sequence import FrameSequence
        from napari_animation.key_frame import KeyFrame, KeyFrameList
        from napari_animation.viewer_state import ViewerState

        self._viewer = viewer
        keys = KeyFrameList()
        self._sequence = FrameSequence(keys)
        nothing = np.zeros((1, 1, 4), np.uint8)
        # layers stay as they are: their features and tracks follow the frame, and are not to be interpolated
        keys.extend(KeyFrame(ViewerState(look, {}, {}), nothing, steps) for look, steps in looks)

    def __len__(self) -> int:
        return len(self._sequence)

    def show(self, k: int) -> None:
        """Bring the camera to where it is in picture `k`; the state's own `apply` uses a name of older napari."""
        camera(self._viewer).update(self._sequence[k].camera)


def one_turn(viewer: napari.Viewer) -> Frames:
    """Return a turn of the camera around the vertical of the picture, back to where it was; in 3D only.

    Raises
    ------
    SettingsError
        If the view is flat.
    MissingExtraError
        If napari-animation is not installed.
    """
    from napari.components import Camera
    from scipy.spatial.transform import Rotation

    if viewer.dims.ndisplay != 3:
        raise SettingsError("A turn needs the 3D view: press 3D first.")
    now = camera(viewer)
    view, up = np.array(now.view_direction), np.array(now.up_direction)
    other = Camera()
    if hasattr(now, "orientation"):
        other.orientation = now.orientation
    looks: list[tuple[dict[str, Any], int]] = []
    for k in range(TURN_STEPS):
        turned = Rotation.from_rotvec(2 * np.pi * k / TURN_STEPS * up / np.linalg.norm(up)).apply(view)
        other.set_view_direction(tuple(turned), tuple(up))
        looks.append(({"angles": tuple(other.angles)}, 1))
    looks[0] = ({"angles": tuple(now.angles)}, 1)
    return KeyFrames(viewer, looks)


def flight(viewer: napari.Viewer, begin: SavedView | None) -> Frames:
    """Return the way of the camera from the saved view to where it is now.

    Raises
    ------
    SettingsError
        If no view is saved, or one of the other kind (flat, 3D) than the one on display.
    MissingExtraError
        If napari-animation is not installed.
    """
    if begin is None:
        raise SettingsError("No view is saved with this study: go to where the movie should begin and press Save view.")
    if begin.in_3d != (viewer.dims.ndisplay == 3):
        kind = "3D" if begin.in_3d else "flat"
        raise SettingsError(
            f"The saved view is {kind}, and what is on display is not: change it, or save another view."
        )
    now = camera(viewer)
    ends = (
        {"center": begin.centre, "zoom": begin.zoom, "angles": begin.angles},
        {"center": tuple(now.center), "zoom": float(now.zoom), "angles": tuple(now.angles)},
    )
    return KeyFrames(viewer, [(ends[0], 1), (ends[1], FLIGHT_STEPS)])


class Writer(Protocol):
    """Takes pictures and makes a movie of them."""

    path: Path

    def add(self, picture: Picture) -> None:
        """Take the next picture."""
        ...

    def finish(self) -> None:
        """Put the movie in its place."""
        ...

    def discard(self) -> None:
        """Leave nothing behind."""
        ...


def open_writer(path: Path) -> Writer:
    """Return what writes a movie: a folder of PNG pictures, or one file by its ending.

    Parameters
    ----------
    path : Path
        A new folder, or a file that ends in one of `FILMS`, which is replaced.

    Raises
    ------
    PathExistsError
        If the folder is there and holds something.
    MissingExtraError
        If a file is asked for and napari-animation, which brings the encoder, is not installed.
    SettingsError
        If the ending is another one.
    """
    if path.suffix.lower() in FILMS:
        return _Film(path)
    if path.suffix:
        raise SettingsError(f"'{path.name}' is no movie: choose a name that ends in {' or '.join(FILMS)}, or a folder.")
    return _Pictures(path)


class _Pictures:
    """PNG files in a folder that has its name when all are there."""

    def __init__(self, path: Path) -> None:
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise PathExistsError(f"'{path}' is there already: choose another name for the folder of pictures.")
        self.path, self._count = path, 0
        self._partial = path.with_name(f"{path.name}.partial")
        shutil.rmtree(self._partial, ignore_errors=True)
        try:
            self._partial.mkdir(parents=True)
        except OSError as error:
            raise write_refused(path, error) from error

    def add(self, picture: Picture) -> None:
        from PIL import Image

        self._count += 1
        place = self._partial / f"frame_{self._count:05d}.png"
        try:
            Image.fromarray(np.ascontiguousarray(picture[..., :3])).save(place, compress_level=3)
        except OSError as error:
            raise write_refused(self.path, error) from error

    def finish(self) -> None:
        if self.path.is_dir():
            self.path.rmdir()
        self._partial.rename(self.path)

    def discard(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)


class _Film:
    """A film that has its name when it is whole."""

    def __init__(self, path: Path) -> None:
        if needs_animation():
            raise MissingExtraError(f"{needs_animation()} Without it choose a folder: the movie becomes pictures.")
        import imageio.v2 as imageio

        self.path, self._shape = path, (0, 0)
        self._partial = path.with_name(f"{path.stem}.partial{path.suffix.lower()}")
        if path.suffix.lower() == ".gif":
            more: dict[str, Any] = {"duration": 1000 / FPS, "loop": 0}
        else:
            more = {"format": "FFMPEG", "codec": "libx264", "fps": FPS, "quality": 8, "macro_block_size": 2}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = imageio.get_writer(self._partial, **more)
        except OSError as error:
            raise write_refused(path, error) from error

    def add(self, picture: Picture) -> None:
        height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2  # encoders want even sizes
        if self._shape not in ((0, 0), (height, width)):
            raise SettingsError("The window changed its size while the movie was made: make it again and let it be.")
        self._shape = height, width
        try:
            self._writer.append_data(np.ascontiguousarray(picture[:height, :width, :3]))
        except OSError as error:
            raise write_refused(self.path, error) from error

    def finish(self) -> None:
        self._writer.close()
        self._partial.replace(self.path)

    def discard(self) -> None:
        self._writer.close()
        self._partial.unlink(missing_ok=True)
