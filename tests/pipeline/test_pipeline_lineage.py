from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import StudyError, TableError
from napari_marrow.lineage import ESTIMATES
from napari_marrow.pipeline.lineage_experiments import Experiment
from napari_marrow.pipeline.lineage_files import STUDY_TABLES, lineage_of_study
from napari_marrow.schemas import LOSSES
from napari_marrow.study import Study


def test_a_study_holds_every_lineage_table(whole_run):
    study = Study.open(whole_run[0])
    for table in STUDY_TABLES:
        assert study.has_table(table), table
    losses = LOSSES.conform(study.table("losses"))
    assert (losses["death_probability"].notna() | (losses["note"] != "")).all()
    curves = study.table("emergence")
    known = curves[curves["low_total"].notna()]
    assert len(known)
    assert known["drawn_mean"].between(known["low_total"] - 1e-12, known["high_total"] + 1e-12).all()
    for name, estimate in ESTIMATES.items():
        table = study.table(name)
        assert {"tracking_sd", "drawn_mean"} <= set(table.columns) or table[estimate.value].isna().all(), name
    output = study.table("blood_output").query("lineage == 'all'")
    assert output["session"].nunique() == study.table("cells")["session"].nunique()


def test_what_surrounds_cells_is_asked_for_beside_the_settled_question(whole_run):
    found = Study.open(whole_run[0]).table("niche_coupling")
    other = found[~found["covariate"].str.contains("vessel")]
    assert {"log(1 + distance to the tissue's edge / 10 µm)", "log(1 + local density / its median)"} <= set(
        other["covariate"]
    )
    assert not other["primary"].any()
    assert found.loc[found["primary"], "covariate"].str.contains("vessel").all()
    secondary = found[~found["primary"] & found["p_value"].notna()]
    assert (secondary["p_adjusted"] >= secondary["p_value"] - 1e-12).all()


def test_the_command_writes_tables_and_figures_of_a_study(whole_run, tmp_path):
    path, _ = whole_run
    organoid = Study.open(path).layout["organoid"].iloc[0]
    released = tmp_path / "released.csv"
    pd.DataFrame({"organoid": organoid, "time_h": [24.0, 48.0, 96.0, 120.0], "lineage": "erythroid",
                  "n_cells": [0, 100, 200, 100]}).to_csv(released, index=False)  # fmt: skip
    notes = lineage_of_study(path, tmp_path / "out", released=released, asked=Experiment(insult_h=60.0))
    assert notes[0].startswith("Onsets:")
    trend = pd.read_csv(tmp_path / "out" / "production.csv").query("source == 'released' and lineage == 'all'")
    assert trend["mean"].iloc[0] == pytest.approx(np.mean([100 / 24, 200 / 48, 100 / 24]))
    assert (tmp_path / "out" / "figures" / "clone_sizes.png").is_file()
    back = pd.read_csv(tmp_path / "out" / "recovery.csv").query(f"lineage == 'all' and organoid == '{organoid}'")
    held = pd.read_csv(tmp_path / "out" / "blood_output.csv").query(
        f"lineage == 'all' and source == 'held' and organoid == '{organoid}' and time_h <= 60"
    )
    assert back["baseline"].iloc[0] == pytest.approx(held["n_cells"].mean(), nan_ok=True)
    by_colony = pd.read_csv(tmp_path / "out" / "colony_emergence.csv")
    assert by_colony["cumulative_incidence"].dropna().between(0, 1).all()
    pd.read_csv(released).assign(organoid="nobody").to_csv(released, index=False)
    with pytest.raises(TableError, match="nobody"):
        lineage_of_study(path, tmp_path / "out2", released=released)
    assert not (tmp_path / "out2").exists()


def test_a_study_without_results_says_what_to_run(tiny_study, tmp_path):
    with pytest.raises(StudyError, match="--until lineage"):
        lineage_of_study(tiny_study, tmp_path / "out")
