"""Organoids that are left out, and layouts that are corrected after a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from napari_marrow.pipeline import Recipe, run
from napari_marrow.pipeline.steps.design import included
from napari_marrow.study import Study
from napari_marrow.study.audit import drawing, judgement
from napari_marrow.tracking.edit_graph import Node


def test_an_organoid_is_left_out_with_all_its_fields():
    layout = pd.DataFrame(
        {
            "position": ["B02_f00", "B02_f01", "B03_f00"],
            "organoid": ["a", "a", "b"],
            "exclusion": ["", "out of focus", ""],
        }
    )
    assert list(included(layout)["position"]) == ["B03_f00"]
    assert len(included(layout.drop(columns="exclusion"))) == 3


def test_what_is_left_out_or_corrected_reaches_the_results(finished_copy: Path, quick_recipe: Recipe) -> None:
    study = Study.open(finished_copy, mode="a")
    before = study.table("organoid_summary")
    organoids = list(study.layout["organoid"])
    assert set(before["organoid"]) == set(organoids)

    layout = study.layout
    layout["exclusion"] = ["", "contaminated on day 9"]
    study.set_layout(layout)
    again = run(finished_copy, quick_recipe)
    computed = {step.name for step in again.steps if step.computed}
    assert computed == {"lineage", "report"}
    study = Study.open(finished_copy)
    after = study.table("organoid_summary")
    assert set(after["organoid"]) == {organoids[0]}
    kept = before[before["organoid"] == organoids[0]].set_index("endpoint")["value"]
    here = after.set_index("endpoint")["value"]
    counted = [name for name in kept.index if name.startswith(("vessel", "colonies", "cells"))]
    assert counted
    pd.testing.assert_series_equal(here[counted], kept[counted])
    page = (finished_copy / "report" / "report.html").read_text(encoding="utf-8")
    assert f"{organoids[1]}: contaminated on day 9" in page
    assert any(organoids[1] in note for note in again.notes)

    assert not [step for step in run(finished_copy, quick_recipe).steps if step.computed]
    study = Study.open(finished_copy, mode="a")
    swapped = study.layout.drop(columns="exclusion")
    swapped["condition"] = list(swapped["condition"])[::-1]
    study.set_layout(swapped)
    run(finished_copy, quick_recipe)
    named = Study.open(finished_copy).table("organoid_summary").drop_duplicates("organoid").set_index("organoid")
    assert dict(named["condition"]) == dict(zip(swapped["organoid"], swapped["condition"], strict=True))


def test_an_audit_stands_in_the_report(finished_copy: Path, quick_recipe: Recipe) -> None:
    study = Study.open(finished_copy, mode="a")
    edges = study.table("track_edges").query("kind == 'link'").head(20)
    position, session = edges["position"].iloc[0], int(edges["session"].iloc[0])
    edges = edges[(edges["position"] == position) & (edges["session"] == session)]
    ends = [
        [Node(session, int(r[f"t_{e}"]), int(r[f"label_{e}"])) for e in ("parent", "child")]
        for _, r in edges.iterrows()
    ]
    pairs = [(parent, child) for parent, child in ends]
    said = [drawing(session, pairs, 0), *(judgement(session, pair, right=k > 0) for k, pair in enumerate(pairs[:10]))]
    with study.write_lock():
        study.edits().append([(position, "reviews", item) for item in said], "tester")
    summary = run(finished_copy, quick_recipe)
    assert {step.name for step in summary.steps if step.computed} == {"report"}
    table = pd.read_csv(finished_copy / "report" / "tables" / "audit.csv")
    assert list(table[["judged", "wrong"]].iloc[0]) == [10, 1]
    # Wilson's interval of 1 in 10 (Newcombe 1998, Statistics in Medicine 17:857)
    assert abs(table["low"].iloc[0] - 0.0179) < 5e-4
    assert abs(table["high"].iloc[0] - 0.4042) < 5e-4
    page = (finished_copy / "report" / "report.html").read_text(encoding="utf-8")
    assert "judged 1 wrong" in page
