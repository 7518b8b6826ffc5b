"""The step *correct* on images with known faults; pixels on disk stay as acquired."""

import numpy as np
import pytest
import tifffile

from napari_marrow.ingest import import_files
from napari_marrow.pipeline import parse_recipe, run
from napari_marrow.pipeline.step import Context
from napari_marrow.pipeline.steps.correct import CorrectedSession
from napari_marrow.report.correction_examples import correction_examples
from napari_marrow.report.figures.corrections import before_and_after
from napari_marrow.report.style import drawing
from napari_marrow.study import Study

FRAMES, JUMP, BLEACHING = 14, 1.4, 0.02


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A study whose nuclei bleach and get brighter from frame 6 on; the marker's light is constant."""
    folder = tmp_path_factory.mktemp("faulty")
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:96, :96]
    places = rng.integers(6, 90, (40, 2))
    cells = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 10) for a, b in places)
    stack = np.empty((FRAMES, 2, 96, 96), np.uint16)
    for t in range(FRAMES):
        gain = JUMP if t >= 6 else 1.0
        stack[t, 0] = 100 + rng.poisson(gain * (30 + 400 * np.exp(-BLEACHING * t) * cells))
        stack[t, 1] = 100 + rng.poisson(40 + 250 * np.roll(cells, 40, axis=1))
    path = folder / "B02.tif"
    tifffile.imwrite(path, stack, metadata={"axes": "TCYX"})
    import_files(
        folder / "faulty.marrow", [path], axes="TCYX", pixel_size=1.0, frame_interval_h=0.25,
        channel_names=["nuclei", "CD41"],
    )  # fmt: skip
    return folder / "faulty.marrow"


def corrected(path, **section):
    recipe = parse_recipe({"correct": section})
    summary = run(path, recipe, until="correct")
    study = Study.open(path)
    context = Context(recipe, {"correct": study.active["correct"]})
    session = study.sessions(study.positions[0])[0]
    return study, CorrectedSession(study, study.positions[0], session, context), summary


def signal(session, channel):
    frames = [session.read(t, channel)[0] for t in range(FRAMES)]
    return np.array([np.quantile(f, 0.99) - np.median(f) for f in frames])


def test_bleaching_and_jump_of_the_named_channel_are_undone(faulty):
    study, session, summary = corrected(
        faulty, shading=False, bleaching=True, bleaching_channels=["nuclei"], gain_jumps=True, gain_channels=["nuclei"]
    )
    nuclei = signal(session, "nuclei")
    assert np.abs(nuclei / nuclei[0] - 1).max() < 0.06
    raw = session.image.read(FRAMES - 1, "CD41")
    assert np.array_equal(session.read(FRAMES - 1, "CD41"), raw.astype(np.float32))
    row = study.table("corrections").set_index("channel").loc["nuclei"]
    assert list(row["jump_frames"]) == [6]
    assert list(row["jump_ratios"]) == pytest.approx([JUMP], rel=0.05)
    assert row["bleaching_per_frame"] == pytest.approx(BLEACHING, rel=0.25)
    assert any("nuclei: brightness x 1." in note and "from frame 6 on, undone" in note for note in summary.notes)


def test_nothing_is_changed_where_nothing_is_asked_for(faulty):
    _, session, _ = corrected(faulty, shading=False)
    assert np.array_equal(session.read(3), session.image.read(3).astype(np.float32))


def test_the_camera_s_offset_is_not_scaled(faulty):
    _, session, _ = corrected(
        faulty, shading=False, camera_offset=100.0, gain_jumps=True, gain_channels=["nuclei"], bleaching=False
    )
    background = np.array([np.median(session.read(t, "nuclei")) for t in (5, 6)])
    raw = np.array([np.median(session.image.read(t, "nuclei")) for t in (5, 6)])
    assert background[0] == raw[0] - 100
    assert background[1] == pytest.approx((raw[1] - 100) / JUMP, rel=0.05)


def test_background_is_taken_off_the_named_channel(faulty):
    study, session, _ = corrected(faulty, shading=False, background="level", background_channels=["CD41"])
    taken_off = session.image.read(2, "CD41") - session.read(2, "CD41")
    assert np.ptp(taken_off) == 0
    assert taken_off[0, 0, 0] == pytest.approx(140, abs=4)  # the camera's offset and the medium
    assert np.array_equal(session.read(2, "nuclei"), session.image.read(2, "nuclei").astype(np.float32))
    examples, place = correction_examples(study, study.table("corrections"))
    assert [e.channel for e in examples] == ["CD41"]
    assert "session" in place
    with drawing():
        assert len(before_and_after(examples).axes) == 3  # nothing was followed over time


def test_a_channel_may_follow_its_own_course(faulty):
    options = {"shading": False, "bleaching": True, "bleaching_channels": ["nuclei"], "gain_jumps": True}
    _, exponential, _ = corrected(faulty, **options)
    _, ratio, _ = corrected(faulty, **options, bleaching_ratio_channels=["nuclei"])
    nuclei = signal(ratio, "nuclei")
    assert np.abs(nuclei / nuclei[0] - 1).max() < 0.06
    assert not np.array_equal(nuclei, signal(exponential, "nuclei"))
    assert np.array_equal(ratio.read(5, "CD41"), ratio.image.read(5, "CD41").astype(np.float32))
