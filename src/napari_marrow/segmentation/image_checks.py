"""What can be segmented, and with which diameter and pixel size: refused with a sentence before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError, SettingsError


def check_image(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the image as an array of numbers (Y, X) or (Z, Y, X).

    Raises
    ------
    InputFileError
        If it is something else, or not finite everywhere.
    """
    pixels = np.asarray(image)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    if pixels.dtype.kind not in "uif":
        raise InputFileError(f"Pixels of type {pixels.dtype} cannot be segmented: give integers or real numbers.")
    if pixels.ndim not in (2, 3):
        raise InputFileError(
            f"An image of shape {pixels.shape} cannot be segmented: give one channel of one frame, (Y, X) or (Z, Y, X)."
        )
    if 0 in pixels.shape:
        raise InputFileError(f"An image of shape {pixels.shape} has no pixels.")
    bad = sum(int(part.size - np.isfinite(part).sum()) for part in pixels) if pixels.dtype.kind == "f" else 0
    if bad:
        raise InputFileError(f"{bad} of {pixels.size} pixels are NaN or infinite: replace them before segmenting.")
    return pixels


def check_plane(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the image as an array of numbers (Y, X).

    Raises
    ------
    InputFileError
        If it is something else, or not finite everywhere.
    """
    pixels = check_image(image)
    if pixels.ndim != 2:
        raise InputFileError(f"An image of shape {pixels.shape} is no plane (Y, X).")
    return pixels


def check_second(second: npt.NDArray[Any] | None, shape: tuple[int, ...], n_channels: int) -> npt.NDArray[Any] | None:
    """Return the second channel of an image of this shape, if there is one and the network has an input for it.

    Raises
    ------
    InputFileError
        If it is no image, or of another shape than the first.
    SettingsError
        If the network has one input channel.
    """
    if second is None:
        return None
    if n_channels < 2:
        raise SettingsError("This network has a single input channel: leave the second channel out.")
    pixels = check_image(second)
    if pixels.shape != shape:
        raise InputFileError(f"The second channel has shape {pixels.shape}, the first {shape}: give both of one frame.")
    return pixels


def check_out(out: npt.NDArray[np.int32] | None, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Return the array that labels are written into; a new one if none was given.

    Raises
    ------
    SettingsError
        If it has another shape than the image, or another type than int32.
    """
    if out is None:
        return np.empty(shape, dtype=np.int32)
    if out.shape != shape or out.dtype != np.int32:
        raise SettingsError(
            f"Labels of an image {shape} need an int32 array of that shape, not {out.dtype} {out.shape}."
        )
    return out


def check_diameter(diameter: float, shape: tuple[int, ...]) -> float:
    """Return the diameter if it can be one.

    Raises
    ------
    SettingsError
        If it is not above 1 px, not finite, or far larger than the image.
    """
    longest = max(shape[-2:])
    if not np.isfinite(diameter) or diameter < 1:
        raise SettingsError(f"A cell diameter of {diameter:g} px cannot be: give 1 px or more, or leave it out.")
    if diameter > 4 * max(longest, 8):
        raise SettingsError(
            f"A cell diameter of {diameter:g} px does not fit an image of {shape[-2]} x {shape[-1]} px."
        )
    return float(diameter)


def pixel_aspect(spacing: Sequence[float] | None) -> float:
    """Return pixel height / pixel width."""
    if spacing is None:
        return 1.0
    if len(spacing) not in (2, 3) or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise SettingsError(f"Spacing {tuple(spacing)} cannot be: give two (y, x) or three (z, y, x) positive numbers.")
    return float(spacing[-2] / spacing[-1])


def plane_distance(spacing: Sequence[float] | None) -> float:
    """Return the distance of planes / pixel width; 1 where the spacing does not say."""
    return float(spacing[0] / spacing[-1]) if spacing is not None and len(spacing) == 3 else 1.0


def check_volume_mode(mode: str, flow_smoothing: float | Sequence[float]) -> None:
    """Refuse a way of segmenting volumes that there is not.

    Raises
    ------
    SettingsError
    """
    if mode not in ("planes", "flows"):
        raise SettingsError(f"Volume mode '{mode}' is unknown: give planes or flows.")
    sigmas = np.atleast_1d(np.asarray(flow_smoothing, dtype=float))
    if sigmas.shape not in ((1,), (3,)) or not np.isfinite(sigmas).all() or (sigmas < 0).any():
        raise SettingsError(
            f"Flow smoothing {flow_smoothing} cannot be: give one number, or three (z, y, x), from 0 up."
        )
