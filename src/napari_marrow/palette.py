"""Colours of lineages, channels and conditions, the same in report and window, so that a colour means one thing.

Okabe and Ito's palette is told apart by people with any colour vision. Lineages and conditions share no colour.

Source: M. Okabe, K. Ito, Color Universal Design (2008).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY, BLACK = "#8C8C8C", "#000000"

LINEAGE_COLOURS: dict[str, str] = {"erythroid": VERMILLION, "megakaryocytic": PURPLE, "granulo-monocytic": GREEN}
"""The usual lineages."""

_USUAL = ("erythroid", "megakaryocytic", "granulo-monocytic")

_MORE_LINEAGES = (YELLOW, SKY, "#7A5195")
_CONDITIONS = (BLUE, ORANGE, BLACK, SKY, "#7A5195", "#9C8A00")

CHANNEL_COLOURS: dict[str, str] = {
    "CD31": YELLOW,
    "CD235a": LINEAGE_COLOURS["erythroid"],
    "CD41": LINEAGE_COLOURS["megakaryocytic"],
    "CD11b": LINEAGE_COLOURS["granulo-monocytic"],
    "CD45": SKY,
    "CD34": ORANGE,
}
"""Markers have the colours of their lineages."""


def lineage_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for every lineage, the usual ones always the same; death is black."""
    spare = iter(_MORE_LINEAGES * (1 + len(names)))
    return {n: LINEAGE_COLOURS.get(n) or (BLACK if n == "death" else next(spare)) for n in names}


def lineage_order(names: Iterable[object]) -> list[str]:
    """Return lineages in their usual order, others by name, death last."""
    present = sorted({str(n) for n in names})
    usual = [n for n in _USUAL if n in present]
    return usual + [n for n in present if n not in _USUAL and n != "death"] + ["death"] * ("death" in present)


def condition_order(names: Iterable[object]) -> list[str]:
    """Return the conditions without repeats, controls first, then as they come."""
    seen = list(dict.fromkeys(str(n) for n in names))
    return sorted(seen, key=lambda n: not re.search(r"control|untreated|vehicle|dmso|wild.?type|\bwt\b", n.lower()))


def condition_colours(names: Iterable[object]) -> dict[str, str]:
    """Return a colour for every condition, in the order of `condition_order`."""
    return {n: _CONDITIONS[i % len(_CONDITIONS)] for i, n in enumerate(condition_order(names))}
