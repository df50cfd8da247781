"""The losses of heads: one part for all tasks of a head, or several where its tasks name different ones."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence

import torch
from torch import Tensor, nn

from graphium import registry
from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.registry import PartConfig
from graphium.training.losses.base import Loss, reachable, sum_by_task, take_labelled
from graphium.types import HeadSpec

DEFAULT_LOSS: dict[str, str] = {"regression": "mae", "binary": "bce", "multiclass": "ce", "ordinal": "ce"}


class HeadLoss(nn.Module):
    """The loss of one head: one part for all its tasks, or several where tasks name different losses.

    Args:
        head: Its tasks' ``loss`` (empty: the default of the kind) says which parts.
        statistics: What the training labels are like, see :meth:`Loss.fit`.

    Called like a :class:`Loss`.

    Raises:
        GraphiumError: an unknown loss, a bad argument, or a loss that does not fit the head's kind.
    """

    part_of_task: Tensor

    def __init__(self, head: HeadSpec, statistics: Tensor | None = None) -> None:
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
        for part in self.parts:
            assert isinstance(part, Loss)
            part.fit(head, statistics)
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
            element = torch.where(part == index, loss.element(picked, value, labels.task), element)
        return sum_by_task(element, labels)


class Losses(nn.Module):
    """The losses of several heads.

    Called with predictions and labels by head name, it returns two mappings from head name to ``[tasks]``:
    numerators and denominators. A head without an entry in ``labels`` is left out of both.

    Args:
        heads: The heads.
        statistics: Head name -> what its training labels are like, see :meth:`Loss.fit`.
    """

    def __init__(self, heads: Sequence[HeadSpec], statistics: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.names = tuple(head.name for head in heads)
        self.losses = nn.ModuleList(HeadLoss(head, (statistics or {}).get(head.name)) for head in heads)

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
        raise GraphiumError(f"{where} is {name!r}, which is no Loss; derive it from graphium.training.losses.base.Loss")
    if kind not in loss.kinds:
        fitting = [n for n in registry.names("loss") if kind in registry.lookup("loss", n).kinds]
        raise GraphiumError(f"{where} is {name!r}, which does not fit {kind} tasks; choose one of {', '.join(fitting)}")
    return loss
