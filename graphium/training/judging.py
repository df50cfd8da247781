"""Losses, metrics, weights and heads judged before a table is read, and again when its tasks are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphium.data.datasets.dataset import Dataset, TaskGroup
from graphium.errors import GraphiumError, suggest
from graphium.nn.network import check_heads
from graphium.registry import PartConfig, build
from graphium.training.evaluation import Evaluator
from graphium.training.losses.heads import check_losses
from graphium.training.metrics.head import check_metrics
from graphium.types import HeadSpec, Task, group_tasks


def judge_datasets(datasets: Sequence[Dataset], weighting: PartConfig) -> None:
    """Judge what the configuration alone tells; groups that leave their kind open are judged later.

    Raises:
        GraphiumError: a loss or metric that does not fit its kind, or a weight for a dataset or task that does not
            exist, where all columns are named.
    """
    known = [(dataset, group) for dataset in datasets for group in dataset.groups if group.kind is not None]
    heads = group_tasks(task for dataset, group in known for task in _tasks(dataset, group))
    check_metrics(heads)
    told = {dataset.name for dataset in datasets if all(map(_is_told, dataset.groups))}
    check_losses([head for head in heads if head.dataset in told])
    if len(told) < len(datasets) and not isinstance(weighting, str):
        # Which tasks there are is not known yet; the datasets are.
        weighting = {key: value for key, value in weighting.items() if key != "tasks"}
    some = [Task("", dataset.name, "graph", "regression") for dataset in datasets]
    build("weighting", weighting, where="trainer.weighting", heads=(*heads, *group_tasks(some)))


def judge_heads(
    heads: Sequence[HeadSpec], *, model: Mapping[str, Any], weighting: PartConfig, monitor: str = "val/loss"
) -> None:
    """Judge everything that names tasks or must fit their kind; needs no labels.

    Args:
        heads: All heads of the mix.
        model: The section ``model``.
        weighting: ``trainer.weighting``.
        monitor: ``trainer.monitor``.

    Raises:
        GraphiumError: with the nearest name, or what fits.
    """
    check_heads(model, heads)
    check_losses(heads)
    check_metrics(heads)
    judge_monitor(monitor, heads)
    build("weighting", weighting, where="trainer.weighting", heads=heads)


def judge_monitor(monitor: str, validated: Sequence[HeadSpec]) -> None:
    """Refuse a number to monitor that a validation of these heads does not measure."""
    choices = ["val/loss", *(f"val/{name}" for name in Evaluator(validated).names())]
    if monitor not in choices:
        raise GraphiumError(f"trainer.monitor {monitor!r} is not measured in this run; {suggest(monitor, choices)}")


def _is_told(group: TaskGroup) -> bool:
    """Whether a group says what its tasks are, so that no table has to be asked."""
    return group.kind is not None and not any({"*", "?", ","} & set(name) or name[:1] == "-" for name in group.columns)


def _tasks(dataset: Dataset, group: TaskGroup) -> list[Task]:
    """The tasks of a group as far as the configuration tells them; patterns stand for themselves."""
    assert group.kind is not None
    loss = group.loss or dataset.loss or ""
    # How many classes there are makes no difference to what is judged.
    classes = len(group.classes or "ab") if group.kind in ("multiclass", "ordinal") else 0
    return [
        Task(
            name,
            dataset.name,
            group.level or "graph",
            group.kind,
            num_classes=classes,
            classes=tuple(group.classes or ()),
            loss=loss,
            outputs=tuple(getattr(build("loss", loss), "outputs", ())) if loss else (),
            metrics=tuple(group.metrics or dataset.metrics or ()),
        )
        for name in group.columns
    ]
