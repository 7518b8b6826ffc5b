"""Tracks that were edited in another program come back into a real small study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from typer.testing import CliRunner

from napari_marrow.cli.application import app
from napari_marrow.export.geff import geff_points, write_geff
from napari_marrow.export.study_tracks import write_session_geff
from napari_marrow.pipeline import run
from napari_marrow.study import Study


@pytest.fixture
def place(finished_copy) -> tuple[str, int]:
    nodes = Study.open(finished_copy).table("track_nodes")
    position, session = nodes.groupby(["position", "session"]).size().idxmax()
    return str(position), int(session)


@pytest.fixture
def exported(finished_copy, place, tmp_path) -> Path:
    write_session_geff(Study.open(finished_copy), *place, tmp_path / "tracks.geff")
    return tmp_path / "tracks.geff"


def changed(folder: Path, points: pd.DataFrame, links: pd.DataFrame, **about: object) -> Path:
    """Write a graph as another program would after an edit."""
    pairs = links.rename(columns={"source": "parent_row", "target": "child_row"})
    write_geff(folder, points, pairs, extra=about)
    return folder


def answer(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output if result.exit_code == 0 else str(result.exception)


def test_axes_of_an_exported_graph_have_a_unit(exported):
    axes = zarr.open_group(exported, mode="r").attrs["geff"]["axes"]
    assert {axis["name"]: axis.get("unit") for axis in axes}["x"] == "micrometer"


def test_a_broken_link_and_a_removed_cell_come_back_as_one_step(finished_copy, quick_recipe, place, exported, tmp_path):
    points, links = geff_points(exported)
    mothers = links["source"].value_counts()
    plain = links[links["source"].map(mothers) == 1]
    lost = plain.iloc[0]
    alone = next(k for k in range(len(points)) if k not in set(links["source"]) | set(lost))
    kept = points.drop(index=alone)
    row = pd.Series(np.arange(len(kept)), index=kept.index)
    left = links.drop(index=lost.name)
    left = left[(left["source"] != alone) & (left["target"] != alone)].apply(lambda column: column.map(row))
    edited = changed(tmp_path / "edited.geff", kept.reset_index(drop=True), left.reset_index(drop=True))

    code, said = answer("edits", "apply", finished_copy, edited, "--position", place[0], "--author", "A. Botanist")
    assert code == 0, said
    assert "1 break, 1 delete" in said
    assert "2 edit(s) kept" in said
    entries = Study.open(finished_copy).edits().standing(place[0], "cells")
    label = int(points.loc[lost["source"], "label"])
    assert [(e.action["action"], e.author) for e in entries] == [("break", "A. Botanist"), ("delete", "A. Botanist")]
    assert entries[0].action["parent"] == [place[1], int(points.loc[lost["source"], "t"]), label]

    run(finished_copy, quick_recipe, until="curate")
    write_session_geff(Study.open(finished_copy), *place, tmp_path / "again.geff")
    again, edges = geff_points(tmp_path / "again.geff")
    assert len(again) == len(points) - 1
    names = lambda table, rows: set(zip(*(table.loc[rows, n].astype(int) for n in ("t", "label")), strict=True))  # noqa: E731
    pair = names(points, [lost["source"]]) | names(points, [lost["target"]])
    assert pair not in [
        names(again, list(edge)) for edge in edges[["source", "target"]].itertuples(index=False, name=None)
    ]
    assert answer("edits", "undo", finished_copy)[1].count("undone") == 2


def test_a_graph_that_nobody_changed_makes_no_edit(finished_copy, place, exported):
    code, said = answer("edits", "apply", finished_copy, exported, "--position", place[0])
    assert (code, said.strip()) == (0, "The graph has the study's own tracks.")
    assert not (finished_copy / "edits.jsonl").exists()


def test_what_does_not_fit_is_refused_and_nothing_is_kept(finished_copy, place, exported, tmp_path):
    points, links = geff_points(exported)
    other = next(p for p in Study.open(finished_copy).positions if p != place[0])
    twice = pd.concat([points, points.iloc[:1]], ignore_index=True)
    unknown = points.assign(label=points["label"].where(points.index > 0, 99_999))
    merged = pd.concat([links, links.iloc[:1].assign(source=int(links["source"].iloc[1]))], ignore_index=True)
    here = [place[0]]
    for said, folder, position in (
        ("--position names whose tracks", exported, []),
        ("There is no position 'Z99'", exported, ["Z99"]),
        (f"holds the tracks of '{place[0]}', not of '{other}'", exported, [other]),
        ("has no property 'label'", changed(tmp_path / "a.geff", points.drop(columns="label"), links), here),
        ("holds a label of a frame twice", changed(tmp_path / "b.geff", twice, links), here),
        ("not in the study, the first with label 99999", changed(tmp_path / "c.geff", unknown, links), here),
        ("comes from both", changed(tmp_path / "d.geff", points, merged), here),
        ("There is no folder", tmp_path / "no.geff", here),
    ):
        code, text = answer("edits", "apply", finished_copy, folder, *(["--position", *position] if position else []))
        assert code != 0
        assert said in text
    assert not (finished_copy / "edits.jsonl").exists()
