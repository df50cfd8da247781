"""Batches of a bounded number of molecules and atoms, as many in every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from graphium.data.sampling.draws import Order, Sampling
from graphium.errors import GraphiumError

_AT_ONCE = 65_536


class BoundedCuts:
    """Cuts an endless order of rows into batches of at most ``batch_size`` molecules and ``max_nodes`` atoms.

    A row of n atoms costs ``max(n * batch_size, max_nodes)``, so that a batch within a cost of
    ``batch_size * max_nodes`` keeps both limits. Rows lie on a line, each as long as its cost, and a batch is
    the rows that begin in an interval of the line. It exceeds its interval by less than the largest cost:
    intervals that are this much shorter than the limit keep it, whatever the sizes. They are equal, as an
    epoch is the mean cost of its draws: so every epoch has as many batches. Where every epoch draws
    whole passes, it ends with the rows it drew; else a few rows change over to the next or the last one.

    Args:
        order: The endless order, of at least one row.
        num_nodes: Atoms of the row at every place, an integer array ``[places]``.
        sampling: The two limits.
        num_ranks: Batches that are used together.
        may_be_empty: Let batches be without a row where molecules are few or large; else that is an error.

    Raises:
        GraphiumError: a molecule is larger than the limit, or a batch could be without a row.
    """

    def __init__(
        self,
        order: Order,
        num_nodes: np.ndarray,
        sampling: Sampling,
        num_ranks: int = 1,
        *,
        may_be_empty: bool = False,
    ) -> None:
        assert sampling.max_nodes is not None
        self._order, self._num_nodes = order, num_nodes
        self._step = max(1, min(_AT_ONCE, order.num_rows))
        self._batch_size, self._max_nodes = sampling.batch_size, sampling.max_nodes
        largest = int(num_nodes.max(initial=0))
        if largest > self._max_nodes:
            raise GraphiumError(
                f"max_nodes is {self._max_nodes} and the largest molecule has {largest} atoms; "
                f"give at least {3 * largest}, or leave such molecules out"
            )
        limit, top = self._batch_size * self._max_nodes, max(largest * self._batch_size, self._max_nodes)
        ends = np.cumsum(order.sizes).tolist()
        self._pass_cost = [
            self._whole_pass(end - size, end) for end, size in zip(ends, order.sizes.tolist(), strict=True)
        ]
        whole_passes = all(rows % size == 0 for rows, size in self._tables())
        # Cost of an epoch on average: a rational number, because epochs may end within a pass.
        means = (
            Fraction(rows * cost, size) for (rows, size), cost in zip(self._tables(), self._pass_cost, strict=True)
        )
        self._mean = sum(means, Fraction(0))
        steps = math.ceil(Fraction(math.ceil(self._mean), (limit - top + 1) * num_ranks))
        self.num_batches = steps * num_ranks
        sure = self.num_batches == 1 and whole_passes
        if not (may_be_empty or sure) and math.floor(self._mean) // self.num_batches < top:
            raise GraphiumError(
                f"max_nodes of {self._max_nodes} cuts {order.num_rows:,} rows into {self.num_batches:,} batches, "
                f"of which some could be empty (the largest molecule has {largest} atoms); "
                f"give at least {3 * largest}, or use fewer devices"
            )

    def spans(self, epoch: int, first: int = 0) -> Iterator[tuple[int, int]]:
        """First position and end of every batch of an epoch, from number ``first`` on."""
        begin, end = math.ceil(epoch * self._mean), math.ceil((epoch + 1) * self._mean)
        number = np.arange(self.num_batches + 1)
        whole, rest = divmod(end - begin, self.num_batches)
        edges = whole * number + rest * number // self.num_batches  # counted from `begin`
        position, reached = self._before(epoch, begin)
        done, start = first, None
        while done <= self.num_batches:
            cost = self._at(position, position + self._step)
            line = reached + np.concatenate([[0], np.cumsum(cost)])
            upto = max(done, int(np.searchsorted(edges, line[-1], side="right")))
            for cut in (position + np.searchsorted(line, edges[done:upto])).tolist():
                if start is not None:
                    yield start, cut
                start = cut
            done, position, reached = upto, position + self._step, int(line[-1])

    def _before(self, epoch: int, begin: int) -> tuple[int, int]:
        """A position not after the first one of an epoch, and the place of its row on the line, from ``begin``."""
        position, reached = epoch * self._order.num_rows, -begin
        for table, ((rows, size), cost) in enumerate(zip(self._tables(), self._pass_cost, strict=True)):
            passes, rest = divmod(epoch * rows, size)
            reached += passes * cost + self._part_of_pass(table, passes * size, rest)
        while reached > 0:
            start = max(0, position - self._step)
            reached -= int(self._at(start, position).sum())
            position = start
        return position, reached

    def _tables(self) -> list[tuple[int, int]]:
        """Rows of an epoch and rows in all of every dataset; 1 for none, which can be divided by."""
        return [
            (rows, max(1, size))
            for rows, size in zip(self._order.rows.tolist(), self._order.sizes.tolist(), strict=True)
        ]

    def _costs(self, num_nodes: np.ndarray) -> np.ndarray:
        return np.maximum(num_nodes.astype(np.int64) * self._batch_size, self._max_nodes)

    def _at(self, start: int, stop: int) -> np.ndarray:
        """Costs at some positions of the order."""
        return self._costs(self._num_nodes[self._order.places(np.arange(start, stop))])

    def _whole_pass(self, start: int, stop: int) -> int:
        """Cost of all rows of one dataset, which are the places ``start:stop``."""
        return sum(int(self._costs(self._num_nodes[a:b]).sum()) for a, b in _pieces(start, stop, self._step))

    def _part_of_pass(self, table: int, start: int, count: int) -> int:
        """Cost of some draws of one dataset."""
        streams = (self._order.stream(table, np.arange(a, b)) for a, b in _pieces(start, start + count, self._step))
        return sum(int(self._costs(self._num_nodes[places]).sum()) for places in streams)


def _pieces(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    for at in range(start, stop, step):
        yield at, min(at + step, stop)
