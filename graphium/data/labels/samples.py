"""Least, largest and sampled labels of each task, from pieces of any size, in bounded memory."""

from __future__ import annotations

import numpy as np

# Labels kept of all tasks together, and the fewest and most of one task.
_KEPT = 1 << 21
_KEPT_OF_TASK = (1 << 11, 1 << 18)


class Extremes:
    """The least and the largest label of each task, float64; +inf and -inf where there is none."""

    def __init__(self, num_tasks: int) -> None:
        self.low, self.high = np.full(num_tasks, np.inf), np.full(num_tasks, -np.inf)

    def add(self, task: np.ndarray, value: np.ndarray) -> None:
        """Take in labels: ``task`` integers ``[L]``, ``value`` float64 ``[L]``."""
        np.minimum.at(self.low, task, value)
        np.maximum.at(self.high, task, value)


class Sample:
    """Labels of each task, all of them where they are few, else a random choice that every run repeats.

    Kept are the labels whose position in the stream has the lowest hashes ("bottom-k sampling"), so that the
    choice does not depend on the sizes of the pieces.

    Args:
        num_tasks: Number of tasks.
        size: Labels kept of each task; None is 2,097,152 by all tasks together, at least 2,048 and at most
            262,144 each.

    >>> sample = Sample(2)
    >>> sample.add(np.array([1, 1, 0]), np.array([5.0, 3.0, 1.0]))
    >>> [values.tolist() for values in sample.sorted()]
    [[1.0], [3.0, 5.0]]
    """

    def __init__(self, num_tasks: int, size: int | None = None) -> None:
        self._size = int(np.clip(_KEPT // max(num_tasks, 1), *_KEPT_OF_TASK)) if size is None else size
        self._num_tasks = num_tasks
        self._pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._held = self._seen = 0
        self._most = 2 * self._size * num_tasks
        # Hashes from here on are of no more use to their task.
        self._limit = np.full(num_tasks, np.iinfo(np.uint64).max, np.uint64)

    def add(self, task: np.ndarray, value: np.ndarray) -> None:
        """Take in labels: ``task`` integers ``[L]``, ``value`` float64 ``[L]``."""
        key = _hashes(self._seen, len(task))
        self._seen += len(task)
        wanted = key < self._limit[task]
        self._pieces.append((task[wanted].astype(np.int32), key[wanted], value[wanted]))
        self._held += len(self._pieces[-1][0])
        if self._held > self._most:
            self._prune()

    def sorted(self) -> list[np.ndarray]:
        """The kept labels of every task in ascending order, float64."""
        task, _, value = self._prune()
        order = np.lexsort((value, task))
        return np.split(value[order], np.searchsorted(task[order], np.arange(1, self._num_tasks)))

    def _prune(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keep the labels with the lowest hashes of each task."""
        nothing = np.empty(0, np.int32), np.empty(0, np.uint64), np.empty(0)
        task, key, value = (np.concatenate(columns) for columns in zip(nothing, *self._pieces, strict=True))
        order = np.lexsort((key, task))
        task, key, value = task[order], key[order], value[order]
        start = np.searchsorted(task, np.arange(self._num_tasks))
        rank = np.arange(len(task)) - start[task]
        full = rank == self._size - 1
        self._limit[task[full]] = key[full] + np.uint64(1)
        keep = rank < self._size
        self._pieces = [(task[keep], key[keep], value[keep])]
        self._held = int(keep.sum())
        return self._pieces[0]


def _hashes(first: int, count: int) -> np.ndarray:
    """Well mixed numbers of the positions from ``first`` on, uint64 (SplitMix64, Steele et al. 2014)."""
    number = np.arange(first + 1, first + 1 + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))
