"""Kills, full disks, bit rot, two writers."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import (
    Cancelled,
    CorruptDataError,
    MarrowError,
    StorageError,
    StudyError,
    StudyLockedError,
)
from napari_marrow.progress import CancelToken
from napari_marrow.study import Study
from napari_marrow.study.durable import read_document, write_document
from napari_marrow.study.process import HOST, is_alive, start_of, user_name


def run_python(code: str, *args: object, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)], stdout=subprocess.PIPE, text=True, **more
    )  # type: ignore[call-overload, no-any-return]


def filled(study: Study, fill) -> Study:
    """A small study with something of everything."""
    fill(study, "B02_f00", 0, shape=(2, 2, 1, 40, 520))
    fill(study, "B02_f01", 1, shape=(2, 1, 1, 40, 40), start_h=24.0)
    rng = np.random.default_rng(3)
    for t in range(2):
        study.write_labels("cells", "s1", "B02_f00", 0, t, rng.integers(0, 50, (40, 520)))
        rows = pd.DataFrame({"t": [t] * 20, "x": rng.random(20), "who": [f"cell {i}" for i in range(20)]})
        study.commit("things", "m1", {"position": "B02_f00", "session": 0, "t": t}, rows)
    study.set_active({"segment": "s1", "measure": "m1"}, tables={"things": "m1"})
    study.record_run("segment", "s1", {"seed": 3, "model": "marrow-nuclei"})
    return study


def everything(study: Study) -> list[object]:
    """All data of a study, by way of the public reading functions."""
    found: list[object] = [study.name, study.t0, study.active, study.active_tables, study.runs(), study.id]
    for position in study.positions:
        for session in study.sessions(position):
            image = study.image(position, session)
            found += [image.spacing, image.channels, image.times_h.tolist(), image.shape]
            for level in range(image.levels):
                found += [image.read(t, level=level).tolist() for t in range(image.shape[0])]
    labels = study.labels("cells", "s1", "B02_f00", 0)
    found += [labels.read(t).tolist() for t in range(2)]
    found += [study.table("things").to_dict(), study.frames().fillna(0).to_dict(), study.layout.fillna(0).to_dict()]
    return found


def test_a_good_study_has_no_problems(study, fill):
    calls = []
    assert filled(study, fill).verify(progress=lambda done, total, what: calls.append((done, total))) == []
    assert calls[-1][0] == calls[-1][1] == len(calls)


def test_flipped_bits_are_never_read_silently_and_verify_finds_them(study, fill):
    """Flips in every kind of file: whatever changes the data is found by verify, and reading raises or is right."""
    filled(study, fill)
    truth = everything(study)
    rng = random.Random(11)
    files = sorted(p for p in study.path.rglob("*") if p.is_file())
    assert {p.suffix for p in files} == {".0", ".json", ".parquet"}
    chosen = [*files, *rng.choices(files, k=10)]
    changed = 0
    for path in chosen:
        good = path.read_bytes()
        bit = rng.randrange(8 * len(good))
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bytes(bad))
        try:
            silently_wrong = everything(Study.open(study.path)) != truth
            readable = True
        except MarrowError:
            readable, silently_wrong = False, False
        if path.parent.name == "runs":  # damaged run records are left out of runs()
            silently_wrong = False
        try:
            found = [p.path for p in Study.open(study.path).verify()]
        except MarrowError as error:
            found = [str(error)]
        path.write_bytes(good)
        assert not silently_wrong, path
        if not readable:
            changed += 1
            assert any(str(path.relative_to(study.path)) in f for f in found), (path, bit, found)
    assert changed >= 20
    assert study.verify() == []


def test_a_damaged_chunk_is_named_when_it_is_read(study, fill):
    fill(study)
    file = study.image("B02_f00", 0).path / "0" / "c.1.0.0.0.0"
    data = bytearray(file.read_bytes())
    data[40] ^= 4
    file.write_bytes(bytes(data))
    with pytest.raises(CorruptDataError, match=r"c\.1\.0\.0\.0\.0"):
        study.image("B02_f00", 0).read(1)
    study.image("B02_f00", 0).read(0)
    for damage in (b"", bytes(data[:100]), bytes(data[500:]), bytes(data[:-8]), bytes(data) + b"x"):
        file.write_bytes(damage)
        with pytest.raises(CorruptDataError, match="damaged"):
            study.image("B02_f00", 0).read(1)
    file.unlink()
    with pytest.raises(CorruptDataError, match="missing"):
        study.image("B02_f00", 0).read(1, 0)


def test_every_missing_file_is_missed(study, fill):
    filled(study, fill)
    for path in sorted(p for p in study.path.rglob("*") if p.is_file()):
        if path.name == "study.json" or path.parent.name == "runs":
            continue
        good = path.read_bytes()
        path.unlink()
        problems = Study.open(study.path).verify()
        path.write_bytes(good)
        assert problems, path
        assert any(p.kind in ("missing", "unfinished") for p in problems), (path, problems)
    assert study.verify() == []


def test_a_lost_folder_and_a_foreign_file_are_reported(study, fill):
    filled(study, fill)
    shutil.rmtree(study.labels("cells", "s1", "B02_f00", 0).path)
    (study.path / "tables" / "things" / "m1" / "notes.txt").write_text("x")
    (study.path / "images.ome.zarr" / "B" / "02" / "s00f00" / "0" / "c.9.0.0.0.0").write_text("x")
    (study.path / "README.txt").write_text("a note of the user's is nobody's business")
    problems = {(p.kind, p.path.rpartition("/")[2]) for p in study.verify()}
    assert problems == {("missing", "cells_s1"), ("orphan", "notes.txt"), ("orphan", "c.9.0.0.0.0")}
    assert all(str(p).endswith(".") and p.remedy for p in study.verify())


def test_a_part_in_the_wrong_place_is_found(study, fill):
    filled(study, fill)
    folder = study.path / "tables" / "things" / "m1" / "position=B02_f00"
    shutil.copy(folder / "part-s00-t00000.parquet", folder / "part-s00-t00001.parquet")
    assert [p.kind for p in study.verify()] == ["damaged"]


def test_verify_can_be_cancelled(study, fill):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        filled(study, fill).verify(cancel=token)


# --- two writers


def test_a_second_writer_is_refused_by_name(study):
    holder = run_python(
        """
        import sys
        from napari_marrow.study import Study
        with Study.open(sys.argv[1], mode="a").write_lock():
            print("locked", flush=True)
            sys.stdin.read()
        """,
        study.path,
        stdin=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "locked\n"
    with (
        pytest.raises(StudyLockedError, match=f"by {user_name()}, process {holder.pid} on host {HOST} since"),
        study.write_lock(),
    ):
        pass
    with pytest.raises(StudyLockedError):
        study.add_session(
            "B02_f00", 0, channels=["a"], spacing=(1, 1, 1), shape=(1, 1, 1, 4, 4), dtype="uint8", start_h=0, time_s=[0]
        )
    holder.stdin.close()
    assert holder.wait(30) == 0
    holder.stdout.close()
    with study.write_lock():
        pass


def test_a_dead_writers_lock_and_litter_are_taken_over(study):
    holder = run_python(
        """
        import os, signal, sys
        from napari_marrow.study import Study
        from napari_marrow.study.process import ThisProcess, HOST
        study = Study.open(sys.argv[1], mode="a")
        with study.write_lock():
            name = f"zarr.json.{HOST}~{os.getpid()}~{ThisProcess.started()}~ab12.partial"
            (study.path / name).write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        study.path,
    )
    assert holder.wait(30) == -signal.SIGKILL
    assert holder.stdout is not None
    holder.stdout.close()
    assert (study.path / "write.lock").exists()
    assert list(study.path.glob("*.partial"))
    with study.write_lock():
        assert json.loads((study.path / "write.lock").read_text())["pid"] == os.getpid()
    assert not (study.path / "write.lock").exists()
    assert not list(study.path.glob("*.partial"))


def test_a_number_that_was_given_to_another_process_is_not_the_holder():
    assert is_alive(os.getpid(), start_of(os.getpid()))
    if start_of(os.getpid()):
        assert not is_alive(os.getpid(), "00000000-1")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    assert not is_alive(dead.pid)


def test_a_lock_of_another_host_stays(study):
    lock = {"host": "elsewhere", "pid": 1, "started": "", "since": "2026-01-01T00:00:00+00:00", "token": "x"}
    (study.path / "write.lock").write_text(json.dumps(lock))
    with pytest.raises(StudyLockedError, match="elsewhere"), study.write_lock():
        pass


def test_the_lock_nests_in_one_handle_and_holds_against_another(study):
    other = Study.open(study.path, mode="a")
    with study.write_lock(), study.write_lock(), pytest.raises(StudyLockedError), other.write_lock():
        pass
    with other.write_lock():
        pass


def test_of_many_who_try_at_once_one_has_the_lock(study):
    """Threads with handles of their own race for a stale lock; the winners never overlap."""
    inside, worst, refused = [], [], []

    def work() -> None:
        handle = Study.open(study.path, mode="a")
        for _ in range(15):
            try:
                with handle.write_lock():
                    inside.append(1)
                    worst.append(len(inside))
                    time.sleep(0.001)
                    inside.pop()
            except StudyLockedError:
                refused.append(1)

    stale = {"host": HOST, "pid": 2**22 + 1, "started": "", "since": "2026-01-01T00:00:00+00:00", "token": "old"}
    (study.path / "write.lock").write_text(json.dumps(stale))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(worst) == 1
    assert len(worst) >= 4


def test_live_partial_files_of_workers_survive_another_opening(study):
    worker = run_python(
        """
        import os, sys
        from pathlib import Path
        from napari_marrow.study.process import ThisProcess, HOST
        Path(sys.argv[1], f"x.{HOST}~{os.getpid()}~{ThisProcess.started()}~ab12.partial").write_text("in progress")
        print("ready", flush=True)
        sys.stdin.read()
        """,
        study.path,
        stdin=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdin is not None
    worker.stdout.readline()
    with Study.open(study.path, mode="a").write_lock():
        assert list(study.path.glob("*.partial"))
    worker.stdin.close()
    worker.wait(30)
    worker.stdout.close()
    with Study.open(study.path, mode="a").write_lock():
        assert not list(study.path.glob("*.partial"))


def test_workers_write_labels_and_parts_side_by_side(study, fill):
    """Processes share the holder's lock: each writes its own frames, all add to the same list of labels."""
    fill(study, shape=(6, 1, 1, 40, 40))
    code = """
        import sys
        import numpy as np, pandas as pd
        from napari_marrow.study import Study
        study, worker = Study.open(sys.argv[1], mode="a"), int(sys.argv[2])
        print("ready", flush=True)
        sys.stdin.readline()
        for t in range(worker, 6, 3):
            for name in ("cells", "vessels", f"own{worker}"):
                study.write_labels(name, "k1", "B02_f00", 0, t, np.full((40, 40), t + 1))
            unit = {"position": "B02_f00", "session": 0, "t": t}
            study.commit("things", "k1", unit, pd.DataFrame({"t": [t]}))
        """
    with study.write_lock():
        workers = [run_python(code, study.path, n, stdin=subprocess.PIPE) for n in range(3)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.communicate("go\n", timeout=60)
            assert worker.returncode == 0
        study.set_active({"segment": "k1"}, tables={"things": "k1"})
    for t in range(6):
        assert (study.labels("cells", "k1", "B02_f00", 0).read(t) == t + 1).all()
    assert list(study.table("things")["t"]) == list(range(6))
    names = json.loads((study.image("B02_f00", 0).path / "labels" / "zarr.json").read_text())
    assert names["attributes"]["ome"]["labels"] == ["cells_k1", "own0_k1", "own1_k1", "own2_k1", "vessels_k1"]
    assert study.verify() == [], "labels of some frames only are no loss"
    lost = study.labels("own1", "k1", "B02_f00", 0).path / "0" / "c.4.0.0.0.0"
    lost.unlink()
    assert [(p.kind, Path(p.path).parts[-3]) for p in study.verify()] == [("missing", "own1_k1")]


# --- kills

_WRITE = """
import sys, time
import numpy as np
from napari_marrow.study import Study
from napari_marrow.study.durable import read_document, write_document
study = Study.open(sys.argv[1], mode="a")
n = int(sys.argv[2])
with study.add_session(
    "B02_f00", 0, channels=["nuclei"], spacing=(1, 1, 1), shape=(n, 1, 1, 300, 300), dtype="uint16", start_h=0,
    time_s=[60.0 * t for t in range(n)],
) as writer:
    left = writer.missing
    print(len(left), flush=True)
    for t in left:
        writer.write(t, np.random.default_rng(t).integers(0, 4000, (1, 1, 300, 300)).astype("uint16"))
        print(t, flush=True)
        time.sleep(0.01)  # who kills must be in time even on a busy machine
"""


def test_kill_9_in_the_middle_and_resume(study):
    """Killed at random moments: nothing wrong, nothing visible too early, nothing written twice."""
    n, rng = 80, random.Random(5)
    for _ in range(3):
        writer = run_python(_WRITE, study.path, n)
        assert writer.stdout is not None
        for _ in range(2 + rng.randrange(8)):
            writer.stdout.readline()
        time.sleep(0.02 * rng.random())
        writer.kill()
        writer.wait(60)
        writer.stdout.close()
        opened = Study.open(study.path)
        assert opened.positions == []
        assert {p.kind for p in opened.verify()} <= {"unfinished", "orphan"}
    last = run_python(_WRITE, study.path, n)
    left, *written = map(int, last.communicate(timeout=120)[0].split())
    assert last.returncode == 0
    assert 0 < left == len(written) < n - 3, "the last attempt went on where the others had stopped"
    image = study.image("B02_f00", 0)
    for t in range(n):
        expected = np.random.default_rng(t).integers(0, 4000, (1, 1, 300, 300)).astype("uint16")
        np.testing.assert_array_equal(image.read(t), expected)
    assert study.verify() == []


def test_an_unfinished_session_is_invisible_resumes_or_is_replaced(study):
    def begin(n: int = 3, value: int = 0):
        return study.add_session(
            "B02_f00", 0, channels=["a"], spacing=(1, 1, 1), shape=(n, 1, 1, 8, 8), dtype="uint8", start_h=0,
            time_s=[float(t) for t in range(n)],
        )  # fmt: skip

    frame = np.ones((1, 1, 8, 8), np.uint8)
    with pytest.raises(RuntimeError, match="power cut"), begin() as writer:  # noqa: PT012
        writer.write(1, frame)
        raise RuntimeError("power cut")
    assert study.positions == []
    assert not study.frames().shape[0]
    assert [p.kind for p in study.verify()] == ["unfinished"]
    with pytest.raises(StudyError, match="lacks 2 of 3 frames"), begin() as writer:
        assert writer.missing == [0, 2]
    with begin(2) as writer:  # another plan: nothing of the old one is used
        assert writer.missing == [0, 1]
        for t in range(2):
            writer.write(t, frame)
    assert study.image("B02_f00", 0).shape[0] == 2
    assert study.verify() == []


def test_abort_and_removal_leave_the_study_as_it_was(study, fill):
    def files() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in study.path.rglob("*") if p.is_file()}

    def folders() -> set[Path]:
        return {p for p in study.path.rglob("*") if p.is_dir()}

    for position in ("B02_f00", "B02_f01", "D07_f00"):
        before, tree = files(), folders()
        writer = study.add_session(
            position, 5, channels=["a"], spacing=(1, 1, 1), shape=(2, 1, 1, 8, 8), dtype="uint8", start_h=0,
            time_s=[0, 1], utc="2026-01-06T00:00:00+00:00",
        )  # fmt: skip
        writer.write(0, np.ones((1, 1, 8, 8), np.uint8))
        writer.abort()
        assert (files(), folders()) == (before, tree)
        fill(study, position, 6, utc="2026-01-06T00:00:00+00:00")
        study.remove_session(position, 6)
        assert (files(), folders()) == (before, tree)
        fill(study, position, 0)
        assert study.verify() == []


# --- a full disk


@pytest.fixture
def small_disk(tmp_path: Path):
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this machine does not let us mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_sentence_and_the_work_goes_on_after_it(small_disk):
    study = Study.create(small_disk / "s.marrow")
    frames = np.random.default_rng(0).integers(0, 65536, (12, 1, 1, 400, 400)).astype(np.uint16)

    def begin():
        return study.add_session(
            "B02_f00", 0, channels=["a"], spacing=(1, 1, 1), shape=frames.shape, dtype="uint16", start_h=0,
            time_s=list(range(12)),
        )  # fmt: skip

    ballast = small_disk / "ballast"
    with pytest.raises(StorageError, match=r"disk is full: .* Free some space"), begin() as writer:  # noqa: PT012
        for t in range(12):
            writer.write(t, frames[t])
    kept = 12 - len(begin_missing(begin))
    assert 4 < kept < 12
    assert not list(study.path.rglob("*.partial"))
    ballast.write_bytes(b"\0" * max(0, shutil.disk_usage(small_disk).free - 4096))
    before = study.active
    with pytest.raises(StorageError, match="disk is full"):
        study.commit("things", "k", {}, pd.DataFrame({"x": np.random.default_rng(0).random(50_000)}))
    assert study.committed("things", "k") == []
    assert Study.open(study.path).active == before
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    with begin() as writer:
        for t in writer.missing:
            writer.write(t, frames[t])
    np.testing.assert_array_equal(study.image("B02_f00", 0).read(11), frames[11])
    assert study.verify() == []


def begin_missing(begin) -> list[int]:
    writer = begin()
    missing = writer.missing
    writer.leave()
    return missing


def test_a_read_only_place_is_one_sentence(study, small_disk):
    target = small_disk / "s.marrow"
    shutil.copytree(study.path, target)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    opened = Study.open(target, mode="a")
    assert opened.name == "weeks"
    with pytest.raises(StorageError, match="cannot be written"):
        opened.set_t0("2026-01-01T00:00:00+00:00")
    with pytest.raises(StorageError, match="cannot be written"), opened.share_lock(1, 2):
        pass
    assert Study.open(target).verify() == []
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


def test_labels_that_were_only_begun_are_unfinished_and_gone_on_with(study, fill):
    fill(study)
    folder = study.image("B02_f00", 0).path / "labels"
    for made, begun in [("cells_k1", folder), ("vessels_k1", folder / "vessels_k1")]:
        (folder / made / "0").mkdir(parents=True)
        assert [(p.kind, study.path / p.path) for p in study.verify()] == [("unfinished", begun)]
        study.write_labels(made.split("_")[0], "k1", "B02_f00", 0, 0, np.ones((40, 52), np.int32))
        assert study.verify() == []
    names = folder / "zarr.json"
    before = names.read_bytes()
    study.write_labels("organoid", "k1", "B02_f00", 0, 0, np.ones((40, 52), np.int32))
    names.write_bytes(before)  # killed before the list was written
    study.set_active({"structures": "k1"})
    assert "organoid_k1" in names.read_text()


def test_a_clock_that_was_set_back_does_not_change_the_order_of_runs(study, monkeypatch):
    from datetime import datetime, timedelta

    class Clock(datetime):
        shift = timedelta()

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + cls.shift

    monkeypatch.setattr("napari_marrow.study.journal.datetime", Clock)
    monkeypatch.setattr("napari_marrow.study.lock.datetime", Clock)
    for step, hours in [("quality", 0), ("correct", -30), ("register", -30), ("segment", 400)]:
        Clock.shift = timedelta(hours=hours)
        with study.write_lock():
            study.record_run(step, "k1", {"status": "finished"})
    assert [run["step"] for run in study.runs()] == ["quality", "correct", "register", "segment"]
    assert [run["number"] for run in study.runs()] == [1, 2, 3, 4]


def test_documents_that_name_places_outside_are_damaged_and_nothing_outside_is_read(study, fill, tmp_path):
    filled(study, fill)
    (tmp_path / "secret.txt").write_text("not the study's")
    (study.path / "report").mkdir()
    outside = {"../../secret.txt": "00000000", str(tmp_path / "secret.txt"): "00000000"}
    write_document(study.path / "report" / "checksums.json", {"files": outside})
    manifest = study.path / "tables" / "things" / "m1" / "manifest.json"
    document = read_document(manifest)
    write_document(manifest, {**document, "parts": [*document["parts"], "../../../../x.parquet", "/x.parquet"]})
    problems = study.verify()
    assert [p.kind for p in problems if "checksums.json" in p.path] == ["damaged", "damaged"]
    assert {p.path for p in problems if p.kind == "missing"} == {
        "tables/things/m1/../../../../x.parquet", "/x.parquet"
    }  # fmt: skip
