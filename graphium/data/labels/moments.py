"""Mean and spread of labels per task, from pieces of any size, in float64."""

from __future__ import annotations

import numpy as np

# A deviation below this share of the mean's size is rounding of the sums, not spread.
_ROUNDING = 1e-12


class Moments:
    """Counts, means and sums of squared deviations of each task; pieces are merged without cancellation.

    The sums follow Chan, Golub and LeVeque (1983), eq. 2.1.

    >>> moments = Moments(1)
    >>> for piece in ([1.0, 2.0], [3.0]):
    ...     moments.add(np.zeros(len(piece), int), np.array(piece))
    >>> moments.count.tolist(), moments.mean.tolist(), moments.deviation().round(4).tolist()
    ([3], [2.0], [0.8165])
    """

    def __init__(self, num_tasks: int) -> None:
        self.count = np.zeros(num_tasks, np.int64)
        self.mean, self._squares = np.zeros(num_tasks), np.zeros(num_tasks)

    def add(self, task: np.ndarray, value: np.ndarray) -> None:
        """Take in labels: ``task`` integers ``[L]``, ``value`` float64 ``[L]``."""
        tasks = len(self.count)
        count = np.bincount(task, minlength=tasks)
        # Values near the largest float overflow; whoever cares looks for moments that are not finite.
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.bincount(task, value, tasks) / np.maximum(count, 1)
            squares = np.bincount(task, (value - mean[task]) ** 2, tasks)
            both = np.maximum(self.count + count, 1)
            self._squares += squares + (mean - self.mean) ** 2 * (self.count * (count / both))
            self.mean += (mean - self.mean) * (count / both)
        self.count += count

    def deviation(self) -> np.ndarray:
        """Standard deviation of each task (n in the denominator), 0 where it is constant or empty; float64."""
        deviation = np.sqrt(self._squares / np.maximum(self.count, 1))
        return np.where(deviation <= _ROUNDING * np.abs(self.mean), 0.0, deviation)
