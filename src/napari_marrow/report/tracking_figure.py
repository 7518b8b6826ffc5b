"""Figure of what a tracking learned: how far cells move, how alike they stay, how well links stand out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_marrow.report.style import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHOSEN = "#0072B2"
_RIVALS = "#E69F00"
_MOST = 6


def tracking_figure(model: dict[str, Any]) -> Figure:
    """Draw the distributions of a tracking, chosen links against the candidates that were turned down.

    Parameters
    ----------
    model : dict
        `Tracking.model`, with ``distributions``.

    Returns
    -------
    Figure
    """
    from matplotlib.figure import Figure

    shown = {k: v for k, v in model.get("distributions", {}).items() if v["edges"]}
    names = [*[k for k in shown if k != "gain"][: _MOST - 1], *(["gain"] if "gain" in shown else [])]
    columns = min(max(len(names), 1), 3)
    rows = -(-max(len(names), 1) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.7 * rows), layout="constrained")
    if not names:
        figure.text(0.5, 0.5, "nothing was linked", ha="center", color=FAINT)
        return figure
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    labels = {"displacement": "displacement between frames", "gain": "gain of a link (nats)"}
    for axis, name in zip(axes, names, strict=False):
        edges = np.asarray(shown[name]["edges"])
        for group, colour, label in (("rivals", _RIVALS, "turned down"), ("chosen", _CHOSEN, "chosen links")):
            counts = np.asarray(shown[name][group], np.float64)
            density = counts / max(counts.sum(), 1.0) / np.diff(edges)
            axis.stairs(density, edges, color=colour, fill=True, alpha=0.3)
            axis.stairs(density, edges, color=colour, lw=1.3, label=label)
        axis.set(xlabel=labels.get(name, f"change of {name} (transformed)"), ylabel="density")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return figure
