"""Predictions as columns of an Arrow table: one column per task and what belongs to it, lists for atoms and bonds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from graphium.data.labels.transforms import LabelTransform
from graphium.data.places import Places
from graphium.models.tables.columns import class_names, column_suffixes
from graphium.types import HeadSpec

PAIRS, STATUS = "pairs", "status"
# Columns of tables of predictions that are no tasks: a task of that name has its longer name.
OWN_COLUMNS = ("dataset", "row", "smiles", PAIRS, STATUS)
OK = "ok"
# float32 is too coarse where it moves values by more than this share of their deviation.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Piece:
    """Predictions of some rows, those of one row after the other, in the order of the rows' own texts.

    ``rows`` int64: numbers of the rows. ``numbers``: head name -> float64 ``[entities, tasks, columns]``.
    ``places``: level -> how many entities each row has, and which pairs. ``more``: further columns, one value for
    every entity.
    """

    rows: np.ndarray
    numbers: Mapping[str, np.ndarray]
    places: Mapping[str, Places]
    more: Mapping[str, pa.Array] = field(default_factory=dict)


class PredictionColumns:
    """The columns of some heads.

    Numbers are float32, those of a task float64 where float32 would round by more than 1e-4 of its deviation.

    Args:
        heads: The tasks.
        names: Head name -> names of its tasks' columns.
        more: Further columns: name -> (level, Arrow type of one entity's value).
    """

    def __init__(
        self,
        heads: Sequence[HeadSpec],
        names: Mapping[str, Sequence[str]],
        more: Mapping[str, tuple[str, pa.DataType]] | None = None,
    ) -> None:
        self.heads = tuple(heads)
        self._more = dict(more or {})
        self._names = {
            head.name: [
                [name + suffix for suffix in column_suffixes(head, task)]
                for task, name in zip(head.tasks, names[head.name], strict=True)
            ]
            for head in heads
        }
        self._types = {head.name: _number_types(head) for head in heads}
        #: Levels that have columns.
        self.levels = list(dict.fromkeys([*(h.level for h in heads), *(level for level, _ in self._more.values())]))
        #: The columns, in their order.
        self.fields = list(self._make_fields())

    def arrays(self, pieces: Sequence[Piece]) -> dict[str, pa.Array]:
        """Every column of the rows of some pieces, at least one, one piece after another."""
        offsets = {level: _offsets([p.places[level].counts for p in pieces]) for level in self.levels}
        made: dict[str, pa.Array] = {}
        if "nodepair" in offsets:
            pairs = [piece.places["nodepair"].pairs for piece in pieces]
            flat = np.concatenate([pair for pair in pairs if pair is not None])
            ends = pa.array(np.arange(len(flat) + 1, dtype=np.int32) * 2)
            inner = pa.ListArray.from_arrays(ends, pa.array(flat.reshape(-1)))
            made[PAIRS] = pa.ListArray.from_arrays(offsets["nodepair"], inner)
        for head in self.heads:
            for name, values in self._head_arrays(head, [piece.numbers[head.name] for piece in pieces]):
                made[name] = _listed(values, head.level, offsets)
        for name, (level, _) in self._more.items():
            made[name] = _listed(pa.concat_arrays([piece.more[name] for piece in pieces]), level, offsets)
        return made

    def _head_arrays(self, head: HeadSpec, numbers: Sequence[np.ndarray]) -> Iterator[tuple[str, pa.Array]]:
        """The columns of one head, a value per entity."""
        # Every column becomes one stretch of memory, which Arrow takes as it is.
        every = np.concatenate(numbers).transpose(1, 2, 0)
        narrow = np.ascontiguousarray(every, np.float32)
        of_task = zip(head.tasks, self._names[head.name], self._types[head.name], strict=True)
        for number, (task, names, dtype) in enumerate(of_task):
            for index, name in enumerate(names):
                if head.num_classes and index == 0:
                    codes = pa.array(every[number, 0].astype(np.int32))
                    yield name, pa.array(class_names(head, task)).take(codes)
                else:
                    source = narrow if dtype == pa.float32() else every
                    yield name, pa.array(np.ascontiguousarray(source[number, index]))

    def _make_fields(self) -> Iterator[pa.Field]:
        if "nodepair" in self.levels:
            yield pa.field(PAIRS, pa.list_(pa.list_(pa.int64())))
        left = dict(self._more)
        for head in self.heads:
            for names, dtype in zip(self._names[head.name], self._types[head.name], strict=True):
                for index, name in enumerate(names):
                    value = pa.string() if head.num_classes and index == 0 else dtype
                    yield pa.field(name, _of_level(value, head.level))
                beside = [name for name in left if name.startswith(f"{names[0]}[")]
                for name in beside:
                    level, value = left.pop(name)
                    yield pa.field(name, _of_level(value, level))
        for name, (level, value) in left.items():
            yield pa.field(name, _of_level(value, level))


def filled(columns: Mapping[str, Any], schema: pa.Schema, count: int) -> pa.Table:
    """The columns of a schema, those that are not given without a value."""
    empty: dict[pa.DataType, pa.Array] = {}
    for one in schema:
        if one.name not in columns and one.type not in empty:
            # Thousands of columns share these.
            empty[one.type] = pa.nulls(count, one.type)
    arrays = [columns[one.name] if one.name in columns else empty[one.type] for one in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _number_types(head: HeadSpec) -> list[pa.DataType]:
    """The type of the numbers of every task."""
    if head.num_classes or head.kind == "binary":
        return [pa.float32()] * head.num_tasks
    inverse = LabelTransform(head.tasks).inverse
    centre, above = (inverse(torch.full((1, head.num_tasks), at))[0].numpy() for at in (0.0, 1.0))
    # A transform may stretch numbers beyond what float32 holds.
    with np.errstate(over="ignore", invalid="ignore"):
        coarse = ~(np.spacing(np.abs(centre).astype(np.float32)) <= _ROUNDING * np.abs(above - centre))
    return [pa.float64() if wide else pa.float32() for wide in coarse]


def _of_level(value: pa.DataType, level: str) -> pa.DataType:
    return value if level == "graph" else pa.list_(value)


def _listed(values: pa.Array, level: str, offsets: Mapping[str, pa.Array]) -> pa.Array:
    return values if level == "graph" else pa.ListArray.from_arrays(offsets[level], values)


def _offsets(counts: Sequence[np.ndarray]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(np.concatenate(counts))]), pa.int32())
