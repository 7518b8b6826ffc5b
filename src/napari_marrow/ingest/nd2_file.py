"""Nikon ND2, read a plane at a time through the package ``nd2``."""

from __future__ import annotations

import math
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError
from napari_marrow.ingest.damage import damage_is_told
from napari_marrow.ingest.library_file import LibraryFile
from napari_marrow.ingest.source import ImageFacts, check_size, frame_of_planes
from napari_marrow.ingest.wells import positions_of

_AXIS = {"TimeLoop": "T", "NETimeLoop": "T", "XYPosLoop": "P", "ZStackLoop": "Z"}
_JULIAN_DAY_OF_1970 = 2440587.5
_CHUNK = 4096
"""Bytes to which every frame of an ND2 file is aligned: a file cannot hold more frames than that."""


class Nd2Reader(LibraryFile):
    """An ND2 file as a source: one image per stage position.

    A frame's time is that of its first plane in the file's own list of acquisition times; without the list, the
    experiment's period is used. An acquisition that was stopped early has as many frames as are complete.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputFileError
        If it is no ND2 file, is damaged, or holds what cannot be imported (colour, custom loops).
    """

    def __init__(self, path: Path) -> None:
        import nd2

        self.path = path
        self._last: tuple[int, npt.NDArray[Any]] | None = None
        with damage_is_told(path, "ND2"):
            self._file = nd2.ND2File(path)
        with self._looking("ND2"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nd2 warns of lists that a file lacks, which is looked at here
            self._loops = self._read_loops()
            self._images = self._read_facts()

    # --- what is in the file

    def _read_loops(self) -> list[tuple[str, int]]:
        """Return axis and length of each loop, outermost first."""
        loops: list[tuple[str, int]] = []
        for loop in self._file.experiment:
            axis = _AXIS.get(str(loop.type))
            if axis is None or axis in [a for a, _ in loops]:
                raise InputFileError(
                    f"'{self.path.name}' has a loop of the kind {loop.type}: loops over time, position and z are read. "
                    "Export the file as OME-TIFF."
                )
            loops.append((axis, int(loop.count)))
        planned = math.prod(n for _, n in loops)
        acquired = int(self._file.attributes.sequenceCount)
        if max(planned, acquired) * _CHUNK > self.path.stat().st_size:
            raise InputFileError(
                f"'{self.path.name}' is truncated or damaged (it claims {max(planned, acquired)} planes, more than its "
                "bytes can hold): copy it again from the microscope."
            )
        if acquired < planned:
            loops = self._shortened(loops, acquired)
        return loops

    def _shortened(self, loops: list[tuple[str, int]], acquired: int) -> list[tuple[str, int]]:
        """Return the loops with the time points that an acquisition which was stopped early has finished."""
        inner = math.prod(n for _, n in loops[1:])
        if not loops or loops[0][0] != "T" or acquired < inner:
            raise InputFileError(
                f"'{self.path.name}' holds {acquired} of {math.prod(n for _, n in loops)} planes, and not one whole "
                "time point: export the part that is complete as OME-TIFF."
            )
        return [("T", acquired // inner), *loops[1:]]

    def _length(self, axis: str) -> int:
        return next((n for a, n in self._loops if a == axis), 1)

    def _sequence(self, position: int, t: int, z: int) -> int:
        """Return the number of a plane in the file's sequence."""
        index = {"P": position, "T": t, "Z": z}
        number = 0
        for axis, length in self._loops:
            number = number * length + index[axis]
        return number

    def _read_facts(self) -> list[ImageFacts]:
        attributes, file = self._file.attributes, self._file
        if file.is_rgb:
            raise InputFileError(f"'{self.path.name}' is a colour (RGB) picture: save its channels as grey planes.")
        lengths = {"T": self._length("T"), "C": int(attributes.componentCount), "Z": self._length("Z")}
        axes = "".join(a for a in "TCZ" if lengths[a] > 1) + "YX"
        sizes = (*(lengths[a] for a in axes[:-2]), int(attributes.heightPx), int(attributes.widthPx or 0))
        check_size(self.path, sizes, file.dtype, axes)
        volume = file.metadata.channels[0].volume
        calibrated = volume.axesCalibrated
        pixel = volume.axesCalibration
        names = tuple(str(c.channel.name) for c in file.metadata.channels)
        points = self._points()
        positions = positions_of([name for name, _ in points])
        facts = []
        for number, (_, stage) in enumerate(points):
            times, start = self._times(number, lengths["T"])
            facts.append(
                ImageFacts(
                    path=self.path,
                    image=number,
                    axes=axes,
                    sizes=sizes,
                    dtype=file.dtype,
                    pixel_um=(float(pixel[1]), float(pixel[0])) if calibrated[0] and calibrated[1] else None,
                    z_um=float(pixel[2]) if calibrated[2] and lengths["Z"] > 1 else None,
                    channels=names if len(names) == lengths["C"] and all(names) else None,
                    time_s=times,
                    start_utc=start,
                    stage_um=None if stage is None else (stage,) * lengths["T"],
                    position=positions[number],
                    files=(self.path,),
                )
            )
        return facts

    def _points(self) -> list[tuple[str | None, tuple[float, float, float] | None]]:
        """Return name and stage position (z, y, x) of each place, µm."""
        loop = next((item for item in self._file.experiment if _AXIS.get(str(item.type)) == "P"), None)
        if loop is not None:
            points = [(p.name, p.stagePositionUm) for p in loop.parameters.points][: self._length("P")]
        else:
            points = [(None, self._first().position.stagePositionUm)]
        return [(name, (float(s.z), float(s.y), float(s.x))) for name, s in points]

    def _first(self) -> Any:
        """Return what the file says of its first plane."""
        return self._file.frame_metadata(0).channels[0]

    def _times(self, position: int, n_frames: int) -> tuple[tuple[float, ...] | None, str | None]:
        """Return times since the first frame (s), and the date of the first frame."""
        seconds = [self._seconds(self._sequence(position, t, 0)) for t in range(n_frames)]
        start = self._date(seconds[0] or 0.0)
        if n_frames == 1:
            return (0.0,), start
        known = [s for s in seconds if s is not None]
        if len(known) == n_frames and known[-1] > known[0]:
            return tuple(s - known[0] for s in known), start
        return self._regular(n_frames), start

    def _seconds(self, sequence: int) -> float | None:
        """Return when a plane was taken since the start of the acquisition."""
        try:
            value = self._file.frame_metadata(sequence).channels[0].time.relativeTimeMs / 1000.0
        except (IndexError, AttributeError):  # the file has no list of times
            return None
        return value if math.isfinite(value) else None

    def _date(self, delay_s: float) -> str | None:
        """Return the date of a plane; ND2 files hold it as a Julian day in UTC."""
        try:
            stamp = self._first().time
            days = stamp.absoluteJulianDayNumber - stamp.relativeTimeMs / 86_400_000 - _JULIAN_DAY_OF_1970
            if days <= 0:
                return None
            return (datetime.fromtimestamp(days * 86400.0, UTC) + timedelta(seconds=delay_s)).isoformat()
        except (IndexError, AttributeError, ValueError, OverflowError, OSError):
            return None

    def _regular(self, n_frames: int) -> tuple[float, ...] | None:
        """Return times from the periods of the experiment."""
        loop = next((item for item in self._file.experiment if _AXIS.get(str(item.type)) == "T"), None)
        if loop is None:
            return None
        phases = getattr(loop.parameters, "periods", None) or [loop.parameters]
        counts = [int(getattr(p, "count", loop.count)) for p in phases]
        steps = np.repeat([float(p.periodMs) / 1000.0 for p in phases], counts)[: n_frames - 1]
        if len(steps) < n_frames - 1 or not (steps > 0).all():
            return None
        return (0.0, *np.cumsum(steps).tolist())

    # --- reading

    def read(self, image: int, t: int, axes: str) -> npt.NDArray[Any]:
        """Read a frame as (C, Z, Y, X).

        Raises
        ------
        InputFileError
            If a plane is damaged.
        """
        facts = self._images[image]

        def plane(index: dict[str, int]) -> npt.NDArray[Any]:
            number = self._sequence(image, index.get("T", 0), index.get("Z", 0))
            if self._last is None or self._last[0] != number:  # all channels of a plane lie in one piece
                self._last = number, np.asarray(self._file.read_frame(number)).reshape(-1, *facts.sizes[-2:])
            return self._last[1][index.get("C", 0)]

        with damage_is_told(self.path, "ND2", f"frame {t}"):
            return frame_of_planes(facts, axes, t, plane)
