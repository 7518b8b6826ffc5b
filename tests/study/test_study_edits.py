"""The journal of edits: append-only, undo and redo over restarts, a cut line, a flipped bit."""

import pytest

from napari_marrow.errors import CorruptDataError, SettingsError
from napari_marrow.study.edits import JOURNAL, EditJournal


def edit(label, target="cells"):
    return "A01_f00", target, {"action": "delete", "node": [0, 0, label]}


def standing(journal):
    return [e.action["node"][2] for e in journal.standing()]


def test_undo_and_redo_without_limit_over_restarts(tmp_path):
    for label in range(12):
        EditJournal(tmp_path).append([edit(label)], "ada")
    for left in range(11, -1, -1):
        undone = EditJournal(tmp_path).undo("ada")
        assert [e.action["node"][2] for e in undone] == [left]
        assert standing(EditJournal(tmp_path)) == list(range(left))
    assert EditJournal(tmp_path).undo("ada") == []
    for _ in range(12):
        EditJournal(tmp_path).redo("bob")
    assert standing(EditJournal(tmp_path)) == list(range(12))
    assert EditJournal(tmp_path).redo("bob") == []
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == 36  # nothing is ever taken out


def test_edits_of_one_step_go_together_and_a_new_one_ends_redoing(tmp_path):
    journal = EditJournal(tmp_path)
    journal.append([edit(1), edit(2)], "ada")
    journal.append([edit(3)], "ada")
    journal.undo("ada")
    journal.undo("ada")
    assert standing(journal) == []
    journal.append([edit(4, "colonies")], "bob")
    assert journal.redo("ada") == []
    again = EditJournal(tmp_path)
    assert [(e.number, e.author, e.target) for e in again.standing()] == [(4, "bob", "colonies")]
    assert again.digest("cells") == ""
    assert again.digest("colonies") == journal.digest("colonies") != ""


def test_the_digest_is_that_of_what_stands(tmp_path):
    journal = EditJournal(tmp_path)
    journal.append([edit(1)], "ada")
    before = journal.digest("cells")
    journal.append([edit(2)], "ada")
    assert journal.digest("cells") != before
    journal.undo("ada")
    assert journal.digest("cells") == before


def test_a_line_that_was_cut_off_is_dropped_and_written_over(tmp_path):
    journal = EditJournal(tmp_path)
    journal.append([edit(1)], "ada")
    journal.append([edit(2)], "ada")
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes()[:-9])
    again = EditJournal(tmp_path)
    assert standing(again) == [1]
    again.append([edit(3)], "ada")
    assert standing(EditJournal(tmp_path)) == [1, 3]


def test_a_flipped_bit_is_found(tmp_path):
    EditJournal(tmp_path).append([edit(1)], "ada")
    path = tmp_path / JOURNAL
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptDataError, match="Line 1"):
        EditJournal(tmp_path)


def test_lines_that_do_not_follow_each_other_are_refused(tmp_path):
    journal = EditJournal(tmp_path)
    journal.append([edit(1)], "ada")
    journal.undo("ada")
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
    with pytest.raises(CorruptDataError, match="does not follow"):
        EditJournal(tmp_path)
    with pytest.raises(SettingsError, match="cells, colonies, labels, reviews"):
        EditJournal(tmp_path / "none").append([edit(1, "vessels")], "ada")


def test_an_end_of_line_that_was_damaged_loses_no_edit_silently(study):
    """Each byte of the journal, turned into a carriage return or a newline or no newline, is noticed."""
    journal = study.edits()
    for label in range(2):
        journal.append([("B02_f00", "cells", {"action": "confirm", "label": label})], "me")
    file = study.path / "edits.jsonl"
    good = file.read_bytes()
    for at in range(len(good)):
        for bit in (0, 5, 6):
            data = bytearray(good)
            data[at] ^= 1 << bit
            file.write_bytes(bytes(data))
            with pytest.raises(CorruptDataError, match="fails its checksum"):
                study.edits()
    file.write_bytes(good[:-20])
    assert len(study.edits().standing()) == 1, "cut off while it was written"
