"""Which numbers of ``metrics.json`` people are shown, and what is said of those that could not be computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from graphium.types import HeadSpec

# Part -> dataset -> metric -> value, with ``baseline``, ``per_task`` and ``undefined`` beside the metrics.
Metrics = Mapping[str, Mapping[str, Mapping[str, Any]]]

_CLASSES = ("accuracy", "balanced_accuracy", "mcc", "auroc", "ce")
# What is shown of each kind, in this order, where it is measured; metrics.json holds all.
_SHOWN = {
    "regression": ("mae", "pooled_mae_norm", "r2", "pearson", "spearman"),
    "binary": ("auroc", "ap", "bce"),
    "multiclass": _CLASSES,
    "ordinal": _CLASSES,
}
# Metrics in the units of the labels.
_IN_UNITS = ("mae", "rmse")
_NAMED_TASKS = 3


def shown_metrics(dataset: str, metrics: Metrics, heads: Sequence[HeadSpec]) -> list[str]:
    """Metrics to show of a dataset: some for each of its kinds, and all that its tasks name themselves."""
    mine = [head for head in heads if head.dataset == dataset]
    measured = dict.fromkeys(name for part in metrics.values() for name in part.get(dataset, {}))
    wanted = dict.fromkeys(name for head in mine for name in _SHOWN[head.kind])
    for config in (config for head in mine for task in head.tasks for config in task.metrics):
        wanted |= dict.fromkeys(key for key in measured if _names(config, key))
    return [name for name in wanted if name in measured]


def _names(config: str | Mapping[str, Any], key: str) -> bool:
    """Whether a metric, as a configuration has it, is that of a key; arguments stand behind the name there."""
    if isinstance(config, str):
        return key == config
    return key == config["name"] or (len(config) > 1 and key.startswith(f"{config['name']}_"))


def judged_part(metrics: Metrics) -> str:
    """The part whose baseline is shown: ``test``, or else the last one."""
    return "test" if "test" in metrics else list(metrics)[-1]


def unit_of(metric: str, dataset: str, heads: Sequence[HeadSpec]) -> str:
    """The unit of a mean over the tasks of a dataset, empty where there is none or they have several."""
    units = {
        task.unit for head in heads if head.dataset == dataset and head.kind == "regression" for task in head.tasks
    }
    return units.pop() if metric in _IN_UNITS and len(units) == 1 else ""


def number(value: float | None) -> str:
    """A few digits of a metric, whatever its size; ``-`` where it is undefined.

    >>> number(12345.6), number(12.3456), number(0.5), number(0.01234), number(None)
    ('12,346', '12.35', '0.500', '0.012', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    for least, form in ((1e6, ".4g"), (1e3, ",.0f"), (1.0, ".4g"), (0.1, ".3f")):
        if abs(value) >= least:
            return format(value, form)
    return f"{value:.2g}" if value else "0.000"


def undefined_metrics(metrics: Metrics) -> list[str]:
    """A sentence for every reason why metrics of some tasks are undefined, with the first of these tasks."""
    found: dict[tuple[str, str, tuple[str, ...]], dict[str, list[str]]] = {}
    for part, datasets in metrics.items():
        for dataset, numbers in datasets.items():
            for metric, reasons in numbers.get("undefined", {}).items():
                for reason, tasks in reasons.items():
                    found.setdefault((dataset, reason, tuple(tasks)), {}).setdefault(part, []).append(metric)
    alike: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (dataset, reason, tasks), by_part in found.items():
        for part, names in by_part.items():
            alike.setdefault((dataset, reason, tasks, tuple(names)), []).append(part)
    return [
        f"{dataset}: {_subject(names, tasks, metrics[parts[0]][dataset]['per_task'])} undefined on {_and(parts)}: "
        f"{reason}{_which(tasks)}"
        for (dataset, reason, tasks, names), parts in alike.items()
    ]


def _subject(names: Sequence[str], tasks: Sequence[str], per_task: Mapping[str, Mapping[str, Any]]) -> str:
    every = [name for name in per_task[tasks[0]] if not name.startswith("pooled_")]
    what = "every metric" if len(names) > 1 and set(names) >= set(every) else _and(names)
    verb = "is" if len(names) == 1 or what == "every metric" else "are"
    measured = sum(names[0] in values for values in per_task.values())
    if measured == 1:
        return f"{what} {verb}"
    return f"{what} of {f'{len(tasks):,} of' if len(tasks) < measured else 'all'} {measured:,} tasks {verb}"


def _which(tasks: Sequence[str]) -> str:
    if len(tasks) <= _NAMED_TASKS:
        return f" ({', '.join(tasks)})"
    return f" ({', '.join(tasks[: _NAMED_TASKS - 1])}, ... {len(tasks) - _NAMED_TASKS + 1:,} more)"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
