"""Painted labels: kept exactly, undone across openings, recomputed only where they touch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_marrow.cli import app
from napari_marrow.errors import CorruptDataError, EditError
from napari_marrow.pipeline import run
from napari_marrow.pipeline.painting import keep_painted, painted_frames, standing_labels
from napari_marrow.segmentation.painted_runs import paint, painted_runs, runs_as_text, runs_from_text
from napari_marrow.study import Study


@pytest.fixture(scope="module")
def segmented_once(imported_tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copytree(imported_tiny_study, tmp_path_factory.mktemp("segmented") / "tiny.marrow"))
    run(path, until="segment")
    return path


@pytest.fixture
def segmented(segmented_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(segmented_once, tmp_path / "segmented.marrow"))


def test_runs_of_a_hand_made_frame() -> None:
    before = np.array([[[0, 0, 1, 1], [0, 2, 2, 0]]], np.int32)
    after = np.array([[[3, 3, 1, 0], [3, 2, 2, 0]]], np.int32)
    assert painted_runs(before, after).tolist() == [[0, 2, 3], [3, 1, 0], [4, 1, 3]]


@pytest.mark.parametrize("seed", range(5))
def test_any_painting_comes_back_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, after = rng.integers(0, 4, (2, 3, 17, 23)).astype(np.int32)
    kept = before.copy()
    runs = runs_from_text(runs_as_text(painted_runs(before, after)))
    np.testing.assert_array_equal(paint(before, runs), after)
    np.testing.assert_array_equal(before, kept)


@pytest.mark.parametrize(
    "runs",
    [[[10, 3, 1]], [[-1, 2, 1]], [[0, 0, 1]], [[0, 1, -4]], [[0, 1, 2**31]], [[2**62, 2**62, 1]], [[1, 2**63 - 1, 1]]],
)
def test_runs_that_do_not_fit_are_refused(runs: list[list[int]]) -> None:
    with pytest.raises(EditError, match="outside"):
        paint(np.zeros((1, 3, 4), np.int32), np.array(runs, np.int64))


@pytest.mark.parametrize("text", ["", "no base 64!", "AAAA", runs_as_text(np.ones((4, 3), np.int64))[:-8]])
def test_damaged_runs_are_refused(text: str) -> None:
    with pytest.raises(EditError, match="cannot be read"):
        runs_from_text(text)


def _painted(study: Path, t: int, label: int = 900) -> np.ndarray:
    """A square of a new cell in a corner of a frame of the dense session, and a whole cell wiped out."""
    position, session = _place(study)
    labels = standing_labels(Study.open(study), position, session, t).copy()
    labels[labels == labels.max()] = 0
    labels[0, 2:9, 3:11] = label
    return labels


def _place(study: Path) -> tuple[str, int]:
    opened = Study.open(study)
    position = opened.positions[0]
    return position, max(opened.sessions(position), key=lambda s: opened.image(position, s).shape[0])


def test_strokes_stand_are_undone_and_redone_over_openings(segmented: Path) -> None:
    position, session = _place(segmented)
    before = standing_labels(Study.open(segmented), position, session, 2)
    wanted = _painted(segmented, 2)
    made = keep_painted(segmented, position, session, 2, wanted, "ada")
    assert [(e.author, e.target, e.action["t"]) for e in made] == [("ada", "labels", 2)]
    assert made[0].action["pixels"] == int((wanted != before).sum())
    assert keep_painted(segmented, position, session, 2, wanted, "ada") == []
    study = Study.open(segmented)
    np.testing.assert_array_equal(standing_labels(study, position, session, 2), wanted)
    # the segmented frame itself was not touched
    np.testing.assert_array_equal(study.labels("cells", study.active["segment"], position, session).read(2), before)
    assert painted_frames(study) == [(position, session, 2)]

    runner = CliRunner()
    listed = runner.invoke(app, ["edits", "list", str(segmented)])
    assert "paint" in listed.output
    assert "pixels" in listed.output
    assert max(map(len, listed.output.splitlines())) < 300
    assert runner.invoke(app, ["edits", "painted", str(segmented)]).output.strip() == f"{position}:{session}:2"
    assert runner.invoke(app, ["edits", "undo", str(segmented)]).exit_code == 0
    np.testing.assert_array_equal(standing_labels(Study.open(segmented), position, session, 2), before)
    assert runner.invoke(app, ["edits", "redo", str(segmented)]).exit_code == 0
    np.testing.assert_array_equal(standing_labels(Study.open(segmented), position, session, 2), wanted)


def test_painting_a_stroke_away_undoes_it(segmented: Path) -> None:
    position, session = _place(segmented)
    before = standing_labels(Study.open(segmented), position, session, 1)
    keep_painted(segmented, position, session, 1, _painted(segmented, 1), "ada")
    keep_painted(segmented, position, session, 1, before, "ada")
    assert Study.open(segmented).edits().standing(target="labels") == []
    lines = [json.loads(line) for line in (segmented / "edits.jsonl").read_text().splitlines()]
    assert ["undo" in line for line in lines] == [False, True]


def test_only_what_was_touched_is_computed_again(segmented: Path) -> None:
    first = run(segmented, until="curate")
    position, session = _place(segmented)
    old_cells = Study.open(segmented).table("cells")
    wanted = _painted(segmented, 3)
    keep_painted(segmented, position, session, 3, wanted, "ada")
    second = {step.name: step for step in run(segmented, until="curate").steps}
    study = Study.open(segmented)
    n_frames = next(step.units for step in first.steps if step.name == "measure")
    assert second["segment"].computed == 0
    assert second["paint"].counts["painted_frames"] == 1
    assert second["measure"].counts["taken_over"] == n_frames - 1
    assert second["track"].counts.get("taken_over", 0) == second["track"].units - 1

    # the new frame is what a person painted, the others are the same files
    key, base = study.active["paint"], study.active["segment"]
    assert key != base
    labels = study.labels("cells", key, position, session)
    np.testing.assert_array_equal(labels.read(3), wanted)
    untouched = [study.label_file("cells", k, position, session, 2) for k in (key, base)]
    assert untouched[0].samefile(untouched[1])
    assert not study.label_file("cells", key, position, session, 3).samefile(
        study.label_file("cells", base, position, session, 3)
    )
    cells = study.table("cells")
    here = cells["position"].eq(position) & cells["session"].eq(session) & cells["t"].eq(3)
    assert set(cells.loc[here, "label"]) == set(np.unique(wanted)) - {0}
    there = old_cells["position"].eq(position) & old_cells["session"].eq(session) & old_cells["t"].eq(3)
    assert cells[~here].reset_index(drop=True).equals(old_cells[~there].reset_index(drop=True))
    assert not [p for p in study.verify() if p]

    # taken back, the study is what it was, and nothing is computed
    CliRunner().invoke(app, ["edits", "undo", str(segmented)])
    third = run(segmented, until="curate")
    assert sum(step.computed for step in third.steps) == 0
    assert Study.open(segmented).table("cells").equals(old_cells)


def test_painting_equals_computing_everything_anew(segmented: Path, tmp_path: Path) -> None:
    """Taken over results are those that a study gives in which nothing could be taken over."""
    fresh = Path(shutil.copytree(segmented, tmp_path / "fresh.marrow"))
    run(segmented, until="curate")
    for study in (segmented, fresh):
        position, session = _place(study)
        keep_painted(study, position, session, 3, _painted(study, 3), "ada")
        run(study, until="curate")
    for table in ("cells", "track_nodes", "track_edges", "tracks"):
        assert Study.open(segmented).table(table).equals(Study.open(fresh).table(table)), table


def test_strokes_of_another_segmentation_are_left_out_with_a_note(segmented: Path) -> None:
    from napari_marrow.pipeline import parse_recipe

    position, session = _place(segmented)
    keep_painted(segmented, position, session, 0, _painted(segmented, 0), "ada")
    other = parse_recipe({"segment": {"cellprob_threshold": 1.0}})
    notes = run(segmented, other, until="segment").notes
    assert any("1 painted stroke(s) in 1 frame(s) were left out" in note for note in notes)
    study = Study.open(segmented)
    assert painted_frames(study) == []
    here = [study.labels("cells", study.active[s], position, session).read(0) for s in ("paint", "segment")]
    np.testing.assert_array_equal(*here)


def test_painted_frames_train_a_model_of_the_users_own(segmented: Path) -> None:
    pytest.importorskip("torch")
    from napari_marrow.pipeline import parse_recipe
    from napari_marrow.pipeline.painted_training import train_on_painted
    from napari_marrow.segmentation.fine_tuning import FineTuningSettings
    from napari_marrow.segmentation.registry import find_model

    recipe = parse_recipe({})
    with pytest.raises(EditError, match="No labels were painted"):
        train_on_painted(segmented, recipe)
    position, session = _place(segmented)
    for t in (0, 2):
        keep_painted(segmented, position, session, t, _painted(segmented, t), "ada")
    settings = FineTuningSettings(steps=2, threads=1)
    card = train_on_painted(segmented, recipe, name="mine", settings=settings, keep_anyway=True)
    assert card.name == "mine"
    kept = find_model("mine")
    assert kept.sha256 == card.sha256 != find_model(recipe.segment.model).sha256


def test_bad_input_is_refused(tiny_study: Path, segmented: Path) -> None:
    position, session = _place(tiny_study)
    with pytest.raises(EditError, match="no cell labels to paint on"):
        keep_painted(tiny_study, position, session, 0, np.zeros((1, 96, 96), int), "ada")
    with pytest.raises(EditError, match="what was painted"):
        keep_painted(segmented, position, session, 0, np.zeros((1, 9, 96), int), "ada")
    keep_painted(segmented, position, session, 0, _painted(segmented, 0), "ada")
    journal = segmented / "edits.jsonl"
    journal.write_text(journal.read_text().replace('"runs":"', '"runs":"A'))
    with pytest.raises(CorruptDataError, match="checksum"):
        standing_labels(Study.open(segmented), position, session, 0)
