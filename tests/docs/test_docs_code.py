"""The code of tutorials and explanations runs, block after block, as a reader would type it.

A shell, Python or R block runs unless a comment ``<!-- not run: reason -->`` stands before it. All pages work on one
demonstration, which is made here with a small scenario: two organoids and eight frames.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import pytest

from napari_marrow import simulation
from napari_marrow.export.raw_set import write_raw_set
from napari_marrow.ingest import import_files
from napari_marrow.pipeline import Recipe, run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ("tutorials/own_images", "tutorials/correct_tracks", "tutorials/niche", "tutorials/lineages",
         "tutorials/results_in_r_and_python", "explanation/identity_over_gaps")  # fmt: skip
_BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>.+?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)\n```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    reason: str | None


def blocks(page: str) -> list[Block]:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return [Block(m["language"], m["code"], m["reason"]) for m in _BLOCK.finditer(text)]


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what ``marrow demo`` leaves in it, of a small scenario."""
    folder = tmp_path_factory.mktemp("reader")
    raw, study = folder / "demo" / "raw", folder / "demo" / "tutorial.marrow"
    sample = simulation.preset("sample", seed=3)
    early, dense, late = sample.sessions[:3]
    small = replace(
        sample,
        sessions=(early, replace(dense, n_frames=6), late),
        imaging=replace(sample.imaging, shape=(1, 128, 128)),
    )
    write_raw_set(simulation.simulate(small), raw)
    import_files(study, [raw / "raw"], layout=raw / "layout.csv")
    run(study, Recipe())
    return folder


@pytest.fixture
def reader(demonstration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of a page's own, with the demonstration in it."""
    shutil.copytree(demonstration, tmp_path, dirs_exist_ok=True)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "marrow"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m napari_marrow "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell")
@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page: str, reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    ran = 0
    for block in blocks(page):
        if block.reason or block.language not in ("sh", "python", "r"):
            continue
        if block.language == "python":
            exec(compile(block.code, f"{page}.md", "exec"), names)
        elif block.language == "sh":
            _run(["bash", "-euo", "pipefail", "-c", block.code], block.code)
        elif shutil.which("Rscript"):
            _run(["Rscript", "--vanilla", "-e", block.code], block.code)
        ran += 1
    assert ran > 0
    assert "Error" not in capsys.readouterr().err


def _run(command: list[str], code: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"{code}\n{answer.stdout}\n{answer.stderr}"


def test_python_of_every_page_is_python() -> None:
    broken = []
    for path in sorted(DOCS.rglob("*.md")):
        for block in blocks(path.relative_to(DOCS).with_suffix("").as_posix()):
            if block.language == "python":
                try:
                    compile(block.code, path.name, "exec")
                except SyntaxError as error:
                    broken.append(f"{path.name}: {error}")
    assert broken == []


def test_every_command_of_the_docs_exists() -> None:
    import typer

    from napari_marrow.cli import app

    root = typer.main.get_command(app)
    unknown = []
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        for match in re.finditer(
            r"^(?:\S*bin/)?marrow ([a-z]+)(?: ([a-z]+))?(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            command = root.commands.get(match[1])
            inner = getattr(command, "commands", {}).get(match[2] or "")
            known = {
                option
                for part in (command, inner)
                if part
                for p in part.params
                for option in (*p.opts, *p.secondary_opts)
            }
            given = re.findall(r"(?<=\s)--[a-z-]+", match[3].split("#")[0])
            unknown += [f"{path.name}: marrow {match[1]}"] if command is None else []
            unknown += [
                f"{path.name}: marrow {match[1]} {option}" for option in given if command and option not in known
            ]
    assert unknown == []


def test_links_of_the_readme_lead_to_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if not t.startswith("http")]
    assert targets
    assert [t for t in targets if not (ROOT / t).exists()] == []
