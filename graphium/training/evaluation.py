"""Metrics of every dataset in the keys of ``metrics.json``, and the baseline predictor in the same keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from graphium.data.batch import Labels
from graphium.registry import PartConfig
from graphium.training.metrics.base import Scored
from graphium.training.metrics.head import DEFAULT_METRICS, HeadMetrics
from graphium.types import HeadSpec


class Transform(Protocol):
    """What the evaluation needs of a head's label transform; ``value`` and ``task`` are ``[L]``."""

    def forward(self, value: Tensor, task: Tensor) -> Tensor: ...

    def inverse(self, value: Tensor, task: Tensor) -> Tensor: ...


class Evaluator:
    """Accumulates predictions and labels of all heads of one part, and reports them by dataset.

    Args:
        heads: The heads of the mix.
        transforms: Head name -> fitted label transform; a head without one has labels in their own units.
        metrics: Kind -> metrics, in place of the default ones of that kind.

    Use: :meth:`update` with every batch, then :meth:`compute`; with ``torch.distributed`` every rank calls
    both, and the labels of all ranks count alike.

    Raises:
        GraphiumError: an unknown metric, or one that does not fit its kind.
    """

    def __init__(
        self,
        heads: Sequence[HeadSpec],
        transforms: Mapping[str, Transform] | None = None,
        metrics: Mapping[str, Sequence[PartConfig]] | None = None,
    ) -> None:
        self.heads = tuple(heads)
        self.transforms = dict(transforms or {})
        chosen = {**DEFAULT_METRICS, **(metrics or {})}
        self.metrics = {
            head.name: HeadMetrics(
                head,
                inverse=self.transforms[head.name].inverse if head.name in self.transforms else None,
                metrics=chosen[head.kind],
            )
            for head in self.heads
        }

    def names(self) -> list[str]:
        """``dataset/metric`` of every number that :meth:`compute` may report beside the single tasks."""
        found = [f"{head.dataset}/{name}" for head in self.heads for name in self.metrics[head.name].parts]
        found += [f"{name.removesuffix('mae_norm')}pooled_mae_norm" for name in found if name.endswith("/mae_norm")]
        return list(dict.fromkeys(found))

    def update(self, predictions: Mapping[str, Tensor], labels: Mapping[str, Labels]) -> None:
        """Add a batch: predictions ``[entities, tasks(, classes)]`` and labels by head name, transformed units."""
        for name, metrics in self.metrics.items():
            if name in labels:
                metrics.update(predictions[name], labels[name])

    def reset(self) -> None:
        """Forget all batches."""
        for metrics in self.metrics.values():
            metrics.reset()

    def compute(self, statistics: Mapping[str, Tensor] | None = None) -> dict[str, dict[str, Any]]:
        """Report by dataset.

        Args:
            statistics: Head name -> :func:`label_statistics` of the training part. Where given, each dataset
                also has the key ``baseline``: the same keys for the predictor that knows nothing else.

        Returns:
            ``{dataset: {metric: mean over tasks, "pooled_mae_norm": over all labels, "n_defined": {metric:
            tasks}, "n_bounds": {task: labels}, "per_task": {task: {metric: value}}, "baseline": {...}}}`` in plain
            floats. An undefined metric is None, and is left out of its mean; a mean over no task is None.
            ``n_bounds`` counts the labels that are bounds and enter no metric, where there are any.
        """
        scored = {name: metrics.scored() for name, metrics in self.metrics.items()}
        report = self._report(scored)
        for head in self.heads:
            bounds = scored[head.name].bounds
            counts = [] if bounds is None else zip(head.tasks, bounds.tolist(), strict=True)
            counted = {task.name: count for task, count in counts if count}
            if counted:
                report[head.dataset].setdefault("n_bounds", {}).update(counted)
        if statistics is not None:
            constant = {
                head.name: self._constant(head, scored[head.name], statistics[head.name]) for head in self.heads
            }
            for dataset, baseline in self._report(constant).items():
                report[dataset]["baseline"] = baseline
        return report

    def _report(self, scored: Mapping[str, Scored]) -> dict[str, dict[str, Any]]:
        per_task: dict[str, dict[str, dict[str, float | None]]] = {}
        pooled: dict[str, list[float]] = {}
        for head in self.heads:
            values = self.metrics[head.name].evaluate(scored[head.name])
            columns = {name: value.tolist() for name, value in values.items()}
            tasks = per_task.setdefault(head.dataset, {})
            for index, task in enumerate(head.tasks):
                tasks.setdefault(task.name, {}).update({name: _number(v[index]) for name, v in columns.items()})
            if "mae_norm" in values:
                total, count = pooled.setdefault(head.dataset, [0.0, 0.0])
                counts = scored[head.name].count
                error = torch.where(counts > 0, values["mae_norm"] * counts, 0).sum()
                pooled[head.dataset] = [total + float(error), count + float(counts.sum())]
        report = {dataset: _means(tasks) for dataset, tasks in per_task.items()}
        for dataset, (total, count) in pooled.items():
            report[dataset]["pooled_mae_norm"] = _number(total / count) if count else None
        return report

    def _constant(self, head: HeadSpec, scored: Scored, statistics: Tensor) -> Scored:
        """The same labels, predicted by the training part's mean, prevalence or class frequencies."""
        statistics = statistics.to(scored.task.device, torch.float64)
        if head.kind == "regression":
            guess = statistics
            if head.name in self.transforms:
                guess = self.transforms[head.name].forward(guess, torch.arange(head.num_tasks, device=guess.device))
        elif head.kind == "binary":
            guess = torch.logit(statistics)
        else:
            guess = statistics.log()
        return replace(scored, prediction=guess[scored.task])


def label_statistics(head: HeadSpec, pieces: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """What the baseline predictor knows of the training part.

    A prevalence or frequency of exactly 0 or 1 is taken as half a label away from it, so that the
    baseline's cross-entropy stays finite.

    Args:
        head: The tasks.
        pieces: The labels, some at a time: task int64 ``[L]``, and value ``[L]`` in label units (class indices
            for classes).

    Returns:
        float64: means ``[tasks]`` (regression), shares of positives ``[tasks]`` (binary) or of each class
        ``[tasks, classes]``; NaN for a task without labels.
    """
    num_classes = max(head.num_classes, 1)
    count = torch.zeros(head.num_tasks, dtype=torch.float64)
    total = torch.zeros(head.num_tasks, num_classes, dtype=torch.float64)
    for task, value in pieces:
        count += torch.bincount(task, minlength=head.num_tasks)
        if head.num_classes:
            cell = task * num_classes + value.long()
            total += torch.bincount(cell, minlength=total.numel()).view_as(total)
        else:
            total[:, 0].index_add_(0, task, value.double())
    mean = total / count[:, None]
    if head.kind == "regression":
        return mean[:, 0]
    half = 0.5 / count[:, None]
    return mean.clamp(min=half) if head.num_classes else mean.clamp(half, 1 - half)[:, 0]


def _means(per_task: dict[str, dict[str, float | None]]) -> dict[str, Any]:
    """Mean of every metric over the tasks where it is defined, how many those are, and the tasks themselves."""
    names = dict.fromkeys(name for values in per_task.values() for name in values)
    defined = {name: [v[name] for v in per_task.values() if v.get(name) is not None] for name in names}
    means = {name: sum(values) / len(values) if values else None for name, values in defined.items()}  # type: ignore[arg-type]
    return {**means, "n_defined": {name: len(values) for name, values in defined.items()}, "per_task": per_task}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
