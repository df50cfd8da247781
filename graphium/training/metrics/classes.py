"""Metrics of binary, multiclass and ordinal tasks."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from graphium.registry import register
from graphium.training.metrics.base import Mean, Scored, TaskMetric
from graphium.training.metrics.summaries import Areas, Confusion, Curves

CLASSES: tuple[str, ...] = ("binary", "multiclass", "ordinal")


def binary_cross_entropy(scored: Scored) -> Tensor:
    """``[L]``, in nats."""
    return F.binary_cross_entropy_with_logits(scored.prediction, scored.value, reduction="none")


def cross_entropy(scored: Scored) -> Tensor:
    """``[L]``, in nats."""
    return -scored.log_probability.gather(1, scored.value.long().unsqueeze(1)).squeeze(1)


def _mean_of_classes(of_class: Tensor, weight: Tensor, average: str) -> Tensor:
    """Mean ``[tasks]`` over the classes ``[tasks, classes]`` where it is defined; NaN where it is for none."""
    weight = torch.where(of_class.isnan(), 0.0, weight.double() if average == "weighted" else 1.0)
    return (torch.where(weight > 0, of_class, 0.0) * weight).sum(1) / weight.sum(1)


@register("metric", "auroc")
class AreaUnderRoc(TaskMetric):
    """Area under the ROC curve; for classes, the mean over one-against-rest curves.

    Undefined with one class only. A class that is absent (or the only one) has no curve of its own and is
    left out of the mean.

    Args:
        average: Over classes: ``macro``, all alike, or ``weighted`` by their labels.

    >>> half = torch.full((1, 1), 0.5)
    >>> AreaUnderRoc().compute(Areas(roc=half, precision=half, positives=torch.ones(1, 1)))
    tensor([0.5000])
    """

    kinds = CLASSES
    higher_is_better = True
    undefined = ("one class only",)
    summary = Curves()

    def __init__(self, average: Literal["macro", "weighted"] = "macro") -> None:
        self.average = average

    def compute(self, summary: Areas) -> Tensor:
        return _mean_of_classes(summary.roc, summary.positives, self.average)


@register("metric", "ap")
class AveragePrecision(TaskMetric):
    """Average precision, without interpolation; for classes, the mean over one-against-rest curves.

    Undefined without positives. A class that is absent has no curve of its own and is left out of the mean.

    Args:
        average: Over classes: ``macro``, all alike, or ``weighted`` by their labels.

    >>> half = torch.full((1, 1), 0.5)
    >>> AveragePrecision().compute(Areas(roc=half, precision=half, positives=torch.ones(1, 1)))
    tensor([0.5000])
    """

    kinds = CLASSES
    higher_is_better = True
    undefined = ("no positive labels",)
    summary = Curves()

    def __init__(self, average: Literal["macro", "weighted"] = "macro") -> None:
        self.average = average

    def compute(self, summary: Areas) -> Tensor:
        return _mean_of_classes(summary.precision, summary.positives, self.average)


@register("metric", "bce")
class BinaryCrossEntropy(TaskMetric):
    """Mean binary cross-entropy of the predicted logits, in nats.

    >>> BinaryCrossEntropy().compute(torch.tensor([0.25]))
    tensor([0.2500])
    """

    kinds = ("binary",)
    summary = Mean(binary_cross_entropy)

    def compute(self, summary: Tensor) -> Tensor:
        return summary


@register("metric", "ce")
class CrossEntropy(TaskMetric):
    """Mean cross-entropy of the predicted logits, in nats.

    >>> CrossEntropy().compute(torch.tensor([0.25]))
    tensor([0.2500])
    """

    kinds = ("multiclass", "ordinal")
    summary = Mean(cross_entropy)

    def compute(self, summary: Tensor) -> Tensor:
        return summary


@register("metric", "accuracy")
class Accuracy(TaskMetric):
    """Share of labels whose predicted class (logit above 0, or the largest logit) is right.

    >>> Accuracy().compute(torch.tensor([[[2, 1], [0, 1]]]))
    tensor([0.7500], dtype=torch.float64)
    """

    kinds = CLASSES
    higher_is_better = True
    summary = Confusion()

    def compute(self, summary: Tensor) -> Tensor:
        counts = summary.double()
        return counts.diagonal(dim1=-2, dim2=-1).sum(-1) / counts.sum((-2, -1))


@register("metric", "balanced_accuracy")
class BalancedAccuracy(TaskMetric):
    """Mean over the classes that occur of the share of their labels that is predicted right.

    >>> BalancedAccuracy().compute(torch.tensor([[[3, 1], [0, 1]]]))
    tensor([0.8750], dtype=torch.float64)
    """

    kinds = CLASSES
    higher_is_better = True
    summary = Confusion()

    def compute(self, summary: Tensor) -> Tensor:
        counts = summary.double()
        return (counts.diagonal(dim1=-2, dim2=-1) / counts.sum(-1)).nanmean(-1)


@register("metric", "fbeta")
class FBeta(TaskMetric):
    """Weighted harmonic mean of precision and recall, ``(1 + b^2) tp / ((1 + b^2) tp + b^2 fn + fp)``.

    Of the positive class of binary tasks; of other tasks, averaged over the classes that occur among labels or
    predictions. Without labels and predictions of a class it is 0, as in scikit-learn.

    Args:
        beta: How much more recall counts than precision.
        average: Over classes: ``macro``, all alike; ``weighted`` by their labels; ``micro``, over all labels.

    >>> FBeta(beta=1.0).compute(torch.tensor([[[2, 1], [1, 2]]]))
    tensor([0.6667], dtype=torch.float64)
    """

    kinds = CLASSES
    higher_is_better = True
    summary = Confusion()

    def __init__(self, beta: float, average: Literal["macro", "micro", "weighted"] = "macro") -> None:
        self.beta, self.average = beta, average

    def score(self, right: Tensor, called: Tensor, actual: Tensor) -> Tensor:
        """From the labels that are right, predicted and actual members of a class, each ``[...]``; NaN for 0 / 0."""
        square = self.beta**2
        return (1 + square) * right / (square * actual + called)

    def compute(self, summary: Tensor) -> Tensor:
        counts = summary.double()
        right, called, actual = counts.diagonal(dim1=-2, dim2=-1), counts.sum(-2), counts.sum(-1)  # [tasks, classes]
        if self.kind == "binary":
            return self.score(right[:, 1], called[:, 1], actual[:, 1]).nan_to_num(0.0)
        if self.average == "micro":
            return self.score(right.sum(-1), called.sum(-1), actual.sum(-1))
        of_class = self.score(right, called, actual).nan_to_num(0.0)
        return _mean_of_classes(torch.where(called + actual > 0, of_class, torch.nan), actual, self.average)


@register("metric", "f1")
class F1(FBeta):
    """Harmonic mean of precision and recall, see :class:`FBeta`.

    >>> F1().beta
    1.0
    """

    def __init__(self, average: Literal["macro", "micro", "weighted"] = "macro") -> None:
        super().__init__(1.0, average)


@register("metric", "precision")
class Precision(FBeta):
    """Share of the labels predicted as a class that are of this class, see :class:`FBeta`.

    >>> Precision().score(right=torch.tensor(1.0), called=torch.tensor(4.0), actual=torch.tensor(2.0))
    tensor(0.2500)
    """

    def __init__(self, average: Literal["macro", "micro", "weighted"] = "macro") -> None:
        super().__init__(0.0, average)


@register("metric", "recall")
class Recall(FBeta):
    """Share of the labels of a class that are predicted as this class, see :class:`FBeta`.

    >>> Recall().score(right=torch.tensor(1.0), called=torch.tensor(4.0), actual=torch.tensor(2.0))
    tensor(0.5000)
    """

    def __init__(self, average: Literal["macro", "micro", "weighted"] = "macro") -> None:
        super().__init__(torch.inf, average)

    def score(self, right: Tensor, called: Tensor, actual: Tensor) -> Tensor:
        return right / actual


@register("metric", "mcc")
class MatthewsCorrelation(TaskMetric):
    """Matthews' correlation of labels and predictions (Gorodkin 2004 for several classes).

    0 where all labels or all predictions are of one class, as in scikit-learn.

    >>> MatthewsCorrelation().compute(torch.tensor([[[2, 0], [0, 2]]]))
    tensor([1.], dtype=torch.float64)
    """

    kinds = CLASSES
    higher_is_better = True
    summary = Confusion()

    def compute(self, summary: Tensor) -> Tensor:
        counts = summary.double()
        right, called, actual = counts.diagonal(dim1=-2, dim2=-1).sum(-1), counts.sum(-2), counts.sum(-1)
        total = actual.sum(-1)
        covariance = total * right - (called * actual).sum(-1)
        spread = ((total**2 - called.square().sum(-1)) * (total**2 - actual.square().sum(-1))).sqrt()
        return torch.where(spread > 0, covariance / spread, 0.0)
