"""Colours of channels, lineages and conditions: the Okabe-Ito palette, told apart by people with any colour vision.

Source: M. Okabe, K. Ito, Color Universal Design (2008).
"""

from __future__ import annotations

from collections.abc import Sequence

ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#9A9A9A"

CHANNEL_COLOURS: dict[str, str] = {
    "nuclei": "gray",
    "CD31": PURPLE,
    "CD235a": VERMILLION,
    "CD41": SKY,
    "CD11b": GREEN,
    "CD45": YELLOW,
    "CD34": ORANGE,
    "scaffold": "gray",
    "brightfield": "gray",
}
"""Colormap of each known channel; napari makes a map from black to a colour that is given as ``#rrggbb``."""

LINEAGE_COLOURS: dict[str, str] = {"erythroid": VERMILLION, "megakaryocytic": SKY, "granulo-monocytic": GREEN}
"""Lineages have the colour of their marker's channel."""

_SPARE = (SKY, ORANGE, GREEN, PURPLE, YELLOW, VERMILLION, BLUE)


def channel_colour(name: str, index: int) -> str:
    """Return the colormap of a channel; unknown ones take a colour by their number.

    Parameters
    ----------
    name : str
        Name of the channel.
    index : int
        Its place among the channels, from 0.
    """
    return CHANNEL_COLOURS.get(name, _SPARE[index % len(_SPARE)])


def lineage_colours(lineages: Sequence[str]) -> dict[str, str]:
    """Return a colour for each lineage: the known ones have their own, others take the unused ones in order."""
    spare = [c for c in _SPARE if c not in {LINEAGE_COLOURS.get(name) for name in lineages}]
    colours = {}
    for name in lineages:
        known = LINEAGE_COLOURS.get(name)
        colours[name] = known if known is not None else spare.pop(0) if spare else GREY
    return colours
