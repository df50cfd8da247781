"""Metrics of every dataset in the keys of ``metrics.json``, and the baseline predictor in the same keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from graphium.data.batch import Labels
from graphium.training.metrics.head import REASONS, HeadMetrics, Seen
from graphium.types import HeadSpec


class Transform(Protocol):
    """What the evaluation needs of a head's label transform; ``value`` and ``task`` are ``[L]``."""

    def forward(self, value: Tensor, task: Tensor) -> Tensor: ...

    def inverse(self, value: Tensor, task: Tensor) -> Tensor: ...


class Evaluator:
    """Accumulates predictions and labels of all heads of one part, and reports them by dataset.

    Args:
        heads: The heads of the mix; their tasks say what is measured.
        transforms: Head name -> fitted label transform; a head without one has labels in their own units.
        statistics: Head name -> :func:`label_statistics` of the training part. Where given, each dataset also has
            the key ``baseline``: the same keys for the predictor that knows nothing else.

    Use: :meth:`update` with every batch, then :meth:`compute`; with ``torch.distributed`` every rank calls
    both, and the labels of all ranks count alike.

    Raises:
        GraphiumError: an unknown metric, or one that does not fit its kind.

    >>> from graphium.types import Task, group_tasks
    >>> head, = group_tasks([Task("y", "demo", "graph", "binary", metrics=("accuracy",))])
    >>> evaluator = Evaluator([head])
    >>> evaluator.names()
    ['demo/accuracy', 'demo/pooled_accuracy']
    >>> evaluator.compute()["demo"]["undefined"]
    {'accuracy': {'no labels': ['y']}}
    """

    def __init__(
        self,
        heads: Sequence[HeadSpec],
        transforms: Mapping[str, Transform] | None = None,
        statistics: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.heads = tuple(heads)
        transforms = transforms or {}
        inverses = {name: transform.inverse for name, transform in transforms.items()}
        self.metrics = {head.name: HeadMetrics(head, inverses.get(head.name)) for head in self.heads}
        self._guesses: dict[str, Tensor] = {}
        self._baseline: dict[str, HeadMetrics] = {}
        if statistics is not None:
            for head in self.heads:
                self._guesses[head.name] = _guess(head, transforms.get(head.name), statistics[head.name])
                self._baseline[head.name] = HeadMetrics(head, inverses.get(head.name))

    def names(self) -> list[str]:
        """``dataset/metric`` of every number that :meth:`compute` may report beside the single tasks."""
        found = [f"{head.dataset}/{name}" for head in self.heads for name in self.metrics[head.name].parts]
        found += [f"{dataset}/{key}" for dataset, pools in self._pools().items() for key in pools]
        return list(dict.fromkeys(found))

    def update(self, predictions: Mapping[str, Tensor], labels: Mapping[str, Labels]) -> None:
        """Add a batch: predictions ``[entities, tasks(, width)]`` and labels by head name, transformed units."""
        for name, metrics in self.metrics.items():
            metrics.update(predictions, labels)
            if name in self._guesses and name in labels:
                guess = self._guesses[name] = self._guesses[name].to(labels[name].value.device)
                # One entity has all guesses.
                constant = replace(labels[name], entity=torch.zeros_like(labels[name].entity))
                self._baseline[name].update(guess.unsqueeze(0), constant)

    def reset(self) -> None:
        """Forget all batches."""
        for metrics in (*self.metrics.values(), *self._baseline.values()):
            metrics.reset()

    def compute(self) -> dict[str, dict[str, Any]]:
        """Report by dataset.

        Returns:
            ``{dataset: {metric: mean over tasks, "pooled_<metric>": over all labels, "n_defined": {metric: tasks},
            "undefined": {metric: {reason: [task]}}, "n_bounds": {task: labels}, "per_task": {task: {metric: value}},
            "baseline": {...}}}`` in plain floats. An undefined metric is None, and is left out of its mean; a mean
            over no task is None. Pooled are the labels of all tasks of a dataset that are of one kind: classes as
            ``pooled_<metric>``, regression in transformed units as ``pooled_<metric>_norm``. Where several kinds, or
            numbers of classes, have a metric, the kind ends the key. ``n_bounds`` counts the labels that are bounds
            and enter no metric, where there are any.
        """
        seen = {name: metrics.seen() for name, metrics in self.metrics.items()}
        report = self._report(seen)
        for head in self.heads:
            counts = zip(head.tasks, seen[head.name].counts[:, 1].tolist(), strict=True)
            counted = {task.name: int(count) for task, count in counts if count}
            if counted:
                report[head.dataset].setdefault("n_bounds", {}).update(counted)
        if self._baseline:
            baseline = self._report({name: metrics.seen() for name, metrics in self._baseline.items()})
            for dataset, numbers in baseline.items():
                report[dataset]["baseline"] = numbers
        return report

    def _report(self, seen: Mapping[str, Seen]) -> dict[str, dict[str, Any]]:
        per_task: dict[str, dict[str, dict[str, float | None]]] = {head.dataset: {} for head in self.heads}
        undefined: dict[str, dict[str, dict[str, list[str]]]] = {head.dataset: {} for head in self.heads}
        for head in self.heads:
            metrics = self.metrics[head.name]
            values, reasons = metrics.evaluate(seen[head.name])
            tasks = [per_task[head.dataset].setdefault(task.name, {}) for task in head.tasks]
            for name, part in metrics.parts.items():
                texts = (*REASONS, *part.undefined)
                columns = values[name].tolist(), reasons[name].tolist(), metrics.asked[name].tolist()
                for task, numbers, value, why, asked in zip(head.tasks, tasks, *columns, strict=True):
                    if asked:
                        numbers[name] = _number(value)
                    if why:
                        of_metric = undefined[head.dataset].setdefault(name, {})
                        of_metric.setdefault(texts[why], []).append(task.name)
        pooled = self._pooled(seen)
        return {
            dataset: {**_means(tasks, pooled[dataset]), "undefined": undefined[dataset], "per_task": tasks}
            for dataset, tasks in per_task.items()
        }

    def _pooled(self, seen: Mapping[str, Seen]) -> dict[str, dict[str, float | None]]:
        """Dataset -> pooled key -> value; what several metrics of the same heads read is pooled once."""
        report: dict[str, dict[str, float | None]] = {}
        for dataset, pools in self._pools().items():
            together: dict[tuple[Any, ...], list[str]] = {}
            for key, members in pools.items():
                asked = tuple(
                    (head.name, tuple(self.metrics[head.name].asked[name].tolist())) for head, name in members
                )
                together.setdefault(asked, []).append(key)
            report[dataset] = dict.fromkeys(pools)
            for keys in together.values():
                parts = {}
                for key in keys:
                    head, name = pools[key][0]
                    parts[key] = self.metrics[head.name].parts[name]
                keeps = [(seen[head.name], self.metrics[head.name].asked[name]) for head, name in pools[keys[0]]]
                one = Seen.pooled(keeps, [part.summary for part in parts.values()])
                if one.counts[0, 0] > 0:
                    for key, part in parts.items():
                        report[dataset][key] = _number(float(part.compute(one.view(part))))
        return report

    def _pools(self) -> dict[str, dict[str, list[tuple[HeadSpec, str]]]]:
        """Dataset -> pooled key -> the heads that are pooled, and the name of the metric in each."""
        groups: dict[str, dict[str, dict[str, dict[str, tuple[HeadSpec, str]]]]] = {}
        for head in self.heads:
            keys = groups.setdefault(head.dataset, {})
            for name, part in self.metrics[head.name].parts.items():
                if part.pools:
                    unit = "_norm" if head.kind == "regression" and not part.norm else ""
                    kinds = keys.setdefault(f"pooled_{name}{unit}", {})
                    # `mae` and `mae_norm` of a head are the same when pooled.
                    kinds.setdefault(f"{head.kind}{head.num_classes or ''}", {}).setdefault(head.name, (head, name))
        return {
            dataset: {
                key if len(kinds) == 1 else f"{key}_{kind}": list(members.values())
                for key, kinds in keys.items()
                for kind, members in kinds.items()
            }
            for dataset, keys in groups.items()
        }


def _guess(head: HeadSpec, transform: Transform | None, statistics: Tensor) -> Tensor:
    """The training part's mean, prevalence or class shares, as the head would predict them: ``[tasks(, width)]``."""
    statistics = statistics.double()
    if head.kind == "binary":
        return torch.logit(statistics)
    if head.kind != "regression":
        return statistics.log()
    if transform is not None:
        statistics = transform.forward(statistics, torch.arange(head.num_tasks))
    return statistics.unsqueeze(1).expand(-1, head.width) if head.outputs else statistics


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


def _means(per_task: dict[str, dict[str, float | None]], pooled: Mapping[str, float | None]) -> dict[str, Any]:
    """Mean of every metric over the tasks where it is defined, how many those are, and the pooled numbers."""
    defined: dict[str, list[float]] = {name: [] for values in per_task.values() for name in values}
    for values in per_task.values():
        for name, value in values.items():
            if value is not None:
                defined[name].append(value)
    means = {name: sum(values) / len(values) if values else None for name, values in defined.items()}
    return {**means, **pooled, "n_defined": {name: len(values) for name, values in defined.items()}}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
