"""Batches of one part, in an order that is a pure function of (seed, epoch, position)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.data.sampling.bounded import BoundedCuts
from graphium.data.sampling.draws import Draws, Order, RowOrder, Sampling
from graphium.errors import GraphiumError

# Rows whose numbers are worked out at once: enough for array arithmetic to pay.
_AT_ONCE = 8192


class Rows(Protocol):
    """The (table, row) pairs of a part; an int64 tensor ``[rows, 2]`` is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Tensor, /) -> Tensor: ...


class BatchLoader:
    """A sized, resumable iterable of :class:`GraphBatch`.

    Args:
        gather: Makes a batch from an int64 ``[n, 2]`` index of (table, row).
        index: Rows of this part: int64 ``[rows, 2]``, or what can be asked for some of them.
        batch_size: Rows per batch and rank; the short form of ``sampling``.
        sampling: What an epoch draws and how large a batch may be. Without ``shuffle`` only the limits count.
        shuffle: Draw a new order every epoch; else every row once, in the order of ``index``.
        seed: Draws the order.
        accumulate: Micro-batches per optimiser step; ``Labels.total`` then sums over all of them.
        rank, world_size: This process and their number. Ranks have as many batches and share their rows:
            every ``world_size``-th row of a global batch, or of bounded batches every ``world_size``-th.
        sizes: Rows of every dataset in ``index``, one after another; None is one dataset.
        weights: Weight of every dataset; None is 1.
        num_nodes: Atoms of every row, ``[rows]``; asked for only with ``max_nodes``, which grows to three times
            the largest molecule without ``shuffle``.

    Every epoch has as many batches. A last global batch with fewer rows than ranks joins the one before
    it, so that no rank gets an empty batch.

    Raises:
        GraphiumError: limits that cannot be kept, or weights that draw nothing.
    """

    def __init__(
        self,
        gather: Callable[[Tensor], GraphBatch],
        index: Rows,
        *,
        batch_size: int | None = None,
        sampling: Sampling | None = None,
        shuffle: bool = False,
        seed: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
        sizes: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
        num_nodes: Callable[[], np.ndarray] | None = None,
    ) -> None:
        self.gather, self.index = gather, index
        self.sampling, self.shuffle = one_sampling(batch_size, sampling), shuffle
        self.accumulate, self.rank, self.world_size = max(1, accumulate), rank, world_size
        sizes = [len(index)] if sizes is None else sizes
        self.order: Order = Draws(sizes, self.sampling, weights=weights, seed=seed) if shuffle else RowOrder(sizes)
        self._cuts = self._bounded(num_nodes) if self.sampling.max_nodes is not None and self.num_rows else None
        self.epoch = 0
        self._position = 0
        self._resume_at = 0

    def _bounded(self, num_nodes: Callable[[], np.ndarray] | None) -> BoundedCuts | None:
        if num_nodes is None:
            raise GraphiumError("max_nodes needs the number of atoms of every row; give num_nodes")
        nodes, sampling = num_nodes(), self.sampling
        largest, limit = int(nodes.max()), sampling.max_nodes or 0
        if not self.shuffle:
            # Evaluation keeps no gradients: it can afford a molecule that is too large to train on.
            limit = max(limit, 3 * largest)
        if sampling.batch_size * largest <= limit:
            return None
        sampling = replace(sampling, max_nodes=limit)
        return BoundedCuts(self.order, nodes, sampling, self.world_size, may_be_empty=not self.shuffle)

    @property
    def num_rows(self) -> int:
        """Rows of an epoch."""
        return self.order.num_rows

    def __len__(self) -> int:
        if self._cuts is not None:
            return self._cuts.num_batches // self.world_size
        global_batch = self.sampling.batch_size * self.world_size
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

    def rows(self, first: int = 0) -> Iterator[Tensor]:
        """The (table, row) pairs, int64 ``[n, 2]``, of every batch of this rank in this epoch, from ``first`` on."""
        positions = self._positions(first)
        while some := list(islice(positions, max(1, _AT_ONCE // self.sampling.batch_size))):
            places = self.order.places(np.concatenate(some))
            yield from self.index[torch.from_numpy(places)].split([len(p) for p in some])

    def _positions(self, first: int) -> Iterator[np.ndarray]:
        """Positions of the rows of every batch in the endless order."""
        if self._cuts is not None:
            spans = self._cuts.spans(self.epoch, first * self.world_size)
            for start, stop in islice(spans, self.rank, None, self.world_size):
                yield np.arange(start, stop)
            return
        begin, global_batch = self.epoch * self.num_rows, self.sampling.batch_size * self.world_size
        for number in range(first, len(self)):
            stop = self.num_rows if number == len(self) - 1 else (number + 1) * global_batch
            yield np.arange(begin + number * global_batch + self.rank, begin + stop, self.world_size)

    def __iter__(self) -> Iterator[GraphBatch]:
        start, self._resume_at = self._resume_at, 0
        begin = start - start % self.accumulate
        rows = self.rows(begin)
        for first in range(begin, len(self), self.accumulate):
            window = _share_totals([self.gather(some) for some in islice(rows, self.accumulate)])
            for position, batch in enumerate(window, start=first):
                if position >= start:
                    self._position = position + 1
                    yield batch


def one_sampling(batch_size: int | None, sampling: Sampling | None) -> Sampling:
    """The sampling, said whole or as a number of rows.

    Raises:
        GraphiumError: both are given, or neither.
    """
    if (batch_size is None) == (sampling is None):
        raise GraphiumError(f"batch_size is {batch_size} and sampling is {sampling}; give one of the two")
    return sampling if sampling is not None else Sampling(batch_size=batch_size)  # type: ignore[arg-type]


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
