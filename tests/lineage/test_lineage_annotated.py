from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import TableError
from napari_marrow.lineage import TREE_TABLES, annotated_trees, emergence, transition_rates, tree_statistics


def cells(**columns) -> pd.DataFrame:
    table = {"track_id": [1, 2, 3, 4, 5], "parent_track_id": [0, 1, 1, 2, 2], "start_h": [0, 10, 10, 20, 20],
             "end_h": [10, 20, 25, 30, 30]}  # fmt: skip
    return pd.DataFrame({**table, **columns})


def test_fates_and_births_are_inferred():
    pedigree, onsets = annotated_trees(cells())
    assert pedigree.tracks["fate"].tolist() == ["division", "division", "loss", "end", "end"]
    assert pedigree.tracks["birth"].tolist() == ["start", *["division"] * 4]
    assert pedigree.generation.tolist() == [0, 1, 1, 2, 2]
    assert len(onsets) == 5
    assert (onsets["event"] == pedigree.tracks["fate"]).all()


def test_onsets_exact_between_looks_and_before_anyone_looked():
    table = cells(lineage=["", "e", "m", "", ""], onset_h=[np.nan, 15, np.nan, np.nan, np.nan],
                  onset_left_h=[np.nan, np.nan, 12, np.nan, np.nan],
                  onset_right_h=[np.nan, np.nan, 18, np.nan, np.nan])  # fmt: skip
    onsets = annotated_trees(table)[1].set_index("track_id")
    assert onsets.index.tolist() == [1, 2, 3]  # daughters of 2 are positive by inheritance
    assert onsets.loc[2, ["left_h", "right_h", "event"]].tolist() == [15, 15, "onset"]
    assert onsets.loc[3, ["left_h", "right_h"]].tolist() == [12, 18]
    prevalent = annotated_trees(cells(lineage=["e", "", "", "", ""], onset_right_h=[0, *[np.nan] * 4]))[1]
    assert prevalent["event"].tolist() == ["prevalent"]
    rates = transition_rates(onsets.reset_index()).set_index("to")
    assert rates.loc["e", "time_h"] == pytest.approx(10 + 5 + 5)  # the onset of 3 counts to its interval's middle


def test_every_tree_table_is_there_even_without_events():
    pedigree, onsets = annotated_trees(pd.DataFrame({"track_id": [1], "start_h": [0.0], "end_h": [5.0]}))
    tables = tree_statistics(pedigree, onsets, None)
    assert set(tables) == set(TREE_TABLES)
    assert tables["kin_correlations"]["note"].str.contains("fewer than 3 pairs").all()
    assert tables["hidden_rates"].empty
    curves = emergence(onsets, None, lineages=["nobody entered it"])
    assert (curves["cumulative_incidence"] == 0).all()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"parent_track_id": [2, 1, 0, 0, 0]}, "its own ancestor|before its mother"),
        ({"track_id": [1, 1, 3, 4, 5]}, "mothers|stands twice"),
        ({"end_h": [10, 5, 25, 30, 30]}, "time goes forward"),
        ({"start_h": [0, "soon", 10, 20, 20]}, "'soon' in the column start_h is no number"),
        ({"fate": ["split", "", "", "", ""]}, "'split' is unknown"),
        ({"lineage": ["e", "", "", "", ""]}, "a lineage but no time of onset"),
        ({"onset_h": [5, np.nan, np.nan, np.nan, np.nan]}, "an onset but no lineage"),
        ({"lineage": ["e", "", "", "", ""], "onset_h": [99, *[np.nan] * 4]}, "outside its time"),
        ({"end_h": [10, np.nan, 25, 30, 30]}, "empty cell in row 2"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(changed, said):
    with pytest.raises(TableError, match=said):
        annotated_trees(cells(**changed))


def test_a_missing_column_is_named():
    with pytest.raises(TableError, match="start_h"):
        annotated_trees(pd.DataFrame({"track_id": [1], "end_h": [1.0]}))
