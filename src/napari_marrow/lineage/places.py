"""Which organoid and condition a position belongs to."""

from __future__ import annotations

import pandas as pd

from napari_marrow.errors import TableError


def with_organoid(table: pd.DataFrame, layout: pd.DataFrame | None) -> pd.DataFrame:
    """Return a copy of a table by position with the columns `organoid` and `condition` of the layout.

    Without a layout each position is its own organoid and the condition is ``all``.

    Raises
    ------
    TableError
        If a position of the table is not in the layout, or the layout names a position twice.
    """
    out = table.copy()
    if layout is None or len(layout) == 0:
        out["organoid"] = out["position"].astype(object)
        out["condition"] = "all"
        return out
    for column in ("position", "organoid", "condition"):
        if column not in layout.columns:
            raise TableError(f"The plate layout lacks the column '{column}'.")
    doubled = layout["position"].duplicated()
    if doubled.any():
        raise TableError(f"The plate layout names position {layout['position'][doubled].iloc[0]} twice.")
    place = layout.set_index("position")
    missing = sorted(set(out["position"]) - set(place.index))
    if missing:
        raise TableError(f"The plate layout does not name the position(s) {', '.join(map(str, missing))}: add them.")
    out["organoid"] = out["position"].map(place["organoid"]).astype(str)
    out["condition"] = out["position"].map(place["condition"]).astype(str)
    return out
