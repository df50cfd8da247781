"""The losses of heads: one part for all tasks of a head, or several where its tasks name different ones."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import torch
from torch import Tensor, nn

from graphium import registry
from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.registry import PartConfig
from graphium.training.losses.base import Loss
from graphium.training.losses.triples import sum_by_task, take_labelled
from graphium.types import HeadSpec, Task

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
        parts = _parts(head)
        self.parts = nn.ModuleList(loss for loss, _ in parts)
        for loss, _ in parts:
            loss.fit(head, statistics)
        number = {task.name: part for part, (_, tasks) in enumerate(parts) for task in tasks}
        part_of_task = torch.tensor([number[task.name] for task in head.tasks], dtype=torch.int64)
        self.register_buffer("part_of_task", part_of_task, persistent=False)

    def forward(self, prediction: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        picked = take_labelled(prediction, labels)
        first, *others = self.parts
        assert isinstance(first, Loss)
        element = first.of_labels(picked, labels)
        if others:
            part = self.part_of_task.index_select(0, labels.task)
        # Every part sees every label, so that no shape depends on the data; there are few parts.
        for number, loss in enumerate(others, start=1):
            assert isinstance(loss, Loss)
            element = torch.where(part == number, loss.of_labels(picked, labels), element)
        return sum_by_task(element, labels)


class Losses(nn.Module):
    """The losses of several heads.

    Called with predictions and labels by head name, it returns two mappings from head name to ``[tasks]``:
    numerators and denominators. A head without an entry in ``labels`` is left out of both.

    Args:
        heads: The heads.
        statistics: Head name -> what its training labels are like, see :meth:`Loss.fit`.

    Raises:
        GraphiumError: what :func:`check_losses` refuses, or a loss that needs statistics and has none.
    """

    def __init__(self, heads: Sequence[HeadSpec], statistics: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        check_losses(heads)
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


def check_losses(heads: Sequence[HeadSpec]) -> None:
    """Judge the losses of all heads; needs no data.

    Raises:
        GraphiumError: an unknown loss, a bad argument, a loss that does not fit its tasks, or arguments that name
            tasks or classes that do not exist.
    """
    # A loss that is said once for a dataset may be that of several heads, and name tasks of any of them.
    together: dict[tuple[str, str], tuple[Loss, list[Task]]] = {}
    for head in heads:
        for loss, tasks in _parts(head):
            key = (head.dataset, _key(tasks[0]))
            together.setdefault(key, (loss, []))[1].extend(tasks)
    for loss, tasks in together.values():
        loss.check(tasks)


def check_bounds(heads: Sequence[HeadSpec], bounded: Container[str]) -> None:
    """Refuse bounds that a loss would take for exact values; called once the labels are known.

    Args:
        heads: The heads that are trained.
        bounded: Names of those heads that have labels which are bounds.

    Raises:
        GraphiumError: such a head has a loss that does not take bounds.
    """
    for head in heads:
        if head.name in bounded and not all(loss.takes_bounds for loss, _ in _parts(head)):
            fitting = [n for n in registry.names("loss") if registry.lookup("loss", n).takes_bounds]
            used = ", ".join(dict.fromkeys(str(_config(task)) for task in head.tasks))
            raise GraphiumError(
                f"some labels of {head.dataset} ({', '.join(t.name for t in head.tasks[:3])}"
                f"{', ...' if head.num_tasks > 3 else ''}) are bounds such as >10, and the loss {used} does not take "
                f"bounds; choose one of {', '.join(fitting)}"
            )


def negative_losses(heads: Sequence[HeadSpec]) -> dict[str, str]:
    """Dataset -> name of its first loss that may be negative, where it has one."""
    found: dict[str, str] = {}
    for head in heads:
        for loss, tasks in _parts(head):
            if loss.may_be_negative:
                config = _config(tasks[0])
                found.setdefault(head.dataset, config if isinstance(config, str) else config["name"])
    return found


def _parts(head: HeadSpec) -> list[tuple[Loss, list[Task]]]:
    """The distinct losses of a head, each with its tasks."""
    # Thousands of tasks share one configuration, which may name each of them: it is spelled out once.
    shared: dict[int, list[Task]] = {}
    for task in head.tasks:
        shared.setdefault(id(task.loss), []).append(task)
    tasks: dict[str, list[Task]] = {}
    for members in shared.values():
        tasks.setdefault(_key(members[0]), []).extend(members)
    return [(_build(_config(members[0]), head), members) for members in tasks.values()]


def _config(task: Task) -> PartConfig:
    if not task.loss:
        return DEFAULT_LOSS[task.kind]
    return task.loss if isinstance(task.loss, str) else dict(task.loss)


def _key(task: Task) -> str:
    """Equal for tasks that have the same loss."""
    return repr(_config(task))


def _build(config: PartConfig, head: HeadSpec) -> Loss:
    where = f"the loss of {head.dataset}"
    loss = registry.build("loss", config, where=where)
    name = config if isinstance(config, str) else config["name"]
    if not isinstance(loss, Loss):
        raise GraphiumError(f"{where} is {name!r}, which is no Loss; derive it from graphium.training.losses.base.Loss")
    if head.kind not in loss.kinds:
        fitting = [n for n in registry.names("loss") if head.kind in registry.lookup("loss", n).kinds]
        raise GraphiumError(
            f"{where} is {name!r}, which does not fit {head.kind} tasks; choose one of {', '.join(fitting)}"
        )
    if loss.outputs != head.outputs:
        raise GraphiumError(
            f"{where} is {name!r}, which compares {_outputs(loss.outputs)} per task, and the tasks have "
            f"{_outputs(head.outputs)}; give them outputs={loss.outputs}"
        )
    return loss


def _outputs(names: tuple[str, ...]) -> str:
    return f"the outputs {', '.join(names)}" if names else "one output"
