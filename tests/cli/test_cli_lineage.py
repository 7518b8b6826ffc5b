from __future__ import annotations

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from napari_marrow.__main__ import main
from napari_marrow.cli.application import app


def trees(n=60, seed=0) -> pd.DataFrame:
    """Founders that divide once; each daughter switches on at rate .03 per hour, seen every 6 h, until 60 h."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        place = {"position": f"p{i % 8}", "organoid": f"o{i % 8}", "condition": ("control", "drug")[i % 2],
                 "donor": "d", "batch": "b", "dose": (0.0, 1.0, 3.0, 10.0)[(i % 8) // 2]}  # fmt: skip
        division = rng.uniform(10, 20)
        rows.append({**place, "track_id": 3 * i + 1, "parent_track_id": 0, "start_h": 0.0, "end_h": division})
        for k in (2, 3):
            on = division + rng.exponential(1 / 0.03)
            row = {**place, "track_id": 3 * i + k, "parent_track_id": 3 * i + 1, "start_h": division, "end_h": 60.0}
            if on < 54:
                left = max(division, 6 * np.floor(on / 6))
                row |= {"lineage": "erythroid", "onset_left_h": left, "onset_right_h": 6 * np.floor(on / 6) + 6}
            rows.append(row)
    return pd.DataFrame(rows)


def test_a_table_of_cells_gives_tables_and_figures(tmp_path):
    source, out = tmp_path / "trees.csv", tmp_path / "out"
    trees().to_csv(source, index=False)
    for _ in range(2):  # the second time replaces the first
        result = CliRunner().invoke(app, ["lineage", str(source), "--out", str(out), "--bootstrap", "50"])
        assert result.exit_code == 0, result.output
    assert "erythroid" in result.output
    curve = pd.read_csv(out / "emergence.csv").query("organoid == 'all' and lineage == 'erythroid'")
    assert curve["cumulative_incidence"].max() > 0.5
    assert {"division_times.csv", "comparisons.csv", "next_experiment.csv", "dose_response.csv"} <= {
        p.name for p in out.iterdir()
    }
    for name in ("emergence", "generations", "clone_sizes", "pedigrees", "comparisons"):
        assert (out / "figures" / f"{name}.png").stat().st_size > 5000


def refused(arguments: list[str], capsys) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_bad_input_gets_a_sentence(tmp_path, capsys):
    source = tmp_path / "trees.csv"
    assert "no file" in refused(["lineage", str(source), "--out", str(tmp_path / "o")], capsys)
    source.write_text("track_id,start_h\n1,0\n")
    assert "end_h" in refused(["lineage", str(source), "--out", str(tmp_path / "o")], capsys)
    trees(4).to_csv(source, index=False)
    assert "'nobody' is not in the layout" in refused(
        ["lineage", str(source), "--out", str(tmp_path / "o"), "--reference", "nobody"], capsys
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert "holds no lineage tables" in refused(["lineage", str(source), "--out", str(tmp_path / "mine")], capsys)
    assert not (tmp_path / "o").exists()


def test_a_window_and_donors_are_answered_and_half_questions_refused(tmp_path, capsys):
    cells = trees(96)
    # Two donors, both with all doses; the drug comes with the dose.
    number = cells["position"].str[1:].astype(int)
    cells["donor"] = np.where(cells["track_id"] % 2 == 0, "d1", "d2")
    cells["donor"] = np.where(number < 4, "d1", "d2")
    cells["dose"] = np.array([0.0, 1.0, 3.0, 10.0])[number % 4]
    cells["condition"] = np.where(cells["dose"] > 0, "drug", "control")
    cells["position"] = cells["position"] + "x" + (cells.groupby("position").cumcount() // 12).astype(str)
    cells["parent_track_id"] = 0
    cells["organoid"] = cells["position"]
    source, out = tmp_path / "trees.csv", tmp_path / "out"
    cells.to_csv(source, index=False)
    first = ["lineage", str(source), "--out", str(out), "--bootstrap", "20"]
    window = ["--benefit", "cumulative incidence erythroid", "--harm", "death rate"]
    result = CliRunner().invoke(app, [*first, *window])
    assert result.exit_code == 0, result.output
    assert pd.read_csv(out / "therapeutic_window.csv")["ratio"].iloc[0] > 0
    donors = pd.read_csv(out / "donor_responses.csv").query("endpoint == 'cumulative incidence erythroid'")
    assert donors["donor"].tolist() == ["d1", "d2", "all"]
    assert "both benefit and harm" in refused([*first, "--benefit", "death rate"], capsys)
    assert "no endpoint 'health'" in refused([*first, "--benefit", "health", "--harm", "death rate"], capsys)
    assert "counts of cells" in refused([*first, "--insult-h", "24"], capsys)
