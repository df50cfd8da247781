"""Losses of binary, multiclass and ordinal tasks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from graphium.registry import register
from graphium.training.losses.base import Loss


@register("loss", "bce")
class BinaryCrossEntropy(Loss):
    """Cross-entropy of a binary label under a predicted logit."""

    kinds = ("binary",)

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(prediction, value.to(prediction.dtype), reduction="none")


@register("loss", "ce")
class CrossEntropy(Loss):
    """Cross-entropy of a class under predicted logits ``[L, classes]``."""

    kinds = ("multiclass", "ordinal")

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        return F.cross_entropy(prediction, value.long(), reduction="none")
