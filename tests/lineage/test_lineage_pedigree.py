from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import TableError
from napari_marrow.lineage import Pedigree, kin_pairs
from napari_marrow.schemas import TRACKS


def test_generations_founders_and_daughters_of_a_hand_made_tree(family):
    tree = Pedigree.from_tracks(family.sample(frac=1, random_state=1))
    rows = tree.tracks.set_index("track_id")
    assert rows["generation"].to_dict() == {1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2, 7: 2, 8: 0}
    assert rows["founder_track_id"].to_dict() == dict.fromkeys(range(1, 8), 1) | {8: 8}
    ids = tree.tracks["track_id"].to_numpy()
    pairs = {frozenset(ids[p]) for p in kin_pairs(tree, "sister")}
    assert pairs == {frozenset(p) for p in [(2, 3), (4, 5), (6, 7)]}
    cousins = {frozenset(ids[p]) for p in kin_pairs(tree, "cousin")}
    assert cousins == {frozenset(p) for p in [(4, 6), (4, 7), (5, 6), (5, 7)]}
    mothers = {tuple(ids[p]) for p in kin_pairs(tree, "mother-daughter")}
    assert mothers == {(1, 2), (1, 3), (2, 4), (2, 5), (3, 6), (3, 7)}


def test_lifetimes_run_to_the_daughters_first_frame_and_name_the_censoring(family):
    life = Pedigree.from_tracks(family).lifetimes().set_index("track_id")
    assert life.loc[2, "age_h"] == 10  # 10..19 seen, daughters at 20
    assert life.loc[3, "age_h"] == 12
    assert life["event"].to_dict() == {
        1: "division",
        2: "division",
        3: "division",
        4: "",
        5: "death",
        6: "",
        7: "",
        8: "",
    }
    assert life["censoring"].to_dict()[4] == "administrative"
    assert life["censoring"].to_dict()[7] == "loss"
    assert life["censoring"].to_dict()[8] == "exit"
    assert not life.loc[1, "birth_seen"]
    assert not life.loc[8, "birth_seen"]
    assert life.loc[4, "birth_seen"]


def test_the_same_track_id_in_two_positions_is_two_cells(make_tracks):
    rows = [(1, 0, 0, 4, "start", "division"), (2, 1, 5, 9, "division", "end"), (3, 1, 5, 9, "division", "end")]
    both = pd.concat([make_tracks(rows), make_tracks(rows, position="B03_f00"), make_tracks(rows, session=2)])
    tree = Pedigree.from_tracks(both)
    assert np.bincount(tree.generation).tolist() == [3, 6]
    assert len(tree.sisters()) == 3
    nodes = pd.DataFrame({"position": ["B03_f00", "C01_f00", "B02_f00"], "session": [1, 1, 3], "track_id": [2, 2, 2]})
    assert tree.rows_of(nodes).tolist() == [4, -1, -1]


def test_no_track_at_all():
    tree = Pedigree.from_tracks(TRACKS.empty())
    assert len(tree) == 0
    assert tree.levels() == []
    assert tree.lifetimes().empty


def test_a_division_into_three_gives_three_pairs_of_sisters(make_tracks):
    rows = [(1, 0, 0, 1, "start", "division"), *[(i, 1, 2, 5, "division", "end") for i in (2, 3, 4)]]
    assert len(Pedigree.from_tracks(make_tracks(rows)).sisters()) == 3


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([(1, 2, 0, 1, "division", "division"), (2, 1, 0, 1, "division", "division")], "own ancestor"),
        ([(1, 1, 0, 1, "division", "division")], "own ancestor"),
        ([(1, 0, 0, 1, "start", "end"), (2, 0, 0, 1, "start", "end"), (3, 1, 2, 3, "division", "end"),
          (3, 2, 2, 3, "division", "end")], r"mothers \[1, 2\]"),
        ([(1, 0, 0, 1, "start", "end"), (1, 0, 0, 1, "start", "end")], "stands twice"),
        ([(2, 7, 0, 1, "division", "end")], "names the mother 7"),
        ([(1, 0, 3, 1, "start", "end")], "time goes forward"),
        ([(1, 0, 0, 5, "start", "division"), (2, 1, 4, 9, "division", "end")], "before its mother"),
        ([(1, 0, 0, np.nan, "start", "end")], "time goes forward"),
        ([(1, 0, 0, 1, "start", "apoptosis")], "must be one of"),
        ([(0, 0, 0, 1, "start", "end")], "1 or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_pedigree_is_refused_in_a_sentence(make_tracks, rows, sentence):
    table = make_tracks([(*r[:3], 0.0 if np.isnan(r[3]) else r[3], *r[4:]) for r in rows])
    table["end_h"] = [float(r[3]) for r in rows]
    with pytest.raises(TableError, match=sentence):
        Pedigree.from_tracks(table)


def test_a_missing_column_is_named(family):
    with pytest.raises(TableError, match="fate"):
        Pedigree.from_tracks(family.drop(columns="fate"))


def test_a_hundred_thousand_cells_in_a_second(full_tree):
    one = full_tree(1, 9)
    size = len(one)
    copies = 98
    table = pd.concat([one] * copies, ignore_index=True)
    shift = np.repeat(np.arange(copies), size) * size
    table["track_id"] += shift
    table["parent_track_id"] = np.where(table["parent_track_id"] > 0, table["parent_track_id"] + shift, 0)
    tree = Pedigree.from_tracks(table)
    assert len(tree) > 100_000
    assert tree.generation.max() == 9
    assert len(tree.sisters()) == copies * (size - 1) // 2
    assert (tree.lifetimes().query("event == 'division'")["age_h"] == 10).all()
