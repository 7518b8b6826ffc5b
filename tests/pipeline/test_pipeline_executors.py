"""A Dask cluster of separate processes, shares of a job array, cluster files and job scripts."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_marrow.__main__ import main
from napari_marrow.errors import MarrowError, RecipeError, SettingsError, StudyError, StudyLockedError
from napari_marrow.pipeline import DaskExecutor, ProcessExecutor, dump_recipe, executor_for, run
from napari_marrow.pipeline.cluster_file import CLASSES, load_cluster
from napari_marrow.pipeline.job_templates import job_template, stages
from napari_marrow.pipeline.shares import Share, run_share
from napari_marrow.progress import CancelToken
from napari_marrow.study import Study


def shards_of(path: Path) -> dict[str, bytes]:
    files = [p for p in path.rglob("labels/*/*/c.*") if p.is_file()]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def assert_same_results(path: Path, reference: Path) -> None:
    """Labels are the same files byte by byte, tables are equal."""
    found, expected = shards_of(path), shards_of(reference)
    assert found.keys() == expected.keys()
    assert all(found[name] == expected[name] for name in expected)
    a, b = Study.open(path), Study.open(reference)
    tables = {table: key for table, key in b.active_tables.items() if table != "report_files"}
    assert {table: key for table, key in a.active_tables.items() if table != "report_files"} == tables
    for table in sorted(tables):
        assert a.has_table(table) == b.has_table(table)
        if not b.has_table(table):
            continue
        assert a.table(table).equals(b.table(table)), table


@pytest.fixture
def dask_processes(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, each a process of its own, and the scheduler's address."""
    where = tmp_path / "scheduler.json"
    log = (tmp_path / "dask.log").open("wb")
    dask = [sys.executable, "-m", "dask"]
    options = ["--scheduler-file", str(where), "--no-dashboard"]
    scheduler = subprocess.Popen([*dask, "scheduler", *options, "--port", "0"], stdout=log, stderr=log)
    worker = [*dask, "worker", *options, "--nthreads", "2", "--no-nanny", "--local-directory", str(tmp_path)]
    workers = [subprocess.Popen(worker, stdout=log, stderr=log) for _ in range(2)]
    deadline = time.monotonic() + 60
    while not (where.is_file() and where.read_text().endswith("}")) and time.monotonic() < deadline:
        time.sleep(0.1)
    yield json.loads(where.read_text())["address"], workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()
    log.close()


def test_a_worker_that_is_killed_loses_no_unit_and_repeats_none(dask_processes, tiny_study, quick_recipe, whole_run):
    """Workers with two threads each: one task at a time all the same, and one load of the network."""
    address, workers = dask_processes
    seen: list[tuple[int, int]] = []
    committed: dict[Path, int] = {}

    def kill_one(done: int, total: int, message: str) -> None:
        if message == "Segmenting":
            seen.append((done, total))
        if message == "Segmenting" and done >= 3 and workers[0].poll() is None:
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()
            committed.update({p: p.stat().st_ino for p in tiny_study.glob("tables/segmentation/*/*/*.parquet")})

    summary = run(
        tiny_study, quick_recipe, executor=executor_for("dask", scheduler=address), progress=kill_one, until="lineage"
    )
    assert workers[0].poll() is not None
    assert seen[-1] == (14, 14)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert committed
    assert all(path.stat().st_ino == inode for path, inode in committed.items())
    assert next(s for s in summary.steps if s.name == "segment").computed == 14
    found, expected = shards_of(tiny_study), shards_of(whole_run[0])
    assert found == expected
    from distributed import Client

    with Client(address) as client:
        assert list(client.run(network_loads).values()) == [1]


@pytest.mark.parametrize(
    ("executor", "until"),
    [(ProcessExecutor(2), "lineage"), (DaskExecutor(workers=2), "quality")],
    ids=["processes", "dask"],
)
def test_processes_of_this_machine_give_the_same_files(executor, until, tiny_study, quick_recipe, whole_run):
    run(tiny_study, quick_recipe, executor=executor, until=until)
    if until == "lineage":
        assert_same_results(tiny_study, whole_run[0])
    else:
        assert Study.open(tiny_study).table("quality").equals(Study.open(whole_run[0]).table("quality"))


def network_loads() -> int:
    from napari_marrow.pipeline.steps.segment import _loaded

    return int(_loaded.cache_info().misses)


# dask-jobqueue does not wait for the processes that stand in for jobs
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_jobs_of_a_cluster_file_come_with_the_work(tiny_study, quick_recipe, whole_run, tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text("system: local\nmaximum_jobs: 2\nmemory: 2GB\n")
    executor = executor_for("dask", cluster=file)
    run(tiny_study, quick_recipe, executor=executor, until="quality")
    assert executor._client is None
    expected = Study.open(whole_run[0]).table("quality")
    assert Study.open(tiny_study).table("quality").equals(expected)


def test_a_cluster_file_becomes_the_header_of_its_jobs(tmp_path):
    import dask_jobqueue

    file = tmp_path / "slurm.yaml"
    file.write_text(
        "system: slurm\nqueue: short\naccount: lab\ncores: 4\nmemory: 16GB\nwalltime: '02:00:00'\n"
        "directives: ['--exclusive']\nbefore: ['module load python']\nmaximum_jobs: 50\n"
    )
    cluster = load_cluster(file)
    with dask_jobqueue.SLURMCluster(**cluster._arguments()) as started:
        script = started.job_script()
    for line in ("-p short", "-A lab", "-t 02:00:00", "--exclusive"):
        assert f"#SBATCH {line}" in script
    assert "module load python" in script
    assert "--nthreads 1" in script
    assert "--nworkers 4" in script
    for system, name in CLASSES.items():
        other = cluster.model_copy(update={"system": system})
        with getattr(dask_jobqueue, name)(**other._arguments()) as started:
            script = started.job_script()
        assert "short" in script
        assert "lab" in script
    for content, wanted in [
        ("system: slurm\nmaximum_job: 5\n", "did you mean 'maximum_jobs'"),
        ("system: sun\n", "'system' is 'sun'"),
        ("system: !!python/object/apply:os.system ['true']\n", "no plain YAML"),
        ("- a\n", "not a mapping"),
    ]:
        file.write_text(content)
        with pytest.raises(RecipeError, match=wanted):
            load_cluster(file)


def test_executors_refuse_what_does_not_go_together(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_marrow.pipeline.dask_executor.CONNECT_S", 1.0)
    with pytest.raises(SettingsError, match="executor dask"):
        executor_for("serial", scheduler="tcp://h:1")
    with pytest.raises(SettingsError, match="choose one"):
        executor_for("dask", scheduler="tcp://h:1", cluster=tmp_path)
    executor = DaskExecutor("tcp://127.0.0.1:9")
    with pytest.raises(MarrowError, match=r"No Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        list(executor.run(abs, [[1]], CancelToken()))


def test_shares_one_after_the_other_give_the_whole(tiny_study, quick_recipe, whole_run):
    with pytest.raises(StudyError, match=r"'quality' looks at more than a frame.*--until quality"):
        run_share(tiny_study, Share(1, 3), quick_recipe)
    run(tiny_study, quick_recipe, until="register")
    parts = [run_share(tiny_study, Share(k, 3), quick_recipe) for k in (1, 2, 3)]
    assert [[s.name for s in part.steps] for part in parts] == [["structures", "segment", "paint", "measure"]] * 3
    per_share = [next(s.computed for s in part.steps if s.name == "segment") for part in parts]
    assert sum(per_share) == 14
    assert min(per_share) > 0
    assert run_share(tiny_study, Share(2, 3), quick_recipe).steps[1].computed == 0
    assert set(Study.open(tiny_study).active) == {"quality", "correct", "register"}
    with pytest.raises(StudyError, match=r"'classify' looks at more"):
        run_share(tiny_study, Share(1, 3), quick_recipe, until="niche")
    rest = run(tiny_study, quick_recipe, until="lineage")
    computed = {s.name: s.computed for s in rest.steps}
    assert computed["structures"] == computed["segment"] == computed["measure"] == 0
    assert computed["track"] > 0
    assert_same_results(tiny_study, whole_run[0])
    assert Study.open(tiny_study).verify() == []
    records = [r for r in Study.open(tiny_study).runs() if r["info"].get("share") == "3/3"]
    assert {r["step"] for r in records} == {"structures", "segment", "measure"}


def test_a_share_keeps_off_those_who_want_the_whole_study_and_the_other_way_round(tiny_study):
    study, other = Study.open(tiny_study, mode="a"), Study.open(tiny_study, mode="a")
    with study.share_lock(1, 4), study.share_lock(2, 4):
        with pytest.raises(StudyLockedError, match=r"is being written by .*process \d+ on host"), other.write_lock():
            pass
        with pytest.raises(StudyLockedError), other.share_lock(1, 4):
            pass
    with other.write_lock(), pytest.raises(StudyLockedError), study.share_lock(1, 4):
        pass
    assert not list(tiny_study.glob("*.lock"))
    stale = {"host": "elsewhere", "pid": 1, "started": "", "since": "2026-01-01T00:00:00+00:00", "token": "x"}
    (tiny_study / "share-3-of-4.lock").write_text(json.dumps(stale))
    with pytest.raises(StudyLockedError, match=r"elsewhere.*delete 'share-3-of-4.lock'"), study.write_lock():
        pass
    with study.share_lock(3, 4):  # the same job on another host
        pass
    with study.write_lock():
        pass


def test_many_who_want_a_share_or_the_whole_never_meet(tiny_study):
    inside: list[str] = []
    met: list[set[str]] = []

    def work(kind: int) -> None:
        study, times, deadline = Study.open(tiny_study, mode="a"), 0, time.monotonic() + 60
        while times < 4 and time.monotonic() < deadline:
            try:
                with study.write_lock() if kind == 0 else study.share_lock(kind, 3):
                    inside.append("whole" if kind == 0 else "share")
                    met.append(set(inside))
                    time.sleep(0.002)
                    inside.pop()
                times += 1
            except StudyLockedError:
                pass
            time.sleep(0.001 * kind)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(met) == 16
    assert {"whole", "share"} not in met


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(SettingsError, match="is no share"):
        Share.parse(text)


def test_the_slurm_script_runs_a_recipe_to_its_end(tiny_study, quick_recipe, whole_run, tmp_path, capsys):
    """A stand-in for sbatch notes the jobs; they are then run in order, arrays with each of their numbers."""
    recipe = tmp_path / "my recipe.yaml"
    recipe.write_text(dump_recipe(quick_recipe), encoding="utf-8")
    script = tmp_path / "submit.sh"
    assert main(
        ["template", "slurm", str(tiny_study), "--recipe", str(recipe), "--shares", "2", "--out", str(script)]
    ) == 0  # fmt: skip
    folder = tmp_path / "bin"
    folder.mkdir()
    sbatch = folder / "sbatch"
    sbatch.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"with open({str(tmp_path / 'jobs')!r}, 'a+') as jobs:\n"
        "    jobs.seek(0); print(len(jobs.readlines()) + 1)\n    jobs.write(json.dumps(sys.argv[1:]) + '\\n')\n"
    )
    sbatch.chmod(0o755)
    subprocess.run(["bash", str(script)], check=True, env={"PATH": f"{folder}:/usr/bin:/bin"}, capture_output=True)
    jobs = [json.loads(line) for line in (tmp_path / "jobs").read_text().splitlines()]
    assert [next((a for a in job if a.startswith("--dependency")), "") for job in jobs] == [
        "", *(f"--dependency=afterok:{k}" for k in range(1, len(jobs)))
    ]  # fmt: skip
    for job in jobs:
        command = job[job.index("--wrap") + 1].replace("--executor processes", "")
        for number in "12" if "--array=1-2" in job else "1":
            words = shlex.split(command.replace("$SLURM_ARRAY_TASK_ID", number))
            assert words[0] == "marrow"
            last = [] if "--until" in words else ["--until", "lineage"]  # the report takes long and is not compared
            assert main([*words[1:], *last]) == 0, words
    capsys.readouterr()
    assert_same_results(tiny_study, whole_run[0])


@pytest.mark.slow
@pytest.mark.slurm
def test_slurm_runs_the_generated_script(slurm, tiny_study, quick_recipe, whole_run, tmp_path):
    """As a user does: the template, its last job cut short of the report, and bash."""
    recipe, script = tmp_path / "my recipe.yaml", tmp_path / "submit.sh"
    recipe.write_text(dump_recipe(quick_recipe), encoding="utf-8")
    head, last = job_template("slurm", tiny_study, recipe, 2).rsplit("--executor processes", 1)
    log = tmp_path / "job_%A_%a.log"
    script.write_text(f"{head}--executor processes --until lineage{last}".replace("--parsable", f"--parsable -o {log}"))
    subprocess.run(["bash", str(script)], check=True, capture_output=True)
    deadline = time.monotonic() + 285
    while waiting := _queue():
        assert "DependencyNeverSatisfied" not in waiting, [p.read_text() for p in tmp_path.glob("job_*.log")]
        assert time.monotonic() < deadline, waiting
        time.sleep(1)
    frames = [stage for stage in stages() if stage.by_frame]
    assert len(list(tmp_path.glob("job_*_[12].log"))) == 2 * len(frames)  # a log for each number of an array
    assert_same_results(tiny_study, whole_run[0])


@pytest.mark.slow
@pytest.mark.slurm
def test_dask_asks_slurm_for_workers(slurm, tiny_study, quick_recipe, whole_run, tmp_path):
    """The workers come as jobs of the queue, and go when the run is over."""
    file = tmp_path / "slurm.yaml"
    file.write_text(
        f"system: slurm\nqueue: short\ncores: 2\nmemory: 4GB\nwalltime: '00:10:00'\nmaximum_jobs: 1\n"
        f"interface: lo\nscratch: {tmp_path}\nlog_folder: {tmp_path}\n"
    )
    run(tiny_study, quick_recipe, executor=executor_for("dask", cluster=file), until="segment")
    assert list(tmp_path.glob("napari-marrow-*.out"))  # the job's output
    found, expected = shards_of(tiny_study), shards_of(whole_run[0])
    cells = {name for name in expected if "/labels/cells_" in name}
    assert cells
    assert all(found[name] == expected[name] for name in cells)
    deadline = time.monotonic() + 60
    while _queue():
        assert time.monotonic() < deadline, _queue()
        time.sleep(1)


def _queue() -> str:
    return subprocess.run(["squeue", "-h", "-o", "%i %T %R"], check=True, capture_output=True, text=True).stdout


def test_the_snakefile_names_every_stage_and_ends_with_the_last():
    text = job_template("snakemake", Path("/data/a study.marrow"), None, 7)
    assert [line.split()[1][:-1] for line in text.splitlines() if line.startswith("rule ")] == [
        "all", *(stage.name for stage in stages())
    ]  # fmt: skip
    assert "recipe" not in text.replace("a recipe of", "")
    compile(text.split("rule all")[0], "Snakefile", "exec")
    with pytest.raises(SettingsError, match="slurm, snakemake"):
        job_template("make", Path("/x"), None, 1)


def test_read_frames_are_shared_by_turns_and_none_is_left_out():
    from napari_marrow.pipeline.step import Unit

    units = [Unit("B02_f00", s, t) for s in range(3) for t in range(30)]
    place = {(u.position, u.session, u.t // 12): 0 for u in units}
    place = {block: k for k, block in enumerate(place)}
    parts = [Share(k, 4).units(units, place) for k in (1, 2, 3, 4)]
    assert sorted(u for part in parts for u in part) == sorted(units)
    assert np.ptp([len(part) for part in parts]) <= 24
