"""Metrics of numbers: regression tasks, and ordinal ones by the expected class."""

from __future__ import annotations

import torch
from torch import Tensor

from graphium.registry import register
from graphium.training.metrics.base import Mean, Scored, Summary, TaskMetric
from graphium.training.metrics.summaries import Deviations, Moments, Ranks

NUMBERS: tuple[str, ...] = ("regression", "ordinal")


def absolute_error(scored: Scored) -> Tensor:
    """``|prediction - value|`` ``[L]``."""
    return (scored.number - scored.value).abs()


def squared_error(scored: Scored) -> Tensor:
    """``(prediction - value)^2`` ``[L]``."""
    return (scored.number - scored.value).square()


def relative_error(scored: Scored) -> Tensor:
    """``|prediction - value| / |value|`` ``[L]``; a value of 0 counts as the smallest step of a float64 at 1."""
    return absolute_error(scored) / scored.value.abs().clamp(min=torch.finfo(torch.float64).eps)


@register("metric", "mae")
class MeanAbsoluteError(TaskMetric):
    """Mean absolute error in label units; of ordinal tasks, of the expected class index.

    >>> MeanAbsoluteError().compute(torch.tensor([0.5]))
    tensor([0.5000])
    """

    kinds = NUMBERS
    summary = Mean(absolute_error)

    def compute(self, summary: Tensor) -> Tensor:
        return summary


@register("metric", "mae_norm")
class NormalisedMeanAbsoluteError(MeanAbsoluteError):
    """Mean absolute error in transformed (z-scored) units.

    >>> NormalisedMeanAbsoluteError().norm
    True
    """

    kinds = ("regression",)
    norm = True


@register("metric", "mse")
class MeanSquaredError(TaskMetric):
    """Mean squared error in label units.

    >>> MeanSquaredError().compute(torch.tensor([4.0]))
    tensor([4.])
    """

    kinds = NUMBERS
    summary = Mean(squared_error)

    def compute(self, summary: Tensor) -> Tensor:
        return summary


@register("metric", "rmse")
class RootMeanSquaredError(TaskMetric):
    """Root of the mean squared error, in label units.

    >>> RootMeanSquaredError().compute(torch.tensor([4.0]))
    tensor([2.])
    """

    kinds = NUMBERS
    summary = Mean(squared_error)

    def compute(self, summary: Tensor) -> Tensor:
        return summary.sqrt()


@register("metric", "mape")
class MeanAbsolutePercentageError(TaskMetric):
    """Mean of ``|error| / |label|`` in label units, as a fraction; as in scikit-learn, huge where a label is 0.

    >>> MeanAbsolutePercentageError().compute(torch.tensor([0.25]))
    tensor([0.2500])
    """

    pools = False  # labels in units of their own deviation have no meaningful zero
    summary = Mean(relative_error)

    def compute(self, summary: Tensor) -> Tensor:
        return summary


@register("metric", "r2")
class CoefficientOfDetermination(TaskMetric):
    """``1 - squared error / squared deviation of the labels`` in label units; undefined if labels are constant.

    >>> one = torch.ones(1)
    >>> CoefficientOfDetermination().compute(Deviations(value=2 * one, prediction=one, product=one, error=one))
    tensor([0.5000])
    """

    kinds = NUMBERS
    higher_is_better = True
    undefined = ("constant labels",)
    summary = Moments()

    def compute(self, summary: Deviations) -> Tensor:
        return 1 - summary.error / torch.where(summary.value > 0, summary.value, torch.nan)


@register("metric", "pearson")
class Pearson(TaskMetric):
    """Pearson's correlation in label units; undefined if labels or predictions are constant.

    >>> one = torch.ones(1)
    >>> Pearson().compute(Deviations(value=one, prediction=4 * one, product=one, error=one))
    tensor([0.5000])
    """

    kinds = NUMBERS
    higher_is_better = True
    undefined = ("constant labels", "constant predictions", "prediction is infinite")
    summary: Summary = Moments()

    def compute(self, summary: Deviations) -> Tensor:
        return summary.correlation()

    def reason(self, summary: Deviations) -> Tensor:
        return summary.trouble()


@register("metric", "spearman")
class Spearman(Pearson):
    """Pearson's correlation of the ranks, ties sharing their mean rank.

    >>> Spearman().summary
    Ranks()
    """

    summary = Ranks()
