"""Runs of the whole recipe on a real small study: resume, change, cancel, kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from napari_marrow.errors import Cancelled, SettingsError, StudyError
from napari_marrow.pipeline import ProcessExecutor, RunSummary, SerialExecutor, parse_recipe, run
from napari_marrow.progress import CancelToken
from napari_marrow.segmentation.registry import find_model
from napari_marrow.study import Study

RECIPE = parse_recipe({"niche": {"n_simulations": 39, "every_h": 1000}, "lineage": {"n_bootstrap": 99}})
TABLES = ("cells", "track_nodes", "tracks", "colonies", "niche_metrics", "onsets", "emergence", "organoid_summary")


@pytest.fixture(scope="module")
def finished(whole_run, tmp_path_factory) -> tuple[Path, RunSummary]:
    path, summary = whole_run
    return Path(shutil.copytree(path, tmp_path_factory.mktemp("finished") / "tiny.marrow")), summary


def labels_of(path: Path) -> dict[tuple[str, int, int], np.ndarray]:
    study = Study.open(path)
    return {
        (p, s, t): study.labels("cells", study.active["segment"], p, s).read(t)
        for p in study.positions
        for s in study.sessions(p)
        for t in range(study.image(p, s).shape[0])
    }


def assert_equal_results(a: Path, b: Path) -> None:
    first, second = labels_of(a), labels_of(b)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    for table in TABLES:
        pd.testing.assert_frame_equal(Study.open(a).table(table), Study.open(b).table(table))


def test_a_run_finds_the_cells_and_writes_every_table_and_the_report(finished, tiny_experiment):
    path, summary = finished
    study = Study.open(path)
    truth = tiny_experiment.truth["cells"]
    found = study.table("cells")
    assert 0.9 < len(found) / len(truth) < 1.1
    assert set(study.active) == {step.name for step in summary.steps}
    for table in TABLES:
        assert study.has_table(table), table
    assert (path / "report" / "report.html").stat().st_size > 20_000
    assert study.verify() == []
    run_records = [record for record in study.runs() if record["step"] == "segment"]
    assert run_records[0]["info"]["status"] == "finished"
    assert run_records[0]["info"]["versions"]["openvino"]


def test_a_second_run_computes_nothing(finished):
    path, first = finished
    before = len(Study.open(path).runs())
    again = run(path, RECIPE)
    assert [step.computed for step in again.steps] == [0] * len(first.steps)
    assert [step.key for step in again.steps] == [step.key for step in first.steps]
    assert len(Study.open(path).runs()) == before


def test_a_changed_parameter_recomputes_only_what_depends_on_it(finished):
    path, _ = finished
    other = run(path, RECIPE.model_copy(update={"niche": RECIPE.niche.model_copy(update={"r_max_um": 45.0})}))
    computed = {step.name for step in other.steps if step.computed}
    assert computed == {"niche", "niche_over_time", "lineage", "report"}


def test_a_cancelled_run_continues_to_the_same_result(finished, tiny_study):
    reference, _ = finished
    token = CancelToken()
    seen = []

    def stop_in_segmentation(done: int, total: int, message: str) -> None:
        seen.append(message)
        if message == "Segmenting" and done == 5:
            token.cancel()

    with pytest.raises(Cancelled):
        run(tiny_study, RECIPE, progress=stop_in_segmentation, cancel=token)
    assert "Tracking cells" not in seen
    study = Study.open(tiny_study)
    assert "segment" not in study.active
    key = next(record["key"] for record in study.runs() if record["step"] == "segment")
    assert len(study.committed("segmentation", key)) == 5
    rest = run(tiny_study, RECIPE, until="lineage")
    segment = next(step for step in rest.steps if step.name == "segment")
    assert segment.computed == segment.units - 5
    run(reference, RECIPE, until="lineage")
    assert_equal_results(tiny_study, reference)


def test_a_killed_run_continues_to_the_same_result(finished, tiny_study):
    reference, _ = finished
    script = tiny_study.parent / "run.py"
    script.write_text(
        "import sys; from napari_marrow.pipeline import ProcessExecutor, parse_recipe, run\n"
        "if __name__ == '__main__':\n"
        f"    run(sys.argv[1], parse_recipe({RECIPE.model_dump(mode='json')!r}), executor=ProcessExecutor(2))\n"
    )
    process = subprocess.Popen([sys.executable, str(script), str(tiny_study)], stderr=subprocess.DEVNULL)
    workers: set[int] = set()
    deadline = time.monotonic() + 120
    while not list(tiny_study.glob("tables/cells/*/*/*.parquet")) and time.monotonic() < deadline:
        assert process.poll() is None
        workers |= {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(workers) >= 2
    psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=30)
    assert not any(psutil.pid_exists(pid) for pid in workers), "workers end with their parent"
    committed = {p: p.stat().st_ino for p in tiny_study.glob("tables/*/*/*/*.parquet")}
    assert len(committed) > 14
    assert "measure" not in Study.open(tiny_study).active
    run(tiny_study, RECIPE, until="lineage")
    assert {p: p.stat().st_ino for p in committed} == committed, "no unit is computed twice after its commit"
    run(reference, RECIPE, until="lineage")
    assert_equal_results(tiny_study, reference)
    assert Study.open(tiny_study).verify() == []


def test_until_stops_after_a_step_and_an_unknown_one_is_refused(tiny_study):
    summary = run(tiny_study, RECIPE, until="quality")
    assert [step.name for step in summary.steps] == ["quality"]
    with pytest.raises(SettingsError, match=r"no step 'qualty': choose one of quality, correct"):
        run(tiny_study, RECIPE, until="qualty")


def test_a_study_without_images_is_refused(tmp_path):
    Study.create(tmp_path / "empty.marrow")
    with pytest.raises(StudyError, match="holds no images yet"):
        run(tmp_path / "empty.marrow", RECIPE)


def one_channel_study(path: Path, frames: np.ndarray, name: str = "camera") -> Path:
    study = Study.create(path)
    with study.add_session(
        "A01_f00", 0, channels=[name], spacing=(1, 1, 1), shape=(len(frames), 1, 1, *frames.shape[1:]), dtype="uint16",
        start_h=0.0, time_s=np.arange(len(frames)) * 600.0,
    ) as writer:  # fmt: skip
        for t, frame in enumerate(frames):
            writer.write(t, frame[None, None])
    return path


@pytest.mark.parametrize(
    "frames",
    [np.zeros((3, 64, 64), np.uint16), np.full((1, 64, 64), 500, np.uint16)],
    ids=["three black frames", "one constant frame"],
)
def test_images_without_a_cell_give_empty_tables_notes_and_a_report(frames, tmp_path):
    path = one_channel_study(tmp_path / "empty.marrow", frames)
    summary = run(path, RECIPE)
    assert any("no cell" in note for note in summary.notes)
    assert len(Study.open(path).table("cells")) == 0
    assert (path / "report" / "report.html").is_file()


def test_a_study_without_the_wanted_channel_says_so(tmp_path):
    study = Study.create(tmp_path / "two.marrow")
    with study.add_session(
        "A01_f00", 0, channels=["red", "green"], spacing=(1, 1, 1), shape=(1, 2, 1, 32, 32), dtype="uint16",
        start_h=0.0, time_s=[0.0],
    ) as writer:  # fmt: skip
        writer.write(0, np.ones((2, 1, 32, 32), np.uint16))
    summary = run(tmp_path / "two.marrow", RECIPE)
    assert any("want of a channel 'nuclei' (recipe: segment.channel)" in note for note in summary.notes)


def test_a_second_channel_reaches_the_network_or_is_missed(tiny_study):
    model = tiny_study.parent / "two.safetensors"  # without its card: any channels
    shutil.copy(find_model("marrow-nuclei").path, model)

    def segmented(name):
        summary = run(
            tiny_study, parse_recipe({"segment": {"second_channel": name, "model": str(model)}}), until="segment"
        )
        return summary, Study.open(tiny_study)

    found = []
    for name in (None, "CD31"):
        _, study = segmented(name)
        position = study.positions[0]
        found.append(study.labels("cells", study.active["segment"], position, study.sessions(position)[0]).read(0))
    assert found[0].any()
    assert not np.array_equal(*found)
    summary, _ = segmented("CD7")
    assert any("'nuclei' (recipe: segment.channel) and 'CD7' (segment.second_channel)" in n for n in summary.notes)


def test_a_cell_missed_in_one_frame_is_mended_by_its_neighbours(blinking_frames, tmp_path):
    def counts(name, executor, **section):
        path = one_channel_study(tmp_path / name, blinking_frames)
        recipe = parse_recipe({"segment": {"cellprob_threshold": 2.0, "diameter_um": 16, **section}})
        summary = run(path, recipe, executor=executor, until="segment")
        study = Study.open(path)
        labels = study.labels("cells", study.active["segment"], "A01_f00", 0)
        assert study.table("segmentation")["cells"].tolist() == [int(labels.read(t).max()) for t in range(4)]
        return (
            [int(labels.read(t).max()) for t in range(4)],
            next(s for s in summary.steps if s.name == "segment").counts,
            labels,
        )

    assert counts("plain.marrow", SerialExecutor())[0] == [5, 4, 5, 5]
    found, numbers, labels = counts("mended.marrow", SerialExecutor(), repair=True)
    assert found == [5, 5, 5, 5]
    assert numbers["repairs"] == 1
    assert labels.read(1)[0, 50, 40] > 0
    elsewhere = counts("processes.marrow", ProcessExecutor(2), repair=True)[2]
    assert all(np.array_equal(labels.read(t), elsewhere.read(t)) for t in range(4))


def test_colony_masks_carry_the_numbers_of_the_table(finished):
    study = Study.open(finished[0])
    colonies, members = study.table("colonies"), study.table("colony_members")
    key, cells_key = study.active["colonies"], study.active["segment"]
    assert len(colonies)
    for (position, session, t), rows in colonies.groupby(["position", "session", "t"]):
        masks = study.labels("colonies", key, position, session).read(t)
        assert set(np.unique(masks)) - {0} == set(rows["colony"])
        cells = study.labels("cells", cells_key, position, session).read(t)
        here = members[(members["position"] == position) & (members["session"] == session) & (members["t"] == t)]
        for label, colony in zip(here["label"], here["colony"], strict=True):
            assert (masks[cells == label] == colony).all()
        pixel = np.prod(study.image(position, session).spacing[1:])
        areas = [(masks == number).sum() * pixel for number in rows["colony"]]
        np.testing.assert_allclose(rows["area"], areas)


def test_the_tissue_of_the_niche_is_the_organoid_without_scaffold(finished):
    study = Study.open(finished[0])
    metrics = study.table("niche_metrics")
    areas = metrics[metrics["metric"] == "tissue_area"].set_index(["position", "session", "t"])["value"]
    key = study.active["structures"]
    assert len(areas)
    for (position, session, t), area in areas.items():
        tissue = study.labels("organoid", key, position, session).read(t) > 0
        if study.has_labels("scaffold", key, position, session):
            tissue &= study.labels("scaffold", key, position, session).read(t) == 0
        assert area == pytest.approx(tissue.sum() * np.prod(study.image(position, session).spacing[1:]))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux's affinity")
def test_a_worker_that_dies_is_reported_and_nothing_is_lost(tiny_study):
    from napari_marrow.errors import MarrowError

    with pytest.raises(MarrowError, match="worker process died"):
        list(ProcessExecutor(1).run(os._exit, [[3]], CancelToken()))
