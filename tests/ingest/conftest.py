"""Microscope files for tests: CZI by Zeiss' own writer; ND2 and LIF, which have no public writer, by their structure.

No small real ND2 or LIF file can be had from a package, so these are built chunk by chunk as the formats lay them out.
What opens and reads them in the tests is the real library.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# --- ND2: chunks of magic, name and data, aligned to 4096 bytes, and a map of them at the end

_MAGIC = 0x0ABECEDA
_SIGNATURE = b"ND2 FILE SIGNATURE CHUNK NAME01!"
_MAP_NAME = b"ND2 FILEMAP SIGNATURE NAME 0001!"
_MAP_END = b"ND2 CHUNK MAP SIGNATURE 0000001!"


def variant(name: str, value: Any) -> bytes:
    """Encode a value as Nikon's typed, named, length-prefixed record ("lite variant")."""
    title = name.encode("utf-16-le") + b"\0\0"
    head = len(name) + 1

    def record(kind: int, data: bytes) -> bytes:
        return struct.pack("BB", kind, head) + title + data

    if isinstance(value, dict):
        items = [variant(k, v) for k, v in value.items()]
        body = b"".join(items)
        length = 2 + len(title) + 12 + len(body)
        return record(11, struct.pack("<IQ", len(items), length) + body) + b"\0" * 8 * len(items)
    if isinstance(value, bool):
        return record(1, struct.pack("B", value))
    if isinstance(value, int):
        return record(3, struct.pack("<I", value))
    if isinstance(value, float):
        return record(6, struct.pack("<d", value))
    return record(8, str(value).encode("utf-16-le") + b"\0\0")


def nd2_bytes(
    frames: np.ndarray,
    *,
    loops: Sequence[tuple[str, Any]],
    channels: Sequence[str],
    pixel_um: float,
    times_ms: Sequence[float] | None,
    julian_day: float,
    stored: int | None = None,
) -> bytes:
    """Return an ND2 file of `frames` (sequence, C, Y, X); `loops` are ("T", period ms), ("P", points), ("Z", step)."""
    n, c, y, x = frames.shape
    out = bytearray()
    places: list[tuple[bytes, int, int]] = []

    def chunk(name: bytes, data: bytes, name_length: int | None = None) -> None:
        position = len(out)
        length = name_length or 4096 - 16
        out.extend(struct.pack("<IIQ", _MAGIC, length, len(data)) + name.ljust(length, b"\0") + data)
        out.extend(b"\0" * (-len(out) % 4096))
        places.append((name, position, len(data)))

    out.extend(struct.pack("<IIQ", _MAGIC, 32, 64) + _SIGNATURE + b"Ver3.0".ljust(64, b"\0"))
    out.extend(b"\0" * (-len(out) % 4096))
    attributes = {
        "uiWidth": x, "uiWidthBytes": x * c * frames.dtype.itemsize, "uiHeight": y, "uiComp": c,
        "uiBpcInMemory": 8 * frames.dtype.itemsize, "uiBpcSignificant": 8 * frames.dtype.itemsize,
        "uiSequenceCount": n if stored is None else stored, "uiTileWidth": x, "uiTileHeight": y, "eCompression": 2,
    }  # fmt: skip
    planes = {
        f"a{i}": {"uiCompCount": 1, "uiSampleIndex": i, "sDescription": name, "pFluorescentProbe": {"m_sName": name}}
        for i, name in enumerate(channels)
    }
    picture = {
        "bCalibrated": pixel_um > 0, "dCalibration": float(pixel_um), "dXPos": 1500.0, "dYPos": -20.0, "dZPos": 3.0,
        "dTimeMSec": 0.0, "dTimeAbsolute": julian_day, "sPicturePlanes": {"uiCount": c, "sPlaneNew": planes},
    }  # fmt: skip
    chunk(b"ImageAttributesLV!", variant("SLxImageAttributes", attributes))
    chunk(b"ImageMetadataSeqLV|0!", variant("SLxPictureMetadata", picture))
    if loops:
        chunk(b"ImageMetadataLV!", variant("SLxExperiment", _experiment(list(loops))))
    if times_ms is not None:
        chunk(b"CustomData|AcqTimesCache!", np.asarray(times_ms, dtype="<f8").tobytes())
    for i, frame in enumerate(frames[: n if stored is None else stored]):
        pixels = np.ascontiguousarray(frame.transpose(1, 2, 0)).tobytes()
        # The frame's own header: 16 + 4072 bytes of name, then 8 bytes of time, then pixels.
        chunk(f"ImageDataSeq|{i}!".encode(), struct.pack("<d", 0.0) + pixels, name_length=4072)
    content = b"".join(name + struct.pack("<QQ", position, size) for name, position, size in places)
    location = len(out)
    chunk(_MAP_NAME, content + _MAP_END + struct.pack("<Q", location), name_length=32)
    return bytes(out) + _MAP_END + struct.pack("<Q", location)


def _experiment(loops: list[tuple[str, Any]]) -> dict[str, Any]:
    (axis, count, what), *inner = loops
    if axis == "T":
        own: dict[str, Any] = {
            "eType": 1,
            "uLoopPars": {"uiCount": count, "dStart": 0.0, "dPeriod": float(what), "dDuration": float(what) * count},
        }
    elif axis == "P":
        points = {
            f"i{i:010}": {"dPosX": float(px), "dPosY": float(py), "dPosZ": float(pz), "pPosName": name}
            for i, (name, pz, py, px) in enumerate(what)
        }
        own = {"eType": 2, "uLoopPars": {"uiCount": count, "bUseZ": True, "Points": points}}
    else:
        own = {
            "eType": 4,
            "uLoopPars": {"uiCount": count, "dZStep": float(what), "dZLow": 0.0, "dZHigh": what * (count - 1)},
        }
    if inner:
        own["ppNextLevelEx"] = {"i0000000000": _experiment(inner)}
    return own


@pytest.fixture
def write_nd2() -> Callable[..., Path]:
    """Return a function that writes an ND2 file and returns its path."""

    def write(path: Path, frames: np.ndarray, **more: Any) -> Path:
        path.write_bytes(nd2_bytes(frames, **more))
        return path

    return write


# --- LIF: an XML of everything, then a block of pixels per series


def lif_bytes(series: Sequence[dict[str, Any]]) -> bytes:
    """Return a LIF file; each series has name, pixels (T, C, Z, Y, X), steps in metres and seconds, dyes and stamps."""
    elements, blocks = [], []
    for number, one in enumerate(series):
        pixels = one["pixels"]
        t, c, z, y, x = pixels.shape
        size = pixels.dtype.itemsize
        block = f"MemBlock_{number}"
        dims = [
            (1, x, one["step_xy"] * (x - 1), "m", size),
            (2, y, one["step_xy"] * (y - 1), "m", size * x),
            (3, z, -one.get("step_z", 0.0) * (z - 1), "m", size * x * y * c),
            (4, t, one.get("step_t", 0.0) * (t - 1), "s", size * x * y * c * z),
        ]
        described = "".join(
            f'<DimensionDescription DimID="{i}" NumberOfElements="{n}" Origin="0" Length="{length!r}" Unit="{unit}" '
            f'BitInc="0" BytesInc="{step}"/>'
            for i, n, length, unit, step in dims
            if n > 1
        )
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{8 * size}" NameOfMeasuredQuantity="" '
            f'Min="0" Max="1" Unit="" LUTName="Gray" IsLUTInverted="0" BytesInc="{i * size * x * y}" BitInc="0">'
            f"<ChannelProperty><Key>DyeName</Key><Value>{name}</Value></ChannelProperty></ChannelDescription>"
            for i, name in enumerate(one["dyes"])
        )
        stamps = " ".join(f"{s:x}" for s in one.get("stamps", ()))
        elements.append(
            f'<Element Name="{one["name"]}" Visibility="1" UniqueID="{uuid.UUID(int=number)}"><Data><Image>'
            f"<ImageDescription><Channels>{channels}</Channels><Dimensions>{described}</Dimensions></ImageDescription>"
            f'<TimeStampList NumberOfTimeStamps="{len(one.get("stamps", ()))}">{stamps}</TimeStampList>'
            '<Attachment Name="HardwareSetting"><ATLConfocalSettingDefinition StagePosX="0.0015" StagePosY="2e-05"/>'
            f'</Attachment></Image></Data><Memory Size="{pixels.nbytes}" MemoryBlockID="{block}"/></Element>'
        )
        stored = np.ascontiguousarray(pixels.transpose(0, 2, 1, 3, 4)).tobytes()[: one.get("stored")]
        blocks.append((block, stored))
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="experiment" UniqueID=""><Data><Experiment/></Data>'
        f'<Memory Size="0" MemoryBlockID="MemBlock_x"/><Children>{"".join(elements)}</Children></Element>'
        "</LMSDataContainerHeader>"
    ).encode("utf-16-le")
    out = struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2) + xml
    for name, data in blocks:
        out += struct.pack("<IIBQBI", 0x70, 18 + 2 * len(name), 0x2A, len(data), 0x2A, len(name))
        out += name.encode("utf-16-le") + data
    return out


@pytest.fixture
def write_lif() -> Callable[..., Path]:
    """Return a function that writes a LIF file and returns its path."""

    def write(path: Path, *series: dict[str, Any]) -> Path:
        path.write_bytes(lif_bytes(series))
        return path

    return write


# --- CZI: by pylibCZIrw; only the attachment of time stamps is put in by hand


def add_time_stamps(path: Path, stamps: Sequence[float]) -> None:
    """Append the attachment ``TimeStamps`` and its directory to a CZI file, and let the header point to it."""
    data = bytearray(path.read_bytes())
    content = struct.pack("<ii", 8 + 8 * len(stamps), len(stamps)) + np.asarray(stamps, dtype="<f8").tobytes()
    data.extend(b"\0" * (-len(data) % 32))
    attachment = len(data)
    entry = struct.pack("<2s10xqi", b"A1", attachment, 0) + b"\0" * 16 + b"CZTIMS\0\0" + b"TimeStamps".ljust(80, b"\0")
    assert len(entry) == 128
    body = struct.pack("<i12x", len(content)) + entry + b"\0" * 112 + content
    body += b"\0" * (-len(body) % 32)
    data.extend(struct.pack("<16sqq", b"ZISRAWATTACH", len(body), len(body)) + body)
    directory = len(data)
    body = struct.pack("<i252x", 1) + entry
    data.extend(struct.pack("<16sqq", b"ZISRAWATTDIR", len(body), len(body)) + body)
    struct.pack_into("<q", data, 32 + 72, directory)
    path.write_bytes(data)


@pytest.fixture
def write_czi() -> Callable[..., Path]:
    """Return a function that writes a CZI file through pylibCZIrw and returns its path."""
    czi = pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw (extra 'formats') is not installed")

    def write(
        path: Path,
        scenes: np.ndarray,
        *,
        names: Sequence[str] = (),
        pixel_m: float = 0.0,
        z_m: float = 0.0,
        xml: Callable[[str], str] | None = None,
        stamps: Sequence[float] | None = None,
        without: Sequence[tuple[int, int, int, int]] = (),
    ) -> Path:
        """Write (S, T, C, Z, Y, X), leaving out planes (s, t, c, z)."""
        with czi.create_czi(str(path)) as file:
            for s, t, c, z in np.ndindex(*scenes.shape[:4]):
                if (s, t, c, z) not in without:
                    pixels = scenes[s, t, c, z][..., None]
                    where = {"T": t, "C": c, "Z": z}
                    file.write(data=pixels, plane=where, scene=s, location=(s * 1000, 5))
            file.write_metadata(
                "test", channel_names=dict(enumerate(names)), scale_x=pixel_m, scale_y=pixel_m, scale_z=z_m
            )
        if xml is not None:
            with czi.edit_czi(str(path)) as editor, editor.edit_session() as builder:
                builder.set_xml(xml(builder.get_xml()))
        if stamps is not None:
            add_time_stamps(path, stamps)
        return path

    return write
