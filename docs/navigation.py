"""Hook of MkDocs: an entry ``folder/*`` of the navigation becomes every page of that folder that is not named otherwise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Replace the entries with a star."""
    docs = Path(config["docs_dir"])
    named = set(_pages(config["nav"]))
    config["nav"] = _filled(config["nav"], docs, named)
    return config


def _pages(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in _pages(part)]


def _filled(entry: Any, docs: Path, named: set[str]) -> Any:
    if isinstance(entry, dict):
        return {title: _listed(part, docs, named) for title, part in entry.items()}
    return [page for part in entry for page in _of(part, docs, named)]


def _listed(part: Any, docs: Path, named: set[str]) -> Any:
    return _of(part, docs, named) if isinstance(part, str) and part.endswith("/*") else _filled(part, docs, named)


def _of(part: Any, docs: Path, named: set[str]) -> list[Any]:
    if isinstance(part, str) and part.endswith("/*"):
        found = [path.relative_to(docs).as_posix() for path in (docs / part[:-2]).glob("*.md")]
        return sorted((page for page in found if page not in named), key=lambda page: _title(docs / page).lower())
    return [_filled(part, docs, named) if isinstance(part, dict) else part]


def _title(page: Path) -> str:
    match = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else page.stem


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the description of every command in the place of its marker."""
    if page.file.src_uri != "reference/commands.md":
        return markdown
    import typer

    from napari_marrow.cli import app

    return markdown.replace("<!-- commands -->", "\n".join(_described(typer.main.get_command(app), "marrow")))


def _described(command: Any, name: str) -> list[str]:
    """Return a command, or a group with all its commands, as Markdown."""
    lines = [] if name == "marrow" else [f"## {name}", "", *_paragraphs(command.help or "")]
    rows = [row for parameter in command.params for row in _row(parameter)]
    if rows and name != "marrow":
        lines += ["", "| | | default |", "|---|---|---|", *rows, ""]
    for part, inner in sorted(getattr(command, "commands", {}).items()):
        lines += ["", *_described(inner, f"{name} {part}")]
    return lines


def _paragraphs(text: str) -> list[str]:
    return [re.sub(r"\[/?\w+\]", "", line.strip()).replace("<", "&lt;") for line in text.splitlines()]


def _row(parameter: Any) -> list[str]:
    if parameter.name in ("help", "install_completion", "show_completion"):
        return []
    names = [parameter.name.upper()] if parameter.param_type_name == "argument" else [*parameter.opts]
    names += getattr(parameter, "secondary_opts", [])
    default = parameter.default
    shown = "" if default is None or default is False or default == () or callable(default) else str(default)
    if parameter.required:
        shown = "needed"
    words = " ".join((getattr(parameter, "help", "") or "").split()).replace("|", "\\|").replace("<", "&lt;")
    joined = ", ".join(f"`{part}`" for part in names)
    return [f"| {joined} | {words} | {shown} |"]
