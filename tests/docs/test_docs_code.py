"""The code of the README, tutorials, how-tos and explanations runs, block after block, as a reader would type it.

A shell, Python or R block runs unless a comment ``<!-- not run: reason -->`` stands before it; all such reasons are
listed here. All pages work on one
demonstration: the first tutorial's own commands, with a small scenario in place of its images (two organoids, eight
frames). What a how-to calls the reader's own files is made from it, too.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_marrow import simulation
from napari_marrow.export.raw_set import write_raw_set
from napari_marrow.segmentation.registry import find_model
from napari_marrow.study import Study

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = "../README"
FIRST_STUDY = "tutorials/first_study"
RUN = ("sh", "python", "r")
# Every block that no test runs, and why
NOT_RUN = {
    (README, "sets up an environment of its own"): 2,
    (README, "opens a window"): 1,
    ("index", "sets up an environment of its own"): 1,
    (FIRST_STUDY, "sets up an environment of its own"): 1,
    (FIRST_STUDY, "opens a window"): 1,
    ("tutorials/first_study_in_napari", "opens a window"): 1,
    ("tutorials/own_images", "the first study's test runs the same steps"): 1,
    ("tutorials/cluster", "sets up an environment of its own"): 1,
    ("tutorials/cluster", "needs a cluster"): 1,
    ("how-to/export", "network"): 2,
    ("how-to/train_a_model", "trains for five minutes; the tutorial trains for one"): 1,
    ("how-to/cluster", "needs a cluster"): 2,
}
_BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^>]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)\n(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    reason: str | None


def blocks(page: str) -> list[Block]:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    found = []
    for m in _BLOCK.finditer(text):
        found.append(Block(m["language"], textwrap.dedent(m["code"]), m["reason"]))
    return found


def pages() -> list[str]:
    """Return every page of the parts whose code runs."""
    parts = [DOCS / name for name in ("tutorials", "how-to", "explanation")]
    found = [p.relative_to(DOCS).with_suffix("").as_posix() for part in parts for p in sorted(part.glob("*.md"))]
    return [README, "index", *found]


def runnable(page: str) -> list[Block]:
    """Return the blocks of a page that run here, those that made the demonstration left out."""
    return [b for b in blocks(page) if b.language in RUN and not b.reason and not b.code.startswith("marrow simulate")]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Put `marrow` of this environment on the path, and return its folder."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "marrow"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m napari_marrow "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield folder


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory, commands: Path) -> Path:
    """Return a folder with what the commands of the first tutorial leave in it, of a small scenario."""
    folder = tmp_path_factory.mktemp("reader")
    sample = simulation.preset("sample", seed=3)
    early, dense, late = sample.sessions[:3]
    small = replace(
        sample,
        sessions=(early, replace(dense, n_frames=6), late),
        imaging=replace(sample.imaging, shape=(1, 128, 128)),
    )
    write_raw_set(simulation.simulate(small), folder / "demo" / "raw")
    (typed,) = [b.code for b in blocks(FIRST_STUDY) if b.code.startswith("marrow simulate demo/raw ")]
    for line in typed.splitlines()[1:]:
        _run(["bash", "-euo", "pipefail", "-c", line], line, cwd=folder)
    return folder


@pytest.fixture
def reader(demonstration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of a page's own, with the demonstration in it."""
    shutil.copytree(demonstration, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    return tmp_path


def _tree_files(folder: Path) -> None:
    (table,) = [b.code for b in blocks("how-to/analyse_trees") if b.language == "csv"]
    (folder / "trees.csv").write_text(table + "\n", encoding="utf-8")


def _niche_files(folder: Path) -> None:
    rng = np.random.default_rng(5)
    shape = (12, 80, 80)
    vessel, bead, tissue = (np.zeros(shape, np.uint8) for _ in range(3))
    tissue[:], vessel[4:8, 38:42, :], bead[:, 5:15, 5:15] = 1, 1, 1
    for name, mask in (("vessel", vessel), ("bead", bead), ("organoid", tissue)):
        tifffile.imwrite(folder / f"{name}.tif", mask)
    places = rng.uniform((0, 0, 0), (22, 31.5, 31.5), (120, 3))
    cells = pd.DataFrame(places, columns=["z", "y", "x"]).assign(lineage=["erythroid", "none"] * 60)
    cells.to_csv(folder / "cells.csv", index=False)
    for name, count in (("CD271", 60), ("CXCL12", 80), ("bone", 150), ("eng", 150)):
        table = pd.DataFrame(rng.uniform(0, (200, 200, 60), (count, 3)), columns=["x", "y", "z"])
        table.to_csv(folder / f"{name}.csv", index=False)


def _scribbled_files(folder: Path) -> None:
    study = Study.open(folder / "demo/tutorial.marrow")
    image = study.image(study.layout["position"].iloc[0], 1).read(0, "CD31").squeeze()
    low, high = np.quantile(image, (0.3, 0.97))
    scribbles = np.where(image < low, 1, np.where(image > high, 2, 0)).astype(np.uint8)
    scribbles[np.random.default_rng(2).random(image.shape) < 0.5] = 0
    tifffile.imwrite(folder / "cd31.tif", image)
    tifffile.imwrite(folder / "scribbles.tif", scribbles)


def _annotated_files(folder: Path) -> None:
    """Frames of the study as images, and a model that somebody trained."""
    study = Study.open(folder / "demo/tutorial.marrow")
    for place in ("images", "more"):
        (folder / place).mkdir()
        for t in range(2):
            frame = study.image(study.layout["position"].iloc[0], 2).read(t, "nuclei").squeeze()
            tifffile.imwrite(folder / place / f"frame-{t}.tif", frame)
    shutil.copy(str(find_model("marrow-nuclei").path), folder / "my-model.safetensors")


def _readme_files(folder: Path) -> None:
    _annotated_files(folder)
    (folder / "plate").mkdir()
    raw = folder / "demo/raw"
    for file in (raw / "raw").glob("*.ome.tif"):
        shutil.copy(file, folder / "plate")
    shutil.copy(raw / "layout.csv", folder)
    study = Study.open(folder / "demo/tutorial.marrow")
    position = study.layout["position"].iloc[0]
    cells = study.labels("cells", study.active["segment"], position, 2)
    (folder / "truth").mkdir()
    for t in range(2):
        tifffile.imwrite(folder / "truth" / f"frame-{t}.tif", cells.read(t).squeeze().astype(np.int32))
    stack = np.stack([cells.read(t).squeeze() for t in range(4)]).astype(np.uint16)
    tifffile.imwrite(folder / "labels_stack.tif", stack, photometric="minisblack", metadata={"axes": "TYX"})
    measured = study.table("cells").query("position == @position and session == 2")
    measured[["t", "y", "x", "area"]].to_csv(folder / "points.csv", index=False)


def _imported_files(folder: Path) -> None:
    """A film before and after a restart of the microscope, the second part once more, and a folder of planes."""
    rng = np.random.default_rng(1)
    for name in ("before", "after", "again"):
        film = rng.poisson(120, (5, 48, 48)).astype(np.uint16)
        tifffile.imwrite(folder / f"{name}.tif", film, photometric="minisblack", metadata={"axes": "TYX"})
    (folder / "series").mkdir()
    for well, channel, time in itertools.product(("B02", "B03"), ("nuclei", "CD31"), range(3)):
        plane = rng.poisson(120, (48, 48)).astype(np.uint16)
        tifffile.imwrite(folder / "series" / f"{well}_s1_w{channel}_t{time}.tif", plane)


# What the reader of a page is taken to have of his own
OWN_FILES: dict[str, Callable[[Path], None]] = {
    README: _readme_files,
    "how-to/analyse_trees": _tree_files,
    "how-to/import_your_files": _imported_files,
    "how-to/measure_a_niche": _niche_files,
    "how-to/train_a_model": _annotated_files,
    "how-to/train_a_pixel_classifier": _scribbled_files,
}


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell")
@pytest.mark.parametrize("page", [page for page in pages() if runnable(page)])
def test_page_runs(page: str, reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if page in OWN_FILES:
        OWN_FILES[page](reader)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in runnable(page):
        if block.language == "python":
            exec(compile(block.code, f"{page}.md", "exec"), names)
        elif block.language == "sh":
            _run(["bash", "-euo", "pipefail", "-c", block.code], block.code)
        elif shutil.which("Rscript"):
            _run(["Rscript", "--vanilla", "-e", block.code], block.code)
    assert "Error" not in capsys.readouterr().err


def _run(command: list[str], code: str, cwd: Path | None = None) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert answer.returncode == 0, f"{code}\n{answer.stdout}\n{answer.stderr}"


def test_what_is_not_run_is_listed_and_has_a_reason() -> None:
    found = Counter((page, b.reason) for page in pages() for b in blocks(page) if b.reason and b.language in RUN)
    assert dict(found) == NOT_RUN


def test_every_block_names_its_language() -> None:
    assert [(page, b.code) for page in pages() for b in blocks(page) if not b.language] == []


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
