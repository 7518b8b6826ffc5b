"""Where units are computed: in this process, in several processes of this machine, or on a Dask cluster.

Every executor takes chains of tasks (a chain's tasks depend on each other and run in order) and yields each task's
result as it comes. Nothing else in the package knows Dask.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from napari_marrow.errors import MarrowError, MissingExtraError, SettingsError
from napari_marrow.progress import CancelToken

Work = Callable[[Any], Any]


class Executor(Protocol):
    """Computes chains of tasks."""

    def run(self, work: Work, chains: Sequence[Sequence[Any]], cancel: CancelToken) -> Iterator[Any]:
        """Yield ``work(task)`` for every task of every chain, in any order of chains."""
        ...


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class SerialExecutor:
    """One task after the other, in this process."""

    def run(self, work: Work, chains: Sequence[Sequence[Any]], cancel: CancelToken) -> Iterator[Any]:
        """Yield each result; the work itself looks at `cancel` between its tiles."""
        for chain in chains:
            for task in chain:
                cancel.raise_if_cancelled()
                yield work(task)


def _run_chain(work: Work, chain: Sequence[Any]) -> list[Any]:
    return [work(task) for task in chain]


class ProcessExecutor:
    """Several processes on this machine, each with one thread for numerical libraries.

    Parameters
    ----------
    workers : int, optional
        Number of processes; the number of usable cores by default.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or usable_cores()

    def run(self, work: Work, chains: Sequence[Sequence[Any]], cancel: CancelToken) -> Iterator[Any]:
        """Yield results as processes finish them.

        Raises
        ------
        MarrowError
            If a process dies (for instance because the machine ran out of memory).
        """
        # spawn: a forked child would inherit locks of the threads that OpenVINO and numba keep in the parent
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, mp_context=context, initializer=_one_thread) as pool:
            pending: set[Future[list[Any]]] = {pool.submit(_run_chain, work, chain) for chain in chains}
            try:
                while pending:
                    cancel.raise_if_cancelled()
                    done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield from future.result()
            except BrokenProcessPool as error:
                raise MarrowError(
                    "A worker process died, most often for want of memory: run again with fewer --workers; finished "
                    "units are kept."
                ) from error
            finally:
                for future in pending:
                    future.cancel()


def _one_thread() -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["NAPARI_MARROW_THREADS"] = "1"


class DaskExecutor:
    """A `dask.distributed` cluster: a scheduler's address, or one started on this machine.

    Parameters
    ----------
    address : str, optional
        Of a running scheduler, ``"tcp://host:8786"``; without it a local cluster of processes is started.
    workers : int, optional
        Processes of the local cluster.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self.address = address
        self.workers = workers

    def run(self, work: Work, chains: Sequence[Sequence[Any]], cancel: CancelToken) -> Iterator[Any]:
        """Yield results as workers finish them; units of a worker that dies are computed elsewhere."""
        try:
            from distributed import Client, LocalCluster, as_completed
        except ImportError as error:  # pragma: no cover - distributed is a base dependency
            raise MissingExtraError("Dask is not installed: pip install distributed.") from error
        cluster = None
        if self.address is None:
            cluster = LocalCluster(
                n_workers=self.workers or usable_cores(), threads_per_worker=1, dashboard_address=None, processes=True
            )
        client = Client(cluster or self.address)
        try:
            client.run(_one_thread)
            futures = [client.submit(_run_chain, work, list(chain), pure=False) for chain in chains]
            for future in as_completed(futures):
                if cancel.cancelled:
                    client.cancel(futures)
                    cancel.raise_if_cancelled()
                yield from future.result()
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


def executor_for(name: str, *, workers: int | None = None, scheduler: str | None = None) -> Executor:
    """Return the executor of a name.

    Parameters
    ----------
    name : {"serial", "processes", "dask"}
    workers : int, optional
        Number of processes (`processes` and a local Dask cluster).
    scheduler : str, optional
        Address of a Dask scheduler.

    Raises
    ------
    SettingsError
        For an unknown name, or a number of workers below 1.
    """
    if workers is not None and workers < 1:
        raise SettingsError(f"--workers is {workers}: give at least 1.")
    if name == "serial":
        return SerialExecutor()
    if name == "processes":
        return ProcessExecutor(workers)
    if name == "dask":
        return DaskExecutor(scheduler, workers)
    raise SettingsError(f"There is no executor '{name}': choose serial, processes or dask.")
