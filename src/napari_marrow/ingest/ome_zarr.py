"""OME-Zarr 0.4 and 0.5 images, plates and bioformats2raw folders, read a time point at a time."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError
from napari_marrow.ingest.ome_xml import length_um, seconds
from napari_marrow.ingest.source import ImageFacts, check_size, to_czyx

_SAFE_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}")
_REFUSED_CODECS = ("pickle",)


def is_ome_zarr(path: Path) -> bool:
    """Whether a folder is a zarr group."""
    return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))


class OmeZarrReader:
    """An OME-Zarr folder as a source.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputFileError
        If its metadata are not OME-Zarr's, lead out of the folder, or ask for codecs that run code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: list[Any] = []
        self._images: list[ImageFacts] = []
        try:
            self._collect(path, None, None)
        except InputFileError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
            raise InputFileError(
                f"'{path.name}' has OME-Zarr metadata that cannot be read ({type(error).__name__}: {error}): "
                "check it with an OME-Zarr validator."
            ) from error
        if not self._images:
            raise InputFileError(
                f"'{path.name}' is a zarr folder without OME-Zarr images: give an OME-Zarr 0.4 or 0.5."
            )

    @property
    def images(self) -> list[ImageFacts]:
        """The images in the folder."""
        return self._images

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    # --- what is in the folder

    def _collect(self, folder: Path, position: str | None, session: int | None) -> None:
        attributes = _attributes(folder)
        ome = attributes.get("ome", attributes)
        if "multiscales" in ome:
            self._add_image(folder, attributes, ome, position, session)
        elif "plate" in ome:
            for well in ome["plate"]["wells"]:
                self._collect_well(_inside(folder, well["path"]))
        elif "bioformats2raw.layout" in ome:
            for entry in sorted(folder.iterdir()):
                if entry.name.isdigit() and is_ome_zarr(entry):
                    self._collect(entry, None, None)

    def _collect_well(self, folder: Path) -> None:
        attributes = _attributes(folder)
        images = attributes.get("ome", attributes)["well"]["images"]
        row, column = folder.parent.name.upper(), folder.name
        well = f"{row}{int(column):02d}" if re.fullmatch(r"[A-Z]{1,2}", row) and column.isdigit() else None
        fields: dict[int | None, int] = {}
        for image in images:
            session = image.get("acquisition")
            field = fields.get(session, 0)
            fields[session] = field + 1
            self._collect(
                _inside(folder, image["path"]),
                None if well is None else f"{well}_f{field:02d}",
                None if session is None else int(session),
            )

    def _add_image(
        self, folder: Path, attributes: dict[str, Any], ome: dict[str, Any], position: str | None, session: int | None
    ) -> None:
        scales = ome["multiscales"][0]
        dataset = scales["datasets"][0]
        array = _open_array(_inside(folder, dataset["path"]))
        sizes = tuple(int(n) for n in array.shape)
        names = [axis["name"] for axis in scales["axes"]]
        axes = "".join(names).upper()
        if (
            len(axes) != len(sizes)
            or not axes.endswith("YX")
            or set(axes) - set("TCZYX")
            or len(set(axes)) != len(axes)
        ):
            raise InputFileError(
                f"'{folder.name}' has the axes {names} for {len(sizes)} dimensions: t, c, z, y, x are read."
            )
        dtype = np.dtype(array.dtype)
        check_size(folder, sizes, dtype, axes)
        scale = _scale(scales, dataset, len(sizes))
        units = {n.upper(): axis.get("unit") for n, axis in zip(names, scales["axes"], strict=True)}
        n_frames = sizes[axes.index("T")] if "T" in axes else 1
        n_channels = sizes[axes.index("C")] if "C" in axes else 1
        y, x, z = (_converted(scale, axes, units, a, length_um) for a in "YXZ")
        self._images.append(
            ImageFacts(
                path=folder,
                image=len(self._images),
                axes=axes,
                sizes=sizes,
                dtype=dtype,
                pixel_um=None if y is None or x is None else (y, x),
                z_um=z,
                channels=_channels(ome, n_channels),
                time_s=_times(attributes, _converted(scale, axes, units, "T", seconds), n_frames),
                position=position,
                session=session,
                files=(folder,),
            )
        )
        self._arrays.append(array)

    # --- reading

    def read(self, image: int, t: int, axes: str) -> npt.NDArray[Any]:
        """Read a frame as (C, Z, Y, X).

        Raises
        ------
        InputFileError
            If its chunks cannot be decoded.
        """
        index = tuple(t if axis == "T" else slice(None) for axis in axes)
        try:
            block = np.asarray(self._arrays[image][index])
        except Exception as error:  # codecs raise whatever they like on damaged bytes
            raise InputFileError(
                f"'{self._images[image].path}' has a damaged frame {t} ({type(error).__name__}): copy it again."
            ) from error
        return to_czyx(block, axes.replace("T", ""))


def _attributes(folder: Path) -> dict[str, Any]:
    """Return a group's attributes, whichever zarr version it has."""
    for name in ("zarr.json", ".zattrs"):
        file = folder / name
        if file.is_file():
            document = json.loads(file.read_bytes())
            attributes = document.get("attributes", {}) if name == "zarr.json" else document
            return dict(attributes)
    return {}


def _inside(folder: Path, path: Any) -> Path:
    """Return a path below a folder, refusing every name that leads out of it."""
    parts = str(path).split("/")
    result = folder.joinpath(*parts)
    good = all(_SAFE_PART.fullmatch(part) for part in parts) and result.resolve().is_relative_to(folder.resolve())
    if not good:
        raise InputFileError(
            f"'{folder.name}' refers to '{str(path)[:80]}', which is no path inside it: it is refused."
        )
    return result


def _open_array(folder: Path) -> Any:
    import zarr

    file = next((folder / name for name in ("zarr.json", ".zarray") if (folder / name).is_file()), None)
    if file is None:
        raise InputFileError(f"'{folder.parent.name}' lacks its array '{folder.name}': copy it again.")
    metadata = json.loads(file.read_bytes())
    names = set(_codec_names(metadata))
    bad = sorted(n for n in names if any(word in n.lower() for word in _REFUSED_CODECS))
    if bad:
        raise InputFileError(f"'{folder.parent.name}' uses the codec '{bad[0]}', which can run code: it is refused.")
    try:
        array = zarr.open_array(str(folder), mode="r")
    except Exception as error:  # zarr raises whatever it likes on impossible metadata
        raise InputFileError(f"'{folder}' is no readable zarr array ({type(error).__name__}: {error}).") from error
    if np.dtype(array.dtype).kind not in "biufc":
        raise InputFileError(f"'{folder.parent.name}' holds {array.dtype}, which are no pixels.")
    chunk_bytes = math.prod(array.chunks) * np.dtype(array.dtype).itemsize
    if chunk_bytes > 8 << 30:
        raise InputFileError(f"'{folder.parent.name}' has chunks of {chunk_bytes / 2**30:.3g} GiB: rechunk it first.")
    _check_blosc(folder, metadata)
    return array


def _check_blosc(folder: Path, metadata: dict[str, Any]) -> None:
    """Compare every blosc chunk's length with its header: the decoder reads past the end of a truncated one.

    A blosc 1 chunk begins with 16 bytes, the last four of which are its length.
    """
    outer = metadata.get("compressor") or (metadata.get("codecs") or [{}])[-1]
    if "blosc" not in (outer.get("id"), outer.get("name")):
        return
    for file in folder.rglob("*"):
        if file.name in ("zarr.json", ".zarray", ".zattrs") or not file.is_file():
            continue
        with file.open("rb") as handle:
            header = handle.read(16)
        if len(header) < 16 or int.from_bytes(header[12:], "little") != file.stat().st_size:
            name = f"{folder.parent.name}/{file.relative_to(folder.parent).as_posix()}"
            raise InputFileError(f"'{name}' is truncated or damaged: copy it again from the microscope.")


def _codec_names(node: Any) -> list[str]:
    """Return every codec name in an array's metadata."""
    if isinstance(node, list):
        return [name for item in node for name in _codec_names(item)]
    if not isinstance(node, dict):
        return []
    own = [str(node[key]) for key in ("id", "name") if key in node]
    return own + [name for key, value in node.items() if key != "attributes" for name in _codec_names(value)]


def _scale(scales: dict[str, Any], dataset: dict[str, Any], ndim: int) -> list[float]:
    """Return the scale of a dataset times that of the whole image."""
    result = [1.0] * ndim
    for transforms in (dataset.get("coordinateTransformations") or [], scales.get("coordinateTransformations") or []):
        for transform in transforms:
            if transform.get("type") == "scale":
                result = [a * float(b) for a, b in zip(result, transform["scale"], strict=True)]
    return result


def _converted(scale: list[float], axes: str, units: dict[str, Any], axis: str, convert: Any) -> float | None:
    """Return an axis' step in our unit, None without a unit: a bare number is no length."""
    if axis not in axes or not units.get(axis):
        return None
    value: float | None = convert(scale[axes.index(axis)], str(units[axis]))
    return value if value is not None and value > 0 else None


def _times(attributes: dict[str, Any], step: float | None, n_frames: int) -> tuple[float, ...] | None:
    """Return true frame times where a study of ours wrote the image, else regular ones from the scale."""
    own = attributes.get("marrow")
    if isinstance(own, dict) and isinstance(own.get("time_s"), list) and len(own["time_s"]) == n_frames:
        return tuple(float(s) for s in own["time_s"])
    return None if step is None else tuple(step * t for t in range(n_frames))


def _channels(ome: dict[str, Any], n_channels: int) -> tuple[str, ...] | None:
    entries = (ome.get("omero") or {}).get("channels") or []
    labels = [str(entry.get("label") or "") for entry in entries]
    return tuple(labels) if len(labels) == n_channels and all(labels) else None
