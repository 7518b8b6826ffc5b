"""Reading the images of one session of one position."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import CorruptDataError, SettingsError
from napari_marrow.study.channel import Channel
from napari_marrow.study.durable import ZARR, read_document

if TYPE_CHECKING:
    from napari_marrow.study.arrays import TimeShards


class SessionImage:
    """The images of a session, read a frame at a time.

    Attributes
    ----------
    position : str
    session : int
    name : str
    channels : tuple of Channel
    shape : (T, C, Z, Y, X)
    spacing : (dz, dy, dx)
        Pixel size in µm; dz is 1 for a single plane of unknown thickness.
    start_h : float
        Time of the first frame since the study's t0, hours.
    time_s : ndarray of float64, shape (T,)
        True frame times since the session's first frame, seconds.
    path : Path
        Folder of the OME-Zarr image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        document = read_document(path / "zarr.json", where=ZARR)
        try:
            marrow = document["attributes"]["marrow"]
            self.position: str = marrow["position"]
            self.session: int = marrow["session"]
            self.name: str = marrow["name"]
            self.channels = tuple(Channel.from_dict(c) for c in marrow["channels"])
            t, c, z, y, x = (int(n) for n in marrow["shape"])
            self.shape: tuple[int, int, int, int, int] = (t, c, z, y, x)
            dz, dy, dx = (float(s) for s in marrow["spacing_um"])
            self.spacing: tuple[float, float, float] = (dz, dy, dx)
            self.start_h = float(marrow["start_h"])
            self.time_s: npt.NDArray[np.float64] = np.asarray(marrow["time_s"], dtype=np.float64)
            self.dtype: np.dtype[Any] = np.dtype(marrow["dtype"])
            self.levels: int = len(document["attributes"]["ome"]["multiscales"][0]["datasets"])
            self.metadata: dict[str, Any] = marrow
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CorruptDataError(f"'{path / 'zarr.json'}' lacks what an image of a study says: {error}.") from error
        self._arrays: dict[int, TimeShards] = {}

    @property
    def times_h(self) -> npt.NDArray[np.float64]:
        """True frame times since the study's t0, hours, shape (T,)."""
        return self.start_h + self.time_s / 3600.0

    @property
    def channel_names(self) -> list[str]:
        """Names of the channels in order."""
        return [c.name for c in self.channels]

    def channel_index(self, channel: str | int) -> int:
        """Return the number of a channel given by number, name or role.

        Raises
        ------
        SettingsError
            If there is no such channel, or several have the role.
        """
        if isinstance(channel, (int, np.integer)) and not isinstance(channel, bool):
            if -len(self.channels) <= channel < len(self.channels):
                return int(channel) % len(self.channels)
        else:
            if channel in self.channel_names:
                return self.channel_names.index(str(channel))
            of_role = [i for i, c in enumerate(self.channels) if c.role == channel]
            if len(of_role) == 1:
                return of_role[0]
        raise SettingsError(
            f"{self.position} session {self.session} has no channel '{channel}': it has "
            f"{', '.join(self.channel_names)}."
        )

    def read(self, t: int, channel: str | int | None = None, level: int = 0) -> npt.NDArray[Any]:
        """Read a frame.

        Parameters
        ----------
        t : int
            Frame number.
        channel : str or int, optional
            Number, name or role; all channels by default.
        level : int
            Resolution: y and x are halved `level` times.

        Returns
        -------
        ndarray, shape (C, Z, Y, X), or (Z, Y, X) with `channel`

        Raises
        ------
        CorruptDataError
            If the stored frame is missing or damaged; the sentence names the file.
        SettingsError
            If there is no such frame, channel or level.
        """
        if not 0 <= t < self.shape[0]:
            raise SettingsError(
                f"{self.position} session {self.session} has no frame {t}: it has frames 0 to {self.shape[0] - 1}."
            )
        array = self._array(level)
        return array.read(t) if channel is None else array.read(t, (self.channel_index(channel),))

    def dask(self, level: int = 0) -> Any:
        """Return the whole image as a lazy dask array (T, C, Z, Y, X), a plane a chunk."""
        from napari_marrow.study.lazy import lazy_array

        array = self._array(level)
        return lazy_array(array.folder, array.shape, array.dtype)

    def _array(self, level: int) -> TimeShards:
        if level not in self._arrays:
            from napari_marrow.study.arrays import TimeShards

            if not 0 <= level < self.levels:
                raise SettingsError(
                    f"There is no resolution level {level}: the image has levels 0 to {self.levels - 1}."
                )
            self._arrays[level] = TimeShards(self.path / str(level))
        return self._arrays[level]

    def __reduce__(self) -> tuple[type[SessionImage], tuple[Path]]:
        return SessionImage, (self.path,)
