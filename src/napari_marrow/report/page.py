"""The HTML page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from napari_marrow.report.citations import WORKS
from napari_marrow.report.methods import Methods
from napari_marrow.report.parts import FigurePart, Section, TablePart
from napari_marrow.report.style import inline_svg
from napari_marrow.report.wording import count, number

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_ROWS = 60
_NUMERIC = re.compile(r"[−\d.\u202f<\s]+|–|n/a")


@dataclass(frozen=True)
class Page:
    """What the template needs beside the sections.

    Attributes
    ----------
    title, study : str
    created : str
        Date of the report.
    version : str
        Of this package.
    summary : list of str
    command : str
        What reproduces the results.
    recipe : str
        The recipe as YAML.
    runs : DataFrame
        Step, key, counts and duration of the runs behind the active results.
    networks : list of str
        The networks with the SHA-256 of their weights.
    sources : DataFrame
        The image files with their SHA-256.
    """

    title: str
    study: str
    created: str
    version: str
    summary: list[str]
    command: str
    recipe: str
    runs: pd.DataFrame
    networks: list[str]
    sources: pd.DataFrame


def render(page: Page, sections: Sequence[Section], methods: Methods) -> str:
    """Return the page as one HTML document without outside resources."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("napari_marrow.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure_svg"] = figure_svg
    environment.filters["cited"] = lambda text: cited(text, methods.cited)
    environment.filters["glued"] = glued
    environment.globals["cells_of"] = cells_of
    environment.globals["most_rows"] = MOST_ROWS
    script = own_script()
    environment.globals["script"], environment.globals["script_hash"] = script, content_hash(script)
    return environment.get_template("report.html.j2").render(
        page=page,
        sections=sections,
        methods=methods,
        works=[WORKS[k] for k in methods.cited],
    )


def own_script() -> Markup:
    """Return the page's own script."""
    from importlib.resources import files

    from markupsafe import Markup

    return Markup(files("napari_marrow.report").joinpath("templates/report.js").read_text(encoding="utf-8"))


def content_hash(script: str) -> str:
    """Return a script's source expression for a content security policy (W3C CSP level 2): no other script may run."""
    import base64
    import hashlib

    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def figure_svg(figure: FigurePart) -> Markup:
    """Return a figure as an inline SVG element."""
    from markupsafe import Markup

    # The SVG is our own drawing: matplotlib escapes the text in it, the title and description are escaped here.
    return Markup(
        inline_svg(figure.svg, prefix=f"fig-{figure.name}", title=figure.title, description=figure.description)
    )


def cited(text: str, keys: Sequence[str]) -> Markup:
    """Return escaped text with ``[@key]`` as links into the reference list."""
    from markupsafe import Markup, escape

    def link(match: re.Match[str]) -> str:
        work = WORKS[match.group(1)]
        return f'<a href="#ref-{work.key}">[{keys.index(work.key) + 1}]</a>'

    return Markup(re.sub(r"\[@(\w+)\]", link, str(escape(text))))


def glued(text: str) -> str:
    """Return text in which a number stays on one line with its unit, and n or p with its number."""
    text = re.sub(r"(?<=\d) (?=(?:%|µm|mm|h|px|days?)\b|%)", "\u00a0", text)
    return re.sub(r"\b([np]) ([=≤<]) ", "\\1\u00a0\\2\u00a0", text)


def cells_of(table: TablePart) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    """Return headings with whether the column is numeric, and the rows as text."""
    data = (table.data if table.shown is None else table.shown).head(MOST_ROWS)
    headings, columns = [], []
    for name in data.columns:
        series = data[name]
        numeric = pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)
        whole = numeric and bool((series.dropna() % 1 == 0).all())
        texts = [_cell(v, numeric, whole, table.digits) for v in series]
        aligned = numeric or (bool(texts) and all(_NUMERIC.fullmatch(text) for text in texts))
        headings.append((table.headings.get(str(name), str(name).replace("_", " ")), aligned))
        columns.append(texts)
    return headings, [list(row) for row in zip(*columns, strict=True)]


def _cell(value: object, numeric: bool, whole: bool, digits: int) -> str:
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "yes" if value else "no"
    if numeric:
        as_float = float(value)  # type: ignore[arg-type]
        if as_float != as_float:
            return "–"
        return count(int(as_float)) if whole and abs(as_float) < 1e12 else number(as_float, digits)
    return "" if value is None else str(value)
