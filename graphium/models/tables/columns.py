"""Predictions as people read them: label units and probabilities, in named columns.

One task has one column or several: ``task`` is the number or the class, ``task[...]`` what belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from graphium.nn.outputs import point, spreads
from graphium.types import HeadSpec, Task


def column_suffixes(head: HeadSpec, task: Task) -> list[str]:
    """What stands behind the name of a task, one suffix per column of :func:`label_numbers`.

    >>> from graphium.types import group_tasks
    >>> head, = group_tasks([Task("y", "demo", "graph", "ordinal", num_classes=2, classes=("low", "high"))])
    >>> column_suffixes(head, head.tasks[0])
    ['', '[low]', '[high]', '[expected]']
    """
    if head.num_classes:
        names = class_names(head, task)
        # A class may have the same name.
        expected = "expected" if "expected" not in names else "expected class number"
        beside = [*names, *([expected] if head.kind == "ordinal" else [])]
    else:
        beside = list(spreads(torch.zeros(len(head.outputs)), head.outputs))
    return ["", *(f"[{name}]" for name in beside)]


def class_names(head: HeadSpec, task: Task) -> tuple[str, ...]:
    """Names of the classes of a task; their numbers where it names none."""
    return task.classes or tuple(str(number) for number in range(head.num_classes))


def label_numbers(head: HeadSpec, prediction: Tensor, inverse: Callable[[Tensor], Tensor]) -> Tensor:
    """The columns of every task of a head, all at once.

    Regression: the number, then the quantiles or standard deviations that the loss predicts. A quantile goes
    through the label transform as the number does, because the transform is increasing; a standard deviation s
    around m becomes half of ``inverse(m + s) - inverse(m - s)``. Binary: the probability of 1. Classes: the number
    of the most probable class, then the probability of each; if they have an order, the expected class number too.

    Args:
        head: The tasks.
        prediction: As the network gives it, ``[entities, tasks]`` or ``[entities, tasks, width]``.
        inverse: Undoes the label transform, ``[entities, tasks]``.

    Returns:
        float64 ``[entities, tasks, columns]``.
    """
    if head.kind == "binary":
        return prediction.double().sigmoid().unsqueeze(-1)
    if head.num_classes:
        shares = prediction.double().softmax(-1)
        columns = [prediction.argmax(-1, keepdim=True).double(), shares]
        if head.kind == "ordinal":
            numbers = torch.arange(head.num_classes, dtype=shares.dtype, device=shares.device)
            columns.append((shares * numbers).sum(-1, keepdim=True))
        return torch.cat(columns, dim=-1)
    centre = point(prediction, head.outputs).double()
    found = [inverse(centre)]
    for name, value in spreads(prediction, head.outputs).items():
        if name.startswith("q"):
            found.append(inverse(value))
        else:
            found.append((inverse(centre + value) - inverse(centre - value)) / 2)
    return torch.stack(found, dim=-1)


def averaged(head: HeadSpec, passes: Sequence[Tensor]) -> Tensor:
    """The mean of what several networks predict: of numbers, probabilities and spreads.

    Args:
        head: The tasks.
        passes: What :func:`label_numbers` gives for each network, at least one.

    Returns:
        float64 ``[entities, tasks, columns]``; the class is the most probable one by the mean probabilities.
    """
    if len(passes) == 1:
        return passes[0]
    mean = torch.stack(list(passes)).mean(0)
    if head.num_classes:
        mean[..., 0] = mean[..., 1 : 1 + head.num_classes].argmax(-1).double()
    return mean


def task_columns(heads: Sequence[HeadSpec], reserved: Sequence[str] = ()) -> dict[str, list[str]]:
    """Column names of every head's tasks: ``task``, or ``dataset/task`` where the name means something else too.

    Args:
        heads: The tasks of one table.
        reserved: Names of the columns of the table that are no tasks.
    """
    meanings: dict[str, set[str]] = {name: {""} for name in reserved}
    for head in heads:
        for task in head.tasks:
            meanings.setdefault(task.name, set()).add(task.dataset)
            for suffix in column_suffixes(head, task)[1:]:
                meanings.setdefault(task.name + suffix, set()).add("")
    every = [(head, task) for head in heads for task in head.tasks]
    # A task may be called like the longer name of another one.
    while longer := [(head, task) for head, task in every if len(meanings[task.name]) > 1]:
        every = [one for one in every if one not in longer]
        for head, task in longer:
            for suffix in column_suffixes(head, task):
                meanings.setdefault(f"{task.dataset}/{task.name}{suffix}", set()).add("")
    return {
        head.name: [f"{t.dataset}/{t.name}" if len(meanings[t.name]) > 1 else t.name for t in head.tasks]
        for head in heads
    }
