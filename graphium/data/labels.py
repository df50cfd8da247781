"""The labels of one head on disk: triples by row, in the canonical order of atoms and bonds.

Two layouts, chosen by what is there: *dense* where every labelled row has every task for each of
its entities (QM9), else *sparse* (Tox21, PCBA). The batch made from either is the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graphium.data.assemble import column_writer
from graphium.data.chunks import Chunk, read_chunk, run_chunks
from graphium.data.columns import disk_errors, open_columns, read_manifest
from graphium.data.prepare import (
    CHUNK_ROWS,
    StartStage,
    TableLike,
    content_key,
    fresh,
    locked_work,
    progress_bar,
    publish,
)
from graphium.data.store import GraphStore, is_finished
from graphium.errors import GraphiumError
from graphium.types import HeadSpec, Task

LABELS_VERSION = 1
# A float32 may move a value by this fraction of the task's standard deviation.
_ROUNDING = 1e-4

ReadCells = Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class LabelBlock:
    """The labels of one head for all rows of one table, mapped from the disk.

    ``ptr`` int64 ``[rows + 1]``: a row's slice of the flat columns. Dense: ``value``
    ``[entities, tasks]`` for the labelled rows, ``task`` and ``entity`` are None. Sparse: ``task``
    ``[labels]``, ``value`` ``[labels]``, ``entity`` int16 ``[labels]`` (None at graph level), sorted
    by (row, entity, task). Entities count the row's canonical atoms or bonds. ``value`` is float32,
    float64 where float32 would round by more than 1e-4 of a task's deviation, or uint8 classes.
    """

    level: str
    num_tasks: int
    ptr: np.ndarray
    value: np.ndarray
    task: np.ndarray | None = None
    entity: np.ndarray | None = None

    @classmethod
    def open(cls, folder: Path) -> LabelBlock:
        """Open a finished block.

        Raises:
            GraphiumError: the folder is not finished or a file has the wrong size.
        """
        manifest = read_manifest(folder)
        columns = open_columns(folder, manifest)
        return cls(
            level=manifest["level"],
            num_tasks=len(manifest["tasks"]),
            ptr=columns["ptr"],
            value=columns["value"],
            task=columns.get("task"),
            entity=columns.get("entity"),
        )

    @property
    def is_dense(self) -> bool:
        return self.task is None

    @property
    def num_labels(self) -> int:
        """Labels present in all rows together."""
        return int(self.value.size)

    def select(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The labels of some rows, in the order of ``rows``.

        Args:
            rows: Row numbers of the table, int64 ``[n]``.

        Returns:
            ``entity`` int64 ``[L]`` (atom or bond inside its own molecule, 0 for a graph), ``task``
            int64 ``[L]``, ``value`` float64 ``[L]`` in label units or as class index.
        """
        rows = np.asarray(rows, dtype=np.int64)
        start = np.asarray(self.ptr)[rows]
        count = np.asarray(self.ptr)[rows + 1] - start
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        index = within + np.repeat(start, count)
        if self.task is None:
            task = np.tile(np.arange(self.num_tasks), len(index))
            return np.repeat(within, self.num_tasks), task, self.value[index].reshape(-1).astype(np.float64)
        entity = np.zeros(len(index), np.int64) if self.entity is None else self.entity[index].astype(np.int64)
        return entity, self.task[index].astype(np.int64), self.value[index].astype(np.float64)


def prepare_labels(
    store: GraphStore,
    table: TableLike,
    head: HeadSpec,
    read_cells: ReadCells,
    progress: bool | StartStage = True,
) -> LabelBlock:
    """Read the labels of a head into the store, once, and open them.

    Labels of atoms and bonds come in the order of the row's own text and are stored in canonical
    order. Labels of rows that failed are left out.

    Args:
        store: The prepared store of the same table.
        table: The source table.
        head: The tasks; their names are columns of the table.
        read_cells: :func:`graphium.data.readers.read_cells`.
        progress: Show a progress bar, or add a stage to the one of :func:`progress_bar`.

    Raises:
        GraphiumError: a cell that does not fit, a list of another length than the molecule, a task
            without any label, or a disk that is full.
    """
    if head.level == "nodepair":
        raise GraphiumError(f"tasks of level nodepair ({head.name}) cannot be stored yet; use graph, node or edge")
    key = content_key(
        LABELS_VERSION,
        table.key,
        head.level,
        head.kind,
        head.num_classes,
        [[task.name, list(task.classes)] for task in head.tasks],
    )
    folder = store.folder / "labels" / f"{head.level}-{head.kind}-{key}"
    if not is_finished(folder):
        with (
            locked_work(store.folder.parent, f"{store.folder.name}-{key}") as work,
            progress_bar(head.dataset, progress) as bar,
        ):
            if not is_finished(folder):
                _build(store, table, head, read_cells, folder, work, bar("labels", table.num_rows))
    return LabelBlock.open(folder)


def _build(
    store: GraphStore,
    table: TableLike,
    head: HeadSpec,
    read_cells: ReadCells,
    folder: Path,
    work: Path,
    advance: Callable[[int], None],
) -> None:
    chunks = work / "chunks"
    with disk_errors(chunks):
        chunks.mkdir(exist_ok=True)
    columns = [store.smiles, *(task.name for task in head.tasks)]
    paths: list[Path] = []

    def jobs() -> Iterator[tuple[Path, int, tuple[Any, ...]]]:
        for first, frame in table.chunks(columns, CHUNK_ROWS):
            paths.append(chunks / f"{first:012d}.chunk")
            yield paths[-1], len(frame), (first, frame)

    run_chunks(jobs(), label_chunk, (store, head.tasks, read_cells), advance=advance)
    draft = fresh(work / "labels")
    _assemble(paths, store, head, draft)
    publish(draft, folder)
    shutil.rmtree(chunks)


def label_chunk(
    store: GraphStore, tasks: Sequence[Task], read_cells: ReadCells, first: int, frame: pd.DataFrame
) -> Chunk:
    """The labels of some rows as triples sorted by (row, entity, task)."""
    level, stop = tasks[0].level, first + len(frame)
    usable = np.asarray(store.row_molecule[first:stop]) >= 0
    sizes = store.row_sizes(level, first, stop)
    expected = None if level == "graph" else np.where(usable, sizes, -1)
    rows, entities, numbers, values = [], [], [], []
    for number, task in enumerate(tasks):
        row, entity, value = read_cells(frame, task, store.smiles, expected)
        keep = usable[row]
        rows.append(row[keep])
        entities.append(entity[keep].astype(np.int64))
        numbers.append(np.full(len(rows[-1]), number, np.int32))
        values.append(value[keep].astype(np.float64))
    row, entity, column = np.concatenate(rows), np.concatenate(entities), np.concatenate(numbers)
    if level != "graph":
        entity = _canonical(store, level, first, stop, row, entity)
    order = np.lexsort((column, entity, row))
    row = row[order]
    columns: dict[str, np.ndarray] = {
        "count": np.bincount(row, minlength=len(frame)),
        "entity": entity[order].astype(np.int16),
        "task": column[order],
        "value": np.concatenate(values)[order],
    }
    return Chunk(columns, {"first": first})


def _canonical(store: GraphStore, level: str, first: int, stop: int, row: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """Canonical number of atoms or bonds that are given by the user's number."""
    ptr, order = store.orders(level, first, stop)
    start = np.repeat(ptr[:-1], np.diff(ptr))
    inverse = np.empty_like(order)
    inverse[start + order] = np.arange(len(order)) - start
    return inverse[ptr[row] + entity]


def _assemble(paths: Sequence[Path], store: GraphStore, head: HeadSpec, folder: Path) -> None:
    present = _check_present(paths, head)
    dtype = _value_dtype(paths, head)
    dense = present == _dense_size(paths, store, head.level) * head.num_tasks
    task_dtype = np.min_scalar_type(-head.num_tasks)
    end = 0
    with column_writer(folder) as writer:
        writer.append("ptr", np.zeros(1, np.int64))
        for path in paths:
            columns = read_chunk(path).columns
            count = np.asarray(columns["count"]) // (head.num_tasks if dense else 1)
            writer.append("ptr", end + np.cumsum(count))
            end += int(count.sum())
            value = columns["value"].astype(dtype)
            writer.append("value", value.reshape(-1, head.num_tasks) if dense else value)
            if not dense:
                writer.append("task", columns["task"].astype(task_dtype))
            if not dense and head.level != "graph":
                writer.append("entity", columns["entity"])
        writer.close(
            level=head.level,
            kind=head.kind,
            tasks=[task.name for task in head.tasks],
        )


def _check_present(paths: Sequence[Path], head: HeadSpec) -> int:
    """Number of labels; a task without any is an error."""
    counts = np.zeros(head.num_tasks, np.int64)
    for path in paths:
        counts += np.bincount(read_chunk(path).columns["task"], minlength=head.num_tasks)
    if (counts == 0).any():
        name = head.tasks[int(np.argmin(counts))].name
        raise GraphiumError(
            f"column {name!r} of {head.dataset} holds no label in any usable row; "
            f"leave it out with data.targets=[...,-{name}] or mend the table"
        )
    return int(counts.sum())


def _dense_size(paths: Sequence[Path], store: GraphStore, level: str) -> int:
    """Entities of the rows that have any label."""
    total = 0
    for path in paths:
        chunk = read_chunk(path)
        labelled = np.asarray(chunk.columns["count"]) > 0
        first = chunk.about["first"]
        total += int(store.row_sizes(level, first, first + len(labelled))[labelled].sum())
    return total


def _value_dtype(paths: Sequence[Path], head: HeadSpec) -> np.dtype[Any]:
    """The smallest dtype that keeps the values: uint8 for classes, float32 or float64 for numbers."""
    if head.kind != "regression":
        return np.dtype(np.uint8 if head.num_classes <= 256 else np.int32)
    count, mean, squares, error = (np.zeros(head.num_tasks) for _ in range(4))
    for path in paths:
        columns = read_chunk(path).columns
        task, value = np.asarray(columns["task"]), np.asarray(columns["value"])
        number = np.bincount(task, minlength=head.num_tasks)
        some = np.maximum(number, 1)
        # A value beyond the range of float32 (or its square) shows as an infinite error below.
        with np.errstate(over="ignore", invalid="ignore"):
            here = np.bincount(task, value, head.num_tasks) / some
            spread = np.bincount(task, (value - here[task]) ** 2, head.num_tasks)
            # Chan et al. (1979): merge mean and sum of squares of two parts without cancellation.
            both = np.maximum(count + number, 1)
            squares += spread + (here - mean) ** 2 * count * number / both
            mean += (here - mean) * number / both
            count += number
            np.maximum.at(error, task, np.abs(value - value.astype(np.float32)))
    deviation = np.sqrt(squares / np.maximum(count, 1))
    # A deviation that is rounding noise of the sums belongs to a constant column.
    varies = deviation > 1e-12 * np.abs(mean)
    rounds = (error > _ROUNDING * deviation) & varies | ~np.isfinite(error)
    return np.dtype(np.float64 if rounds.any() else np.float32)
