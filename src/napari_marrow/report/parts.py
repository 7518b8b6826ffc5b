"""What a report is made of: sections with text, figures and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from napari_marrow.report.style import drawing, settle, to_pdf, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class FigurePart:
    """A drawn figure.

    Attributes
    ----------
    name : str
        File name without extension.
    title, caption : str
    description : str
        What the figure shows, for readers who do not see it.
    svg : str
        SVG document.
    data : DataFrame
        The numbers drawn.
    pdf : bytes
        The same drawing as PDF.
    """

    name: str
    title: str
    caption: str
    description: str
    svg: str
    data: pd.DataFrame
    pdf: bytes = b""


@dataclass(frozen=True, eq=False)
class TablePart:
    """A table in the page, and as CSV beside it.

    Attributes
    ----------
    name : str
        File name without extension.
    caption : str
    data : DataFrame
    headings : dict
        Column heading with unit, by column name.
    digits : int
        Significant digits shown; the CSV has all.
    folded : bool
        Whether it is closed until asked for.
    shown : DataFrame, optional
        A narrower table for the page; `data` by default.
    """

    name: str
    caption: str
    data: pd.DataFrame
    headings: dict[str, str] = field(default_factory=dict)
    digits: int = 3
    folded: bool = False
    shown: pd.DataFrame | None = None


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    id, title : str
    paragraphs : list of str
    figures : list of FigurePart
    tables : list of TablePart
    missing : list of str
        What could not be shown, and why.
    """

    id: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    figures: list[FigurePart] = field(default_factory=list)
    tables: list[TablePart] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def drawn_part(
    name: str, title: str, caption: str, description: str, data: pd.DataFrame, draw: Callable[[], Figure]
) -> FigurePart:
    """Draw a figure in the report's style, as SVG and PDF.

    Parameters
    ----------
    name, title, caption, description, data :
        As for `FigurePart`.
    draw : callable
        Returns the figure.
    """
    with drawing():
        figure = draw()
        settle(figure)
        return FigurePart(name, title, caption, description, to_svg(figure), data, to_pdf(figure))
