"""Exact metrics of every task of a head at once, over the labels that exist.

Predictions and labels are buffered as triples and compared at the end by operations over segments, never by
a loop over tasks. Sums are in float64. A metric counts every exact label once, whatever its sample weight;
labels of weight 0 (padding) are not labels, and a label that is a bound (``>10``) enters no metric, because no
error and no rank follows from it: such labels are counted. NaN means undefined: no labels, one class only where
two are needed, a constant where a variance is needed, or a prediction that is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from graphium import registry
from graphium.training.metrics.ranking import Thresholds, thresholds


@dataclass(frozen=True)
class Scored:
    """Predictions beside their labels, with what several metrics need computed once.

    ``task`` int32 ``[L]``; ``prediction`` ``[L]`` or logits ``[L, classes]``; ``value`` ``[L]``, both in
    transformed units; ``inverse(value [L], task [L])`` leads back to label units (None: they are the same).
    ``bounds`` int64 ``[tasks]``: labels that are left out because they are bounds (None: none are).
    """

    task: Tensor
    prediction: Tensor
    value: Tensor
    num_tasks: int
    inverse: Callable[[Tensor, Tensor], Tensor] | None = None
    bounds: Tensor | None = None

    def sum(self, element: Tensor) -> Tensor:
        """Sum of ``element`` ``[L]`` per task, float64 ``[tasks]``."""
        element = element.double()
        return element.new_zeros(self.num_tasks).index_add_(0, self.task, element)

    def mean(self, element: Tensor) -> Tensor:
        """Mean of ``element`` ``[L]`` per task, float64 ``[tasks]``; NaN without labels."""
        return self.sum(element) / self.count

    @cached_property
    def count(self) -> Tensor:
        """Labels of each task, int64 ``[tasks]``."""
        return torch.bincount(self.task, minlength=self.num_tasks)

    @cached_property
    def broken(self) -> Tensor:
        """Tasks with a prediction that is NaN, bool ``[tasks]``."""
        bad = self.prediction.isnan().flatten(1).any(1) if self.prediction.ndim > 1 else self.prediction.isnan()
        return torch.bincount(self.task[bad], minlength=self.num_tasks) > 0

    @cached_property
    def label_units(self) -> Scored:
        """The same in the units of the table, float64."""
        if self.inverse is None:
            return self
        return replace(
            self,
            prediction=self.inverse(self.prediction.double(), self.task.long()),
            value=self.inverse(self.value.double(), self.task.long()),
            inverse=None,
        )

    @cached_property
    def thresholds(self) -> Thresholds:
        """Binary labels grouped by task and distinct score: the one sort behind AUROC and AP."""
        return thresholds(self.task, self.prediction, self.value, self.num_tasks)

    @cached_property
    def moments(self) -> Moments:
        return moments(self, self.prediction, self.value)


@dataclass(frozen=True)
class Moments:
    """Sums of squared deviations of values and predictions, and of their products; float64 ``[tasks]``.

    Exactly 0 where all are equal.
    """

    value: Tensor
    prediction: Tensor
    product: Tensor

    def correlation(self) -> Tensor:
        """Pearson's correlation ``[tasks]``; NaN where either is constant."""
        spread = self.value.sqrt() * self.prediction.sqrt()
        return (self.product / torch.where(spread > 0, spread, torch.nan)).clamp(-1, 1)


def moments(scored: Scored, prediction: Tensor, value: Tensor) -> Moments:
    """Centred second moments per task, in two passes: differences of raw sums would lose the digits."""

    def deviation(number: Tensor) -> Tensor:
        number = number.double()
        least = number.new_full((scored.num_tasks,), torch.inf).scatter_reduce_(0, scored.task.long(), number, "amin")
        number = number - least[scored.task]  # equal numbers become exact zeros, and so does their spread
        return number - scored.mean(number)[scored.task]

    from_mean, predicted_from_mean = deviation(value), deviation(prediction)
    return Moments(
        value=scored.sum(from_mean.square()),
        prediction=scored.sum(predicted_from_mean.square()),
        product=scored.sum(from_mean * predicted_from_mean),
    )


class TaskMetric:
    """A metric of every task at once; an author writes :meth:`__call__` and lists the ``kinds`` it fits."""

    kinds: ClassVar[tuple[str, ...]] = ("regression",)
    higher_is_better: ClassVar[bool] = False

    def __call__(self, scored: Scored) -> Tensor:
        """Value per task, float64 ``[tasks]``; NaN where undefined."""
        raise NotImplementedError


def higher_is_better(name: str) -> bool:
    """Whether larger values of the metric ``name`` are better, to choose checkpoints and to stop early."""
    return registry.lookup("metric", name.removeprefix("pooled_")).higher_is_better
