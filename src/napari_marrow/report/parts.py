"""What a report is made of: sections with text, figures and tables."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd


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
