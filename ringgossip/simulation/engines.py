"""Who does the work of a sweep? Any `concurrent.futures.Executor`: a pool of processes, or Dask's."""

import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from typing import Any

from ringgossip.errors import UsageError


class Here(Executor):
    """Does everything at once in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def is_lost(error: Exception) -> bool:
    """Tell whether what failed is a worker, and not what it ran."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"  # as Dask calls it


def _ignore_interrupts() -> None:
    """Ctrl-C reaches the whole group of processes; the one that a person started decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def engine(name: str = "processes", jobs: int = 1, scheduler: str | None = None) -> Iterator[Executor]:
    """Give an executor with `jobs` workers; what still runs at the end is stopped at once.

    With `dask`, workers are those of the `scheduler` at that address, or a cluster
    on this machine. Raises `UsageError` if Dask is not installed.
    """
    if name == "dask":
        yield from _dask(jobs, scheduler)
    elif jobs <= 1:
        yield Here()
    else:
        pool = ProcessPoolExecutor(jobs, mp_context=get_context("forkserver"), initializer=_ignore_interrupts)
        try:
            yield pool
        finally:
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            # A run cannot be told to stop; its process can.
            for worker in workers:
                worker.terminate()


def _dask(jobs: int, scheduler: str | None) -> Iterator[Executor]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise UsageError("--engine dask needs Dask: pip install 'ringgossip[dask]'") from None
    if scheduler is not None:
        try:
            client = distributed.Client(scheduler)
        except (OSError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {scheduler!r}: {error}") from None
        with client:
            yield client.get_executor(pure=False)
        return
    # Status pages would listen on a port that somebody else may want.
    here: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": None}
    # Ctrl-C reaches workers too: each would show a traceback, and what it warns of is meant.
    here["silence_logs"] = logging.ERROR
    here["preload"] = ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"]
    with (
        distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, processes=True, **here) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor(pure=False)
