"""Several prepared datasets trained together: their parts, fitted label transforms and batches."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.data.concat import concat
from graphium.data.datasets.inherit import Source
from graphium.data.datasets.resolve import ResolvedDataset
from graphium.data.gather import Gather, Pairs
from graphium.data.labels.block import LabelBlock
from graphium.data.labels.transforms import LabelTransform
from graphium.data.sampling.draws import Draws, Sampling
from graphium.data.sampling.loader import BatchLoader, one_sampling
from graphium.data.sampling.part_rows import PartRows
from graphium.data.splits.leaks import LeakSource, find_leaks
from graphium.data.store.assemble import write_failures
from graphium.data.store.graph_store import Failure, GraphStore
from graphium.types import PARTS, FeatureSpec, HeadSpec

# Rows whose labels are held at once; a row may have thousands.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class MixDataset:
    """One prepared dataset of a mix.

    ``assigned`` int8 ``[rows]``: part of every row that is used, an index in ``types.PARTS``, -1 in none.
    ``split`` int8 ``[rows]``: the same with the rows whose labels were merged into those of another row: the
    split that makes this dataset again. ``messages``: what preparation found, beyond ``resolved.messages``.
    ``row_weight`` float32 ``[rows]``: the weight of each row's labels, None is 1; labels of rows of weight 0 count as
    absent.
    """

    name: str
    resolved: ResolvedDataset
    store: GraphStore
    heads: tuple[HeadSpec, ...]
    blocks: Mapping[str, LabelBlock]
    assigned: np.ndarray
    split: np.ndarray
    messages: tuple[str, ...] = ()
    row_weight: np.ndarray | None = None

    @cached_property
    def parts(self) -> np.ndarray:
        """Part of every row that can be used, int8 ``[rows]``; -1 in none, and for rows that failed."""
        return np.where(np.asarray(self.store.row_molecule) < 0, np.int8(-1), self.assigned)

    def failed_rows(self, part: str) -> list[Failure]:
        """The rows that a split file or column puts into a part and that could not be used.

        A split that is drawn has molecules only, so its parts have no failed rows.
        """
        code = PARTS.index(part)
        found = (failure._replace(dataset=self.name) for failure in self.store.failures())
        return [failure for failure in found if self.assigned[failure.row] == code]

    def num_labels(self, head: HeadSpec) -> int:
        """Labels of the rows that are in a part."""
        block, total = self.blocks[head.name], 0
        for rows in self.labelled_rows(range(len(PARTS))):
            total += int((np.asarray(block.ptr[rows + 1]) - np.asarray(block.ptr[rows])).sum())
        return total * (block.num_tasks if block.is_dense else 1)

    def labelled_rows(self, parts: Container[int]) -> Iterator[np.ndarray]:
        """Rows of some parts (indices in ``types.PARTS``) whose labels count, some at a time, int64, ascending."""
        codes = np.array([code in parts for code in range(-1, len(PARTS))])
        for start in range(0, len(self.parts), _ROWS_AT_ONCE):
            chosen = codes[self.parts[start : start + _ROWS_AT_ONCE] + 1]
            if self.row_weight is not None:
                chosen &= self.row_weight[start : start + _ROWS_AT_ONCE] > 0
            yield start + np.flatnonzero(chosen)

    def training_labels(self, head: HeadSpec) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Labels of the training part, those of some rows at a time.

        Yields:
            ``task``, the column of the head, int64 ``[L]``, and ``value`` in label units, float64 ``[L]``.
        """
        for rows in self.labelled_rows([PARTS.index("train")]):
            _, task, value = self.blocks[head.name].select(rows)
            yield task, value

    def all_labels(self, head: HeadSpec) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Labels of all parts, those of some rows at a time.

        Yields:
            The row of the table int64 ``[L]``, ``task``, the column of the head, int64 ``[L]``, and ``value`` in
            label units, float64 ``[L]``.
        """
        for rows in self.labelled_rows(range(len(PARTS))):
            found = self.blocks[head.name].of_rows(rows)
            yield rows[found.owner], found.task, found.value


class Mix:
    """Prepared datasets that are trained together.

    ``heads`` carry the fitted label transforms; ``spec`` says what the features are.
    """

    def __init__(self, datasets: Sequence[MixDataset], spec: FeatureSpec) -> None:
        self.datasets = tuple(datasets)
        self.spec = spec
        self.heads = tuple(head for dataset in self.datasets for head in dataset.heads)
        self.transforms = {head.name: LabelTransform(head.tasks) for head in self.heads}
        self._rows: dict[str, PartRows] = {}
        self._gathers = [
            Gather(d.store, spec, d.blocks, table=number, transforms=self.transforms, row_weight=d.row_weight)
            for number, d in enumerate(self.datasets)
        ]
        self._with_raw = {name for name, transform in self.transforms.items() if not transform.keeps_all}

    @property
    def sources(self) -> dict[str, tuple[Source | None, ...]]:
        """Head name -> for each of its tasks, the task of a saved model that it was taken from, None for a new one."""
        return {
            head.name: tuple(dataset.resolved.sources.get(task.name) for task in head.tasks)
            for dataset in self.datasets
            for head in dataset.heads
        }

    def count(self, part: str) -> int:
        """Rows of a part."""
        code = PARTS.index(part)
        return sum(int(np.count_nonzero(dataset.parts == code)) for dataset in self.datasets)

    def rows(self, part: str) -> PartRows:
        """The rows of a part, tables one after another, to be asked for by number."""
        if part not in self._rows:
            self._rows[part] = PartRows([dataset.parts for dataset in self.datasets], PARTS.index(part))
        return self._rows[part]

    def index(self, part: str) -> Tensor:
        """All rows of a part as (table, row), int64 ``[rows, 2]``: 16 bytes a row, for small parts."""
        rows = self.rows(part)
        return rows[torch.arange(len(rows))]

    def gather(self, index: Tensor, pairs: Pairs = "labelled") -> GraphBatch:
        """Build the batch of some (table, row) pairs, int64 ``[n, 2]``; graphs are grouped by table.

        ``pairs``: where tasks are about pairs of atoms, carry those with labels, or all of every molecule.
        """
        batches = []
        for number, gather in enumerate(self._gathers):
            rows = index[index[:, 0] == number, 1]
            if rows.numel():
                batches.append(gather(rows, pairs))
        if not batches:
            batches = [self._gathers[0](index[:0, 1], pairs)]
        return concat(batches, self.heads, self._with_raw)

    def loader(
        self,
        part: str,
        *,
        batch_size: int | None = None,
        sampling: Sampling | None = None,
        shuffle: bool = False,
        seed: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> BatchLoader:
        """Batches of one part, drawn as ``sampling`` says, or of ``batch_size`` rows; see :class:`BatchLoader`."""
        rows = self.rows(part)
        return BatchLoader(
            self.gather,
            rows,
            sampling=one_sampling(batch_size, sampling),
            shuffle=shuffle,
            seed=seed,
            accumulate=accumulate,
            rank=rank,
            world_size=world_size,
            sizes=rows.sizes.tolist(),
            weights=self._weights,
            num_nodes=lambda: rows.num_nodes([dataset.store for dataset in self.datasets]),
        )

    def draws(self, sampling: Sampling) -> list[str]:
        """A sentence per dataset on what an epoch of training draws; none where it is every row once."""
        sizes = self.rows("train").sizes.tolist()
        return Draws(sizes, sampling, weights=self._weights).sentences([d.name for d in self.datasets])

    @property
    def _weights(self) -> list[float]:
        return [dataset.resolved.dataset.weight for dataset in self.datasets]

    @cached_property
    def leaks(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Held-out rows whose molecule stands in a training part; see :func:`find_leaks`."""
        return find_leaks([LeakSource(d.name, d.store, d.parts) for d in self.datasets])

    def write_failures(self, path: Path) -> None:
        """Write the rows of all datasets that could not be used as CSV: dataset, row, text, reason."""
        write_failures(path, [f._replace(dataset=d.name) for d in self.datasets for f in d.store.failures()])

    def summary(self) -> dict[str, dict[str, Any]]:
        """Per dataset what the plan prints: counts, tasks by level and kind, split sizes, leaks."""
        return {
            d.name: {
                "rows": d.store.num_rows,
                "molecules": d.store.num_molecules,
                "failures": d.store.num_failures,
                "heads": [
                    {
                        "level": head.level,
                        "kind": head.kind,
                        "classes": head.num_classes,
                        "tasks": head.num_tasks,
                        "labels": d.num_labels(head),
                    }
                    for head in d.heads
                ],
                "parts": {name: int((d.parts == code).sum()) for code, name in enumerate(PARTS)},
                "leaks": self.leaks[d.name],
                "messages": list(d.messages),
                "store": str(d.store.folder),
                "key": d.resolved.table.key,
            }
            for d in self.datasets
        }
