"""Wells in the names that microscopes give to the places of a plate."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WELL = re.compile(r"(?:^|[^A-Za-z0-9])(?P<row>[A-P]|A[A-F])0?(?P<column>[1-9][0-9]?)(?![A-Za-z0-9])")


def positions_of(names: Sequence[str | None]) -> list[str | None]:
    """Return positions for the names of a file's places when every name holds exactly one well.

    Fields are numbered in the order in which they stand.

    Examples
    --------
    >>> positions_of(["B2_0001", "B2_0002", "C11_0001"])
    ['B02_f00', 'B02_f01', 'C11_f00']
    >>> positions_of(["B2", "somewhere"])
    [None, None]
    """
    wells = [well_in(name) for name in names]
    if not wells or any(well is None for well in wells):
        return [None] * len(names)
    fields: dict[str, int] = {}
    positions: list[str | None] = []
    for well in wells:
        assert well is not None
        positions.append(f"{well}_f{fields.get(well, 0):02d}")
        fields[well] = fields.get(well, 0) + 1
    return positions


def well_in(text: str | None) -> str | None:
    """Return the only well that a text names, such as ``"B02"`` in ``"Plate 1 B2 field 3"``; None for none or several.

    Letters and number must stand next to each other and apart from other letters and digits.
    """
    found = {f"{m['row']}{int(m['column']):02d}" for m in _WELL.finditer(text or "")}
    return found.pop() if len(found) == 1 else None
