"""Losses over label triples: per-task numerators and denominators, at the cost of the labels present.

A loss gathers the predictions that have a label, compares them elementwise and adds the results up per
task. It does not divide: a mean of means over micro-batches or ranks cannot be repaired later, so
a :class:`graphium.training.weighting.Weighting` divides once, by totals that cover the whole optimiser step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from graphium.data.batch import Labels
from graphium.training.losses.triples import reachable, sum_by_task, take_labelled
from graphium.types import HeadSpec, Task


class Loss(nn.Module):
    """A loss over label triples; an author writes :meth:`element` and lists the ``kinds`` it fits.

    ``outputs``: names of the numbers that a prediction consists of where one is not enough, see
    :mod:`graphium.nn.outputs`; :meth:`element` then gets ``[L, outputs]``.

    ``may_be_negative``: the element has no lower end at 0, as that of a density.

    ``takes_bounds``: labels may be bounds. That needs an element without loss and gradient where a prediction
    equals its value, or a :meth:`bounded_element` of its own.

    Called with predictions ``[entities, tasks(, width)]`` and :class:`~graphium.data.batch.Labels`, it
    returns ``(numerator, denominator)``, ``[tasks]`` each in at least float32: the weighted sum of the elementwise
    losses and the sum of the weights. A task without labels has 0 in both.

    >>> import torch
    >>> from graphium.training.losses.regression import MeanAbsoluteError
    >>> labels = Labels(entity=torch.tensor([0, 2]), task=torch.tensor([1, 1]), value=torch.tensor([1.0, 5.0]),
    ...                 weight=torch.ones(2), total=torch.tensor([0.0, 2.0]))
    >>> MeanAbsoluteError()(torch.zeros(3, 2), labels)
    (tensor([0., 6.]), tensor([0., 2.]))
    """

    kinds: ClassVar[tuple[str, ...]] = ("regression",)
    takes_bounds: ClassVar[bool] = False
    may_be_negative: ClassVar[bool] = False
    outputs: tuple[str, ...] = ()

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse arguments that do not fit the tasks, before any label is read.

        Args:
            tasks: All tasks of one dataset that have this loss, of any head.

        Raises:
            GraphiumError: an argument names a task that is not there, or is made for other classes.
        """

    def fit(self, head: HeadSpec, statistics: Tensor | None) -> None:
        """Learn what depends on the tasks, once, before training.

        Args:
            head: The tasks; some of them may have other losses.
            statistics: What :func:`graphium.training.evaluation.label_statistics` says of the training labels,
                None where nobody has looked.
        """

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        """Loss of each label ``[L]`` from its prediction ``[L(, width)]``, its value ``[L]`` and task ``[L]``.

        ``prediction`` is float32 or float64; finite predictions, however large, must give a finite gradient.
        """
        raise NotImplementedError

    def bounded_element(self, prediction: Tensor, value: Tensor, task: Tensor, bound: Tensor) -> Tensor:
        """The same where labels may be bounds (``bound`` ``[L]`` of :class:`~graphium.data.batch.Labels`)."""
        return self.element(prediction, reachable(prediction, value, bound), task)

    def of_labels(self, picked: Tensor, labels: Labels) -> Tensor:
        """Loss of each label ``[L]`` from the predictions that :func:`take_labelled` returns."""
        if labels.bound is None:
            return self.element(picked, labels.value, labels.task)
        assert self.takes_bounds, "check_bounds refuses this at set-up"
        return self.bounded_element(picked, labels.value, labels.task, labels.bound)

    def forward(self, prediction: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        return sum_by_task(self.of_labels(take_labelled(prediction, labels), labels), labels)
