"""Random training crops for a Cellpose network: geometry, intensity, blur, noise.

Imports torch; only the training script uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """One training image.

    Attributes
    ----------
    image : float32 array (Y, X)
        Normalised to percentiles 1 and 99.
    target : float32 array (3, Y, X)
        Flow y, flow x, 1 inside cells.
    diameter : float
        Median diameter of its cells, px.
    simulated : bool
        Whether it comes from the simulator, which has varied light, haze and noise already.
    """

    image: Plane
    target: Plane
    diameter: float
    simulated: bool = False


@dataclass(frozen=True)
class AugmentationSettings:
    """Ranges of the random changes; every probability is per crop."""

    crop: int = 160
    diam_mean: float = 17.0
    scale: float = 1.35
    wide_scale: float = 2.0
    p_wide_scale: float = 0.3
    p_empty: float = 0.03
    p_invert: float = 0.03
    p_intensity: float = 0.8
    p_intensity_simulated: float = 0.3
    p_simulated: float = 0.3


def random_crop(example: Example, rng: np.random.Generator, settings: AugmentationSettings) -> tuple[Plane, Plane]:
    """Return an augmented crop: image (crop, crop), target (3, crop, crop).

    The crop is rotated by any angle, flipped at random and scaled such that the median diameter is `diam_mean` times a
    random factor. Outside the image it is 0, as in the tiles that are segmented.
    """
    if rng.random() < settings.p_empty:
        return _empty(rng, settings), np.zeros((3, settings.crop, settings.crop), dtype=np.float32)
    image, target, inside = _warp(example, rng, settings)
    if rng.random() < (settings.p_intensity_simulated if example.simulated else settings.p_intensity):
        image = _intensity(image, rng, settings)
    if rng.random() < 0.7:
        image = _normalise(image, inside)
    image *= inside
    return image, target


def _warp(
    example: Example, rng: np.random.Generator, settings: AugmentationSettings
) -> tuple[Plane, Plane, npt.NDArray[np.bool_]]:
    size = settings.crop
    spread = settings.wide_scale if rng.random() < settings.p_wide_scale else settings.scale
    factor = float(np.exp(rng.uniform(-1, 1) * np.log(spread))) * settings.diam_mean / example.diameter
    angle = rng.uniform(0, 2 * np.pi)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    # rows of `turn` map a displacement (y, x) in the crop to one in the image, apart from the scale
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1.0, mirror])
    height, width = example.image.shape
    # Crop centres are uniform over the places where the crop covers as much of the image as it can.
    reach = size / factor / 2
    centre = np.array([_centre(side, reach, rng) for side in (height, width)])
    steps = np.arange(size) - (size - 1) / 2
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)
    points = centre + offsets @ turn.T / factor
    grid = np.stack([points[..., 1] * 2 / (width - 1) - 1, points[..., 0] * 2 / (height - 1) - 1], axis=-1)
    image = example.image
    if factor < 0.8:
        image = _blur(image, 0.35 / factor)  # against aliasing of a reduced image
    stack = torch.from_numpy(np.concatenate([image[None], example.target]))[None]
    warped = functional.grid_sample(
        stack,
        torch.from_numpy(grid.astype(np.float32))[None],
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )[0].numpy()
    target = np.empty((3, size, size), dtype=np.float32)
    cells = warped[3] > 0.5
    target[:2] = np.einsum("ji,jyx->iyx", turn, warped[1:3])  # image displacement -> crop displacement
    target[:2] *= cells
    target[2] = cells
    inside = (np.abs(grid) <= 1).all(axis=-1)
    return warped[0].copy(), target, inside


def _centre(side: int, reach: float, rng: np.random.Generator) -> float:
    low, high = sorted((reach, side - reach))
    if reach > side / 2:
        low, high = side / 2 - (reach - side / 2), side / 2 + (reach - side / 2)
    return float(rng.uniform(low, high))


def _blur(image: Plane, sigma: float) -> Plane:
    from scipy.ndimage import gaussian_filter

    blurred: Plane = gaussian_filter(image, sigma, mode="nearest")
    return blurred


def _intensity(image: Plane, rng: np.random.Generator, settings: AugmentationSettings) -> Plane:
    """Change contrast, focus, background and noise."""
    if rng.random() < 0.5:
        gamma = float(np.exp(rng.uniform(-0.7, 0.7)))
        top = max(1.0, float(image.max()))
        image = top * (np.clip(image, 0, None) / top) ** gamma
    if rng.random() < 0.25:
        image = _blur(image, rng.uniform(0.4, 2.0))
    elif rng.random() < 0.15:
        image = image + rng.uniform(0.3, 1.0) * (image - _blur(image, 1.5))
    if rng.random() < 0.25:  # light from other planes
        image = image + rng.uniform(0.2, 1.2) * _blur(image, rng.uniform(6, 20))
    if rng.random() < 0.3:  # uneven background and illumination
        image = image * np.exp(rng.uniform(0, 0.5) * _wave(rng, settings.crop)) + rng.uniform(0, 0.15) * _wave(
            rng, settings.crop
        )
    if rng.random() < 0.4:
        strength = float(np.exp(rng.uniform(np.log(0.01), np.log(0.25))))
        noise = rng.normal(size=image.shape).astype(np.float32)
        if rng.random() < 0.3:
            noise = _blur(noise, 0.7) * 2
        signal = np.sqrt(np.clip(image, 0, None)) if rng.random() < 0.5 else 1.0
        image = image + strength * noise * signal
    if rng.random() < settings.p_invert:
        image = 1 - image
    gain = float(np.exp(rng.uniform(-0.4, 0.5)))
    result: Plane = (gain * image + rng.uniform(-0.1, 0.15)).astype(np.float32)
    return result


def _wave(rng: np.random.Generator, size: int) -> Plane:
    """Return a smooth field within -1..1: a plane wave of about half a period over the crop."""
    steps = np.linspace(-1, 1, size)
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    along = np.cos(angle) * steps[:, None] + np.sin(angle) * steps[None, :]
    wave: Plane = np.sin(rng.uniform(0.5, 3) * along + phase).astype(np.float32)
    return wave


def _normalise(image: Plane, inside: npt.NDArray[np.bool_]) -> Plane:
    values = image[inside]
    if values.size < 100:
        return image
    low, high = np.percentile(values, (1, 99))
    scaled: Plane = ((image - low) / max(high - low, 1e-3)).astype(np.float32)
    return scaled


def _empty(rng: np.random.Generator, settings: AugmentationSettings) -> Plane:
    """Return an image without a cell, as normalisation leaves it: noise of some grain over a smooth background."""
    noise = rng.normal(size=(settings.crop, settings.crop)).astype(np.float32)
    if rng.random() < 0.5:
        noise = _blur(noise, rng.uniform(0.5, 3.0))
    image = noise / noise.std() + rng.uniform(0, 3) * _wave(rng, settings.crop)
    return _normalise(image, np.ones(image.shape, dtype=np.bool_))


def batch(
    examples: list[Example], rng: np.random.Generator, settings: AugmentationSettings, size: int
) -> tuple[Any, Any]:
    """Return tensors (size, 2, crop, crop) of images (second channel 0) and (size, 3, crop, crop) of targets.

    Simulated examples, where there are some, make up `p_simulated` of the crops.
    """
    simulated = np.array([example.simulated for example in examples])
    share = settings.p_simulated / max(int(simulated.sum()), 1)
    weights = np.where(simulated, share, (1 - settings.p_simulated) / max(int((~simulated).sum()), 1))
    chosen = rng.choice(len(examples), size=size, p=weights / weights.sum())
    pairs = [random_crop(examples[i], rng, settings) for i in chosen]
    images = np.zeros((size, 2, settings.crop, settings.crop), dtype=np.float32)
    images[:, 0] = [image for image, _ in pairs]
    return torch.from_numpy(images), torch.from_numpy(np.stack([target for _, target in pairs]))
