"""Exact metrics of every task of a head at once, over the labels that exist.

Predictions and labels are buffered as triples and compared at the end by operations over segments, never by
a loop over tasks. Sums are in float64. A metric counts every exact label once, whatever its sample weight;
labels of weight 0 (padding) are not labels, and a label that is a bound (``>10``) enters no metric, because no
error and no rank follows from it: such labels are counted. NaN means undefined: no labels, one class only where
two are needed, a constant where a variance is needed, or a prediction that is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from graphium import registry
from graphium.data.batch import Labels
from graphium.errors import GraphiumError
from graphium.registry import PartConfig, register
from graphium.training.ranking import Thresholds, average_precisions, midranks, roc_areas, thresholds
from graphium.types import HeadSpec

DEFAULT_METRICS: dict[str, tuple[str, ...]] = {
    "regression": ("mae", "mae_norm", "rmse", "r2", "pearson", "spearman"),
    "binary": ("auroc", "ap", "bce"),
    "multiclass": ("accuracy", "auroc"),
    "ordinal": ("accuracy", "auroc"),
}

# What a buffered task number says of labels that no metric sees: padding, or ``_BOUND - task``.
_PADDING, _BOUND = -1, -2


@dataclass(frozen=True)
class Scored:
    """Predictions beside their labels, with what several metrics need computed once.

    ``task`` int32 ``[L]``; ``prediction`` ``[L]`` or logits ``[L, classes]``; ``value`` ``[L]``, both in
    transformed units; ``inverse(value [L], task [L])`` leads back to label units (None: they are the same).
    ``bounds`` int64 ``[tasks]``: labels that are left out because they are bounds (None: none are).
    """

    task: Tensor
    prediction: Tensor
    value: Tensor
    num_tasks: int
    inverse: Callable[[Tensor, Tensor], Tensor] | None = None
    bounds: Tensor | None = None

    def sum(self, element: Tensor) -> Tensor:
        """Sum of ``element`` ``[L]`` per task, float64 ``[tasks]``."""
        element = element.double()
        return element.new_zeros(self.num_tasks).index_add_(0, self.task, element)

    def mean(self, element: Tensor) -> Tensor:
        """Mean of ``element`` ``[L]`` per task, float64 ``[tasks]``; NaN without labels."""
        return self.sum(element) / self.count

    @cached_property
    def count(self) -> Tensor:
        """Labels of each task, int64 ``[tasks]``."""
        return torch.bincount(self.task, minlength=self.num_tasks)

    @cached_property
    def broken(self) -> Tensor:
        """Tasks with a prediction that is NaN, bool ``[tasks]``."""
        bad = self.prediction.isnan().flatten(1).any(1) if self.prediction.ndim > 1 else self.prediction.isnan()
        return torch.bincount(self.task[bad], minlength=self.num_tasks) > 0

    @cached_property
    def label_units(self) -> Scored:
        """The same in the units of the table, float64."""
        if self.inverse is None:
            return self
        return replace(
            self,
            prediction=self.inverse(self.prediction.double(), self.task.long()),
            value=self.inverse(self.value.double(), self.task.long()),
            inverse=None,
        )

    @cached_property
    def thresholds(self) -> Thresholds:
        """Binary labels grouped by task and distinct score: the one sort behind AUROC and AP."""
        return thresholds(self.task, self.prediction, self.value, self.num_tasks)

    @cached_property
    def moments(self) -> Moments:
        return moments(self, self.prediction, self.value)


@dataclass(frozen=True)
class Moments:
    """Sums of squared deviations of values and predictions, and of their products; float64 ``[tasks]``.

    Exactly 0 where all are equal.
    """

    value: Tensor
    prediction: Tensor
    product: Tensor

    def correlation(self) -> Tensor:
        """Pearson's correlation ``[tasks]``; NaN where either is constant."""
        spread = self.value.sqrt() * self.prediction.sqrt()
        return (self.product / torch.where(spread > 0, spread, torch.nan)).clamp(-1, 1)


def moments(scored: Scored, prediction: Tensor, value: Tensor) -> Moments:
    """Centred second moments per task, in two passes: differences of raw sums would lose the digits."""

    def deviation(number: Tensor) -> Tensor:
        number = number.double()
        least = number.new_full((scored.num_tasks,), torch.inf).scatter_reduce_(0, scored.task.long(), number, "amin")
        number = number - least[scored.task]  # equal numbers become exact zeros, and so does their spread
        return number - scored.mean(number)[scored.task]

    from_mean, predicted_from_mean = deviation(value), deviation(prediction)
    return Moments(
        value=scored.sum(from_mean.square()),
        prediction=scored.sum(predicted_from_mean.square()),
        product=scored.sum(from_mean * predicted_from_mean),
    )


class TaskMetric:
    """A metric of every task at once; an author writes :meth:`__call__` and lists the ``kinds`` it fits."""

    kinds: ClassVar[tuple[str, ...]] = ("regression",)
    higher_is_better: ClassVar[bool] = False

    def __call__(self, scored: Scored) -> Tensor:
        """Value per task, float64 ``[tasks]``; NaN where undefined."""
        raise NotImplementedError


@register("metric", "mae")
class MeanAbsoluteError(TaskMetric):
    """Mean absolute error in label units."""

    def __call__(self, scored: Scored) -> Tensor:
        units = scored.label_units
        return scored.mean((units.prediction.double() - units.value.double()).abs())


@register("metric", "mae_norm")
class NormalisedMeanAbsoluteError(TaskMetric):
    """Mean absolute error in transformed (z-scored) units."""

    def __call__(self, scored: Scored) -> Tensor:
        return scored.mean((scored.prediction.double() - scored.value.double()).abs())


@register("metric", "mse")
class MeanSquaredError(TaskMetric):
    """Mean squared error in label units."""

    def __call__(self, scored: Scored) -> Tensor:
        units = scored.label_units
        return scored.mean((units.prediction.double() - units.value.double()).square())


@register("metric", "rmse")
class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean squared error, in label units."""

    def __call__(self, scored: Scored) -> Tensor:
        return super().__call__(scored).sqrt()


@register("metric", "r2")
class CoefficientOfDetermination(TaskMetric):
    """``1 - squared error / squared deviation of the labels`` in label units; undefined if labels are constant."""

    higher_is_better = True

    def __call__(self, scored: Scored) -> Tensor:
        units = scored.label_units
        error = scored.sum((units.prediction.double() - units.value.double()).square())
        spread = units.moments.value
        return 1 - error / torch.where(spread > 0, spread, torch.nan)


@register("metric", "pearson")
class Pearson(TaskMetric):
    """Pearson's correlation in label units; undefined if labels or predictions are constant."""

    higher_is_better = True

    def __call__(self, scored: Scored) -> Tensor:
        return scored.label_units.moments.correlation()


@register("metric", "spearman")
class Spearman(TaskMetric):
    """Pearson's correlation of the ranks, ties sharing their mean rank.

    Ranks are taken in transformed units, as float32: a transform keeps the order.
    """

    higher_is_better = True

    def __call__(self, scored: Scored) -> Tensor:
        ranks = midranks(scored.task, scored.prediction), midranks(scored.task, scored.value)
        return moments(scored, *ranks).correlation()


@register("metric", "auroc")
class AreaUnderRoc(TaskMetric):
    """Area under the ROC curve; for classes, the mean over one-against-rest curves.

    Undefined with one class only. A class that is absent (or the only one) has no curve of its own and is
    left out of the mean.
    """

    kinds = ("binary", "multiclass", "ordinal")
    higher_is_better = True

    def __call__(self, scored: Scored) -> Tensor:
        if scored.prediction.ndim == 1:
            return roc_areas(scored.thresholds)
        log_probability = F.log_softmax(scored.prediction.double(), dim=-1)
        # Log odds order as probabilities do, and stay distinct in float32 where those round to 1.
        log_odds = log_probability - torch.log(-torch.expm1(log_probability))
        curves = [
            roc_areas(thresholds(scored.task, log_odds[:, index], scored.value == index, scored.num_tasks))
            for index in range(scored.prediction.shape[1])
        ]
        return torch.stack(curves).nanmean(0)


@register("metric", "ap")
class AveragePrecision(TaskMetric):
    """Average precision, without interpolation; undefined without positives."""

    kinds = ("binary",)
    higher_is_better = True

    def __call__(self, scored: Scored) -> Tensor:
        return average_precisions(scored.thresholds)


@register("metric", "bce")
class BinaryCrossEntropy(TaskMetric):
    """Mean binary cross-entropy of the predicted logits, in nats."""

    kinds = ("binary",)

    def __call__(self, scored: Scored) -> Tensor:
        logit, value = scored.prediction.double(), scored.value.double()
        return scored.mean(F.binary_cross_entropy_with_logits(logit, value, reduction="none"))


@register("metric", "accuracy")
class Accuracy(TaskMetric):
    """Share of labels whose predicted class (logit above 0, or the largest logit) is right."""

    kinds = ("binary", "multiclass", "ordinal")
    higher_is_better = True

    def __call__(self, scored: Scored) -> Tensor:
        prediction = scored.prediction
        predicted = prediction > 0 if prediction.ndim == 1 else prediction.argmax(-1)
        return scored.mean(predicted == scored.value)


def higher_is_better(name: str) -> bool:
    """Whether larger values of the metric ``name`` are better, to choose checkpoints and to stop early."""
    return registry.lookup("metric", name.removeprefix("pooled_")).higher_is_better


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
                "derive it from graphium.training.metrics.TaskMetric"
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
