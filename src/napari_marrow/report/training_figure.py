"""The picture beside a trained model: loss, held-out scores, and cells before and after."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.report.style import FAINT, drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRUTH, FOUND = "#E69F00", "#56B4E9"
_SIDE = 420  # px of an example that are shown


@dataclass(frozen=True)
class ExampleLabels:
    """An image with the true labels and those of both models, all (Y, X)."""

    name: str
    image: npt.NDArray[Any]
    truth: npt.NDArray[np.int32]
    before: npt.NDArray[np.int32]
    after: npt.NDArray[np.int32]


def draw_training(
    name: str,
    losses: Sequence[tuple[int, float]],
    checks: Sequence[tuple[int, float, float]],
    kept_step: int,
    examples: Sequence[ExampleLabels],
    *,
    held_out: bool,
) -> bytes:
    """Return a PNG.

    Parameters
    ----------
    name : str
        Of the model.
    losses : sequence of (step, loss)
    checks : sequence of (step, AP at IoU .5, AP at IoU .75)
        The base's at step 0 first.
    kept_step : int
        The step whose state was kept.
    examples : sequence of ExampleLabels
    held_out : bool
        Whether the examples were held back.
    """
    with drawing():
        rows = len(examples)
        figure = new_figure(2.9 + 3.4 * rows, width=10.2)
        grid = figure.add_gridspec(1 + rows, 6, height_ratios=[2.6] + [3.4] * rows)
        _draw_losses(figure.add_subplot(grid[0, :3]), losses, kept_step)
        _draw_scores(figure.add_subplot(grid[0, 3:]), checks, kept_step)
        for row, example in enumerate(examples, start=1):
            place = _fullest(example.truth)
            for column, (title, labels) in enumerate(
                (("annotated", None), ("base", example.before), (name, example.after))
            ):
                axes = figure.add_subplot(grid[row, 2 * column : 2 * column + 2])
                _draw_example(axes, example, place, labels)
                axes.set_title(f"{title}" + (f": {example.name}" if column == 0 else ""))
        kind = "images that were held back" if held_out else "images that were trained on"
        if rows:
            figure.supxlabel(f"{kind}; orange: annotated, blue: found", fontsize=8.5, color=FAINT)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def _draw_losses(axes: Axes, losses: Sequence[tuple[int, float]], kept_step: int) -> None:
    axes.set_title("Loss on the training crops")
    axes.set_xlabel("step")
    if losses:
        axes.plot(*zip(*losses, strict=True), color="#0072B2", marker="." if len(losses) < 4 else None)
    axes.axvline(kept_step, color=FAINT, linestyle=":", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)


def _draw_scores(axes: Axes, checks: Sequence[tuple[int, float, float]], kept_step: int) -> None:
    axes.set_title("Average precision on held-out images")
    axes.set_xlabel("step (0: the base); dotted: the state that is kept")
    axes.set_ylim(0, 1.03)
    if not checks:
        axes.text(0.5, 0.5, "nothing was held back", ha="center", va="center", transform=axes.transAxes, color=FAINT)
        return
    steps = [c[0] for c in checks]
    for column, label, color, marker in ((1, "IoU .5", "#0072B2", "o"), (2, "IoU .75", "#D55E00", "s")):
        axes.plot(steps, [c[column] for c in checks], color=color, marker=marker, markersize=4, label=label)
    axes.axvline(kept_step, color=FAINT, linestyle=":", linewidth=1)
    axes.set_xlim(left=0)
    axes.legend(loc="best")


def _fullest(truth: npt.NDArray[np.int32]) -> tuple[slice, slice]:
    """Return the window with the most annotated pixels, on a coarse grid."""
    height, width = truth.shape
    best, place = -1, (slice(0, min(_SIDE, height)), slice(0, min(_SIDE, width)))
    for y in range(0, max(1, height - _SIDE + 1), 60):
        for x in range(0, max(1, width - _SIDE + 1), 60):
            here = (slice(y, min(y + _SIDE, height)), slice(x, min(x + _SIDE, width)))
            if (n := int((truth[here] > 0).sum())) > best:
                best, place = n, here
    return place


def _draw_example(
    axes: Axes, example: ExampleLabels, place: tuple[slice, slice], labels: npt.NDArray[np.int32] | None
) -> None:
    from scipy.ndimage import grey_dilation
    from skimage.segmentation import find_boundaries

    pixels = example.image[place].astype(np.float32)
    low, high = np.percentile(pixels, (1, 99.5))
    grey = np.clip((pixels - low) / max(float(high - low), 1e-6), 0, 1)
    picture = np.repeat(grey[..., None], 3, axis=2)
    for part, color in ((example.truth, TRUTH), (labels, FOUND)):
        if part is not None:
            edge = find_boundaries(part[place], mode="inner")
            if max(edge.shape) > 250:  # else a pixel is wide enough to be seen
                edge = grey_dilation(edge, size=(2, 2))
            picture[edge] = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    axes.imshow(picture, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
