"""The metrics of one head, accumulated over batches and ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torchmetrics
from torch import Tensor

from graphium import registry
from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.registry import PartConfig
from graphium.training.metrics.base import Scored, TaskMetric
from graphium.types import HeadSpec

DEFAULT_METRICS: dict[str, tuple[str, ...]] = {
    "regression": ("mae", "mae_norm", "rmse", "r2", "pearson", "spearman"),
    "binary": ("auroc", "ap", "bce"),
    "multiclass": ("accuracy", "auroc"),
    "ordinal": ("accuracy", "auroc"),
}

# What a buffered task number says of labels that no metric sees: padding, or ``_BOUND - task``.
_PADDING, _BOUND = -1, -2


class HeadMetrics(torchmetrics.Metric):
    """Metrics of one head, accumulated over batches and over the ranks of ``torch.distributed``.

    Args:
        head: The tasks.
        inverse: ``inverse(value [L], task [L])`` from transformed to label units, or None.
        metrics: Names or configurations of metrics; by default those of the head's kind.

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
    task: list[Tensor]
    prediction: list[Tensor]
    value: list[Tensor]

    def __init__(
        self,
        head: HeadSpec,
        inverse: Callable[[Tensor, Tensor], Tensor] | None = None,
        metrics: Sequence[PartConfig] | None = None,
    ) -> None:
        super().__init__(sync_on_compute=False)
        self.num_tasks, self.num_classes = head.num_tasks, head.num_classes
        self.inverse = inverse
        self.parts = _build_metrics(metrics if metrics is not None else DEFAULT_METRICS[head.kind], head)
        for state in ("task", "prediction", "value"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # torchmetrics would squeeze the [tasks] of a single task, and its sync hangs where a rank has no labels.
        return compute

    def update(self, prediction: Tensor, labels: Labels) -> None:
        """Add a batch: predictions ``[entities, tasks(, classes)]`` and the labels of the same head."""
        picked = prediction.detach().flatten(0, 1).index_select(0, labels.entity * self.num_tasks + labels.task)
        task = labels.task
        if labels.bound is not None:
            task = torch.where(labels.bound == 0, task, _BOUND - task)
        self.task.append(torch.where(labels.weight > 0, task, _PADDING).int())
        self.prediction.append(picked.float())
        self.value.append(labels.value)

    def scored(self) -> Scored:
        """All triples of all ranks, in rank order; padding and bounds removed, the latter counted."""
        empty_shape = (0, self.num_classes) if self.num_classes else (0,)
        task = _gathered(self.task, torch.empty(0, dtype=torch.int32))
        prediction = _gathered(self.prediction, torch.empty(empty_shape))
        value = _gathered(self.value, torch.empty(0))
        real, bounds = task >= 0, None
        if not real.all():
            bounds = torch.bincount(_BOUND - task[task <= _BOUND], minlength=self.num_tasks)
            task, prediction, value = task[real], prediction[real], value[real]
        return Scored(task, prediction, value, self.num_tasks, self.inverse, bounds)

    def evaluate(self, scored: Scored) -> dict[str, Tensor]:
        """The metrics of given triples: metric name -> float64 ``[tasks]``, NaN where undefined."""
        unknown = scored.broken | (scored.count == 0)
        return {name: torch.where(unknown, torch.nan, part(scored)) for name, part in self.parts.items()}

    def compute(self) -> dict[str, Tensor]:
        """The metrics of all triples so far: metric name -> float64 ``[tasks]``, NaN where undefined."""
        return self.evaluate(self.scored())


def _build_metrics(configs: Sequence[PartConfig], head: HeadSpec) -> dict[str, TaskMetric]:
    parts = {}
    for config in configs:
        part = registry.build("metric", config, where=f"the metrics of {head.dataset}")
        name = config if isinstance(config, str) else config["name"]
        if not isinstance(part, TaskMetric):
            raise GraphiumError(
                f"the metric {name!r} of {head.dataset} is no TaskMetric; "
                "derive it from graphium.training.metrics.base.TaskMetric"
            )
        if head.kind not in part.kinds:
            fitting = [n for n in registry.names("metric") if head.kind in registry.lookup("metric", n).kinds]
            raise GraphiumError(
                f"the metric {name!r} of {head.dataset} does not fit {head.kind} tasks; "
                f"choose one of {', '.join(fitting)}"
            )
        parts[name] = part
    return parts


def _gathered(chunks: list[Tensor], empty: Tensor) -> Tensor:
    """Concatenation of the chunks of this rank, then of all ranks; ``chunks`` is left holding this rank's one."""
    if chunks:
        chunks[:] = [torch.cat(chunks)]
    own = chunks[0] if chunks else empty
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return own
    # A rank without chunks does not know where the others keep theirs: the backend does.
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else own.device
    own = own.to(device)
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(own)], device=device))
    lengths = [int(size) for size in sizes]
    padded = own.new_zeros(max(lengths), *own.shape[1:])
    padded[: len(own)] = own
    received = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(received, padded)
    return torch.cat([part[:length] for part, length in zip(received, lengths, strict=True)])
