"""What the layout says of the design: which organoids take part, and a fingerprint for the steps that depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow.pipeline.recipe import digest

if TYPE_CHECKING:
    from napari_marrow.study import Study


def layout_state(study: Study) -> dict[str, Any]:
    """Return a fingerprint of the layout: it may be corrected at any time."""
    return {"layout": digest(study.layout.to_json(orient="records"))}


def included(layout: pd.DataFrame) -> pd.DataFrame:
    """Return the positions of organoids that were not left out.

    An organoid is left out as a whole as soon as one of its positions has a reason in the column ``exclusion``.
    """
    if "exclusion" not in layout.columns:
        return layout
    out = set(layout.loc[layout["exclusion"].fillna("").astype(str) != "", "organoid"])
    return layout[~layout["organoid"].isin(out)].reset_index(drop=True)


def of_positions(table: pd.DataFrame | None, layout: pd.DataFrame) -> pd.DataFrame | None:
    """Return the rows of the layout's positions; None where there is no table or no row."""
    if table is None:
        return None
    rows = table[table["position"].isin(set(layout["position"]))].reset_index(drop=True)
    return rows if len(rows) else None
