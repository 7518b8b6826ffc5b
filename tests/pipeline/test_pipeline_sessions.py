"""Sessions that are left out, taken in again and imported anew; events of the culture."""

from __future__ import annotations

import html
import shutil

import pandas as pd
import pytest

from napari_marrow.__main__ import main
from napari_marrow.errors import SettingsError, StudyError
from napari_marrow.pipeline import run
from napari_marrow.pipeline.edits import turn_back
from napari_marrow.pipeline.painting import keep_painted, standing_labels
from napari_marrow.pipeline.session_changes import (
    exclude_session,
    include_session,
    order_sessions,
    remove_session,
    start_session,
)
from napari_marrow.pipeline.step import step_keys
from napari_marrow.pipeline.steps import STEPS
from napari_marrow.study import Study, renumbering

KEPT = ("cells", "tracks", "colonies", "onsets", "emergence", "transforms")


@pytest.fixture
def study_path(finished_copy):
    return finished_copy


def computed(summary):
    return {step.name: step.computed for step in summary.steps}


def tables_of(path):
    study = Study.open(path)
    return {name: study.table(name) for name in KEPT}


def assert_same(before, after):
    for name, table in before.items():
        pd.testing.assert_frame_equal(table, after[name])


def test_a_session_that_is_left_out_is_in_no_result_and_comes_back_unchanged(study_path, quick_recipe):
    before = tables_of(study_path)
    last = max(Study.open(study_path).sessions())
    first = min(Study.open(study_path).sessions())
    exclude_session(study_path, first, reason="out of focus", author="A. Nother")
    done = computed(run(study_path, quick_recipe))
    study = Study.open(study_path)
    assert first not in study.sessions()
    assert last in study.sessions()
    for name in ("cells", "tracks", "transforms", "frames", "quality"):
        assert first not in set(study.table(name)["session"]), name
    assert done["segment"] == done["quality"] == done["correct"] == 0
    assert done["register"] == len(study.positions)  # the later session is not placed on the one left out any more
    page = html.unescape((study_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert f"Sessions left out of everything: {first}: out of focus." in page
    include_session(study_path, first)
    again = computed(run(study_path, quick_recipe))
    assert again["segment"] == again["quality"] == 0
    assert_same(before, tables_of(study_path))


def test_one_position_can_be_left_out_alone(study_path):
    study = Study.open(study_path)
    position, session = study.positions[0], max(study.sessions())
    exclude_session(study_path, session, position=position, reason="bubble")
    study = Study.open(study_path)
    assert session not in study.sessions(position)
    assert all(session in study.sessions(p) for p in study.positions[1:])
    cells = study.table("cells")
    assert not ((cells["position"] == position) & (cells["session"] == session)).any()
    assert study.stored_sessions() == Study.open(study_path).stored_sessions()


def test_a_session_is_imported_anew_and_nothing_else_is_computed_again(
    study_path, quick_recipe, tiny_experiment, session_writer
):
    before = tables_of(study_path)
    study = Study.open(study_path)
    position, session = study.positions[0], min(study.sessions())
    assert remove_session(study_path, session, position=position) == [(position, session)]
    simulated = next(s for s in tiny_experiment.sessions(position) if s.session == session)
    session_writer(Study.open(study_path, mode="a"), position, simulated)
    done = computed(run(study_path, quick_recipe))
    assert done["segment"] == simulated.shape[0]
    assert done["quality"] == 1
    assert done["register"] == 2  # the session, and the one after it, which is placed on it
    assert_same(before, tables_of(study_path))


def test_what_a_person_painted_does_not_come_down_on_other_images(study_path):
    study = Study.open(study_path)
    position, session = study.positions[0], min(study.sessions())
    labels = standing_labels(study, position, session, 0)
    labels[0, 2:6, 2:6] = labels.max() + 1
    keep_painted(study_path, position, session, 0, labels, "A. Nother")
    with pytest.raises(StudyError, match="undo them first"):
        remove_session(study_path, session)
    assert study.has_session(position, session)
    turn_back(study_path)
    exclude_session(study_path, session, reason="bubble")
    remove_session(study_path, session)
    assert Study.open(study_path).exclusions == []


def times_and_pixels(path):
    study = Study.open(path)
    return {
        study.image(p, s).start_h: (p, study.image(p, s).read(0).sum(), tuple(study.image(p, s).times_h))
        for p, s in study.stored_sessions()
        if p == study.positions[0]
    }


def test_sessions_are_numbered_by_time(study_path, quick_recipe):
    before, pixels = tables_of(study_path), times_and_pixels(study_path)
    numbers = Study.open(study_path).sessions()
    assert order_sessions(study_path) == {}
    turned = order_sessions(study_path, numbers[::-1])
    assert set(turned) == set(Study.open(study_path).positions)
    assert times_and_pixels(study_path) == pixels
    study = Study.open(study_path)
    starts = [study.image(study.positions[0], s).start_h for s in study.sessions()]
    assert starts == sorted(starts, reverse=True)
    assert [p for p in study.verify() if p.kind != "orphan"] == []
    order_sessions(study_path)
    run(study_path, quick_recipe)
    assert_same(before, tables_of(study_path))


def test_results_of_the_whole_study_know_which_images_a_number_has(study_path, quick_recipe):
    """Sessions of as many frames may change places, or others may take their number."""
    before = step_keys(STEPS, quick_recipe, Study.open(study_path))
    session = max(Study.open(study_path).sessions())
    start_session(study_path, session, 500.0)
    after = step_keys(STEPS, quick_recipe, Study.open(study_path))
    assert {name for name in before if before[name] != after[name]} == {s.name for s in STEPS if s.whole_study} | {
        s.name for s in STEPS if {"classify", "colonies"} & set(s.reads)
    }


@pytest.mark.parametrize("cut", [1, 3])
def test_a_move_that_was_cut_short_is_finished(study_path, monkeypatch, cut):
    pixels = times_and_pixels(study_path)
    numbers = Study.open(study_path).sessions()
    left = [cut]

    def failing(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return plain(*arguments)

    plain = renumbering._restate_image
    with monkeypatch.context() as patch:
        patch.setattr(renumbering, "_restate_image", failing)
        with pytest.raises(KeyboardInterrupt):
            order_sessions(study_path, numbers[::-1])
    with Study.open(study_path, mode="a").write_lock():
        pass
    assert Study.open(study_path).sessions() == numbers
    assert times_and_pixels(study_path) == pixels


def test_a_corrected_start_moves_every_time(study_path, quick_recipe):
    study = Study.open(study_path)
    session = max(study.sessions())
    before = study.image(study.positions[0], session).start_h
    start_session(study_path, session, before + 24)
    run(study_path, quick_recipe, until="measure")
    cells = Study.open(study_path).table("cells")
    assert cells.loc[cells["session"] == session, "time_h"].min() == pytest.approx(before + 24)
    with pytest.raises(SettingsError, match="is no start"):
        start_session(study_path, session, float("nan"))
    with pytest.raises(StudyError, match="name each of them once"):
        order_sessions(study_path, [session])


def test_what_cannot_be_left_out(study_path):
    with pytest.raises(StudyError, match="has no session 77: it has"):
        exclude_session(study_path, 77, reason="x")
    with pytest.raises(SettingsError, match="Say why"):
        exclude_session(study_path, max(Study.open(study_path).sessions()), reason=" ")
    numbers = Study.open(study_path).sessions()
    for session in numbers[1:]:
        exclude_session(study_path, session, reason="x")
    with pytest.raises(SettingsError, match="left out already"):
        exclude_session(study_path, numbers[-1], reason="x")
    with pytest.raises(StudyError, match="would remain"):
        exclude_session(study_path, numbers[0], reason="x")
    with pytest.raises(SettingsError, match="is not left out"):
        include_session(study_path, numbers[0])


def test_events_stand_in_info_and_are_numbered_for_good(study_path, capsys):
    assert (
        main(["events", "add", str(study_path), "drug", "--time", "30", "--note", "TPO 50 ng/ml", "--author", "B"]) == 0
    )
    assert main(["events", "add", str(study_path), "media change", "--time", "5.5"]) == 0
    assert main(["events", "remove", str(study_path), "2"]) == 0
    assert main(["events", "add", str(study_path), "media change", "--time", "6"]) == 0
    study = Study.open(study_path)
    assert [(e.number, e.time_h, e.kind) for e in study.events] == [(3, 6.0, "media change"), (1, 30.0, "drug")]
    capsys.readouterr()
    assert main(["info", str(study_path)]) == 0
    assert "event at 30 h: drug: TPO 50 ng/ml" in capsys.readouterr().out
    assert main(["events", "add", str(study_path), " ", "--time", "1"]) == 2
    assert main(["events", "remove", str(study_path), "2"]) == 2
    assert main(["events", "add", str(study_path), "x", "--time", "1", "--position", "../up"]) == 2


def test_the_commands_say_what_was_done(study_path, capsys):
    session = str(max(Study.open(study_path).sessions()))
    assert main(["sessions", "exclude", str(study_path), "--session", session, "--reason", "bubble"]) == 0
    assert "is left out" in capsys.readouterr().out
    assert main(["sessions", "list", str(study_path)]) == 0
    assert "left out: bubble" in capsys.readouterr().out
    assert main(["sessions", "include", str(study_path), "--session", session]) == 0
    assert main(["sessions", "remove", str(study_path), "--session", session, "--yes"]) == 0
    assert "Deleted" in capsys.readouterr().out
    shutil.rmtree(study_path)
    assert main(["sessions", "list", str(study_path)]) == 2
