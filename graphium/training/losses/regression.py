"""Losses of regression tasks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from graphium.errors import GraphiumError
from graphium.registry import register
from graphium.training.losses.base import Loss


@register("loss", "mae")
class MeanAbsoluteError(Loss):
    """``|prediction - value|``."""

    takes_bounds = True

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        return (prediction - value).abs()


@register("loss", "mse")
class MeanSquaredError(Loss):
    """``(prediction - value)^2``."""

    takes_bounds = True

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        return (prediction - value).square()


@register("loss", "huber")
class Huber(Loss):
    """Squared below ``delta``, linear above (Huber 1964): ``e^2 / 2`` or ``delta (|e| - delta / 2)``.

    Args:
        delta: Where the two meet, in transformed label units; above 0.
    """

    takes_bounds = True

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if not delta > 0:
            raise GraphiumError(f"the delta of the huber loss is {delta}; give a number above 0")
        self.delta = delta

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        return F.huber_loss(prediction, value.to(prediction.dtype), reduction="none", delta=self.delta)
