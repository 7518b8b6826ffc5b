"""Read PNG, JPEG and BMP pictures, which cameras and figures come in, beside the TIFF files of microscopes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError, PathMissingError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
"""Name endings, in small letters."""
_MOST_PIXELS = 2**31  # a head may claim any size


def is_picture(path: Path) -> bool:
    """Return whether the name says PNG, JPEG or BMP."""
    return path.suffix.lower() in PICTURES


def read_picture(path: Path) -> npt.NDArray[Any]:
    """Return the pixels of a picture.

    Returns
    -------
    array, shape (Y, X), or (Y, X, 3) of a coloured one
        Transparency is left out. A picture whose three colours are equal everywhere is grey.

    Raises
    ------
    PathMissingError
        If there is no such file.
    InputFileError
        If it cannot be decoded.
    """
    import imagecodecs

    if not path.is_file():
        raise PathMissingError(f"There is no image file {path}.")
    content = path.read_bytes()
    decode = _decoder(imagecodecs, content)
    if decode is None:
        raise InputFileError(f"{path} is no picture: it is neither PNG nor JPEG nor BMP, whatever its name says.")
    if _claimed_pixels(content) > _MOST_PIXELS:
        raise InputFileError(f"{path} claims to have more than {_MOST_PIXELS} pixels: save it as a TIFF file.")
    try:
        pixels: npt.NDArray[Any] = np.asarray(decode(content))
    except Exception as error:  # decoders raise many kinds; each means that the pixels are damaged
        raise InputFileError(f"{path} cannot be decoded ({type(error).__name__}: {error}).") from error
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    if pixels.ndim == 3 and (
        pixels.shape[2] == 1 or all(np.array_equal(pixels[..., 0], pixels[..., s]) for s in (1, 2))
    ):
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3):
        raise InputFileError(f"{path} has pixels of shape {pixels.shape}: a picture has rows, columns and colours.")
    return np.ascontiguousarray(pixels)


def _decoder(imagecodecs: Any, content: bytes) -> Any:
    """Return the decoder by the file's first bytes, not by its name."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return imagecodecs.png_decode
    if content.startswith(b"\xff\xd8\xff"):
        return imagecodecs.jpeg_decode
    if content.startswith(b"BM"):
        return imagecodecs.bmp_decode
    return None


def _claimed_pixels(content: bytes) -> int:
    """Return the pixels that a PNG's or BMP's head claims; 0 where it says nothing (a JPEG has at most 65 535²)."""
    if content.startswith(b"\x89PNG") and len(content) >= 24:
        return int.from_bytes(content[16:20], "big") * int.from_bytes(content[20:24], "big")
    if content.startswith(b"BM") and len(content) >= 26:
        width, height = (int.from_bytes(content[i : i + 4], "little", signed=True) for i in (18, 22))
        return abs(width * height)
    return 0
