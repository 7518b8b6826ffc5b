"""Frames with known faults are flagged at the import, shown, and not built upon."""

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from napari_marrow.__main__ import main
from napari_marrow.pipeline import parse_recipe, run
from napari_marrow.pipeline.judging import flags_of
from napari_marrow.pipeline.step import Context
from napari_marrow.pipeline.steps.frames import key_frames
from napari_marrow.study import Study

FRAMES, BLURRED, BLANK, REPEATED = 12, 0, 5, 8
FAULTS = {"blank": (BLANK,), "defocus": (BLURRED,), "duplicate": (REPEATED,)}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Two files of the same field; in the first one, a frame is blurred, one is blank and one repeats another."""
    folder = tmp_path_factory.mktemp("judged")
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:96, :96]
    cells = sum(400 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 8) for a, b in rng.integers(8, 88, (40, 2)))
    for name in ("B02_f00_session00", "B03_f00_session00"):
        light = np.stack([cells] * FRAMES)
        if name.startswith("B02"):
            light[BLURRED] = gaussian_filter(cells, 6)
            light[BLANK] = 0
        stack = (100 + rng.poisson(light + 30)).astype(np.uint16)
        if name.startswith("B02"):
            stack[REPEATED] = stack[REPEATED - 2]
        tifffile.imwrite(folder / f"{name}.tif", stack, metadata={"axes": "TYX"})
    return folder


@pytest.fixture(scope="module")
def judged(imported):
    """The study after `marrow import`, with what the command printed."""
    from contextlib import redirect_stdout
    from io import StringIO

    study, said = imported / "judged.marrow", StringIO()
    sources = [str(path) for path in sorted(imported.glob("*.tif"))]
    given = ["--axes", "TYX", "--pixel-size", "1", "--frame-interval", "0.25", "--channels", "nuclei"]
    with redirect_stdout(said):
        assert main(["import", *sources, "--study", str(study), *given]) == 0
    return study, said.getvalue()


def test_an_import_ends_with_the_flags_of_its_frames(judged):
    study, said = judged
    found = {f.position: f.flags for f in flags_of(Study.open(study))}
    assert found == {"B02_f00": FAULTS, "B03_f00": {}}
    line = next(line for line in said.splitlines() if line.startswith("Flags of"))
    assert "B02_f00 session 0" in line
    for flag, frames in FAULTS.items():
        assert f"{flag}: frame {frames[0]}" in line
    assert "Flags of B03" not in said


def test_info_shows_the_flags(judged, capsys):
    assert main(["info", str(judged[0])]) == 0
    assert f"blank: frame {BLANK}" in capsys.readouterr().out


def test_a_later_run_uses_what_the_import_judged_and_steps_leave_unfit_frames_out(judged):
    recipe = parse_recipe({"correct": {"gain_jumps": True}})
    summary = run(judged[0], recipe, until="register")
    steps = {step.name: step for step in summary.steps}
    assert steps["quality"].computed == 0
    study = Study.open(judged[0])
    levels = study.table("corrections").set_index("position").loc["B02_f00", "levels"]
    assert set(np.flatnonzero(np.isnan(levels))) == {BLURRED, BLANK, REPEATED}
    for step in ("correct", "register"):
        assert any("3 in B02_f00 session 0" in note for note in steps[step].notes)
    context = Context(recipe, study.active)
    assert key_frames(study, "B02_f00", 0, context) == [1, FRAMES - 1]
    assert key_frames(study, "B03_f00", 0, context) == [0, FRAMES - 1]
    # the field did not move, whatever the blurred first frame says
    moved = study.table("transforms").query("position == 'B02_f00' and accepted")
    assert np.hypot(moved["ty"], moved["tx"]).max() < 0.5


def test_a_session_that_comes_later_is_judged_alone_under_the_studys_recipe(judged, imported, capsys):
    recipe = parse_recipe({"correct": {"gain_jumps": True}})
    run(judged[0], recipe, until="quality")
    source = imported / "B03_f00_session00.tif"
    given = ["--axes", "TYX", "--pixel-size", "1", "--frame-interval", "0.25", "--channels", "nuclei"]
    assert main(["import", str(source), "--study", str(judged[0]), "--session", "1", "--start", "100", *given]) == 0
    assert "No frame of 1 session(s) is flagged" in capsys.readouterr().out
    study = Study.open(judged[0])
    assert study.stated_recipe[0]["correct"]["gain_jumps"]
    record = study.runs()[-1]
    assert (record["step"], record["info"]["computed"]) == ("quality", 1)


def test_an_import_judges_frames_in_memory_and_reads_none_again(imported, judged, tmp_path, monkeypatch):
    from napari_marrow.study.session_image import SessionImage

    reads = []
    whole = SessionImage.read
    monkeypatch.setattr(SessionImage, "read", lambda self, t, *a, **k: reads.append(t) or whole(self, t, *a, **k))
    sources = [str(path) for path in sorted(imported.glob("*.tif"))]
    given = ["--axes", "TYX", "--pixel-size", "1", "--frame-interval", "0.25", "--channels", "nuclei"]
    study = tmp_path / "s.marrow"
    assert main(["import", *sources, "--study", str(study), *given]) == 0
    assert reads == []
    in_memory = Study.open(study).table("quality")
    later = tmp_path / "later.marrow"
    assert main(["import", *sources, "--study", str(later), *given, "--no-quality"]) == 0
    run(later, until="quality")
    assert len(reads) == 2 * FRAMES
    assert Study.open(later).table("quality").equals(in_memory)
    assert Study.open(later).active["quality"] == Study.open(study).active["quality"]
