"""Batches of one part, in an order that is a pure function of (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError


def epoch_order(num_rows: int, seed: int, epoch: int) -> Tensor:
    """Permutation of ``range(num_rows)``, int64, the same on every rank and after every resume."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(num_rows, generator=generator)


class BatchLoader:
    """A sized, resumable iterable of :class:`GraphBatch`.

    Args:
        gather: Makes a batch from an int64 ``[n, 2]`` index of (table, row).
        index: Rows of this part, int64 ``[rows, 2]``.
        batch_size: Rows per batch and rank.
        shuffle: Draw a new order every epoch; else the order of ``index``.
        accumulate: Micro-batches per optimiser step; ``Labels.total`` then sums over all of them.
        rank, world_size: This process takes every ``world_size``-th row of each global batch.

    Every row is used once per epoch. A last global batch with fewer rows than ranks joins the one
    before it, so that no rank gets an empty batch.
    """

    def __init__(
        self,
        gather: Callable[[Tensor], GraphBatch],
        index: Tensor,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise GraphiumError(f"batch_size is {batch_size}; give a whole number of at least 1")
        self.gather, self.index = gather, index
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.accumulate, self.rank, self.world_size = max(1, accumulate), rank, world_size
        self.epoch = 0
        self._position = 0
        self._resume_at = 0

    @property
    def num_rows(self) -> int:
        return self.index.shape[0]

    def __len__(self) -> int:
        global_batch = self.batch_size * self.world_size
        batches = math.ceil(self.num_rows / global_batch)
        tail = self.num_rows - (batches - 1) * global_batch
        return batches - 1 if batches > 1 and tail < self.world_size else batches

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration walks through."""
        if epoch != self.epoch:
            self.epoch, self._resume_at = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """The epoch under way and the number of its batches already handed out."""
        return {"epoch": self.epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue an epoch: the next iteration starts with batch ``position``."""
        self.epoch, self._resume_at = int(state["epoch"]), int(state["position"])
        self._position = self._resume_at

    def plan(self) -> list[Tensor]:
        """The (table, row) indices of every batch of this rank in the present epoch."""
        order = epoch_order(self.num_rows, self.seed, self.epoch) if self.shuffle else torch.arange(self.num_rows)
        batches, size = len(self), self.batch_size * self.world_size
        edges = [i * size for i in range(batches)] + [self.num_rows]
        return [
            self.index[order[start:stop][self.rank :: self.world_size]]
            for start, stop in zip(edges, edges[1:], strict=False)
        ]

    def __iter__(self) -> Iterator[GraphBatch]:
        plan, start = self.plan(), self._resume_at
        self._resume_at = 0
        for first in range(start - start % self.accumulate, len(plan), self.accumulate):
            window = _share_totals([self.gather(rows) for rows in plan[first : first + self.accumulate]])
            for position, batch in enumerate(window, start=first):
                if position >= start:
                    self._position = position + 1
                    yield batch


def _share_totals(window: list[GraphBatch]) -> list[GraphBatch]:
    """Give every micro-batch of an optimiser step the label totals of the whole step."""
    if len(window) < 2:
        return window
    totals: dict[str, Tensor] = {}
    for batch in window:
        for head, labels in batch.labels.items():
            totals[head] = totals[head] + labels.total if head in totals else labels.total
    return [
        replace(batch, labels={head: replace(labels, total=totals[head]) for head, labels in batch.labels.items()})
        for batch in window
    ]
