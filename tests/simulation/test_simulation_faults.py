"""Each fault alone: flagged in the truth and visible in what is recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_marrow import simulation
from napari_marrow.errors import SettingsError


def run(**faults):
    scenario = replace(
        simulation.preset("sample", seed=5),
        sessions=(
            simulation.SessionPlan("dense", 100.0, 6, 1.0, ("nuclei", "CD31")),
            simulation.SessionPlan("sparse", 148.0, channels=("nuclei", "CD31")),
        ),
        imaging=simulation.Imaging(shape=(1, 128, 128)),
        geometry=simulation.Geometry(radius_um=70.0, founders_per_mm2=500.0),
        faults=simulation.Faults(**faults),
    )
    return simulation.simulate(scenario)


def flagged(experiment, fault):
    table = experiment.truth["faults"].query("fault == @fault and position == 'B02_f00' and session == 1")
    return table["t"].tolist()


@pytest.fixture(scope="module")
def clean():
    return run()


def test_a_clean_session_has_no_frame_faults(clean):
    assert set(clean.truth["faults"]["fault"]) == {"shift", "rotation", "drift", "gain"}
    assert (clean.truth["frames"]["flags"] == "").all()


def test_remounting_is_within_its_range(clean):
    faults = clean.truth["faults"].query("session == 2").set_index(["fault", "position"])["value"]
    assert faults["shift"].between(10, 60).all()
    assert faults["rotation"].abs().between(1, 3).all()
    none = clean.truth["faults"].query("session == 1 and fault in ['shift', 'rotation']")
    assert none["value"].to_numpy() == pytest.approx(0.0)


def test_drift_is_linear_in_time():
    experiment = run(drift_um_per_h=1.5, drift_jitter_um=0.0)
    shift = experiment.sessions("B02_f00")[0].acquisition.shift
    assert np.linalg.norm(np.diff(shift, axis=0), axis=1) == pytest.approx(1.5)


def test_blank_frames_hold_the_camera_only_and_no_labels(clean):
    experiment = run(blank=((1, 2),))
    session = experiment.sessions("B02_f00")[0]
    assert flagged(experiment, "blank") == [2]
    frame = session.frame(2).astype(float)
    assert frame.mean() == pytest.approx(100.0, abs=0.2)
    assert frame.std() < 2.5
    assert session.labels(2).max() == 0
    assert np.array_equal(session.frame(1), clean.sessions("B02_f00")[0].frame(1))


def test_duplicates_repeat_pixels_and_labels():
    session = (experiment := run(duplicate=((1, 3), (1, 4)))).sessions("B02_f00")[0]
    assert flagged(experiment, "duplicate") == [3, 4]
    for t in (3, 4):
        assert np.array_equal(session.frame(t), session.frame(2))
        assert np.array_equal(session.labels(t), session.labels(2))
    assert session.true_h.tolist() == [100, 101, 102, 102, 102, 105]
    assert (session.time_s / 3600).tolist() == [0, 1, 2, 3, 4, 5]


def test_dropped_frames_leave_a_gap_in_time(clean):
    session = (experiment := run(dropped=((1, 1), (1, 2)))).sessions("B02_f00")[0]
    assert flagged(experiment, "dropped") == [0, 0]
    assert session.shape[0] == 4
    assert (session.time_s / 3600).tolist() == [0, 3, 4, 5]
    assert np.array_equal(session.labels(1), clean.sessions("B02_f00")[0].labels(3))


def test_a_restarted_clock_begins_again():
    session = (experiment := run(restart=((1, 3),))).sessions("B02_f00")[0]
    assert flagged(experiment, "restart") == [3]
    assert (session.time_s / 3600).tolist() == [0, 1, 2, 0, 1, 2]
    assert session.true_h.tolist() == [100, 101, 102, 103, 104, 105]


def test_defocus_and_z_jump_blur(clean):
    sharp = clean.sessions("B02_f00")[0].frame(1)[0, 0].astype(float)
    for fault in ("defocus", "z_jump"):
        experiment = run(**{fault: ((1, 1),)})
        assert flagged(experiment, fault) == [1]
        blurred = experiment.sessions("B02_f00")[0].frame(1)[0, 0].astype(float)
        assert np.percentile(blurred, 99.5) < np.percentile(sharp, 99.5) - 20


def test_saturation_and_bubble_change_the_light(clean):
    experiment = run(saturation=((1, 1),), bubble=((1, 2),))
    session, plain = experiment.sessions("B02_f00")[0], clean.sessions("B02_f00")[0]
    assert flagged(experiment, "saturation") == [1]
    assert flagged(experiment, "bubble") == [2]
    assert (session.frame(1) == 65535).mean() > 0.01
    difference = session.frame(2)[1].astype(float) - plain.frame(2)[1]
    assert difference.max() > 20
    assert np.array_equal(session.labels(2), plain.labels(2))


def test_a_media_change_moves_the_field_from_then_on(clean):
    experiment = run(media_change=((1, 3),), media_change_um=15.0)
    assert flagged(experiment, "media_change") == [3]
    moved, plain = (e.sessions("B02_f00")[0].acquisition.shift for e in (experiment, clean))
    assert np.linalg.norm(moved - plain, axis=1) == pytest.approx([0, 0, 0, 15, 15, 15])


def test_swelling_makes_the_transform_affine():
    experiment = run(swelling_per_day=0.02, shift_um=(0.0, 0.0), rotation_deg=(0.0, 0.0))
    row = experiment.truth["transforms"].query("session == 2 and position == 'B02_f00'").iloc[0]
    assert row["kind"] == "affine"
    assert row["m00"] == pytest.approx(1.02**-2)


def test_swapped_wells_exchange_their_pixels(clean):
    experiment = run(swapped=((2, "B02_f00", "C02_f00"),))
    here, there = experiment.sessions("B02_f00")[1], clean.sessions("C02_f00")[1]
    assert np.array_equal(here.frame(0), there.frame(0))
    assert experiment.truth["faults"].query("fault == 'swapped'")["position"].tolist() == ["B02_f00", "C02_f00"]
    cells = experiment.truth["cells"].query("position == 'B02_f00' and session == 2")
    assert (cells["source_position"] == "C02_f00").all()
    assert np.array_equal(experiment.sessions("B02_f00")[0].frame(0), clean.sessions("B02_f00")[0].frame(0))


def test_one_position_alone_can_be_hit():
    experiment = run(blank=((1, 2),), only_position="C02_f00")
    assert experiment.truth["faults"].query("fault == 'blank'")["position"].tolist() == ["C02_f00"]


def test_bad_settings_are_refused_in_a_sentence():
    with pytest.raises(SettingsError, match="Unknown channels"):
        simulation.SessionPlan("dense", 1.0, channels=("GFP",))
    with pytest.raises(SettingsError, match="in order of time"):
        replace(
            run().scenario, sessions=(simulation.SessionPlan("dense", 10.0, 5), simulation.SessionPlan("sparse", 12.0))
        )
    with pytest.raises(SettingsError, match="no preset"):
        simulation.preset("tutorials")
    with pytest.raises(SettingsError, match="no position"):
        run().sessions("A01_f00")
    with pytest.raises(SettingsError, match="frames 0 to"):
        run().sessions("B02_f00")[0].frame(6)
