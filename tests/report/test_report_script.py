"""The page's own script in a real browser: figures answer, series hide, tables sort; no other script runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import pandas as pd
import pytest

from napari_marrow.report import write_report
from napari_marrow.report.hints import hint
from napari_marrow.report.page import content_hash
from napari_marrow.report.printing import PrintingError, find_browser
from napari_marrow.report.style import new_figure, settle, to_svg

# What a reader does: hide the controls of the emergence figure, point at a curve, sort the table of organoids twice
READER = """
const answers = {};
const figure = document.querySelector("#figure-emergence");
const buttons = [...figure.querySelectorAll(".series button")];
answers.names = buttons.map((b) => b.textContent);
buttons.find((b) => b.textContent === "control").click();
const parts = [...figure.querySelectorAll(".hint[data-series]")];
answers.hidden = [...new Set(parts.filter((p) => getComputedStyle(p).display === "none").map((p) => p.dataset.series))];
answers.shown = [...new Set(parts.filter((p) => getComputedStyle(p).display !== "none").map((p) => p.dataset.series))];
const curve = parts.find((p) => p.dataset.scale && p.dataset.text.includes("all organoids") && !p.matches(".off"));
answers.title = figure.querySelector("title").textContent;
curve.scrollIntoView({ block: "center", behavior: "instant" });
const path = curve.querySelector("path"), end = path.getPointAtLength(path.getTotalLength());
const at = new DOMPoint(end.x, end.y).matrixTransform(path.getScreenCTM());
curve.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: at.x + 1, clientY: at.y }));
answers.tip = document.querySelector(".tip").textContent;
answers.panel = curve.closest("g[id*=axes]").id;
const table = [...document.querySelectorAll("table")].find((t) => t.tHead.rows[0].cells[0].textContent === "organoid"
  && t.tBodies[0].rows.length > 2) ?? document.querySelector("#design table");
const heading = table.tHead.rows[0].cells[0];
const column = () => [...table.tBodies[0].rows].map((r) => r.cells[0].textContent);
heading.querySelector("button").click();
answers.up = [heading.getAttribute("aria-sort"), column()];
heading.querySelector("button").click();
answers.down = [heading.getAttribute("aria-sort"), column()];
document.body.dataset.answers = JSON.stringify(answers);
"""


@pytest.fixture(scope="module")
def page(full_study, tmp_path_factory):
    return write_report(full_study, tmp_path_factory.mktemp("script") / "report")


def opened(path, tmp_path):
    """Return the page's elements once its script has run."""
    try:
        browser = find_browser()
    except PrintingError:
        pytest.skip("no Chromium, Chrome or Edge here")
    command = [browser, "--headless", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    if sys.platform.startswith("linux") and os.geteuid() == 0:
        command.insert(1, "--no-sandbox")
    answer = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return answer.stdout


def with_script(page, script, tmp_path, *, allowed):
    text = page.read_text(encoding="utf-8")
    if allowed:
        text = text.replace("script-src '", f"script-src '{content_hash(script)}' '", 1)
    copy = tmp_path / "page.html"
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return copy


def test_a_reader_hides_points_and_sorts(page, full_study, tmp_path):
    elements = opened(with_script(page, READER, tmp_path, allowed=True), tmp_path)
    kept = re.search(r'data-answers="([^"]*)"', elements)
    assert kept, "the reader's steps failed"
    answers = json.loads(kept[1].replace("&quot;", '"').replace("&amp;", "&"))
    conditions = set(full_study.layout["condition"])
    assert set(answers["names"]) == conditions
    assert answers["hidden"] == ["control"]
    assert set(answers["shown"]) == conditions - {"control"}
    told = re.fullmatch(r"(.+), all organoids: ([\d.]+) at ([\d.]+) h", answers["tip"])
    assert told, answers["tip"]
    table = full_study.table("emergence")
    curves = table[(table["organoid"] == "all") & (table["condition"] == told[1])]
    last = curves[curves["time_h"] == curves["time_h"].max()]
    assert float(told[3]) == pytest.approx(last["time_h"].iloc[0], rel=0.01)
    assert (last["cumulative_incidence"] - float(told[2])).abs().min() < 0.005
    (up, ascending), (down, descending) = answers["up"], answers["down"]
    assert (up, down) == ("ascending", "descending")
    assert ascending == sorted(ascending)
    assert descending == ascending[::-1]
    assert len(set(ascending)) > 1


def test_only_the_page_s_own_script_runs(page, tmp_path):
    elements = opened(with_script(page, "document.body.dataset.foreign = 1;", tmp_path, allowed=False), tmp_path)
    assert 'aria-label="Shown in this figure"' in elements
    assert "data-foreign" not in elements


def test_without_the_script_every_figure_and_row_is_there(page, full_study):
    text = page.read_text(encoding="utf-8")
    assert "hidden" not in re.sub(r"<script>.*?</script>", "", text, flags=re.S).split("</style>")[1]
    organoids = pd.unique(full_study.layout["organoid"])
    titles = re.findall(r"<title>([^<]+)</title>", text)
    assert all(any(title.startswith(f"{organoid}, ") for title in titles) for organoid in organoids)


def test_names_with_markup_stay_text():
    name = '</title><script>alert("1")</script> & :x"'
    figure = new_figure(2.0)
    axis = figure.subplots()
    (line,) = axis.plot([0, 10], [0.0, 1.0])
    hint(line, name, series=name, curve=True)
    settle(figure)
    root = ElementTree.fromstring(to_svg(figure))
    (part,) = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("class") == "hint"]
    assert part.get("data-series") == name
    assert part.findtext("{http://www.w3.org/2000/svg}title") == name
    x0, x1, y0, y1, left, right, low, high = (float(v) for v in part.get("data-scale").split())
    start, end = re.findall(r"([\d.]+) ([\d.]+)", part.find("{http://www.w3.org/2000/svg}path").get("d"))
    for (x, y), (time, value) in zip((start, end), ((0, 0), (10, 1)), strict=True):
        assert left + (float(x) - x0) / (x1 - x0) * (right - left) == pytest.approx(time, abs=0.01)
        assert low + (float(y) - y0) / (y1 - y0) * (high - low) == pytest.approx(value, abs=0.01)
