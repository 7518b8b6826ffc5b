"""What a cluster's workers are asked of its queue: a YAML file, one model for every queueing system."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_marrow.errors import MissingExtraError, PathMissingError, RecipeError
from napari_marrow.pipeline.yaml_models import read_yaml, sentence

CLASSES = {
    "slurm": "SLURMCluster",
    "lsf": "LSFCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "moab": "MoabCluster",
}


class ClusterFile(BaseModel):
    """Jobs of a queueing system, each of which runs workers; started and ended as the work asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: Literal["slurm", "lsf", "pbs", "sge", "moab", "local"] = Field(
        description="Queueing system; local starts the jobs on this machine, to try a file out."
    )
    minimum_jobs: int = Field(0, ge=0, description="Jobs that are kept while there is no work.")
    maximum_jobs: int = Field(10, ge=1, description="Jobs at most.")
    cores: int = Field(1, ge=1, description="Cores of a job; each runs a worker process.")
    memory: str = Field(
        "4GB", pattern=r"^\d+(\.\d+)? ?[kKMGT]?i?B$", description="Memory of a job, all its workers together."
    )
    walltime: str | None = Field(None, description="Longest time of a job, as the system writes it.")
    queue: str | None = Field(None, description="Queue or partition.")
    account: str | None = Field(None, description="Account or project that is charged.")
    directives: list[str] = Field(
        default_factory=list, description="Further lines of the job's header, without #SBATCH."
    )
    before: list[str] = Field(
        default_factory=list, description="Shell lines before the worker starts, such as module load."
    )
    python: str | None = Field(None, description="Python of the workers; this one by default.")
    interface: str | None = Field(
        None, description="Network interface that workers reach the scheduler by, such as ib0."
    )
    scratch: str | None = Field(None, description="Local folder of the workers.")
    log_folder: str | None = Field(None, description="Where the jobs write their output.")
    lost_workers: int = Field(
        10, ge=0, description="How many workers a unit may lose (killed, preempted, out of time) before the run stops."
    )

    def open(self) -> Any:
        """Start the scheduler in this process and let it ask for jobs as there is work.

        Returns
        -------
        dask_jobqueue.JobQueueCluster

        Raises
        ------
        MissingExtraError
            If dask-jobqueue is not installed.
        """
        try:
            import dask_jobqueue
            from dask_jobqueue.local import LocalCluster
        except ImportError as error:
            raise MissingExtraError(
                "Clusters need dask-jobqueue: install it with `pip install 'napari-marrow[cluster]'`."
            ) from error
        made = LocalCluster if self.system == "local" else getattr(dask_jobqueue, CLASSES[self.system])
        cluster = made(**self._arguments())
        cluster.adapt(minimum_jobs=self.minimum_jobs, maximum_jobs=self.maximum_jobs, interval="2s", wait_count=15)
        return cluster

    def _arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "cores": self.cores,
            "processes": self.cores,  # a process per core: one thread each
            "memory": self.memory,
            "job_extra_directives": self.directives,
            "job_script_prologue": self.before,
            "interface": self.interface,
            "local_directory": self.scratch,
            "log_directory": self.log_folder,
            "scheduler_options": {"dashboard_address": ":0"},
            "python": self.python,
            "walltime": self.walltime,
            "queue": self.queue,
            "project" if self.system in ("lsf", "sge") else "account": self.account,
        }
        if self.system == "local":
            del arguments["account"]
        kept = {name: value for name, value in arguments.items() if value is not None}
        return {**kept, "name": "napari-marrow"} if self.system == "local" else {**kept, "job_name": "napari-marrow"}


def load_cluster(path: Path | str) -> ClusterFile:
    """Read a cluster file.

    Raises
    ------
    PathMissingError
        If there is no such file.
    RecipeError
        If it is no YAML mapping, or has an unknown key or a value out of bounds.
    """
    path = Path(path)
    if not path.is_file():
        raise PathMissingError(f"There is no cluster file at '{path}': see docs/how-to/cluster.md for one.")
    content = read_yaml(path, f"The cluster file '{path}'")
    if not isinstance(content, dict):
        raise RecipeError(f"The cluster file '{path}' holds {type(content).__name__}, not a mapping.")
    try:
        return ClusterFile.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"The cluster file '{path}' does not fit: {sentence(error, ClusterFile)}.") from error
