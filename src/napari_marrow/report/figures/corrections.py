"""Pixels before and after correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_marrow.report.style import FAINT, INK, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CorrectedExample:
    """A frame of one channel before and after.

    Attributes
    ----------
    channel : str
    before, after : float32 array, shape (Y, X), counts
    field : float array, shape (n, n), or None
        Illumination on its nodes, mean 1; None where none was estimated.
    depth : float
        Loss of light from the brightest to the darkest place.
    levels : float array, shape (T,) or (0,), counts
        Signal of each frame as acquired; empty where nothing over time was asked for.
    factors : float array, shape (T,)
    """

    channel: str
    before: Plane
    after: Plane
    field: npt.NDArray[np.float64] | None
    depth: float
    levels: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]


def before_and_after(examples: Sequence[CorrectedExample]) -> Figure:
    """Draw a row per channel: as acquired, corrected, the illumination, and the signal over the frames.

    Parameters
    ----------
    examples : sequence of CorrectedExample
        At least one.

    Returns
    -------
    Figure
    """
    figure = new_figure(0.4 + 1.75 * len(examples))
    followed = any(example.levels.size for example in examples)
    widths = (1, 1, 1, 1.35) if followed else (1, 1, 1)
    grid = figure.subplots(len(examples), len(widths), squeeze=False, width_ratios=widths)
    for axes, example in zip(grid, examples, strict=True):
        _picture(axes[0], example.before, f"{example.channel}, as acquired")
        _picture(axes[1], example.after, "corrected")
        _illumination(axes[2], example)
        if followed:
            _over_time(axes[3], example)
    return figure


def _picture(axis: Axes, plane: Plane, title: str) -> None:
    # the background decides: it shows uneven light, and both pictures get the same share of it
    low, high = np.quantile(plane, [0.01, 0.9])
    axis.imshow(plane, cmap="gray", vmin=low, vmax=max(high, low + 1e-6) + (high - low), interpolation="nearest")
    axis.set_title(title)
    axis.set_axis_off()


def _illumination(axis: Axes, example: CorrectedExample) -> None:
    if example.field is None:
        axis.text(0.5, 0.5, "no illumination\nestimated", ha="center", va="center", transform=axis.transAxes, color=INK)
        axis.set_axis_off()
        return
    axis.imshow(example.field, cmap="cividis", interpolation="bilinear")
    axis.set_title(f"light, -{100 * example.depth:.0f} % at worst")
    axis.set_axis_off()


def _over_time(axis: Axes, example: CorrectedExample) -> None:
    if not example.levels.size:
        axis.text(0.5, 0.5, "no correction\nover time", ha="center", va="center", transform=axis.transAxes, color=INK)
        axis.set_axis_off()
        return
    axis.plot(example.levels, color=FAINT, lw=1.2, label="as acquired")
    axis.plot(example.levels * example.factors, color="#0072B2", lw=1.2, label="corrected")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("Frame")
    axis.set_ylabel("Signal (counts)")
    axis.legend(loc="lower left")
