"""Segment cells in planes and volumes with a Cellpose network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError, MissingExtraError, ModelError, SettingsError
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation.diameter import DiameterEstimate, estimate_diameter
from napari_marrow.segmentation.dynamics import compute_masks, renumber
from napari_marrow.segmentation.registry import DEFAULT_MODEL, ModelCard, find_model
from napari_marrow.segmentation.stitching import stitch_planes
from napari_marrow.segmentation.tiles import Network, normalise, resize, run_network
from napari_marrow.segmentation.weights import read_weights

Floats = npt.NDArray[np.float32]

LARGEST_INPUT = 60_000
"""Pixels along a side of the resized image; more means a diameter that cannot be meant."""


@dataclass(frozen=True)
class Segmentation:
    """Cells of one image.

    Attributes
    ----------
    labels : int32 array, shape of the image
        0 background, 1..n.
    diameter : float
        Diameter in px that the image was scaled by: given or estimated.
    estimated : bool
        Whether the diameter was estimated from the image.
    probability : float32 array or None
        Probability that a pixel belongs to a cell; only if asked for.
    """

    labels: npt.NDArray[np.int32]
    diameter: float
    estimated: bool
    probability: Floats | None = None

    @property
    def n_cells(self) -> int:
        """Number of labels."""
        return int(self.labels.max(initial=0))


@dataclass(frozen=True)
class Segmenter:
    """A loaded network with everything before and after it.

    Attributes
    ----------
    card : ModelCard
    network : callable
        Tiles (N, channels, S, S) to output (N, 3, S, S).
    n_channels : int
        Input channels; the image goes into the first, the others are 0.
    threads : int or None
        For the reconstruction of labels.
    """

    card: ModelCard
    network: Network
    n_channels: int = 2
    threads: int | None = None

    def segment(
        self,
        image: npt.NDArray[Any],
        *,
        diameter: float | None = None,
        spacing: Sequence[float] | None = None,
        flow_threshold: float = 0.4,
        cellprob_threshold: float = 0.0,
        min_size: int = 15,
        stitch_threshold: float = 0.25,
        return_probability: bool = False,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
    ) -> Segmentation:
        """Find the cells of an image.

        Parameters
        ----------
        image : array, shape (Y, X) or (Z, Y, X)
            Grey values of one channel. A volume is segmented plane by plane and stitched.
        diameter : float or None
            Typical cell diameter in px; None estimates it from the image.
        spacing : sequence of float, optional
            Pixel size (y, x) or (z, y, x). Planes are resized to square pixels where y and x differ.
        flow_threshold : float
            Largest mean squared flow error of a label; 0 keeps all.
        cellprob_threshold : float
            Logit above which a pixel belongs to a cell.
        min_size : int
            Smallest label, px (voxels in a volume).
        stitch_threshold : float
            Intersection over union from which labels of successive planes are one cell.
        return_probability : bool
            Also return the cell probability.
        progress, cancel
            Called and asked before every tile.

        Returns
        -------
        Segmentation

        Raises
        ------
        InputFileError
            If the image has the wrong number of dimensions or values that are not finite.
        SettingsError
            If the diameter cannot be.
        Cancelled
            If the token was cancelled.
        """
        pixels = check_image(image)
        settings = _Settings(flow_threshold, cellprob_threshold, min_size, _pixel_aspect(spacing), self.threads)
        work = _Work(self, settings, progress, cancel)
        scaled = normalise(pixels)
        if scaled is None:
            return _nothing(pixels.shape, diameter, self.card.diameter_px, return_probability)
        found = work.estimate(scaled) if diameter is None else None
        used = found.diameter if found is not None else check_diameter(cast("float", diameter), pixels.shape)
        logit: Floats | None
        if scaled.ndim == 3:
            labels, logit = work.volume(scaled, used, stitch_threshold, keep_logit=return_probability)
        elif found is not None and found.fits:
            labels, logit = work.labels(found.outputs[0], scaled.shape, found.scale)
        else:
            labels, logit = work.plane(scaled, used)
        return Segmentation(labels, used, found is not None, _logistic(logit) if return_probability else None)

    def estimate_diameter(self, image: npt.NDArray[Any]) -> float:
        """Return the median cell diameter of an image in px; the network's own diameter where it has no cells."""
        scaled = normalise(check_image(image))
        if scaled is None:
            return self.card.diameter_px
        return _Work(self, _Settings(), no_progress, None).estimate(scaled).diameter


def load_segmenter(
    model: str | Path = DEFAULT_MODEL,
    *,
    device: str = "cpu",
    precision: str = "auto",
    threads: int | None = None,
    streams: int = 1,
) -> Segmenter:
    """Load a network.

    Parameters
    ----------
    model : str or Path
        A name of `models()` or the path of a Cellpose 1-3 weights file (safetensors, or torch's format, which needs
        torch).
    device : str
        "cpu" runs through OpenVINO; "cuda", "cuda:1", "mps" through torch.
    precision : {"auto", "f32", "bf16"}
        On the CPU. "auto" takes bf16 where the processor computes in it.
    threads : int or None
        None takes what the machine has.
    streams : int
        Calls that the network computes side by side on the CPU, sharing the threads: for many small images that several
        threads segment at once.

    Raises
    ------
    ModelError
        If there is no such model, its file is not what it should be, or it is of a kind that this version does not run.
    MissingExtraError
        If it needs a package that is not installed.
    SettingsError
        If device or precision cannot be.
    """
    card = find_model(model)
    if card.kind != "cpnet":
        raise _cellpose4_error(card)
    if precision not in ("auto", "f32", "bf16"):
        raise SettingsError(f"Precision '{precision}' is unknown: give auto, f32 or bf16.")
    if device != "cpu" and device != "mps" and not device.startswith("cuda"):
        raise SettingsError(f"Device '{device}' is unknown: give cpu, cuda or mps.")
    assert card.path is not None
    weights = read_weights(card.path)
    if card.sha256 and card.sha256 != weights.sha256:
        raise ModelError(f"The weights of '{card.name}' do not match their card: reinstall napari-marrow.")
    card = replace(card, sha256=weights.sha256, diameter_px=weights.diam_mean)
    network: Network
    if device == "cpu":
        from napari_marrow.segmentation.openvino_network import OpenVINONetwork

        network = OpenVINONetwork(weights, precision=precision, threads=threads, streams=streams)
    else:
        try:
            from napari_marrow.segmentation.torch_network import TorchNetwork
        except ImportError as error:
            raise MissingExtraError(
                f"Device '{device}' needs torch: pip install 'napari-marrow[cellpose]', or use device='cpu'."
            ) from error
        network = TorchNetwork(weights, device=device)
    return Segmenter(card, network, weights.n_channels, threads if streams == 1 else 1)


def _cellpose4_error(card: ModelCard) -> Exception:
    from importlib.util import find_spec

    if find_spec("cellpose") is None:
        return MissingExtraError(f"'{card.name}' needs Cellpose 4: pip install 'napari-marrow[cellpose]'.")
    return ModelError(
        f"'{card.name}' is a Cellpose 4 transformer, which this version does not run yet: use '{DEFAULT_MODEL}' or a "
        "Cellpose 1-3 weights file."
    )


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
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        bad = int(pixels.size - np.isfinite(pixels).sum())
        raise InputFileError(f"{bad} of {pixels.size} pixels are NaN or infinite: replace them before segmenting.")
    return pixels


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


def _logistic(logit: Floats | None) -> Floats | None:
    if logit is None:
        return None
    probability: Floats = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return probability


def _pixel_aspect(spacing: Sequence[float] | None) -> float:
    """Return pixel height / pixel width."""
    if spacing is None:
        return 1.0
    if len(spacing) not in (2, 3) or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise SettingsError(f"Spacing {tuple(spacing)} cannot be: give two (y, x) or three (z, y, x) positive numbers.")
    return float(spacing[-2] / spacing[-1])


def _nothing(shape: tuple[int, ...], diameter: float | None, usual: float, with_probability: bool) -> Segmentation:
    used = usual if diameter is None else check_diameter(diameter, shape)
    probability = np.zeros(shape, dtype=np.float32) if with_probability else None
    return Segmentation(np.zeros(shape, dtype=np.int32), used, False, probability)


@dataclass(frozen=True)
class _Settings:
    flow_threshold: float = 0.4
    cellprob_threshold: float = 0.0
    min_size: int = 15
    aspect: float = 1.0
    threads: int | None = None


class _Work:
    """One call of `Segmenter.segment`: the network at a scale, and labels from what it gives."""

    def __init__(
        self, segmenter: Segmenter, settings: _Settings, progress: Progress, cancel: CancelToken | None
    ) -> None:
        self.segmenter = segmenter
        self.settings = settings
        self.progress = progress
        self.cancel = cancel

    def output(self, plane: Floats, scale: float, message: str = "network") -> Floats:
        """Return the network's output (3, y, x) for a normalised plane that is scaled first."""
        height = max(1, int(plane.shape[0] * scale * self.settings.aspect))
        width = max(1, int(plane.shape[1] * scale))
        if max(height, width) > LARGEST_INPUT:
            raise SettingsError(
                f"A cell diameter of {self.segmenter.card.diameter_px / scale:.3g} px would enlarge the image to "
                f"{height} x {width} px: give a larger one."
            )
        if self.segmenter.card.smooth_reduction and scale < 0.8:
            from scipy.ndimage import gaussian_filter

            plane = gaussian_filter(plane, 0.35 / scale, mode="nearest")
        small = resize(plane[None], (height, width))[0]

        def on_tile(done: int, total: int) -> None:
            if self.cancel is not None:
                self.cancel.raise_if_cancelled()
            self.progress(done, total, message)

        return run_network(self.segmenter.network, small, n_channels=self.segmenter.n_channels, on_tile=on_tile)

    def plane(
        self, plane: Floats, diameter: float, *, min_size: int | None = None
    ) -> tuple[npt.NDArray[np.int32], Floats]:
        """Return labels and logit of a normalised plane."""
        scale = self.segmenter.card.diameter_px / diameter
        return self.labels(self.output(plane, scale), plane.shape, scale, min_size=min_size)

    def labels(
        self, output: Floats, shape: tuple[int, ...], scale: float, *, min_size: int | None = None
    ) -> tuple[npt.NDArray[np.int32], Floats]:
        """Return labels and logit at the plane's own size from the network's output at a scale."""
        output = resize(output, (shape[0], shape[1]))
        labels = compute_masks(
            output[:2],
            output[2],
            n_steps=int(200 / scale),
            cellprob_threshold=self.settings.cellprob_threshold,
            flow_threshold=self.settings.flow_threshold,
            min_size=self.settings.min_size if min_size is None else min_size,
            threads=self.settings.threads,
        )
        return labels, output[2]

    def volume(
        self, volume: Floats, diameter: float, threshold: float, *, keep_logit: bool
    ) -> tuple[npt.NDArray[np.int32], Floats | None]:
        """Return labels (and logit) of a normalised volume, segmented plane by plane and stitched."""
        planes = np.zeros(volume.shape, dtype=np.int32)
        logit = np.zeros(volume.shape, dtype=np.float32) if keep_logit else None
        for z in range(len(volume)):
            # Planes keep their small sections (holes are filled): size counts in the volume.
            planes[z], cellprob = self.plane(volume[z], diameter, min_size=1)
            if logit is not None:
                logit[z] = cellprob
        labels = stitch_planes(planes, threshold=threshold)
        large = np.bincount(labels.ravel()) >= max(1, self.settings.min_size)
        flat = renumber(labels.reshape(len(labels), -1), large)
        return flat.reshape(volume.shape), logit

    def estimate(self, image: Floats) -> DiameterEstimate:
        """Return the median diameter, measured on up to three bright planes of a volume."""
        planes = [image]
        if image.ndim == 3:
            brightness = np.percentile(image.reshape(len(image), -1), 95, axis=1)
            planes = [image[z] for z in np.sort(np.argsort(-brightness, kind="stable")[:3])]
        return estimate_diameter(
            lambda plane, scale: self.output(plane, scale, "diameter"), planes, self.segmenter.card.diameter_px
        )
