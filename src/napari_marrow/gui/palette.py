"""Colours of channels in the window; all other colours are the report's, too, and stand in `napari_marrow.palette`."""

from __future__ import annotations

from napari_marrow import palette
from napari_marrow.palette import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION, YELLOW

CHANNEL_COLOURS: dict[str, str] = {
    **palette.CHANNEL_COLOURS,
    "nuclei": "gray",
    "scaffold": "gray",
    "brightfield": "gray",
}
"""Colormap of each known channel; napari makes a map from black to a colour that is given as ``#rrggbb``."""

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
