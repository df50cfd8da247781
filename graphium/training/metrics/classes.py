"""Metrics of binary, multiclass and ordinal tasks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphium.registry import register
from graphium.training.metrics.base import Scored, TaskMetric
from graphium.training.metrics.ranking import average_precisions, roc_areas, thresholds


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
