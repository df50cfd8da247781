"""Label transforms: fitted on the training labels in float64, applied to labels, inverted on predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphium.data.labels.moments import Moments
from graphium.errors import GraphiumError
from graphium.registry import PartConfig, build, register
from graphium.types import Task

if TYPE_CHECKING:
    from torch import Tensor

Piece = tuple[np.ndarray, np.ndarray]


@register("transform", "none")
class NoTransform:
    """Labels stay as they are."""

    def fit(self, pieces: Iterable[Piece], num_tasks: int) -> list[dict[str, Any]]:
        return [{"name": "none"} for _ in range(num_tasks)]


@register("transform", "zscore")
class ZScore:
    """Labels minus their mean, over their standard deviation (population, n in the denominator).

    A task without labels gets mean 0 and scale 1, a constant one scale 1.
    """

    def fit(self, pieces: Iterable[Piece], num_tasks: int) -> list[dict[str, Any]]:
        """Fit on label triples, some at a time: ``task`` int64 ``[L]``, ``value`` float64 ``[L]``."""
        moments = Moments(num_tasks)
        for task, value in pieces:
            moments.add(task, np.asarray(value, dtype=np.float64))
        scale = moments.deviation()
        scale[scale == 0] = 1.0
        both = zip(moments.mean.tolist(), scale.tolist(), strict=True)
        return [{"name": "zscore", "mean": mean, "scale": deviation} for mean, deviation in both]


def default_transform(kind: str) -> str:
    """Name of the transform that a kind of task gets where nothing else is said."""
    return "zscore" if kind == "regression" else "none"


def check_transform(config: PartConfig | Mapping[str, Any], kind: str, where: str) -> None:
    """Refuse a transform that would destroy class labels."""
    name = config if isinstance(config, str) else config["name"]
    if kind != "regression" and name != "none":
        raise GraphiumError(
            f"{where}: transform {name!r} is for regression labels and the kind is {kind}; leave it out"
        )


def fit(tasks: Sequence[Task], pieces: Callable[[], Iterable[Piece]]) -> list[dict[str, Any]]:
    """Fit the transform that each task of one head names.

    Args:
        tasks: the head's tasks; ``Task.transform`` is the configuration (fitted values are ignored).
        pieces: gives the training labels, some at a time, as often as it is called: the column of the head,
            int64 ``[L]``, and the values in label units, float64 ``[L]``.

    Returns:
        The fitted transform of every task, as plain values.
    """
    fitted: list[dict[str, Any]] = [{} for _ in tasks]
    configs = [_configuration(t.transform) for t in tasks]
    for config in configs:
        members = np.array([number for number, other in enumerate(configs) if other == config])
        if fitted[members[0]]:
            continue
        local = np.full(len(tasks), -1)
        local[members] = np.arange(len(members))
        part = build("transform", dict(config))
        for number, values in zip(members, part.fit(_chosen(pieces, local), len(members)), strict=True):
            fitted[number] = values
    return fitted


def _chosen(pieces: Callable[[], Iterable[Piece]], local: np.ndarray) -> Iterator[Piece]:
    """The labels of some tasks, with the tasks' numbers among these; read when they are asked for."""
    for task, value in pieces():
        mine = local[task] >= 0
        yield local[task[mine]], value[mine]


class LabelTransform:
    """The fitted transforms of one head's tasks, applied to label triples and to predictions.

    ``shift`` and ``scale`` are float64 ``[num_tasks]``: ``forward(v) = (v - shift) / scale``.

    >>> import torch
    >>> task = Task("y", "d", "graph", "regression", transform={"name": "zscore", "mean": 10.0, "scale": 2.0})
    >>> LabelTransform([task]).forward(torch.tensor([12.0, 6.0]), torch.tensor([0, 0]))
    tensor([ 1., -2.])
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        import torch

        affine = [_affine(task) for task in tasks]
        self.shift = torch.tensor([shift for shift, _ in affine], dtype=torch.float64)
        self.scale = torch.tensor([scale for _, scale in affine], dtype=torch.float64)
        self._identity = all(pair == (0.0, 1.0) for pair in affine)

    def forward(self, value: Tensor, task: Tensor) -> Tensor:
        """Transform labels ``[L]`` of tasks int64 ``[L]``; computed in float64, returned as float32."""
        if self._identity:
            return value.float()
        shift, scale = self._on(value)
        return ((value.double() - shift[task]) / scale[task]).float()

    def inverse(self, value: Tensor, task: Tensor | None = None) -> Tensor:
        """Return to label units, float64: predictions ``[..., num_tasks]``, or ``[L]`` with ``task`` int64 ``[L]``."""
        if self._identity:
            return value.double()
        shift, scale = self._on(value)
        if task is not None:
            shift, scale = shift[task], scale[task]
        return value.double() * scale + shift

    def _on(self, value: Tensor) -> tuple[Tensor, Tensor]:
        if self.shift.device != value.device:
            self.shift, self.scale = self.shift.to(value.device), self.scale.to(value.device)
        return self.shift, self.scale


def _configuration(transform: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of a transform, without what fitting added."""
    return {key: value for key, value in transform.items() if key not in ("mean", "scale")}


def _affine(task: Task) -> tuple[float, float]:
    name = task.transform.get("name", "none")
    if name == "none":
        return 0.0, 1.0
    if "mean" not in task.transform or "scale" not in task.transform:
        raise GraphiumError(
            f"the transform {name!r} of task {task.name!r} is not fitted; fit it on the training labels first"
        )
    return float(task.transform["mean"]), float(task.transform["scale"])
