"""Size and opening time of the report of a study with many organoids.

``python benchmarks/report.py demo/tutorial.marrow`` (``marrow demo`` makes it): images and tables of the
demonstration's organoids are repeated under the names of 24, with a little noise on what is compared; then the report
is made and opened in headless Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.report import write_report
from napari_marrow.report.printing import find_browser
from napari_marrow.statistics import compare
from napari_marrow.study import Study

KEY = "repeated"
CONDITIONS = ("control", "TPO")
_PLACED = ("position", "organoid", "condition")


def main() -> None:
    """Make the study, its report, and print sizes and times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="A finished study, such as demo/tutorial.marrow.")
    parser.add_argument("--organoids", type=int, default=24)
    parser.add_argument("--keep", type=Path, help="Folder to keep the new study in.")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="marrow-report-"))
    folder.mkdir(parents=True, exist_ok=True)
    study = repeated(Study.open(arguments.study), folder / "many.marrow", arguments.organoids)
    begun, wall = time.process_time(), time.perf_counter()
    page = write_report(study)
    print(f"organoids                 {study.layout['organoid'].nunique()}")
    print(f"cells                     {len(study.table('cells'))}")
    print(f"written in                {time.process_time() - begun:.1f} CPU s, {time.perf_counter() - wall:.1f} s")
    print(f"report.html               {page.stat().st_size / 1e6:.1f} MB")
    print(
        f"whole folder              {sum(p.stat().st_size for p in page.parent.rglob('*') if p.is_file()) / 1e6:.1f} MB"
    )
    opened = sorted(seconds_to_open(page) for _ in range(5))
    print(f"opened (load, Chromium)   {opened[2]:.2f} s (median of 5, {opened[0]:.2f} to {opened[-1]:.2f})")
    if arguments.keep is None:
        shutil.rmtree(folder)


def repeated(source: Study, path: Path, n: int) -> Study:
    """Write a study of `n` organoids: the source's images and tables in turn, under new names."""
    old = source.layout
    conditions = {c: old[old["condition"] == c]["position"].tolist() for c in CONDITIONS}
    origin, rows = {}, []
    for i in range(n):
        condition = CONDITIONS[i % 2]
        position = f"{chr(66 + i // 8)}{i % 8 + 2:02d}_f00"
        origin[position] = conditions[condition][(i // 2) % len(conditions[condition])]
        rows.append(
            {
                "position": position, "well": position[:3], "organoid": f"organoid-{i + 1:02d}",
                "donor": f"donor-{i // 2 % 4 + 1}", "batch": f"batch-{i // 8 + 1}", "condition": condition,
                "dose": 50.0 if i % 2 else np.nan, "replicate": i // 2 + 1,
            }
        )  # fmt: skip
    layout = pd.DataFrame(rows)
    study = Study.create(path, layout=layout, t0=source.summary().get("t0"))
    for position, before in origin.items():
        for session in source.sessions(before):
            copy_session(source, before, study, position, session)
    with study.write_lock():
        for name in tables_of(source):
            if name in ("frames", "report_files"):
                continue
            table = of_new_organoids(source.table(name), origin, layout, old)
            if name == "comparisons":
                table = compare(of_new_organoids(source.table("organoid_summary"), origin, layout, old), layout)
            study.commit(name, KEY, {}, table)
        names = [n for n in tables_of(source) if n not in ("frames", "report_files")]
        study.set_active({"lineage": KEY}, tables=dict.fromkeys(names, KEY))
        for run in source.runs():
            study.record_run(str(run["step"]), KEY, dict(run.get("info") or {}))
    return study


def tables_of(study: Study) -> list[str]:
    """Return the names of the tables that are active."""
    return sorted(name for name in study.active_tables if study.has_table(name))


def copy_session(source: Study, before: str, study: Study, position: str, session: int) -> None:
    """Copy the images of a session to another position."""
    image = source.image(before, session)
    frames = source.frames({"position": before, "session": session})
    with study.add_session(
        position, session, channels=image.channel_names, spacing=image.spacing, shape=image.shape, dtype=image.dtype,
        start_h=float(image.times_h[0]), time_s=frames["time_s"].to_numpy(),
    ) as writer:  # fmt: skip
        for t in range(image.shape[0]):
            writer.write(t, image.read(t))


def of_new_organoids(
    table: pd.DataFrame, origin: dict[str, str], layout: pd.DataFrame, old: pd.DataFrame
) -> pd.DataFrame:
    """Return a table with the rows of each old organoid under the new names; values of organoids get a little noise."""
    generator = np.random.default_rng(0)
    if not set(table.columns) & {"position", "organoid"}:
        return table
    names = dict(zip(old["position"], old["organoid"], strict=True))
    parts = []
    for position, before in origin.items():
        new = layout.set_index("position").loc[position]
        rows = (
            table[table["position"] == before]
            if "position" in table.columns
            else table[table["organoid"] == names[before]]
        )
        renamed = {
            "position": position,
            "organoid": new["organoid"],
            "condition": new["condition"],
            "donor": new["donor"],
        }
        rows = rows.assign(**{k: v for k, v in renamed.items() if k in rows.columns})
        if "endpoint" in rows.columns:
            rows["value"] = rows["value"] * generator.normal(1, 0.1, len(rows))
        parts.append(rows)
    if "organoid" in table.columns:
        parts.append(table[table["organoid"] == "all"])
    return pd.concat(parts, ignore_index=True)


def seconds_to_open(page: Path) -> float:
    """Return the time from the navigation until the page is loaded and laid out, as the browser measures it."""
    # reading a height makes the browser lay the page out before the time is taken
    probe = (
        "<script>addEventListener('load', () => { const height = document.body.offsetHeight; "
        "document.documentElement.setAttribute('data-load', performance.now() + ' ' + height) })</script>"
    )
    with tempfile.TemporaryDirectory(prefix="marrow-open-", ignore_cleanup_errors=True) as profile:
        copy = Path(profile) / "page.html"
        text = page.read_text(encoding="utf-8")
        text = text.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
        copy.write_text(text.replace("</head>", f"{probe}</head>"), encoding="utf-8")
        command = [
            find_browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}/profile",
            "--dump-dom", copy.as_uri(),
        ]  # fmt: skip
        dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(dom.split('data-load="')[1].split()[0]) / 1000


if __name__ == "__main__":
    main()
