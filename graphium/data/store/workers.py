"""Processes that call a function again and again, where the death of one costs only its own call."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from graphium.errors import GraphiumError

# Jobs that are sent to a process in advance, so that it never waits: the one it works on and the next.
_AHEAD = 2
# Threads inside the processes would only fight for the cores that the processes already use.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Job(NamedTuple):
    """One call: ``about`` stays with the caller, ``arguments`` are sent to the process."""

    about: Any
    arguments: tuple[Any, ...]


class Workers:
    """A number of processes that call one function.

    Args:
        count: Number of processes.
        function: Called as ``function(*shared, *arguments)``; it stands in an importable module.
        shared: Arguments of every call; sent to each process once.
    """

    def __init__(self, count: int, function: Callable[..., Any], shared: tuple[Any, ...]) -> None:
        self._task = pickle.dumps((function, shared))
        self._count = count
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.stop()

    def results(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
        """Every job with what its call returned, or None where the process died of it; in any order.

        Jobs are read lazily, a few ahead of the work. A function whose result may be None cannot be told
        from a death.

        Raises:
            GraphiumError: a process cannot start.
            Exception: whatever the function raised.
        """
        todo, again = iter(jobs), deque[Job]()
        while True:
            self._hand_out(todo, again)
            busy = {worker.connection: worker for worker in self._workers if worker.jobs}
            if not busy:
                return
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                try:
                    if not worker.is_ready:
                        worker.begin()
                        continue
                    result = worker.receive()
                except EOFError:
                    self._workers.remove(worker)
                    worker.stop()
                    first, *rest = worker.jobs
                    again.extend(rest)
                    yield first, None
                else:
                    yield worker.jobs.popleft(), result

    def _hand_out(self, todo: Iterator[Job], again: deque[Job]) -> None:
        for level in range(_AHEAD):
            for place in range(self._count):
                if place < len(self._workers) and len(self._workers[place].jobs) > level:
                    continue
                job = again.popleft() if again else next(todo, None)
                if job is None:
                    return
                if place == len(self._workers):
                    self._workers.append(_Worker(self._task))
                self._workers[place].give(job)


class _Worker:
    """One process and the jobs that it has been given, the first of which it works on."""

    def __init__(self, task: bytes) -> None:
        self.jobs: deque[Job] = deque()
        self.is_ready = False
        # Forking a process that runs threads (torch, BLAS) can hang.
        context = get_context("spawn")
        self.connection, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end,), daemon=True)
        with _one_thread_each():
            self._process.start()
        far_end.close()
        self._send(task)

    def give(self, job: Job) -> None:
        """Add a job; it is sent as soon as the process takes messages."""
        self.jobs.append(job)
        if self.is_ready:
            self._send_job(job)

    def begin(self) -> None:
        """Take the process's word that it has started, and send it what it has been given."""
        try:
            self._answer()
        except EOFError:
            self._process.join(timeout=5)
            if (self._process.exitcode or 0) < 0:
                raise GraphiumError(
                    "a preparation process was killed while it started (out of memory?); run the same command again "
                    "with a smaller n_jobs or more memory, finished parts are kept"
                ) from None
            raise GraphiumError(
                "a preparation process ended while it started; where your own script calls graphium, put the "
                'call below `if __name__ == "__main__":`, or use n_jobs=1'
            ) from None
        self.is_ready = True
        for job in self.jobs:
            self._send_job(job)

    def receive(self) -> Any:
        """What the first job returned; EOFError where the process died of it."""
        return self._answer()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _send_job(self, job: Job) -> None:
        self._send(pickle.dumps(job.arguments, pickle.HIGHEST_PROTOCOL))

    def _send(self, message: bytes) -> None:
        # A process that has died is noticed when its answer is read.
        try:
            self.connection.send_bytes(message)
        except OSError:
            return

    def _answer(self) -> Any:
        try:
            answer, error = self.connection.recv()
        except OSError:
            raise EOFError from None
        if error is not None:
            raise error
        return answer


def _serve(connection: Connection) -> None:
    """What a process does: it calls the function until its parent ends or stops it."""
    # Ctrl-C reaches all processes of a terminal; the parent decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, messages), daemon=True).start()
    try:
        function, shared = pickle.loads(messages.get())
        connection.send((None, None))
        while True:
            connection.send((function(*shared, *pickle.loads(messages.get())), None))
    except Exception as error:
        connection.send((None, _portable(error)))


def _listen(connection: Connection, messages: queue.SimpleQueue[bytes]) -> None:
    """Take messages as they come, so that the parent never waits for one that is at work."""
    try:
        while True:
            messages.put(connection.recv_bytes())
    except (EOFError, OSError):
        # The parent is gone: nobody needs what is being computed.
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The exception with its traceback as text, which is all that can travel."""
    note = traceback.format_exc()
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    # A sentence for the user stays a sentence.
    if not isinstance(copy, GraphiumError):
        copy.add_note(f"in a preparation process:\n{note}")
    return copy


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
