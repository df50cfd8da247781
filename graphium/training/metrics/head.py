"""The metrics of one head, accumulated over batches and ranks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
import torchmetrics
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from graphium.data.batch import Labels
from graphium.nn.outputs import point
from graphium.registry import PartConfig
from graphium.training.losses.triples import take_labelled
from graphium.training.metrics.base import Pooled, Scored, Summary, TaskMetric, build_metric, metric_key
from graphium.types import HeadSpec

DEFAULT_METRICS: dict[str, tuple[str, ...]] = {
    "regression": ("mae", "mae_norm", "rmse", "r2", "pearson", "spearman"),
    "binary": ("auroc", "ap", "bce"),
    "multiclass": ("accuracy", "auroc", "ap", "ce"),
    "ordinal": ("accuracy", "auroc", "ap", "ce", "mae"),
}

# Why a metric of a task is undefined, whatever the metric; what the metric itself says of it comes after these.
REASONS = ("", "no labels", "prediction is NaN", "prediction is infinite")


@dataclass(frozen=True)
class Counts(Summary):
    """What every metric needs to know, float64 ``[tasks, 2]``: labels, or NaN if a prediction is; and bounds.

    >>> scored = Scored(torch.tensor([0, 1, 1]), torch.tensor([torch.nan, 1.0, 2.0]), torch.zeros(3), num_tasks=2)
    >>> Counts().update(scored)
    tensor([[nan, 0.],
            [2., 0.]], dtype=torch.float64)
    """

    def update(self, scored: Scored) -> Tensor:
        number = scored.prediction
        if number.ndim > 1:  # one NaN or +inf among the logits leaves no probability
            number = number.amax(-1)
            number = number - number
        return torch.stack([scored.sum(number.clamp(-1, 1).mul_(0).add_(1)), scored.bound_count], dim=-1)


@dataclass(frozen=True)
class Seen:
    """All that one head has seen on all ranks: the state of every summary.

    A state is ``[units, tasks, ...]``, in label units first and in transformed units last, or a buffer ``[L, ...]``.
    """

    states: Mapping[Summary, Tensor]
    num_tasks: int
    _views: dict[Any, Any] = field(default_factory=dict)

    def view(self, metric: TaskMetric) -> Any:
        """What the metric computes from; made once for all metrics that share it."""
        summary = metric.summary
        state = self.states[summary]
        unit = -1 if metric.norm and not summary.buffered else 0
        if (summary, unit) not in self._views:
            state = state if summary.buffered else state[unit]
            self._views[summary, unit] = summary.view(state, self.num_tasks)
        return self._views[summary, unit]

    @property
    def counts(self) -> Tensor:
        """Labels, or NaN if a prediction is, and bounds; float64 ``[tasks, 2]``."""
        return self.states[Counts()][0]

    @staticmethod
    def pooled(heads: Sequence[tuple[Seen, Tensor]], summaries: Iterable[Summary]) -> Seen:
        """All labels of some tasks (bool ``[tasks]``) of several heads as one task, in transformed units."""
        states = {}
        for summary in {Counts(): None, **dict.fromkeys(summaries)}:
            pieces = []
            for seen, keep in heads:
                state = seen.states[summary]
                state = state if summary.buffered else state[-1]
                pieces.append(Pooled(state, seen.num_tasks, keep.to(state.device)))
            state = summary.pool(pieces)
            states[summary] = state if summary.buffered else state.unsqueeze(0)
        return Seen(states, num_tasks=1)


class HeadMetrics(torchmetrics.Metric):
    """Metrics of one head, accumulated over batches and over the ranks of ``torch.distributed``.

    Args:
        head: The tasks; each names its own metrics, or has those of its kind.
        inverse: ``inverse(value [L], task [L])`` from transformed to label units, or None.
        metrics: Names or configurations of metrics for all tasks, in place of those that the tasks name.

    Raises:
        GraphiumError: an unknown metric, or one that does not fit the head's kind.

    >>> from graphium.types import Task, group_tasks
    >>> head, = group_tasks([Task("y", "demo", "graph", "regression")])
    >>> metrics = HeadMetrics(head, metrics=["mae"])
    >>> metrics.update(torch.tensor([[1.0], [2.0]]), Labels(
    ...     torch.tensor([1]), torch.tensor([0]), torch.tensor([5.0]), torch.ones(1), torch.ones(1)))
    >>> metrics.compute()
    {'mae': tensor([3.], dtype=torch.float64)}
    """

    full_state_update = False

    def __init__(
        self,
        head: HeadSpec,
        inverse: Callable[[Tensor, Tensor], Tensor] | None = None,
        metrics: Sequence[PartConfig] | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self.inverse = inverse if head.kind == "regression" else None
        self.parts, self.asked = choose_metrics(head, metrics)
        shape = (0, head.num_classes) if head.num_classes else (0,)
        empty = torch.zeros(0, dtype=torch.float64)
        self._nothing = Scored(empty.long(), torch.zeros(shape, dtype=torch.float64), empty, head.num_tasks)
        self._states: dict[Summary, str] = {}
        for summary in dict.fromkeys([Counts(), *(part.summary for part in self.parts.values())]):
            # Of heads with equal states torchmetrics would keep one alone: the name of the head keeps them apart.
            state = f"{head.name}_{summary.name}"
            state += "_" * sum(name.rstrip("_") == state for name in self._states.values())
            self._states[summary] = state
            if summary.buffered:
                self.add_state(state, default=[], dist_reduce_fx="cat")
            else:
                units = 1 if self.inverse is None else 2
                nothing = torch.stack([summary.update(self._nothing)] * units)
                self.add_state(state, default=nothing, dist_reduce_fx=summary.merge)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # torchmetrics would squeeze the [tasks] of a single task, and its sync cannot gather an empty buffer.
        return compute

    def update(self, prediction: Tensor | Mapping[str, Tensor], labels: Labels | Mapping[str, Labels]) -> None:
        """Add a batch.

        Args:
            prediction: ``[entities, tasks(, width)]``, transformed units and logits.
            labels: The labels of the same head.

        Both may be mappings from head names, so that one collection holds the metrics of several heads; labels
        without this head change nothing.
        """
        if isinstance(labels, Mapping):
            if self.head.name not in labels:
                return
            labels = labels[self.head.name]
        if isinstance(prediction, Mapping):
            prediction = prediction[self.head.name]
        units = self._scored(prediction.detach(), labels)
        for summary, name in self._states.items():
            if summary.buffered:
                getattr(self, name).append(summary.update(units[-1]))
            else:
                batch = torch.stack([summary.update(scored) for scored in units])
                setattr(self, name, summary.merge(torch.stack([getattr(self, name).to(batch.device), batch])))

    def _scored(self, prediction: Tensor, labels: Labels) -> tuple[Scored, ...]:
        """The batch in label units and in transformed units, or once where these are the same."""
        picked = point(take_labelled(prediction, labels), self.head.outputs).double()
        nowhere = self.head.num_tasks
        counted, bounds = labels.weight > 0, None
        if labels.bound is not None:
            exact = labels.bound == 0
            bounds = labels.task.masked_fill(exact | ~counted, nowhere)
            counted = counted & exact
        task = labels.task.masked_fill(~counted, nowhere)
        norm = Scored(task, picked, labels.value.double(), nowhere, labels.raw, bounds)
        if self.inverse is None:
            return (norm,)
        value = labels.raw if labels.raw is not None else self.inverse(norm.value, labels.task)
        return replace(norm, prediction=self.inverse(picked, labels.task), value=value), norm

    def seen(self) -> Seen:
        """The states of all ranks."""
        join = self._to_sync and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        states = {}
        for summary, name in self._states.items():
            state = getattr(self, name)
            if summary.buffered:
                if len(state) > 1:
                    state[:] = [dim_zero_cat(state)]
                state = state[0] if state else summary.update(self._nothing)
                states[summary] = _gather_rows(state) if join else state
            else:
                states[summary] = summary.merge(torch.stack(_gather(state))) if join else state
        return Seen(states, self.head.num_tasks)

    def evaluate(self, seen: Seen) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The metrics of given states.

        Returns:
            Metric name -> float64 ``[tasks]``, NaN where undefined; and int64 ``[tasks]``: why it is undefined, as an
            index into :data:`REASONS` followed by the metric's own; 0 where it is defined or was not asked for.
        """
        values, reasons = {}, {}
        count, _ = seen.counts.unbind(-1)
        for name, part in self.parts.items():
            view, asked = seen.view(part), self.asked[name].to(count.device)
            value = torch.where((count > 0) & asked, part.compute(view), torch.nan)
            why = torch.where(value.isinf(), 3, len(REASONS) + torch.as_tensor(part.reason(view), device=count.device))
            why = torch.where(count == 0, 1, torch.where(count.isnan(), 2, why))
            values[name] = value
            reasons[name] = torch.where(asked & ~value.isfinite(), why, 0)
        return values, reasons

    def compute(self) -> dict[str, Tensor]:
        """The metrics of all labels so far: metric name -> float64 ``[tasks]``; NaN where undefined or not asked."""
        return self.evaluate(self.seen())[0]


def choose_metrics(
    head: HeadSpec, metrics: Sequence[PartConfig] | None = None
) -> tuple[dict[str, TaskMetric], dict[str, Tensor]]:
    """The metrics of a head by name, and for which of its tasks each was asked, bool ``[tasks]``."""
    parts: dict[str, TaskMetric] = {}
    tasks: dict[str, list[int]] = {}
    names: dict[str, list[str]] = {}
    for index, task in enumerate(head.tasks):
        configs = task.metrics or DEFAULT_METRICS[head.kind] if metrics is None else metrics
        key = json.dumps(list(configs), sort_keys=True)
        if key not in names:
            names[key] = []
            for config in configs:
                part = build_metric(config, head.kind, head.dataset)
                name = metric_key(config)
                names[key].append(name)
                parts.setdefault(name, part)
        for name in names[key]:
            tasks.setdefault(name, []).append(index)
    asked = {}
    for name, chosen in tasks.items():
        asked[name] = torch.zeros(head.num_tasks, dtype=torch.bool)
        asked[name][chosen] = True
    return parts, asked


def check_metrics(heads: Iterable[HeadSpec]) -> None:
    """Judge the metrics that tasks name, before any data is read.

    Raises:
        GraphiumError: an unknown metric, a bad argument, or a metric that does not fit its tasks' kind.
    """
    for head in heads:
        choose_metrics(head)


def _gather(own: Tensor) -> list[Tensor]:
    """The tensors of all ranks, of one shape."""
    # A rank without labels does not know where the others keep theirs: the backend does.
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else own.device
    own = own.to(device).contiguous()
    received = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(received, own)
    return received


def _gather_rows(own: Tensor) -> Tensor:
    """Concatenation of the rows ``[L, columns]`` of all ranks; without rows the columns do not count."""
    shapes = [tuple(shape.tolist()) for shape in _gather(torch.tensor(own.shape, device=own.device))]
    padded = own.new_zeros(max(shape[0] for shape in shapes), max(shape[1] for shape in shapes))
    padded[: own.shape[0], : own.shape[1]] = own
    return torch.cat([rows[: shape[0]] for rows, shape in zip(_gather(padded), shapes, strict=True)])
