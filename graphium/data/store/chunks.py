"""Work in chunks that survive a kill: a chunk file is complete and checksummed, or it is redone.

A preparation is a list of independent chunks of fixed size; each one is computed in this process, in
others, or on a Ray cluster, and written to its own file, so neither the number of processes nor an
interruption can be seen in what is assembled from them. A chunk whose process died is computed again
alone, and if that dies too, row by row.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from graphium.data.store.columns import checksum, create_file, disk_errors
from graphium.data.store.workers import Job, Workers
from graphium.errors import GraphiumError

_MAGIC = b"GFCHUNK1"
_HEADER = struct.Struct("<8sQ")
# Rows of one chunk that may end their process before this is taken for a fault of the machine.
_MOST_DEATHS = 16

Engine = Literal["local", "ray"]
ENGINES: tuple[str, ...] = ("local", "ray")


@dataclass(frozen=True)
class Chunk:
    """Columns of one chunk and what goes with them as plain JSON values."""

    columns: Mapping[str, np.ndarray]
    about: Mapping[str, Any]


class Singly(NamedTuple):
    """How a chunk is taken apart when it ends its process, to find the row that does it.

    ``split(arguments)`` gives the arguments of every row alone, ``without(arguments, places)`` those of
    the chunk that leaves rows unread.
    """

    split: Callable[[tuple[Any, ...]], Sequence[tuple[Any, ...]]]
    without: Callable[[tuple[Any, ...], Sequence[int]], tuple[Any, ...]]


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
    # Of its own name: a process whose parent was killed may still be writing the same chunk.
    draft = path.with_suffix(f".{os.getpid()}.tmp")
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
    engine: Engine = "local",
    singly: Singly | None = None,
) -> None:
    """Compute and write every chunk that is not there yet.

    Args:
        jobs: (file, rows in it, arguments) of every chunk, in order; read lazily.
        compute: Called as ``compute(*shared, *arguments)``; a module-level function without side effects.
        shared: Arguments that every call needs; sent to each process once.
        n_jobs: Processes; 1 computes here.
        advance: Told the number of rows of every chunk that is done.
        finished: Told the ``about`` of every chunk that is done, in any order.
        engine: ``local`` uses processes of this machine, ``ray`` those of a Ray cluster.
        singly: How to find the row that ends a process; without it such a chunk is an error. With it and
            one job, a chunk that an earlier run did not survive is computed in a process of its own.

    Raises:
        GraphiumError: a chunk ends its process again and again, or the disk is full.
    """
    todo = _unfinished(jobs, advance, finished)
    with closing(_outcomes(todo, compute, shared, n_jobs, engine, singly)) as outcomes:
        for job, outcome in outcomes:
            chunk = job.about
            finished(_compute_again(chunk, compute, shared, singly) if outcome is None else outcome)
            _marker(chunk.path).unlink(missing_ok=True)
            advance(chunk.rows)


class _Planned(NamedTuple):
    """A chunk that is to be computed."""

    path: Path
    rows: int
    arguments: tuple[Any, ...]


def _unfinished(
    jobs: Iterable[tuple[Path, int, tuple[Any, ...]]],
    advance: Callable[[int], None],
    finished: Callable[[Mapping[str, Any]], None],
) -> Iterator[Job]:
    for path, rows, arguments in jobs:
        if is_whole(path):
            finished(read_chunk(path).about)
            advance(rows)
        else:
            yield Job(_Planned(path, rows, arguments), (path, arguments))


def _outcomes(
    todo: Iterable[Job],
    compute: Callable[..., Chunk],
    shared: tuple[Any, ...],
    n_jobs: int,
    engine: Engine,
    singly: Singly | None,
) -> Generator[tuple[Job, Mapping[str, Any] | None], None, None]:
    """Every job with the ``about`` of its chunk, or None where its process died."""
    if engine == "ray":
        from graphium.data.store.engine_ray import remote_results

        bare = (Job(job.about, job.about.arguments) for job in todo)
        for job, chunk in remote_results(bare, compute, shared, n_jobs):
            if chunk is not None:
                write_chunk(job.about.path, chunk)
            yield job, None if chunk is None else chunk.about
    elif n_jobs == 1:
        attempt = _compute_here if singly is None else _compute_noted
        for job in todo:
            yield job, attempt(job.about, compute, shared)
    else:
        with Workers(n_jobs, _compute_and_write, (compute, shared)) as workers:
            yield from workers.results(todo)


def _compute_and_write(
    compute: Callable[..., Chunk], shared: tuple[Any, ...], path: Path, arguments: tuple[Any, ...]
) -> Mapping[str, Any]:
    chunk = compute(*shared, *arguments)
    write_chunk(path, chunk)
    return chunk.about


def _compute_here(chunk: _Planned, compute: Callable[..., Chunk], shared: tuple[Any, ...]) -> Mapping[str, Any]:
    return _compute_and_write(compute, shared, chunk.path, chunk.arguments)


def _compute_noted(chunk: _Planned, compute: Callable[..., Chunk], shared: tuple[Any, ...]) -> Mapping[str, Any] | None:
    """Compute a chunk in this process, which it may end; None where an earlier process ended at it."""
    marker = _marker(chunk.path)
    if marker.exists():
        return None
    with disk_errors(marker):
        marker.touch()
    try:
        return _compute_here(chunk, compute, shared)
    finally:
        marker.unlink(missing_ok=True)


def _marker(path: Path) -> Path:
    """A file that is there while this process computes a chunk: it tells the next one what ended it."""
    return path.with_suffix(".started")


def _compute_again(
    chunk: _Planned, compute: Callable[..., Chunk], shared: tuple[Any, ...], singly: Singly | None
) -> Mapping[str, Any]:
    """Compute a chunk that ended its process in a process of its own, if need be without the rows that do so."""
    about = _compute_alone(chunk, chunk.arguments, compute, shared)
    if about is not None:
        return about
    where = f"{chunk.rows:,} rows of {chunk.path.name}"
    mend = "(out of memory?); run the same command again with a smaller n_jobs or more memory, finished parts are kept"
    if singly is None:
        raise GraphiumError(f"a preparation process died twice on the {where} {mend}")
    deadly = _deadly_rows(singly.split(chunk.arguments), compute, shared)
    if len(deadly) > _MOST_DEATHS:
        raise GraphiumError(f"more than {_MOST_DEATHS} of the {where} ended the process that read them {mend}")
    about = _compute_alone(chunk, singly.without(chunk.arguments, deadly), compute, shared)
    if about is None:
        raise GraphiumError(f"a preparation process died three times on the {where}, though on no row alone {mend}")
    return about


def _compute_alone(
    chunk: _Planned, arguments: tuple[Any, ...], compute: Callable[..., Chunk], shared: tuple[Any, ...]
) -> Mapping[str, Any] | None:
    """Compute a chunk in a fresh process; None if that died too."""
    with Workers(1, _compute_and_write, (compute, shared)) as alone:
        return next(alone.results([Job(chunk, (chunk.path, arguments))]))[1]


def _deadly_rows(rows: Sequence[tuple[Any, ...]], compute: Callable[..., Chunk], shared: tuple[Any, ...]) -> list[int]:
    """Places of the rows that end a process even alone, and again; stops where there are too many."""
    # A process may also be killed from outside, and no row should be given up for that.
    return _dying(_dying(range(len(rows)), rows, compute, shared), rows, compute, shared)


def _dying(
    places: Iterable[int], rows: Sequence[tuple[Any, ...]], compute: Callable[..., Chunk], shared: tuple[Any, ...]
) -> list[int]:
    """Those of some places whose row ends a process alone; stops where there are too many."""
    deadly: list[int] = []
    with Workers(1, _try, (compute, shared)) as alone:
        for job, survived in alone.results(Job(place, (rows[place],)) for place in places):
            if survived is None:
                deadly.append(job.about)
            if len(deadly) > _MOST_DEATHS:
                break
    return deadly


def _try(compute: Callable[..., Chunk], shared: tuple[Any, ...], arguments: tuple[Any, ...]) -> bool:
    compute(*shared, *arguments)
    return True
