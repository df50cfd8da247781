"""Work in chunks that survive a kill: a chunk file is complete and checksummed, or it is redone.

A preparation is a list of independent chunks of fixed size; each one is computed in this process or
in a pool and written to its own file, so neither the number of processes nor an interruption can be
seen in what is assembled from them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from graphium.data.columns import checksum, create_file, disk_errors
from graphium.errors import GraphiumError

_MAGIC = b"GFCHUNK1"
_HEADER = struct.Struct("<8sQ")
# Threads inside the processes of a pool would only fight for the cores that the pool already uses.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Chunk:
    """Columns of one chunk and what goes with them as plain JSON values."""

    columns: Mapping[str, np.ndarray]
    about: Mapping[str, Any]


def write_chunk(path: Path, chunk: Chunk) -> None:
    """Write a chunk under a temporary name, then rename: the final name exists only when complete."""
    entries: dict[str, Any] = {}
    pieces: list[memoryview] = []
    offset = 0
    for name, array in chunk.columns.items():
        array = np.ascontiguousarray(array)
        entries[name] = [array.dtype.str, list(array.shape), offset]
        pieces.append(array.reshape(-1).view(np.uint8).data)
        # Pad to 8 bytes so that every column can be mapped with its own dtype.
        padding = -array.nbytes % 8
        pieces.append(memoryview(bytes(padding)))
        offset += array.nbytes + padding
    header = json.dumps({"columns": entries, "about": chunk.about}).encode()
    header += b" " * (-len(header) % 8)
    total = checksum()
    draft = path.with_suffix(".tmp")
    with disk_errors(path), create_file(draft) as file:
        for piece in (memoryview(_HEADER.pack(_MAGIC, len(header)) + header), *pieces):
            file.write(piece)
            total.update(piece)
        file.write(total.digest())
    os.replace(draft, path)


def read_chunk(path: Path) -> Chunk:
    """Map a chunk that :func:`is_whole` accepted."""
    with path.open("rb") as file:
        _, length = _HEADER.unpack(file.read(_HEADER.size))
        header = json.loads(file.read(length))
    base = _HEADER.size + length
    data = np.memmap(path, dtype=np.uint8, mode="r")
    columns = {}
    for name, (dtype, shape, offset) in header["columns"].items():
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        columns[name] = data[base + offset : base + offset + size].view(dtype).reshape(shape)
    return Chunk(columns, header["about"])


def is_whole(path: Path) -> bool:
    """Whether a chunk file exists and agrees with its checksum."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    size = checksum().digest_size
    if len(data) < _HEADER.size + size or not data.startswith(_MAGIC):
        return False
    total = checksum()
    total.update(memoryview(data)[:-size])
    return total.digest() == data[-size:]


def run_chunks(
    jobs: Iterable[tuple[Path, int, tuple[Any, ...]]],
    compute: Callable[..., Chunk],
    shared: tuple[Any, ...] = (),
    *,
    n_jobs: int = 1,
    advance: Callable[[int], None] = lambda rows: None,
    finished: Callable[[Mapping[str, Any]], None] = lambda about: None,
) -> None:
    """Compute and write every chunk that is not there yet.

    Args:
        jobs: (file, rows in it, arguments) of every chunk, in order; read lazily.
        compute: Called as ``compute(*shared, *arguments)``; a module-level function.
        shared: Arguments that every call needs; sent to each process once.
        n_jobs: Processes; 1 computes here.
        advance: Told the number of rows of every chunk that is done.
        finished: Told the ``about`` of every chunk that is done, in any order.
    """
    todo = _unfinished(jobs, advance, finished)
    if n_jobs == 1:
        for path, rows, arguments in todo:
            finished(_compute_and_write(path, compute, shared, arguments))
            advance(rows)
        return
    running: dict[Future[Mapping[str, Any]], int] = {}

    def collect(at_most: int) -> None:
        while len(running) > at_most:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                rows = running.pop(future)
                finished(future.result())
                advance(rows)

    with _one_thread_each(), _pool(n_jobs, compute, shared) as pool:
        try:
            for path, rows, arguments in todo:
                running[pool.submit(_work, path, arguments)] = rows
                # Few chunks in flight: memory stays bounded whatever the size of the table.
                collect(2 * n_jobs)
            collect(0)
        except BrokenProcessPool:
            raise GraphiumError(
                f"one of {n_jobs} preparation processes died (out of memory?); run the same command again, "
                "with a smaller n_jobs if it happens again; finished chunks are kept"
            ) from None
        finally:
            for future in running:
                future.cancel()


def _unfinished(
    jobs: Iterable[tuple[Path, int, tuple[Any, ...]]],
    advance: Callable[[int], None],
    finished: Callable[[Mapping[str, Any]], None],
) -> Iterator[tuple[Path, int, tuple[Any, ...]]]:
    for path, rows, arguments in jobs:
        if is_whole(path):
            finished(read_chunk(path).about)
            advance(rows)
        else:
            yield path, rows, arguments


def _compute_and_write(
    path: Path, compute: Callable[..., Chunk], shared: tuple[Any, ...], arguments: tuple[Any, ...]
) -> Mapping[str, Any]:
    chunk = compute(*shared, *arguments)
    write_chunk(path, chunk)
    return chunk.about


_in_process: tuple[Callable[..., Chunk], tuple[Any, ...]] | None = None


def _start_process(compute: Callable[..., Chunk], shared: tuple[Any, ...]) -> None:
    global _in_process
    _in_process = (compute, shared)


def _work(path: Path, arguments: tuple[Any, ...]) -> Mapping[str, Any]:
    assert _in_process is not None
    return _compute_and_write(path, *_in_process, arguments)


def _pool(n_jobs: int, compute: Callable[..., Chunk], shared: tuple[Any, ...]) -> ProcessPoolExecutor:
    # Forking a process that runs threads (torch, BLAS) can hang.
    return ProcessPoolExecutor(n_jobs, get_context("spawn"), _start_process, (compute, shared))


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
