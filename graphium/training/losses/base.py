"""Losses over label triples: per-task numerators and denominators, at the cost of the labels present.

A loss gathers the predictions that have a label, compares them elementwise and adds the results up per
task. It does not divide: a mean of means over micro-batches or ranks cannot be repaired later, so
a :class:`graphium.training.weighting.Weighting` divides once, by totals that cover the whole optimiser step.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from graphium.data.batch import Labels
from graphium.types import HeadSpec


def take_labelled(prediction: Tensor, labels: Labels) -> Tensor:
    """The predictions that have a label, in at least float32.

    Args:
        prediction: ``[entities, tasks]`` or ``[entities, tasks, classes]``, any float type.
        labels: The labels of the same head.

    Returns:
        ``[L]`` or ``[L, classes]``.
    """
    # One flat index_select: its gradient is an index_add, several times cheaper than that of x[entity, task].
    picked = prediction.flatten(0, 1).index_select(0, labels.entity * prediction.shape[1] + labels.task)
    return picked.to(torch.promote_types(picked.dtype, torch.float32))


def reachable(prediction: Tensor, labels: Labels) -> Tensor:
    """What each prediction ``[L]`` is compared with, ``[L]``: the label, or the nearest value that a bound allows.

    A bound is kept by every prediction on its own side, which is then its own target: no loss, no gradient.
    """
    if labels.bound is None:
        return labels.value
    value = labels.value.to(prediction.dtype)
    kept = (prediction.detach() - value) * labels.bound > 0
    return torch.where(kept, prediction.detach(), value)


def sum_by_task(element: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
    """Weighted sums of ``element`` ``[L]`` and of the weights, per task: two ``[tasks]``."""
    num_tasks = labels.total.shape[0]
    weight = labels.weight.to(element.dtype)
    numerator = element.new_zeros(num_tasks).index_add(0, labels.task, element * weight)
    denominator = element.new_zeros(num_tasks).index_add(0, labels.task, weight)
    return numerator, denominator


class Loss(nn.Module):
    """A loss over label triples; an author writes :meth:`element` and lists the ``kinds`` it fits.

    ``outputs``: names of the numbers that a prediction consists of where one is not enough, see
    :mod:`graphium.nn.outputs`; :meth:`element` then gets ``[L, outputs]``.

    ``takes_bounds``: labels may be bounds, which needs that a prediction equal to its value has no loss and
    no gradient; a prediction on the right side of a bound is given as its own value.

    Called with predictions ``[entities, tasks(, classes)]`` and :class:`~graphium.data.batch.Labels`, it
    returns ``(numerator, denominator)``, float32 ``[tasks]`` each: the weighted sum of the elementwise
    losses and the sum of the weights. A task without labels has 0 in both.

    >>> from graphium.training.losses.regression import MeanAbsoluteError
    >>> labels = Labels(entity=torch.tensor([0, 2]), task=torch.tensor([1, 1]), value=torch.tensor([1.0, 5.0]),
    ...                 weight=torch.ones(2), total=torch.tensor([0.0, 2.0]))
    >>> MeanAbsoluteError()(torch.zeros(3, 2), labels)
    (tensor([0., 6.]), tensor([0., 2.]))
    """

    kinds: ClassVar[tuple[str, ...]] = ("regression",)
    takes_bounds: ClassVar[bool] = False
    outputs: tuple[str, ...] = ()

    def fit(self, head: HeadSpec, statistics: Tensor | None) -> None:
        """Learn what depends on the tasks, once, before training.

        Args:
            head: The tasks; some of them may have other losses.
            statistics: What :func:`graphium.training.evaluation.label_statistics` says of the training labels,
                None where nobody has looked.
        """

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        """Loss of each label ``[L]`` from its prediction ``[L(, classes)]``, its value ``[L]`` and task ``[L]``."""
        raise NotImplementedError

    def forward(self, prediction: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        assert labels.bound is None or self.takes_bounds, "check_bounds refuses this at set-up"
        picked = take_labelled(prediction, labels)
        return sum_by_task(self.element(picked, reachable(picked, labels), labels.task), labels)
