"""A study that the recipe was run on, made once for all tests of the pipeline."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_marrow.pipeline import Recipe, RunSummary, parse_recipe, run


@pytest.fixture(scope="session")
def quick_recipe() -> Recipe:
    """Every step, with few simulations."""
    return parse_recipe({"niche": {"n_simulations": 39, "every_h": 1000}, "lineage": {"n_bootstrap": 99}})


@pytest.fixture(scope="session")
def whole_run(
    imported_tiny_study: Path, quick_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunSummary]:
    """A finished study and the summary of its run; do not change it (take `finished_copy`)."""
    path = Path(shutil.copytree(imported_tiny_study, tmp_path_factory.mktemp("whole") / "tiny.marrow"))
    return path, run(path, quick_recipe)


@pytest.fixture
def finished_copy(whole_run: tuple[Path, RunSummary], tmp_path: Path) -> Path:
    """A copy of a finished study."""
    return Path(shutil.copytree(whole_run[0], tmp_path / "finished.marrow"))


_SLURM_CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 State=UNKNOWN
PartitionName=short Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A SLURM of one node on this machine, without cgroups and accounting; the folder of its logs."""
    if "slurm" not in request.config.getoption("markexpr"):
        pytest.skip("takes minutes: asked for by `pytest -m slurm`")
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and Debian's slurm-wlm and munge; missing: {', '.join(missing) or 'root'}")
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # pytest's own folders are too long for a socket's name
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(secrets.token_bytes(1024))
    munge = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{end}" for option, end in munge.items()]
    conf = folder / "slurm.conf"
    conf.write_text(_SLURM_CONF.format(host=socket.gethostname().split(".")[0], folder=folder, ports=_free_ports(2)))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    (folder / "spool").mkdir()
    daemons = [
        subprocess.Popen(command)
        for command in (["munged", "--force", "--foreground", f"--key-file={key}", *options], ["slurmctld", "-D"],
                        ["slurmd", "-D"])
    ]  # fmt: skip
    deadline = time.monotonic() + 60
    while subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout.strip() != "idle":
        assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
        time.sleep(0.5)
    yield folder
    subprocess.run(["scancel", "--full", "--user=root"], check=False)
    for daemon in reversed(daemons):
        daemon.terminate()
        daemon.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
