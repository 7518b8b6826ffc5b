"""Two wells that were swapped between sessions are named: at import, by the step register, in status and report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_marrow import simulation
from napari_marrow.__main__ import main
from napari_marrow.pipeline import Recipe, run
from napari_marrow.pipeline.status import status
from napari_marrow.report.gather import gather
from napari_marrow.report.summaries import registration
from napari_marrow.study import Study

PAIR = ("B02_f00", "C02_f00")


@pytest.fixture(scope="module")
def experiment() -> simulation.Experiment:
    """Wells imaged on two days; on the second day the first two had changed places."""
    sample = simulation.preset("sample", seed=5)
    channels = ("nuclei", "CD31", "scaffold")
    return simulation.simulate(
        replace(
            sample,
            sessions=(
                simulation.SessionPlan("sparse", 100.0, channels=channels),
                simulation.SessionPlan("sparse", 148.0, channels=channels),
            ),
            imaging=simulation.Imaging(shape=(1, 256, 256)),
            design=replace(sample.design, organoids_per_condition=2),
            faults=simulation.Faults(swapped=((2, *PAIR),), shift_um=(0.0, 20.0), rotation_deg=(0.0, 2.0)),
        )
    )


@pytest.fixture(scope="module")
def imported(experiment: simulation.Experiment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The study after the command for each day, and what the second one printed."""
    from contextlib import redirect_stdout
    from io import StringIO

    folder, said = tmp_path_factory.mktemp("swapped"), StringIO()
    for day in (0, 1):
        files = []
        for position in experiment.positions:
            session = experiment.sessions(position)[day]
            files.append(folder / f"{position}_session{day:02d}.tif")
            tifffile.imwrite(files[-1], session.frame(0)[:, 0], photometric="minisblack")
        given = ["--axes", "CYX", "--pixel-size", str(session.spacing[-1]), "--channels", "nuclei,CD31,scaffold"]
        said.truncate(0)
        with redirect_stdout(said):
            code = main(
                ["import", *map(str, files), "--study", str(folder / "s.marrow"), *given, "--start", str(48 * day)]
            )
        assert code == 0
    return folder / "s.marrow", said.getvalue()


def test_the_import_names_both_wells_and_no_other(imported, experiment):
    notes = [line for line in imported[1].splitlines() if line.startswith("Note: ")]
    assert len(experiment.positions) > 2
    assert len(notes) == 2, notes
    for note, (one, other) in zip(notes, (PAIR, PAIR[::-1]), strict=True):
        assert f"{one} in session 1 does not fit its own session 0; it fits that of {other}" in note
        assert "probably swapped" in note


def test_the_run_the_board_and_the_report_name_them(imported, capsys):
    summary = run(imported[0], Recipe(), until="register")
    notes = [note for step in summary.steps for note in step.notes if "probably swapped" in note]
    assert len(notes) == 2
    assert any("could not be placed on an earlier one at B02_f00, C02_f00" in n for n in summary.notes)
    study = Study.open(imported[0])
    assert list(status(study).swapped) == notes
    assert study.verify() == []
    capsys.readouterr()
    assert main(["status", str(imported[0])]) == 0
    shown = capsys.readouterr().out
    assert "refused" in shown
    assert "B02_f00 in session 1 does not fit its own session 0" in " ".join(shown.split())
    text = " ".join(registration(gather(study, None)))
    assert "B02_f00 in session 1 fits the earlier images of C02_f00, not its own (scaffold, and the other way" in text


def test_what_was_found_is_not_looked_for_again(imported, monkeypatch):
    from napari_marrow.pipeline.steps import swapped_wells

    run(imported[0], Recipe(), until="register")
    monkeypatch.setattr(swapped_wells, "match_wells", lambda *a, **k: pytest.fail("was looked for again"))
    assert sum("probably swapped" in note for note in run(imported[0], Recipe(), until="register").notes) == 2


def test_the_board_says_how_frames_and_sessions_were_placed(tiny_study):
    run(tiny_study, Recipe(), until="register")
    study = Study.open(tiny_study)
    table = study.table("transforms")
    for placing in status(study).placed:
        rows = table[(table["position"] == placing.position) & (table["session"] == placing.session)].set_index("t")
        assert placing.frames == len(rows)
        left = rows["drift_residual"].iloc[1:].dropna()
        if len(left):
            assert placing.drift_residual_um == pytest.approx(np.median(left))
            assert rows["drift_residual"][placing.worst_frame] == placing.worst_residual_um == left.max()
        way = [np.hypot(*(rows.loc[t, ["ty", "tx"]] - rows.loc[0, ["ty", "tx"]])) for t in rows.index]
        assert placing.drift_um == pytest.approx(max(way), abs=1e-9)  # a rotation keeps lengths
