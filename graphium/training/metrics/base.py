"""What a metric sees of a batch, what is remembered of it, and what a metric is.

A metric is a functional pair over all tasks of a head at once: the ``update`` of a :class:`Summary` reduces
the labels of one batch to one tensor, summaries of batches, ranks, tasks and heads are merged, and ``compute`` reads
the metric of every task from the result. Metrics that need the same sums share them. Sums are in float64. A metric
counts every exact label once, whatever its sample weight; labels of weight 0 (padding) are not labels, and a label
that is a bound (``>10``) enters no metric, because no error and no rank follows from it: such labels are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from graphium import registry
from graphium.errors import GraphiumError


@dataclass(frozen=True)
class Scored:
    """Predictions of one batch beside their labels, in one system of units.

    ``task`` int64 ``[L]``: column of the head, or ``num_tasks`` where no metric counts the label. ``prediction``
    float64 ``[L]`` or logits ``[L, classes]``; ``value`` float64 ``[L]``: labels or class indices. ``raw`` float64
    ``[L]``: labels in their own units where these say more than ``value``. ``bounds`` int64 ``[L]``: tasks of the
    labels that are left out because they are bounds, ``num_tasks`` elsewhere.

    >>> task, one = torch.tensor([0, 1, 1]), torch.ones(3, dtype=torch.float64)
    >>> Scored(task, 2 * one, one, num_tasks=2).sum(one)
    tensor([1., 2.], dtype=torch.float64)
    """

    task: Tensor
    prediction: Tensor
    value: Tensor
    num_tasks: int
    raw: Tensor | None = None
    bounds: Tensor | None = None

    def sum(self, element: Tensor) -> Tensor:
        """Sum of ``element`` ``[L]`` per task, float64 ``[tasks]``."""
        return _sums(element, self.task, self.num_tasks)

    def largest(self, element: Tensor) -> Tensor:
        """Largest ``element`` ``[L]`` per task, float64 ``[tasks]``; ``-inf`` without labels."""
        least = self.value.new_full((self.num_tasks + 1,), -torch.inf)
        return least.scatter_reduce_(0, self.task, element.double(), "amax")[:-1]

    @cached_property
    def count(self) -> Tensor:
        """Labels per task, float64 ``[tasks]``."""
        return self.sum(torch.ones_like(self.value))

    @cached_property
    def bound_count(self) -> Tensor:
        """Labels per task that are left out because they are bounds, float64 ``[tasks]``."""
        if self.bounds is None:
            return torch.zeros_like(self.count)
        return _sums(torch.ones_like(self.value), self.bounds, self.num_tasks)

    @cached_property
    def log_probability(self) -> Tensor:
        """Logarithms of the predicted probabilities of the classes, ``[L, classes]``."""
        return F.log_softmax(self.prediction, dim=-1)

    @cached_property
    def number(self) -> Tensor:
        """The predicted number ``[L]``; of ordinal classes the expected one."""
        if self.prediction.ndim == 1:
            return self.prediction
        classes = torch.arange(self.prediction.shape[1], dtype=torch.float64, device=self.prediction.device)
        return self.log_probability.exp() @ classes


def _sums(element: Tensor, task: Tensor, num_tasks: int) -> Tensor:
    # One place more than there are tasks takes what does not count: no shape depends on the data.
    return torch.zeros(num_tasks + 1, dtype=torch.float64, device=task.device).index_add_(0, task, element.double())[
        :-1
    ]


@dataclass(frozen=True)
class Pooled:
    """The state of a summary of one head, of which the tasks of ``keep`` (bool ``[tasks]``) are pooled."""

    state: Tensor
    num_tasks: int
    keep: Tensor


class Summary:
    """What is remembered of all labels so far: by default sums, of one size however many labels there are.

    Two summaries are the same state, and kept once, if they are equal.
    """

    buffered: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Part of the name of the state in a ``state_dict``."""
        return type(self).__name__.lower()

    def update(self, scored: Scored) -> Tensor:
        """The summary of one batch, ``[tasks, ...]``; of an empty one, what changes nothing when merged."""
        raise NotImplementedError

    def merge(self, stacked: Tensor) -> Tensor:
        """One summary ``[tasks, ...]`` out of several, ``[n, tasks, ...]``."""
        return stacked.sum(0)

    def view(self, state: Tensor, num_tasks: int) -> Any:
        """What the metrics that share this summary compute from."""
        return state

    def pool(self, heads: Sequence[Pooled]) -> Tensor:
        """The summary of all labels of several tasks as if they were one task, ``[1, ...]``."""
        return self.merge(torch.cat([head.state[head.keep] for head in heads]).unsqueeze(1))


@dataclass(frozen=True)
class Mean(Summary):
    """The mean of a number per label; ``element(scored)`` is that number, ``[L]``.

    >>> scored = Scored(torch.tensor([0, 0]), torch.zeros(2), torch.tensor([1.0, 3.0]), num_tasks=2)
    >>> mean = Mean(lambda scored: scored.value - scored.prediction)
    >>> mean.view(mean.update(scored), num_tasks=2)
    tensor([2., nan], dtype=torch.float64)
    """

    element: Callable[[Scored], Tensor]

    @property
    def name(self) -> str:
        return f"mean_{self.element.__name__}"

    def update(self, scored: Scored) -> Tensor:
        return torch.stack([scored.count, scored.sum(self.element(scored))], dim=-1)

    def view(self, state: Tensor, num_tasks: int) -> Tensor:
        return state[..., 1] / state[..., 0]


class TaskMetric:
    """A metric of every task at once, read from a summary of the labels.

    An author names the ``kinds`` of tasks it fits and the ``summary`` that it reads, and writes :meth:`compute`.
    ``norm``: in transformed units instead of label units. ``pools``: whether it has a meaning over the labels
    of several tasks, which for regression are pooled in transformed units. ``undefined``: why it may be NaN.
    ``kind`` is that of the tasks at hand.

    >>> class MeanError(TaskMetric):
    ...     summary = Mean(lambda scored: scored.number - scored.value)
    ...     def compute(self, mean):
    ...         return mean
    """

    kinds: ClassVar[tuple[str, ...]] = ("regression",)
    higher_is_better: ClassVar[bool] = False
    norm: ClassVar[bool] = False
    pools: ClassVar[bool] = True
    undefined: ClassVar[tuple[str, ...]] = ("undefined",)
    summary: Summary
    kind: str = ""

    def compute(self, summary: Any) -> Tensor:
        """Value per task, float64 ``[tasks]``, NaN where undefined, from the summary's ``view``."""
        raise NotImplementedError

    def reason(self, summary: Any) -> Tensor | int:
        """Which of ``undefined`` tells why the value of a task with labels is NaN, ``[tasks]``."""
        return 0


def build_metric(config: str | Mapping[str, Any], kind: str, where: str) -> TaskMetric:
    """Build a metric for tasks of a kind.

    Args:
        config: Its name, or a mapping with ``name`` and constructor arguments.
        kind: Kind of the tasks.
        where: Whose metric it is, for the error sentence.

    Raises:
        GraphiumError: an unknown metric, a bad argument, or a metric that does not fit the kind.
    """
    part = registry.build("metric", config, where=f"the metrics of {where}")
    name = config if isinstance(config, str) else config["name"]
    if not isinstance(part, TaskMetric):
        raise GraphiumError(
            f"the metric {name!r} of {where} is no TaskMetric; derive it from graphium.training.metrics.base.TaskMetric"
        )
    if kind not in part.kinds:
        fitting = [n for n in registry.names("metric") if kind in registry.lookup("metric", n).kinds]
        raise GraphiumError(
            f"the metric {name!r} of {where} does not fit {kind} tasks; choose one of {', '.join(fitting)}"
        )
    part.kind = kind
    return part


def metric_key(config: str | Mapping[str, Any]) -> str:
    """The name of a metric in reports: its own, followed by the values of its arguments.

    >>> metric_key({"name": "fbeta", "beta": 2.0})
    'fbeta_2'
    """
    if isinstance(config, str):
        return config
    values = [
        f"{value:g}" if isinstance(value, float) else str(value) for key, value in config.items() if key != "name"
    ]
    return "_".join([config["name"], *values])


def higher_is_better(name: str) -> bool:
    """Whether larger values of a metric are better, to choose checkpoints and to stop early.

    ``name`` is a key of a report: ``pooled_`` may stand before it, units, classes and arguments after it.
    """
    known = registry.names("metric")
    key = name.removeprefix("pooled_")
    while key not in known and "_" in key:
        key = key.rpartition("_")[0]
    return registry.lookup("metric", key if key in known else name).higher_is_better
