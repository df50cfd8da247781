"""Chunks computed on a Ray cluster: the extra ``graphium[ray]``, imported only when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from graphium.data.store.workers import Job
from graphium.errors import GraphiumError

# Tasks in flight for every core of the cluster: one at work and one waiting.
_AHEAD = 2


def remote_results(
    jobs: Iterable[Job], function: Callable[..., Any], shared: tuple[Any, ...], n_jobs: int
) -> Iterator[tuple[Job, Any]]:
    """Every job with what its call returned, or None where the process died of it; in any order.

    Runs on the cluster that this process is connected to, else on one that can be found
    (``RAY_ADDRESS``), with all its cores; else on a local one of ``n_jobs`` cores, which is shut down at
    the end. Jobs are read lazily: a bounded number is in flight.

    Raises:
        GraphiumError: Ray is not installed.
        Exception: whatever the function raised.
    """
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError:
        raise GraphiumError(
            "engine=ray needs Ray, which is not installed; run `pip install 'graphium[ray]'` or use engine=local"
        ) from None
    todo = iter(jobs)
    with _connected(ray, n_jobs):
        # A dead worker is the caller's affair, who finds the row that did it.
        call = ray.remote(max_retries=0)(_call)
        task = ray.put((function, shared))
        at_most = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        running: dict[Any, Job] = {}
        try:
            while True:
                while len(running) < at_most and (job := next(todo, None)) is not None:
                    running[call.remote(task, job.arguments)] = job
                if not running:
                    return
                done, _ = ray.wait(list(running), num_returns=1)
                job = running.pop(done[0])
                try:
                    result = ray.get(done[0])
                except RayTaskError as error:
                    raise error.cause from None
                except RayError:
                    result = None
                yield job, result
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _call(task: tuple[Callable[..., Any], tuple[Any, ...]], arguments: tuple[Any, ...]) -> Any:
    function, shared = task
    return function(*shared, *arguments)


@contextmanager
def _connected(ray: Any, n_jobs: int) -> Iterator[None]:
    """A connection to a Ray cluster; one that is made here ends here."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        ray.init(address="local", num_cpus=n_jobs, include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()
