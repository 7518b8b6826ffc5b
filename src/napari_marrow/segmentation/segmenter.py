"""Segment cells in planes and volumes with a Cellpose network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation.dynamics import LARGE_PLANE
from napari_marrow.segmentation.finding import CellFinder, FindingSettings
from napari_marrow.segmentation.image_checks import (
    check_diameter,
    check_image,
    check_out,
    check_plane,
    check_second,
    check_volume_mode,
    pixel_aspect,
    plane_distance,
)
from napari_marrow.segmentation.intensities import scale_channels
from napari_marrow.segmentation.orthogonal_flows import segment_flows
from napari_marrow.segmentation.registry import ModelCard
from napari_marrow.segmentation.resizing import resize
from napari_marrow.segmentation.style import StyleRecorder
from napari_marrow.segmentation.tiles import Network
from napari_marrow.segmentation.volumes import segment_planes

Floats = npt.NDArray[np.float32]


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
class StripSegmentation:
    """Cells of a large plane, as they come.

    Attributes
    ----------
    diameter : float
        Diameter in px that the image was scaled by: given or estimated.
    estimated : bool
        Whether the diameter was estimated from the image.
    strips : iterator of int32 arrays, shape (n, X)
        Labels from the top of the plane to its bottom; the work is done as they are asked for.
    """

    diameter: float
    estimated: bool
    strips: Iterator[npt.NDArray[np.int32]]


@dataclass(frozen=True)
class CPnetSegmenter:
    """A loaded network of Cellpose 1-3 with everything before and after it.

    Attributes
    ----------
    card : ModelCard
    network : callable
        Tiles (N, channels, S, S) to output (N, 3, S, S).
    n_channels : int
        Input channels; the image goes into the first, the second channel (or 0) into the second.
    threads : int or None
        For the reconstruction of labels.
    usual_diameter : float or None
        Diameter in px of the cells that the network was trained on, where estimating one begins.
    """

    card: ModelCard
    network: Network
    n_channels: int = 2
    threads: int | None = None
    usual_diameter: float | None = None

    @property
    def needs_diameter(self) -> bool:
        """True: these networks know cells of one size."""
        return True

    @property
    def device(self) -> str:
        """What computes: "cpu", "cuda:0", "mps"."""
        return str(getattr(self.network, "device", "cpu"))

    @property
    def precision(self) -> str:
        """What is computed in: "f32" or "bf16"."""
        return str(getattr(self.network, "precision", "f32"))

    def segment(
        self,
        image: npt.NDArray[Any],
        *,
        second: npt.NDArray[Any] | None = None,
        diameter: float | None = None,
        spacing: Sequence[float] | None = None,
        flow_threshold: float = 0.4,
        cellprob_threshold: float = 0.0,
        min_size: int = 15,
        volume_mode: str = "planes",
        stitch_threshold: float = 0.25,
        flow_smoothing: float | Sequence[float] = 0.0,
        return_probability: bool = False,
        out: npt.NDArray[np.int32] | None = None,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
    ) -> Segmentation:
        """Find the cells of an image.

        Parameters
        ----------
        image : array, shape (Y, X) or (Z, Y, X)
            Grey values of the channel that shows the cells.
        second : array of the same shape, optional
            A second channel for networks that were trained with one (cytoplasm with nuclei: the nuclei), what Cellpose
            calls ``channels=[c, n]``. Each channel is normalised on its own.
        diameter : float or None
            Typical cell diameter in px; None estimates it from the image.
        spacing : sequence of float, optional
            Pixel size (y, x) or (z, y, x). Planes are resized to square pixels where y and x differ; flows need z, and
            take the same size for all three without.
        flow_threshold : float
            Largest mean squared flow error of a label; 0 keeps all.
        cellprob_threshold : float
            Logit above which a pixel belongs to a cell.
        min_size : int
            Smallest label, px (voxels in a volume).
        volume_mode : {"planes", "flows"}
            How a volume is segmented: plane by plane, labels of successive planes joined where they overlap; or by the
            flows of planes in three orientations (Cellpose's ``do_3D``), for volumes whose planes are close enough to
            show a cell from the side as well. The flow threshold does not apply to the latter.
        stitch_threshold : float
            Planes: intersection over union from which labels of successive planes are one cell.
        flow_smoothing : float or three floats
            Flows: standard deviation (z, y, x) of a Gaussian over them, px (Cellpose's ``flow3D_smooth``).
        return_probability : bool
            Also return the cell probability.
        out : int32 array, shape of the image, optional
            Where the labels are written, such as a memory map; it is what the result holds.
        progress, cancel
            Called and asked before every tile.

        Returns
        -------
        Segmentation

        Raises
        ------
        InputFileError
            If the image has the wrong number of dimensions or values that are not finite, or the second channel another
            shape.
        SettingsError
            If the diameter or the volume mode cannot be, the network was not trained with a second channel, or the
            flows of a volume do not fit into memory.
        Cancelled
            If the token was cancelled.
        """
        pixels = check_image(image)
        check_volume_mode(volume_mode, flow_smoothing)
        settings = FindingSettings(flow_threshold, cellprob_threshold, min_size, pixel_aspect(spacing), self.threads)
        work = self._finder(settings, progress, cancel)
        scaled = scale_channels(pixels, self._checked(second, pixels))
        labels = check_out(out, pixels.shape)
        logit = np.zeros(pixels.shape, dtype=np.float32) if return_probability else None
        if scaled is None:
            used = self.card.diameter_px if diameter is None else check_diameter(diameter, pixels.shape)
            labels[...] = 0
            return Segmentation(labels, used, False, logit)
        found = work.estimate(scaled) if diameter is None else None
        used = found.diameter if found is not None else check_diameter(cast("float", diameter), pixels.shape)
        if pixels.ndim == 3 and volume_mode == "flows":
            segment_flows(
                work,
                scaled,
                used,
                anisotropy=plane_distance(spacing),
                smoothing=flow_smoothing,
                out=labels,
                logit=logit,
            )
        elif pixels.ndim == 3:
            segment_planes(work, scaled, used, threshold=stitch_threshold, out=labels, logit=logit)
        elif found is not None and found.fits and pixels.size <= LARGE_PLANE:
            output = resize(found.outputs[0], (pixels.shape[0], pixels.shape[1]))
            work.labels(output, found.scale, out=labels, logit=logit)
        else:
            work.plane(scaled, used, out=labels, logit=logit)
        return Segmentation(labels, used, found is not None, _logistic(logit))

    def segment_in_strips(
        self,
        image: npt.NDArray[Any],
        *,
        second: npt.NDArray[Any] | None = None,
        diameter: float | None = None,
        spacing: Sequence[float] | None = None,
        flow_threshold: float = 0.4,
        cellprob_threshold: float = 0.0,
        min_size: int = 15,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
    ) -> StripSegmentation:
        """Find the cells of a plane of which not even the labels need be held.

        Parameters and errors are those of `segment`; the labels are those that `segment` gives for a large plane.
        """
        pixels = check_plane(image)
        settings = FindingSettings(flow_threshold, cellprob_threshold, min_size, pixel_aspect(spacing), self.threads)
        work = self._finder(settings, progress, cancel)
        scaled = scale_channels(pixels, self._checked(second, pixels))
        if scaled is None:
            used = self.card.diameter_px if diameter is None else check_diameter(diameter, pixels.shape)
            return StripSegmentation(used, False, (np.zeros((1, pixels.shape[1]), np.int32) for _ in pixels))
        if diameter is None:
            used = work.estimate(scaled).diameter if self.needs_diameter else self.card.diameter_px
        else:
            used = check_diameter(diameter, pixels.shape)
        return StripSegmentation(used, diameter is None, work.label_strips(scaled, used))

    def estimate_diameter(self, image: npt.NDArray[Any], *, second: npt.NDArray[Any] | None = None) -> float:
        """Return the median cell diameter of an image in px; the network's own diameter where it has no cells."""
        pixels = check_image(image)
        scaled = scale_channels(pixels, self._checked(second, pixels))
        if scaled is None:
            return self.card.diameter_px
        return self._finder(FindingSettings(), no_progress, None).estimate(scaled).diameter

    def style(
        self, plane: npt.NDArray[Any], *, second: npt.NDArray[Any] | None = None, diameter: float | None = None
    ) -> Floats:
        """Return the network's style vector of a plane: a summary of its look, of length 1.

        Parameters
        ----------
        plane : array, shape (Y, X)
        second : array of the same shape, optional
        diameter : float or None
            Cell diameter in px that the plane is scaled by; None estimates it.

        Returns
        -------
        float32 array, shape (C,)
            Mean over the tiles (256 values in networks of full width); 0 everywhere for a constant plane.

        Raises
        ------
        InputFileError, SettingsError
            As `segment`; also if the network has no style.
        """
        pixels = check_image(plane)
        if pixels.ndim != 2:
            raise SettingsError(f"The style is that of a plane (Y, X), not of an image of shape {pixels.shape}.")
        recorder = StyleRecorder(self.network)
        scaled = scale_channels(pixels, self._checked(second, pixels))
        if scaled is None:
            return recorder.style
        used = self.estimate_diameter(pixels, second=second) if diameter is None else diameter
        finder = replace(self, network=recorder)._finder(FindingSettings(), no_progress, None)
        finder.output(scaled, self.card.diameter_px / check_diameter(used, pixels.shape))
        return recorder.style

    def _checked(self, second: npt.NDArray[Any] | None, pixels: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """Return the second channel, if there is one and the network was trained with one."""
        if second is not None and not self.card.second_channel:
            raise SettingsError(
                f"'{self.card.name}' was trained on one channel and finds nothing with a second one: leave it out, or "
                "take a model of whole cells such as cyto3."
            )
        return check_second(second, pixels.shape, self.n_channels)

    def _finder(self, settings: FindingSettings, progress: Progress, cancel: CancelToken | None) -> CellFinder:
        return CellFinder(
            self.network, self.card, self.n_channels, settings, progress, cancel, usual=self.usual_diameter
        )


def _logistic(logit: Floats | None) -> Floats | None:
    """Turn a logit into a probability in place."""
    if logit is not None:
        for part in logit:
            part[...] = 1 / (1 + np.exp(-part))
    return logit
