"""What metrics remember of the labels: moments, confusion counts, and sort keys where only ranks will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from graphium.training.metrics.base import Pooled, Scored, Summary
from graphium.training.metrics.ranking import (
    average_precisions,
    make_keys,
    midranks,
    pool_keys,
    roc_areas,
    score_bits,
    thresholds,
)


@dataclass(frozen=True)
class Deviations:
    """Sums over the labels of each task, float64 ``[tasks]``; those from a mean are exactly 0 where all are equal.

    ``value``, ``prediction``: squared deviations from the mean; ``product``: products of both deviations;
    ``error``: squared errors.
    """

    value: Tensor
    prediction: Tensor
    product: Tensor
    error: Tensor

    def correlation(self) -> Tensor:
        """Pearson's correlation ``[tasks]``; NaN where either is constant."""
        spread = self.value.sqrt() * self.prediction.sqrt()
        return (self.product / torch.where(spread > 0, spread, torch.nan)).clamp(-1, 1)

    def trouble(self) -> Tensor:
        """Why a correlation is NaN, ``[tasks]``: 0, labels are constant; 1, predictions are; 2, they are infinite."""
        return torch.where(self.value > 0, torch.where(self.prediction.isnan(), 2, 1), 0)


@dataclass(frozen=True)
class Moments(Summary):
    """Means and centred second moments of labels and predictions, merged without differences of large sums.

    The state ``[tasks, 9]``: count; some value and some prediction; the means of values and predictions from these;
    then the sums of :class:`Deviations`. Merging follows Chan, Golub and LeVeque (1979), for any number of summaries
    at once; no number is further from zero than labels from each other, so an offset of all labels costs no digit.

    >>> scored = Scored(torch.tensor([0, 0]), torch.tensor([1.0, 5.0]).double(), torch.tensor([1.0, 3.0]).double(), 1)
    >>> Moments().view(Moments().update(scored), 1).product
    tensor([4.], dtype=torch.float64)
    """

    def update(self, scored: Scored) -> Tensor:
        def about_mean(number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            # From any label of the task: equal numbers become exact zeros, and so does their spread.
            origin = number.new_zeros(scored.num_tasks + 1).scatter_(0, scored.task, number)
            number = number - origin[scored.task]
            mean = torch.cat([scored.sum(number) / scored.count.clamp(min=1), number.new_zeros(1)])
            return origin[:-1], mean[:-1], number - mean[scored.task]

        origin, mean, value = about_mean(scored.value)
        predicted_origin, predicted_mean, prediction = about_mean(scored.number)
        sums = [value.square(), prediction.square(), value * prediction, (scored.number - scored.value).square()]
        means = [origin, predicted_origin, mean, predicted_mean]
        return torch.stack([scored.count, *means, *map(scored.sum, sums)], dim=-1)

    def merge(self, stacked: Tensor) -> Tensor:
        count, origins, means = stacked[..., :1], stacked[..., 1:3], stacked[..., 3:5]
        total = count.sum(0)
        origin = torch.where(count > 0, origins, torch.inf).amin(0)
        shift = torch.where(count > 0, origins - origin + means, 0.0)
        mean = (count * shift).sum(0) / total.clamp(min=1)
        offset = shift - mean
        between = torch.cat([offset.square(), offset.prod(-1, keepdim=True)], dim=-1)
        within = stacked[..., 5:8].sum(0) + (count * between).sum(0)
        origin = torch.where(total > 0, origin, 0.0)
        return torch.cat([total, origin, mean, within, stacked[..., 8:].sum(0)], dim=-1)

    def view(self, state: Tensor, num_tasks: int) -> Deviations:
        return Deviations(*state[..., 5:].unbind(-1))


@dataclass(frozen=True)
class Confusion(Summary):
    """How many labels of each class were predicted as each class, int64 ``[tasks, classes, classes]``.

    Predicted is the class with the largest logit; of binary tasks, 1 where the logit is above 0.

    >>> scored = Scored(torch.tensor([0, 0]), torch.tensor([-3.0, 2.0]), torch.tensor([1.0, 1.0]), num_tasks=1)
    >>> Confusion().update(scored)
    tensor([[[0, 0],
             [1, 1]]])
    """

    def update(self, scored: Scored) -> Tensor:
        if scored.prediction.ndim == 1:
            classes, predicted = 2, (scored.prediction > 0).long()
        else:
            classes, predicted = scored.prediction.shape[1], scored.prediction.argmax(-1)
        cell = (scored.task * classes + scored.value.long()) * classes + predicted
        counts = cell.new_zeros((scored.num_tasks + 1) * classes**2).scatter_add_(0, cell, torch.ones_like(cell))
        return counts.view(-1, classes, classes)[:-1]


@dataclass(frozen=True)
class Areas:
    """Areas under the curves of each class against the rest, ``[tasks, classes]``; binary: one column.

    ``roc`` is NaN where a class or the rest has no label, ``precision`` where the class has none. ``positives``
    int64: labels of the class.
    """

    roc: Tensor
    precision: Tensor
    positives: Tensor


@dataclass(frozen=True)
class Curves(Summary):
    """Sort keys of all labels, one column per class, for exact areas under curves.

    >>> scored = Scored(torch.tensor([0, 0]), torch.tensor([-3.0, 2.0]), torch.tensor([0.0, 1.0]), num_tasks=1)
    >>> Curves().view(Curves().update(scored), num_tasks=1).roc
    tensor([[1.]], dtype=torch.float64)
    """

    buffered: ClassVar[bool] = True

    def update(self, scored: Scored) -> Tensor:
        """int64 ``[L, classes]``; binary: ``[L, 1]``."""
        if scored.prediction.ndim == 1:
            return make_keys(scored.task, scored.prediction, scored.num_tasks, scored.value > 0).unsqueeze(1)
        # Log odds order as probabilities do, and stay distinct where those round to 1.
        logit = scored.prediction - scored.prediction.amax(-1, keepdim=True)
        classes = torch.arange(logit.shape[1], device=logit.device)
        others = (classes != classes[:, None]).to(logit.dtype)
        odds = logit - (logit.exp() @ others).log()
        value = scored.value.unsqueeze(1) == classes
        return make_keys(scored.task.unsqueeze(1), odds, scored.num_tasks, value)

    def view(self, state: Tensor, num_tasks: int) -> Areas:
        roc, precision, positives = [], [], []
        for keys in state.unbind(1):
            groups = thresholds(keys, num_tasks)
            roc.append(roc_areas(groups))
            precision.append(average_precisions(groups))
            positives.append(groups.task_positives)
        return Areas(torch.stack(roc, 1), torch.stack(precision, 1), torch.stack(positives, 1))

    def pool(self, heads: Sequence[Pooled]) -> Tensor:
        return pool_keys(list(heads))


@dataclass(frozen=True)
class Ranks(Summary):
    """Sort keys of predictions and labels, for correlations of ranks.

    Predictions are ranked in transformed units, and labels too, because a transform keeps the order; where it cuts
    labels off they are ranked in their own units.

    >>> scored = Scored(torch.tensor([0, 0]), torch.tensor([1.0, 5.0]), torch.tensor([1.0, 3.0]), num_tasks=1)
    >>> Ranks().view(Ranks().update(scored), num_tasks=1).product
    tensor([0.5000], dtype=torch.float64)
    """

    buffered: ClassVar[bool] = True

    def update(self, scored: Scored) -> Tensor:
        """int64 ``[L, 2]``, or ``[L, 3]`` with the labels in their own units."""
        columns = [scored.number, scored.value] + ([] if scored.raw is None else [scored.raw])
        return torch.stack([make_keys(scored.task, column, scored.num_tasks) for column in columns], dim=1)

    def view(self, state: Tensor, num_tasks: int) -> Deviations:
        predicted, value = midranks(state[:, 0]), midranks(state[:, -1])
        task = state[:, 0] >> (score_bits(num_tasks) + 1)
        moments = Moments()
        return moments.view(moments.update(Scored(task, predicted, value, num_tasks)), num_tasks)

    def pool(self, heads: Sequence[Pooled]) -> Tensor:
        """Labels are pooled in transformed units."""
        return pool_keys([Pooled(head.state[:, :2], head.num_tasks, head.keep) for head in heads])
