"""How labels lie in the files of a block: the layout and its dtypes, chosen from chunks of labels.

A chunk of labels has the columns ``count`` (labels of each row), ``task``, ``value``, and where they
exist ``entity``, ``bound``, ``pair`` and ``pair_count``, sorted by (row, entity, task); its ``about``
says how many ``entities`` its labelled rows have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphium.data.labels.moments import Moments
from graphium.data.store.assemble import column_writer
from graphium.data.store.chunks import Chunk, read_chunk
from graphium.data.store.columns import ColumnWriter

# A float32 may move a value by this fraction of the task's standard deviation.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Layout:
    """How the labels of a block lie in its files; ``entity`` and ``pair`` are None where there are none."""

    level: str
    num_tasks: int
    dense: bool
    value: np.dtype[Any]
    bounded: bool = False
    entity: np.dtype[Any] | None = None
    pair: np.dtype[Any] | None = None

    @property
    def task(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.num_tasks <= 256 else np.int16 if self.num_tasks <= 32_768 else np.int32)


class BlockWriter:
    """Writes the files of a block, some rows at a time."""

    def __init__(self, writer: ColumnWriter, layout: Layout) -> None:
        self._writer, self._layout = writer, layout
        self._end = self._pair_end = 0
        writer.append("ptr", np.zeros(1, np.int64))
        if layout.pair is not None and not layout.dense:
            writer.append("pair_ptr", np.zeros(1, np.int64))

    def append(
        self,
        count: np.ndarray,
        task: np.ndarray,
        value: np.ndarray,
        entity: np.ndarray | None = None,
        bound: np.ndarray | None = None,
        pair_count: np.ndarray | None = None,
        pair: np.ndarray | None = None,
    ) -> None:
        """Add rows: ``count`` int64 ``[rows]`` labels of each, sorted by (row, entity, task).

        ``pair_count`` int64 ``[rows]`` and ``pair`` ``[pairs, 2]`` are the labelled pairs of the rows.
        """
        layout, writer = self._layout, self._writer
        count = np.asarray(count, np.int64) // (layout.num_tasks if layout.dense else 1)
        end = self._end + np.cumsum(count)
        writer.append("ptr", end)
        self._end = int(end[-1]) if len(end) else self._end
        value = np.asarray(value).astype(layout.value)
        writer.append("value", value.reshape(-1, layout.num_tasks) if layout.dense else value)
        if layout.pair is not None and pair is not None and pair_count is not None:
            writer.append("pair", np.asarray(pair).astype(layout.pair))
            if not layout.dense:
                pair_end = self._pair_end + np.cumsum(pair_count, dtype=np.int64)
                writer.append("pair_ptr", pair_end)
                self._pair_end = int(pair_end[-1]) if len(pair_end) else self._pair_end
        if layout.dense:
            return
        writer.append("task", np.asarray(task).astype(layout.task))
        if layout.entity is not None and entity is not None:
            writer.append("entity", np.asarray(entity).astype(layout.entity))
        if layout.bounded:
            writer.append("bound", np.zeros(len(value), np.int8) if bound is None else np.asarray(bound, np.int8))


def number_pairs(row: np.ndarray, pair: np.ndarray, num_rows: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The distinct pairs of some rows, and which of its row's pairs each label is about.

    Args:
        row: int64 ``[L]``.
        pair: int64 ``[L, 2]``, atoms of the pair.
        num_rows: Number of rows.

    Returns:
        ``pair`` int16 ``[pairs, 2]``, sorted by (row, i, j), and ``pair_count`` int64 ``[rows]``; and int64
        ``[L]``, the number of the label's pair within its row.
    """
    # An atom number takes less than 20 bits.
    keys, number = np.unique((row << 40) | (pair[:, 0] << 20) | pair[:, 1], return_inverse=True)
    count = np.bincount(keys >> 40, minlength=num_rows)
    atoms = np.stack([(keys >> 20) & 0xFFFFF, keys & 0xFFFFF], axis=1).astype(np.int16)
    return {"pair": atoms, "pair_count": count}, number.reshape(-1) - (np.cumsum(count) - count)[row]


def survey_chunks(paths: Sequence[Path], num_tasks: int, *, numbers: bool = False) -> Survey:
    """Look through chunks of labels; ``numbers`` also measures what float32 would do to the values."""
    survey = Survey(num_tasks)
    for path in paths:
        survey.add(read_chunk(path), numbers)
    return survey


def write_block(paths: Sequence[Path], layout: Layout, folder: Path, **about: Any) -> None:
    """Write a block from chunks of labels in the order of their rows; ``about`` goes into its manifest."""
    with column_writer(folder) as writer:
        block = BlockWriter(writer, layout)
        for path in paths:
            block.append(**read_chunk(path).columns)
        writer.close(level=layout.level, num_tasks=layout.num_tasks, **about)


class Survey:
    """What decides the layout of a block: counts, largest numbers, and what float32 would do to the values.

    ``counts`` int64 ``[tasks]``: the labels of each.
    """

    def __init__(self, num_tasks: int) -> None:
        self.counts = np.zeros(num_tasks, np.int64)
        self._entities = self._last_entity = self._last_atom = 0
        self._bounded = False
        self._moments = Moments(num_tasks)
        self._error = np.zeros(num_tasks)

    def add(self, chunk: Chunk, numbers: bool) -> None:
        """Look at one chunk of labels."""
        columns = chunk.columns
        task, value = np.asarray(columns["task"]), np.asarray(columns["value"])
        if numbers:
            self._moments.add(task, value)
            # A value beyond the range of float32 shows as an infinite error.
            with np.errstate(over="ignore", invalid="ignore"):
                np.maximum.at(self._error, task, np.abs(value - value.astype(np.float32)))
        self.counts += np.bincount(task, minlength=len(self.counts))
        self._entities += chunk.about["entities"]
        self._bounded |= "bound" in columns
        if "entity" in columns:
            self._last_entity = max(self._last_entity, int(columns["entity"].max(initial=0)))
        if "pair" in columns:
            self._last_atom = max(self._last_atom, int(columns["pair"].max(initial=0)))

    def layout(self, level: str, value: np.dtype[Any]) -> Layout:
        """The layout for these labels, with the smallest dtypes that hold them."""
        num_tasks = len(self.counts)
        return Layout(
            level=level,
            num_tasks=num_tasks,
            dense=not self._bounded and 0 < int(self.counts.sum()) == self._entities * num_tasks,
            value=value,
            bounded=self._bounded,
            entity=None if level == "graph" else _number_dtype(self._last_entity),
            pair=_number_dtype(self._last_atom) if level == "nodepair" else None,
        )

    def needs_float64(self) -> bool:
        """Whether float32 would move a value of a task by more than 1e-4 of the task's deviation."""
        deviation = self._moments.deviation()
        # A constant column rounds too, and nothing is learned from it.
        rounds = (self._error > _ROUNDING * deviation) & (deviation > 0)
        return bool((rounds | ~np.isfinite(self._error)).any())


def _number_dtype(last: int) -> np.dtype[Any]:
    """The smallest dtype for numbers from 0 to ``last`` that torch can index with."""
    return np.dtype(np.uint8 if last < 256 else np.int16 if last < 32_768 else np.int32)
