"""Losses over label triples: per-task numerators and denominators, at the cost of the labels present.

A loss gathers the predictions that have a label, compares them elementwise and adds the results up per
task. It does not divide: a mean of means over micro-batches or ranks cannot be repaired later, so
:func:`graphium.training.weighting.combine` divides once, by totals that cover the whole optimiser step.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphium import registry
from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.registry import PartConfig, register
from graphium.types import HeadSpec

DEFAULT_LOSS: dict[str, str] = {"regression": "mae", "binary": "bce", "multiclass": "ce", "ordinal": "ce"}


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

    ``takes_bounds``: labels may be bounds, which needs that a prediction equal to its value has no loss and
    no gradient; a prediction on the right side of a bound is given as its own value.

    Called with predictions ``[entities, tasks(, classes)]`` and :class:`~graphium.data.batch.Labels`, it
    returns ``(numerator, denominator)``, float32 ``[tasks]`` each: the weighted sum of the elementwise
    losses and the sum of the weights. A task without labels has 0 in both.

    >>> labels = Labels(entity=torch.tensor([0, 2]), task=torch.tensor([1, 1]), value=torch.tensor([1.0, 5.0]),
    ...                 weight=torch.ones(2), total=torch.tensor([0.0, 2.0]))
    >>> MeanAbsoluteError()(torch.zeros(3, 2), labels)
    (tensor([0., 6.]), tensor([0., 2.]))
    """

    kinds: ClassVar[tuple[str, ...]] = ("regression",)
    takes_bounds: ClassVar[bool] = False

    def element(self, prediction: Tensor, value: Tensor) -> Tensor:
        """Loss of each label ``[L]`` from its prediction ``[L(, classes)]`` and its value ``[L]``."""
        raise NotImplementedError

    def forward(self, prediction: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        assert labels.bound is None or self.takes_bounds, "check_bounds refuses this at set-up"
        picked = take_labelled(prediction, labels)
        return sum_by_task(self.element(picked, reachable(picked, labels)), labels)


@register("loss", "mae")
class MeanAbsoluteError(Loss):
    """``|prediction - value|``."""

    takes_bounds = True

    def element(self, prediction: Tensor, value: Tensor) -> Tensor:
        return (prediction - value).abs()


@register("loss", "mse")
class MeanSquaredError(Loss):
    """``(prediction - value)^2``."""

    takes_bounds = True

    def element(self, prediction: Tensor, value: Tensor) -> Tensor:
        return (prediction - value).square()


@register("loss", "huber")
class Huber(Loss):
    """Squared below ``delta``, linear above (Huber 1964): ``e^2 / 2`` or ``delta (|e| - delta / 2)``.

    Args:
        delta: Where the two meet, in transformed label units; above 0.
    """

    takes_bounds = True

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if not delta > 0:
            raise GraphiumError(f"the delta of the huber loss is {delta}; give a number above 0")
        self.delta = delta

    def element(self, prediction: Tensor, value: Tensor) -> Tensor:
        return F.huber_loss(prediction, value.to(prediction.dtype), reduction="none", delta=self.delta)


@register("loss", "bce")
class BinaryCrossEntropy(Loss):
    """Cross-entropy of a binary label under a predicted logit."""

    kinds = ("binary",)

    def element(self, prediction: Tensor, value: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(prediction, value.to(prediction.dtype), reduction="none")


@register("loss", "ce")
class CrossEntropy(Loss):
    """Cross-entropy of a class under predicted logits ``[L, classes]``."""

    kinds = ("multiclass", "ordinal")

    def element(self, prediction: Tensor, value: Tensor) -> Tensor:
        return F.cross_entropy(prediction, value.long(), reduction="none")


class HeadLoss(nn.Module):
    """The loss of one head: one part for all its tasks, or several where tasks name different losses.

    Args:
        head: Its tasks' ``loss`` (empty: the default of the kind) says which parts.

    Called like a :class:`Loss`.

    Raises:
        GraphiumError: an unknown loss, a bad argument, or a loss that does not fit the head's kind.
    """

    part_of_task: Tensor

    def __init__(self, head: HeadSpec) -> None:
        super().__init__()
        configs: dict[str, PartConfig] = {}
        part_of_task = []
        for task in head.tasks:
            config: PartConfig = _plain(task.loss) if task.loss else DEFAULT_LOSS[head.kind]
            key = json.dumps(config, sort_keys=True)
            configs.setdefault(key, config)
            part_of_task.append(list(configs).index(key))
        where = f"the loss of {head.dataset}"
        self.parts = nn.ModuleList(_build(config, head.kind, where) for config in configs.values())
        self.register_buffer("part_of_task", torch.tensor(part_of_task, dtype=torch.int64), persistent=False)

    @property
    def takes_bounds(self) -> bool:
        """Whether the labels of this head may be bounds."""
        return all(isinstance(part, Loss) and part.takes_bounds for part in self.parts)

    def forward(self, prediction: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        if len(self.parts) == 1:
            return self.parts[0](prediction, labels)
        assert labels.bound is None or self.takes_bounds, "check_bounds refuses this at set-up"
        picked = take_labelled(prediction, labels)
        value = reachable(picked, labels)
        part = self.part_of_task[labels.task]
        element = torch.zeros_like(labels.value, dtype=picked.dtype)
        # Every part sees every label, so that no shape depends on the data; there are few parts.
        for index, loss in enumerate(self.parts):
            assert isinstance(loss, Loss)
            element = torch.where(part == index, loss.element(picked, value), element)
        return sum_by_task(element, labels)


class Losses(nn.Module):
    """The losses of several heads.

    Called with predictions and labels by head name, it returns two mappings from head name to ``[tasks]``:
    numerators and denominators. A head without an entry in ``labels`` is left out of both.
    """

    def __init__(self, heads: Sequence[HeadSpec]) -> None:
        super().__init__()
        self.names = tuple(head.name for head in heads)
        self.losses = nn.ModuleList(HeadLoss(head) for head in heads)

    def forward(
        self, predictions: Mapping[str, Tensor], labels: Mapping[str, Labels]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        numerators, denominators = {}, {}
        for name, loss in zip(self.names, self.losses, strict=True):
            if name in labels:
                numerators[name], denominators[name] = loss(predictions[name], labels[name])
        return numerators, denominators


def check_bounds(heads: Sequence[HeadSpec], bounded: Container[str]) -> None:
    """Refuse bounds that a loss would take for exact values; called once the labels are known.

    Args:
        heads: The heads that are trained.
        bounded: Names of those heads that have labels which are bounds.

    Raises:
        GraphiumError: such a head has a loss that does not take bounds.
    """
    for head in heads:
        if head.name in bounded and not HeadLoss(head).takes_bounds:
            fitting = [n for n in registry.names("loss") if registry.lookup("loss", n).takes_bounds]
            used = ", ".join(dict.fromkeys(str(task.loss or DEFAULT_LOSS[head.kind]) for task in head.tasks))
            raise GraphiumError(
                f"some labels of {head.dataset} ({', '.join(t.name for t in head.tasks[:3])}"
                f"{', ...' if head.num_tasks > 3 else ''}) are bounds such as >10, and the loss {used} does not take "
                f"bounds; choose one of {', '.join(fitting)}"
            )


def _plain(config: str | Mapping[str, object]) -> PartConfig:
    return config if isinstance(config, str) else dict(config)


def _build(config: PartConfig, kind: str, where: str) -> Loss:
    loss = registry.build("loss", config, where=where)
    name = config if isinstance(config, str) else config["name"]
    if not isinstance(loss, Loss):
        raise GraphiumError(f"{where} is {name!r}, which is no Loss; derive it from graphium.training.losses.Loss")
    if kind not in loss.kinds:
        fitting = [n for n in registry.names("loss") if kind in registry.lookup("loss", n).kinds]
        raise GraphiumError(f"{where} is {name!r}, which does not fit {kind} tasks; choose one of {', '.join(fitting)}")
    return loss
