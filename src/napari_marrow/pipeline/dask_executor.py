"""Units on a Dask cluster: of this machine, at an address, or of a queueing system."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_marrow import __version__
from napari_marrow.errors import MarrowError
from napari_marrow.pipeline.executors import Work, usable_cores
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.pipeline.cluster_file import ClusterFile

AHEAD = 2000
"""Tasks that the scheduler knows at a time: enough for any cluster to grow by, few enough to weigh nothing."""
TASK_S = 1.0
"""Seconds that a task should take: chains that take less share one, since each task costs the scheduler about 1 ms."""
MOST_CHAINS = 64
CONNECT_S = 20.0


class DaskExecutor:
    """A `dask.distributed` cluster.

    Workers compute one task at a time, whatever their number of threads, so that a unit's caches and files have one
    user. Units of a worker that dies are computed elsewhere; those that it had committed are not computed again.

    Parameters
    ----------
    address : str, optional
        Of a running scheduler, ``"tcp://host:8786"``; without it (and without `cluster`) processes of this machine are
        started.
    workers : int, optional
        Processes of this machine; as many as usable cores by default.
    cluster : ClusterFile, optional
        Jobs of a queueing system, started and ended as there is work.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, cluster: ClusterFile | None = None
    ) -> None:
        self.address = address
        self.workers = workers
        self.cluster = cluster
        self._client: Any = None
        self._started: Any = None

    def run(self, work: Work, chains: Sequence[Sequence[Any]], cancel: CancelToken) -> Iterator[Any]:
        """Yield results as workers finish them.

        Raises
        ------
        MarrowError
            If the scheduler is lost, or a task was lost with too many workers.
        """
        client = self._open()
        todo = _Batches(chains)
        finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        pending: set[Any] = set()
        try:
            while True:
                cores = max(1, sum(client.nthreads().values())) if len(pending) < AHEAD and todo.left else 1
                while len(pending) < AHEAD and todo.left:
                    future = client.submit(_run_batch, work, todo.next(cores), pure=False)
                    pending.add(future)
                    future.add_done_callback(finished.put)
                if not pending:
                    return
                for future in _next(finished, cancel):
                    pending.discard(future)
                    results, seconds = self._result(future)
                    todo.learn(len(results), seconds)
                    yield from results
                _check_alive(client)
        finally:
            if pending:
                with suppress(Exception):  # the scheduler may be gone
                    client.cancel(list(pending))

    def _result(self, future: Any) -> tuple[list[Any], float]:
        from distributed import KilledWorker

        try:
            results, seconds, error = future.result()
        except KilledWorker as lost:
            raise MarrowError(
                "A unit was lost with every worker that took it, most often for want of memory: give workers more "
                "memory and run again; finished units are kept."
            ) from lost
        except CancelledError as lost:
            raise MarrowError(_LOST) from lost
        if error is not None:
            raise error
        return results, seconds

    def _open(self) -> Any:
        if self._client is None:
            import dask
            from distributed import Client, LocalCluster

            if self.cluster is not None:
                dask.config.set({"distributed.scheduler.allowed-failures": self.cluster.lost_workers})
                self._started = self.cluster.open()
            elif self.address is None:
                self._started = LocalCluster(
                    n_workers=self.workers or usable_cores(),
                    threads_per_worker=1,
                    dashboard_address=None,
                    processes=True,
                )
            try:
                self._client = Client(self._started or self.address, timeout=CONNECT_S)
            except (OSError, TimeoutError, ValueError) as error:
                raise MarrowError(
                    f"No Dask scheduler answers at '{self.address}': start one with `dask scheduler`, or give none."
                ) from error
            self._client.register_plugin(_prepared_worker(), name="napari-marrow")
        return self._client

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        client, self._client = self._client, None
        started, self._started = self._started, None
        if client is not None:
            with suppress(TimeoutError, OSError):
                client.close()
        if started is not None:
            started.close()


_LOST = "The Dask scheduler was lost: run the same command again to continue; finished units are kept."


def _check_alive(client: Any) -> None:
    if client.status not in ("running", "connecting", "newly-created"):
        raise MarrowError(_LOST)


def _next(finished: queue.SimpleQueue[Any], cancel: CancelToken) -> list[Any]:
    """Return the tasks that ended, after a short wait at most."""
    cancel.raise_if_cancelled()
    try:
        ended = [finished.get(timeout=0.2)]
    except queue.Empty:
        return []
    with suppress(queue.Empty):
        while True:
            ended.append(finished.get_nowait())
    return ended


class _Batches:
    """Chains in the order in which they are handed out, several at a time where each takes little."""

    def __init__(self, chains: Sequence[Sequence[Any]]) -> None:
        self._chains = chains
        self._at = 0
        self._seconds = 0.0
        self._done = 0

    @property
    def left(self) -> int:
        return len(self._chains) - self._at

    def learn(self, n: int, seconds: float) -> None:
        self._done += n
        self._seconds += seconds

    def next(self, cores: int) -> list[Sequence[Any]]:
        each = self._seconds / self._done if self._done else TASK_S
        size = round(TASK_S / max(each, 1e-6))
        # Towards the end the batches shrink, so that no worker waits for another's long batch.
        size = max(1, min(size, MOST_CHAINS, self.left // (4 * cores)))
        batch: list[Sequence[Any]] = [list(chain) for chain in self._chains[self._at : self._at + size]]
        self._at += size
        return batch


_ONE_AT_A_TIME = threading.Lock()


def _run_batch(work: Work, chains: Sequence[Sequence[Any]]) -> tuple[list[Any], float, Exception | None]:
    """Compute chains in a worker; an error comes back beside what was finished before it."""
    with _ONE_AT_A_TIME:
        started = time.perf_counter()
        results: list[Any] = []
        try:
            for chain in chains:
                for task in chain:
                    results.append(work(task))
        except Exception as error:
            return results, time.perf_counter() - started, error
        return results, time.perf_counter() - started, None


def _prepared_worker() -> Any:
    """Return the plugin that prepares each worker when it joins, also those that come later."""
    from distributed import WorkerPlugin

    class PreparedWorker(WorkerPlugin):  # type: ignore[misc, unused-ignore]
        """Gives a worker one thread for numerical libraries, and refuses another version of this package."""

        def __init__(self, version: str) -> None:
            self.version = version

        def setup(self, worker: Any) -> None:
            """Prepare the worker's process."""
            from napari_marrow import __version__ as here  # the worker's own: names outside travel with the class
            from napari_marrow.pipeline.executors import prepare_worker

            if self.version != here:
                raise RuntimeError(f"the worker has napari-marrow {here}, the run {self.version}")
            prepare_worker()

    return PreparedWorker(__version__)
