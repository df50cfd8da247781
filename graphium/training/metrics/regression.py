"""Metrics of regression tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from graphium.registry import register
from graphium.training.metrics.base import Scored, TaskMetric, moments
from graphium.training.metrics.ranking import midranks


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
