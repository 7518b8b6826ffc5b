"""Where units are computed: in this process, in several processes of this machine, or on a Dask cluster.

Every executor takes chains of tasks (a chain's tasks depend on each other and run in order) and yields each task's
result as it comes. Only `dask_executor` and `cluster_file` know Dask.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from napari_marrow.errors import MarrowError, SettingsError
from napari_marrow.pipeline.preferences import preferences
from napari_marrow.progress import CancelToken

Work = Callable[[Any], Any]


class Executor(Protocol):
    """Computes chains of tasks."""

    def run(self, work: Work, chains: Sequence[Sequence[Any]], cancel: CancelToken) -> Iterator[Any]:
        """Yield ``work(task)`` for every task of every chain, in any order of chains."""
        ...

    def close(self) -> None:
        """Let go of workers; a later `run` starts new ones."""
        ...


def usable_cores() -> int:
    """Return the number of cores that this process may use, at most as many as the user prefers."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, preferences()[0].threads or there)


class SerialExecutor:
    """One task after the other, in this process."""

    def run(self, work: Work, chains: Sequence[Sequence[Any]], cancel: CancelToken) -> Iterator[Any]:
        """Yield each result; the work itself looks at `cancel` between its tiles."""
        for chain in chains:
            for task in chain:
                cancel.raise_if_cancelled()
                yield work(task)

    def close(self) -> None:
        """Do nothing: there are no workers."""


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
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None

    def run(self, work: Work, chains: Sequence[Sequence[Any]], cancel: CancelToken) -> Iterator[Any]:
        """Yield results as processes finish them.

        Raises
        ------
        MarrowError
            If a process dies (for instance because the machine ran out of memory).
        """
        pool = self._open()
        pending: set[Future[list[Any]]] = {pool.submit(_run_chain, work, chain) for chain in chains}
        try:
            while pending:
                cancel.raise_if_cancelled()
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        except BrokenProcessPool as error:
            self.close()
            raise MarrowError(
                "A worker process died, most often for want of memory: run again with fewer --workers; finished "
                "units are kept."
            ) from error
        except KeyboardInterrupt:  # the second Ctrl-C: at once
            self._cut()
            raise
        finally:
            for future in pending:
                future.cancel()

    def _open(self) -> ProcessPoolExecutor:
        """Return the workers: they stay from step to step, since each takes seconds to load the libraries."""
        if self._pool is None:
            # spawn: a forked child would inherit locks of the threads that OpenVINO and numba keep in the parent
            context = multiprocessing.get_context("spawn")
            held, self._lifeline = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=_prepare_pooled_worker, initargs=(held,)
            )
        return self._pool

    def close(self) -> None:
        """End the workers after the tasks at hand; if the wait for these is interrupted, at once."""
        pool, self._pool = self._pool, None
        try:
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
        finally:
            self._cut()

    def _cut(self) -> None:
        """Let workers that still run end themselves."""
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None


_THREADS = "NAPARI_MARROW_THREADS"


def _prepare_pooled_worker(lifeline: Connection) -> None:
    """Prepare a worker process that ends with its parent, however that ends.

    Parameters
    ----------
    lifeline : Connection
        Nothing is ever sent through it; it breaks when the parent closes its end or dies.
    """
    prepare_worker()
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


def prepare_worker() -> None:
    """Give a worker process one thread, and leave Ctrl-C, which reaches every process of a terminal, to the parent."""
    with suppress(ValueError):  # not the main thread of a Dask worker: its nanny handles the signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", _THREADS):
        os.environ[name] = "1"


def worker_threads() -> int | None:
    """Return how many threads a unit may use: 1 in a worker process of many, else as many as the user prefers.

    None for as many as it likes.
    """
    named = os.environ.get(_THREADS, "")
    return int(named) if named.isdigit() else preferences()[0].threads


def executor_for(
    name: str, *, workers: int | None = None, scheduler: str | None = None, cluster: Path | None = None
) -> Executor:
    """Return the executor of a name.

    Parameters
    ----------
    name : {"serial", "processes", "dask"}
    workers : int, optional
        Number of processes (`processes` and a local Dask cluster).
    scheduler : str, optional
        Address of a Dask scheduler.
    cluster : Path, optional
        A cluster file, see `cluster_file.ClusterFile`.

    Raises
    ------
    SettingsError
        For an unknown name, a number of workers below 1, or a scheduler or cluster without Dask.
    """
    from napari_marrow.pipeline.dask_executor import DaskExecutor

    if workers is not None and workers < 1:
        raise SettingsError(f"--workers is {workers}: give at least 1.")
    if name != "dask" and (scheduler or cluster):
        raise SettingsError("--scheduler and --cluster are of the executor dask: give --executor dask as well.")
    if scheduler and cluster:
        raise SettingsError("--scheduler and --cluster were both given: choose one.")
    if name == "serial":
        return SerialExecutor()
    if name == "processes":
        return ProcessExecutor(workers)
    if name == "dask":
        from napari_marrow.pipeline.cluster_file import load_cluster

        return DaskExecutor(scheduler, workers, load_cluster(cluster) if cluster is not None else None)
    raise SettingsError(f"There is no executor '{name}': choose serial, processes or dask.")
