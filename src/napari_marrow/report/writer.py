"""Writing the report: built beside, then swapped in at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow import __version__
from napari_marrow.errors import PathExistsError, write_refused
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.report import sections as parts
from napari_marrow.report import summaries
from napari_marrow.report.citations import bibtex
from napari_marrow.report.gather import StudyTables, gather
from napari_marrow.report.methods import Methods, methods
from napari_marrow.report.niche_section import niche_section
from napari_marrow.report.page import Page, render
from napari_marrow.report.parts import Section
from napari_marrow.report.printing import find_browser, print_pdf
from napari_marrow.report.provenance import networks, requirements, sources
from napari_marrow.study.durable import seal_folder

if TYPE_CHECKING:
    from napari_marrow.study import Study

PAGE = "report.html"
MARK = "report.json"
_TABLES = ("organoid_summary", "niche_curves", "emergence", "onsets", "colony_edges", "transforms")


def write_report(
    study: Study,
    out_dir: Path | str | None = None,
    *,
    recipe: dict[str, Any] | None = None,
    title: str = "",
    pdf: bool = False,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> Path:
    """Write a study's report: one HTML page without outside resources, tables and figures beside it.

    The folder holds ``report.html``; ``tables/*.csv``; ``figures/*.svg`` and ``*.pdf`` with the numbers of each in
    ``figures/*.csv``; ``recipe.yaml``, ``requirements.txt``, ``references.bib`` and ``report.json``. It is built in a
    neighbouring ``.partial`` folder and put in place at the end, so a report is whole or not there; an earlier
    report is replaced.

    Parameters
    ----------
    study : Study
    out_dir : path, optional
        ``report`` in the study by default.
    recipe : dict, optional
        Parameters to be shown; those of the latest run by default. Its ``report.title`` is the page's title.
    title : str
        Title of the page; by default the recipe's, else the study's name.
    pdf : bool
        Whether to print ``report.pdf`` as well, with a browser of the machine (`print_pdf`).
    progress : callable
        Called as ``progress(done, total, section)``.
    cancel : CancelToken, optional

    Returns
    -------
    Path
        Of ``report.html``.

    Raises
    ------
    PathExistsError
        If there is something at `out_dir` that is not a report.
    PrintingError
        If there is no browser for the PDF; an earlier report then stands.
    StorageError
        If the disk does not take it; an earlier report then stands.
    Cancelled
        If `cancel` was set; an earlier report then stands.
    """
    cancel = cancel or CancelToken()
    out = Path(out_dir) if out_dir is not None else Path(study.path) / "report"
    _check_replaceable(out)
    if pdf:
        find_browser()  # before the work, not after it
    data = gather(study, recipe)
    sections = _sections(data, study, progress, cancel)
    text, files = methods(data), sources(study, data)
    cancel.raise_if_cancelled()
    partial = out.with_name(f"{out.name}.partial")
    try:
        _fill(partial, data, sections, text, files, _title(data, title), pdf=pdf)
        cancel.raise_if_cancelled()
        _swap(partial, out)
    except OSError as error:
        raise write_refused(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out / PAGE


def _check_replaceable(out: Path) -> None:
    if out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir())):
        return
    if out.exists() or out.is_symlink():
        raise PathExistsError(f"'{out}' exists and is not a report: choose another folder or remove it.")


def _sections(data: StudyTables, study: Study, progress: Progress, cancel: CancelToken) -> list[Section]:
    steps: list[tuple[str, Callable[[], Section]]] = [
        ("overview", lambda: parts.design(data, study, cancel)),
        ("colonies", lambda: parts.colonies(data)),
        ("niche", lambda: niche_section(data, study)),
        ("lineage", lambda: parts.lineage(data)),
        ("comparisons", lambda: parts.comparison(data)),
        ("quality", lambda: parts.quality_section(data, study)),
    ]
    done = []
    for i, (name, make) in enumerate(steps):
        cancel.raise_if_cancelled()
        progress(i, len(steps), f"Report: {name}")
        done.append(make())
    progress(len(steps), len(steps), "Report")
    return done


def _title(data: StudyTables, title: str) -> str:
    section = data.recipe.get("report")
    named = section.get("title", "") if isinstance(section, dict) else ""
    return title or str(named or data.name)


def _fill(
    partial: Path,
    data: StudyTables,
    sections: list[Section],
    text: Methods,
    files: pd.DataFrame,
    title: str,
    *,
    pdf: bool,
) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "tables").mkdir(parents=True)
    (partial / "figures").mkdir()
    recipe = _yaml(data.recipe)
    page = Page(
        title=title,
        study=data.file_name,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        summary=summaries.summary(data),
        command=f"marrow run {data.file_name} --recipe recipe.yaml",
        recipe=recipe,
        runs=_runs(data),
        networks=networks(data),
        sources=files,
    )
    _write(partial / PAGE, render(page, sections, text))
    _write(partial / "recipe.yaml", recipe)
    _write(partial / "requirements.txt", requirements(data))
    _write(partial / "references.bib", bibtex(text.cited))
    _csv(partial / "tables" / "sources.csv", files)
    for section in sections:
        for figure in section.figures:
            _write(partial / "figures" / f"{figure.name}.svg", figure.svg)
            (partial / "figures" / f"{figure.name}.pdf").write_bytes(figure.pdf)
            _csv(partial / "figures" / f"{figure.name}.csv", figure.data)
        for table in section.tables:
            _csv(partial / "tables" / f"{table.name}.csv", table.data)
    for name in _TABLES:
        if len(data[name]):
            _csv(partial / "tables" / f"{name}.csv", data[name])
    mark = {"study": data.file_name, "version": __version__, "created": page.created, "active": data.active}
    _write(partial / MARK, json.dumps(mark, indent=2, ensure_ascii=False) + "\n")
    if pdf:
        print_pdf(partial / PAGE)
    seal_folder(partial)


def _swap(partial: Path, out: Path) -> None:
    """Put the finished folder in place of an earlier one; for the blink between two renames the old one is beside."""
    out.parent.mkdir(parents=True, exist_ok=True)
    old = out.with_name(f"{out.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    try:
        partial.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _csv(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n", float_format="%.8g")


def _yaml(recipe: dict[str, Any]) -> str:
    if not recipe:
        return "# The parameters of this study are not on record.\n"
    import yaml

    return str(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))


def _runs(data: StudyTables) -> pd.DataFrame:
    """Return the latest run of each active step."""
    latest: dict[str, dict[str, Any]] = {}
    for run in data.runs:
        step = str(run.get("step", ""))
        if step and data.active.get(step, run.get("key")) == run.get("key"):
            latest[step] = run
    rows = [
        {
            "step": step,
            "key": str(run.get("key", ""))[:12],
            "units": run.get("units", ""),
            "seconds": run.get("seconds", ""),
            "counts": ", ".join(f"{v:g} {k}" for k, v in dict(run.get("counts") or {}).items()),
        }
        for step, run in latest.items()
    ]
    return pd.DataFrame(rows, columns=["step", "key", "units", "seconds", "counts"])
