"""The rows of one part of a mix by their number in it, without a list of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from graphium.data.store.graph_store import GraphStore

_STRIDE = 16
_AT_ONCE = 1 << 20


class PartRows:
    """The (table, row) pairs of a part, tables one after another.

    Holds the part of every row (a byte) and a count for every 16 rows, instead of row numbers.

    Args:
        parts: For every table, int8 ``[rows]``: the part of its rows.
        code: The part, an index in ``types.PARTS``.

    >>> rows = PartRows([np.array([0, 1, 0], np.int8), np.array([1, 0], np.int8)], code=0)
    >>> rows[torch.tensor([2, 1])].tolist()
    [[1, 1], [0, 2]]
    """

    def __init__(self, parts: Sequence[np.ndarray], code: int) -> None:
        self._parts, self._code = list(parts), np.int8(code)
        # Rows of the part before every 16th row of a table
        self._before = [_counts_before(part == self._code) for part in self._parts]
        self.sizes = np.array([before[-1] for before in self._before], dtype=np.int64)
        self._ends = np.cumsum(self.sizes)

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def __getitem__(self, places: Tensor) -> Tensor:
        """int64 ``[n, 2]``: table and row of some numbers of rows, int64 ``[n]``."""
        place = places.numpy()
        table = np.searchsorted(self._ends, place, side="right")
        row = np.empty_like(place)
        for t in np.unique(table):
            mine = table == t
            row[mine] = self._select(int(t), place[mine] - (self._ends[t] - self.sizes[t]))
        return torch.from_numpy(np.stack([table, row], axis=1))

    def _select(self, table: int, number: np.ndarray) -> np.ndarray:
        """The row of a table that is the ``number``-th of the part."""
        parts, before = self._parts[table], self._before[table]
        group = np.searchsorted(before, number, side="right") - 1
        # [n, 16]; after the end of the table, its last row again, which is too late to be found
        rows = np.minimum(group[:, None] * _STRIDE + np.arange(_STRIDE), len(parts) - 1)
        found = np.cumsum(parts[rows] == self._code, axis=1, dtype=np.uint8)
        inside = np.argmax(found == (number - before[group] + 1)[:, None], axis=1)
        return group * _STRIDE + inside

    def num_nodes(self, stores: Sequence[GraphStore]) -> np.ndarray:
        """Atoms of every row, uint16 ``[len(self)]``: a store numbers the atoms of a molecule in 15 bits."""
        sizes = np.empty(len(self), np.uint16)
        done = 0
        for part, store in zip(self._parts, stores, strict=True):
            for start in range(0, len(part), _AT_ONCE):
                chosen = part[start : start + _AT_ONCE] == self._code
                molecule = np.asarray(store.row_molecule[start : start + _AT_ONCE])[chosen]
                begin = store.ptr[:, 0]
                sizes[done : done + len(molecule)] = begin[molecule + 1] - begin[molecule]
                done += len(molecule)
        return sizes


def _counts_before(chosen: np.ndarray) -> np.ndarray:
    """int64 ``[ceil(n / 16) + 1]``: how many are chosen before every 16th one, and in all."""
    counts = np.zeros(-(-len(chosen) // _STRIDE) + 1, np.int64)
    if len(chosen):
        counts[1:] = np.add.reduceat(chosen, np.arange(0, len(chosen), _STRIDE), dtype=np.int64)
    return np.cumsum(counts)
