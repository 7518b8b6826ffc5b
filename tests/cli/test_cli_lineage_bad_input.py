"""What cannot be a pedigree is refused in a sentence, what says nothing gives NaN and a reason: function, command."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from napari_marrow.__main__ import main
from napari_marrow.cli.application import app
from napari_marrow.errors import TableError
from napari_marrow.lineage import annotated_trees, emergence, organoid_endpoints, transition_rates, tree_statistics
from napari_marrow.statistics import compare

CELL = {"parent_track_id": 0, "start_h": 0.0, "end_h": 10.0}


def table(*cells: dict) -> pd.DataFrame:
    return pd.DataFrame([{**CELL, "track_id": i, **c} for i, c in enumerate(cells, start=1)])


NO_PEDIGREES = {
    "a cycle": (table({"parent_track_id": 2}, {"parent_track_id": 1}), "own ancestor"),
    "its own mother": (table({"parent_track_id": 1}), "own ancestor"),
    "two mothers": (
        table({}, {}, {"parent_track_id": 1, "start_h": 10, "end_h": 20},
              {"track_id": 3, "parent_track_id": 2, "start_h": 10, "end_h": 20}),
        "a cell has one",
    ),
    "time that goes back": (table({"start_h": 10.0, "end_h": 3.0}), "time goes forward"),
    "a daughter before her mother's end": (
        table({}, {"parent_track_id": 1, "start_h": 4.0, "end_h": 20.0}), "before its mother",
    ),
    "a mother who is not there": (table({"parent_track_id": 7}), "mother 7"),
    "a time that is no number": (table({"end_h": np.nan}), "end_h has an empty cell"),
    "a fate nobody knows": (table({"fate": "apoptosis"}), "apoptosis"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_PEDIGREES)
def test_what_is_no_pedigree_is_refused_by_function_and_command(case, tmp_path, capsys):
    cells, sentence = NO_PEDIGREES[case]
    with pytest.raises(TableError, match=sentence):
        annotated_trees(cells)
    source = tmp_path / "trees.csv"
    cells.to_csv(source, index=False)
    assert main(["lineage", str(source), "--out", str(tmp_path / "out")]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def single_cells(**columns: object) -> pd.DataFrame:
    return table(*[{"position": f"p{i}", "organoid": f"o{i}", **columns} for i in range(6)])


SILENT = {
    "trees of one cell": single_cells(fate="division"),
    "no events, all censored": single_cells(fate="end"),
    "all lost": single_cells(fate="loss"),
}


@pytest.mark.parametrize("case", SILENT)
def test_what_says_nothing_gives_nan_and_the_reason(case, tmp_path):
    cells = SILENT[case]
    pedigree, onsets = annotated_trees(cells)
    for name, found in tree_statistics(pedigree, onsets, None, permutations=9).items():
        if "note" in found.columns and len(found):
            value = {"division_times": "median_h", "division_types": "probability", "kin_correlations": "excess",
                     "onset_synchrony": "observed", "clone_summary": "value"}.get(name)  # fmt: skip
            if value:
                assert (found[value].notna() | (found["note"] != "")).all(), name
    source, out = tmp_path / "trees.csv", tmp_path / "out"
    cells.to_csv(source, index=False)
    result = CliRunner().invoke(app, ["lineage", str(source), "--out", str(out), "--bootstrap", "10"])
    assert result.exit_code == 0, result.output
    assert "Onsets: none" in result.output
    kin = pd.read_csv(out / "kin_correlations.csv")
    assert kin["excess"].isna().all()
    assert kin["note"].str.contains("fewer than 3 pairs").all()


def test_one_organoid_per_condition_is_not_compared_and_says_so(tmp_path):
    cells = table(
        *[
            {"position": p, "organoid": p, "condition": c, "fate": "end", "onset_h": 3.0 + i, "lineage": "erythroid"}
            for p, c in (("a", "control"), ("b", "drug"))
            for i in range(5)
        ]
    )
    pedigree, onsets = annotated_trees(cells)
    layout = pd.DataFrame({"position": ["a", "b"], "well": ["a", "b"], "organoid": ["a", "b"], "donor": "", "batch": "",
                           "condition": ["control", "drug"], "dose": np.nan, "replicate": 1})  # fmt: skip
    curves = emergence(onsets, layout)
    mean = curves[curves["organoid"] == "all"]
    assert mean[["low", "high"]].isna().all(axis=None)
    assert mean["note"].str.contains("one organoid only").any()
    summary = organoid_endpoints(onsets, curves, None, None, pedigree.tracks, layout)
    compared = compare(summary, layout, reference="control")
    assert compared["p_value"].isna().all()
    assert compared["note"].str.contains("organoids with a value").all()
    assert compared[["low", "high"]].isna().all(axis=None)
    source, out = tmp_path / "trees.csv", tmp_path / "out"
    cells.to_csv(source, index=False)
    result = CliRunner().invoke(app, ["lineage", str(source), "--out", str(out), "--bootstrap", "10"])
    assert result.exit_code == 0, result.output
    written = pd.read_csv(out / "emergence.csv").query("organoid == 'all'")
    assert written["low"].isna().all()


def test_a_lineage_that_nobody_entered_is_nought_with_an_upper_limit():
    cells = table(*[{"position": f"p{i % 3}", "fate": "end"} for i in range(30)])
    _, onsets = annotated_trees(cells)
    curve = emergence(onsets, None, lineages=["megakaryocytic"], times_h=[8.0])
    row = curve[(curve["organoid"] == "all") & (curve["lineage"] == "megakaryocytic")].iloc[0]
    assert row["cumulative_incidence"] == row["low"] == 0
    assert 0.1 < row["high"] < 0.2  # about 4 over the number of clones
    rates = transition_rates(onsets, lineages=["megakaryocytic"]).set_index("to").loc["megakaryocytic"]
    assert rates["rate"] == 0
    assert rates["high"] == pytest.approx(-np.log(0.025) / 300)
