"""Losses of binary, multiclass and ordinal tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from graphium.errors import GraphiumError, suggest
from graphium.patterns import choose, match
from graphium.registry import register
from graphium.training.losses.base import Loss
from graphium.types import HeadSpec, Task


@register("loss", "bce")
class BinaryCrossEntropy(Loss):
    """Cross-entropy of a binary label under a predicted logit.

    Args:
        pos_weight: What the loss of a positive label is multiplied by: a number above 0; ``auto``, the negatives of a
            task over its positives in the training part, a class without a label counted as half a label (1 where
            there is none at all); or a mapping from names of tasks, or patterns with ``*`` and ``?``, to either. A
            task's own name goes before patterns, the last pattern that fits counts, and without one it is 1.
    """

    kinds = ("binary",)
    _weight: Tensor | None

    def __init__(self, pos_weight: float | str | dict[str, float | str] = 1.0) -> None:
        super().__init__()
        named = pos_weight if isinstance(pos_weight, Mapping) else {"": pos_weight}
        for name, weight in named.items():
            if weight != "auto" and (isinstance(weight, str) or not 0 < weight < math.inf):
                of_task = f" of {name}" if name else ""
                raise GraphiumError(
                    f"the pos_weight{of_task} of the bce loss is {weight}; give a number above 0 or auto"
                )
        self.pos_weight = pos_weight
        plain = torch.tensor(float(pos_weight)) if isinstance(pos_weight, int | float) and pos_weight != 1 else None
        self.register_buffer("_weight", plain, persistent=False)

    def check(self, tasks: Sequence[Task]) -> None:
        names = [task.name for task in tasks]
        for key in self.pos_weight if isinstance(self.pos_weight, Mapping) else ():
            if not match(key, names):
                raise GraphiumError(
                    f"the pos_weight of the bce loss names {key!r}, which is no task of {tasks[0].dataset} with this "
                    f"loss; {suggest(key, names)}"
                )

    def fit(self, head: HeadSpec, statistics: Tensor | None) -> None:
        if isinstance(self.pos_weight, int | float):
            return
        weights = self._of_tasks([task.name for task in head.tasks])
        fitted = torch.tensor([math.nan if weight == "auto" else float(weight) for weight in weights])
        if "auto" in weights:
            if statistics is None:
                raise GraphiumError(
                    f"the bce loss of {head.dataset} has pos_weight auto, and nobody has counted the training labels; "
                    "pass `statistics`, the label_statistics of every head, or give a number"
                )
            balance = ((1 - statistics) / statistics).nan_to_num(nan=1.0).to(fitted)
            fitted = torch.where(fitted.isnan(), balance, fitted)
        self._weight = fitted

    def _of_tasks(self, names: Sequence[str]) -> list[float | str]:
        """The weight that the configuration says for each task."""
        if not isinstance(self.pos_weight, Mapping):
            return [self.pos_weight] * len(names)
        return choose(self.pos_weight, [[name] for name in names], default=1.0)

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        weight = self._weight
        if weight is not None and weight.ndim:
            weight = weight.index_select(0, task)
        return F.binary_cross_entropy_with_logits(
            prediction, value.to(prediction.dtype), reduction="none", pos_weight=weight
        )


@register("loss", "ce")
class CrossEntropy(Loss):
    """Cross-entropy of a class under predicted logits ``[L, classes]``.

    Args:
        label_smoothing: The share of a label that is spread over all classes (Szegedy et al. 2016), from 0 to below 1.
    """

    kinds = ("multiclass", "ordinal")

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise GraphiumError(
                f"the label_smoothing of the ce loss is {label_smoothing}; give a number from 0 to below 1"
            )
        self.label_smoothing = label_smoothing

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        log_shares = _log_shares(prediction)
        loss = -_of_class(log_shares, value)
        if self.label_smoothing:
            loss = torch.lerp(loss, -log_shares.mean(0), self.label_smoothing)
        return loss


@register("loss", "focal")
class Focal(Loss):
    """Cross-entropy times ``(1 - p)^gamma``, ``p`` the predicted probability of the label's class (Lin et al. 2017).

    Labels that are predicted well count little, which helps where nearly all of them are easy.

    Args:
        gamma: How little; 0 is plain cross-entropy. At least 0.
        alpha: Weights of classes. Binary tasks: the weight of positives, that of negatives is ``1 - alpha``, between
            0 and 1. Tasks with classes: one number of at least 0 per class. None for equal weights of 1.
    """

    kinds = ("binary", "multiclass", "ordinal")
    _class_weight: Tensor | None

    def __init__(self, gamma: float = 2.0, alpha: float | list[float] | None = None) -> None:
        super().__init__()
        if not 0 <= gamma < math.inf:
            raise GraphiumError(f"the gamma of the focal loss is {gamma}; give a number of at least 0")
        if isinstance(alpha, float) and not 0 < alpha < 1:
            raise GraphiumError(f"the alpha of the focal loss is {alpha}; give a number between 0 and 1")
        if isinstance(alpha, list) and not (all(0 <= weight < math.inf for weight in alpha) and any(alpha)):
            raise GraphiumError(
                f"the alpha of the focal loss is {alpha}; give numbers of at least 0, not all of them 0"
            )
        self.gamma = gamma
        weights = [1 - alpha, alpha] if isinstance(alpha, float) else alpha
        self._of_positives = isinstance(alpha, float)
        self.register_buffer("_class_weight", torch.tensor(weights) if weights else None, persistent=False)

    def check(self, tasks: Sequence[Task]) -> None:
        if self._class_weight is None:
            return
        for task in tasks:
            if self._of_positives == (task.kind == "binary") and len(self._class_weight) == (task.num_classes or 2):
                continue
            wanted = "one number" if task.kind == "binary" else f"a list of {task.num_classes} numbers, one per class"
            given = "one number" if self._of_positives else f"a list of {len(self._class_weight)}"
            raise GraphiumError(
                f"the alpha of the focal loss of {task.dataset} is {given}, and {task.name} is {task.kind}; "
                f"give {wanted}"
            )

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        if prediction.ndim == 1:
            # The logit of the label's own class.
            own = prediction * (2 * value - 1)
            loss, rest = F.softplus(-own), torch.sigmoid(-own)
        else:
            log_share = _of_class(_log_shares(prediction), value)
            loss, rest = -log_share, -torch.expm1(log_share)
        # The slope of a power below 1 is infinite at 0.
        loss = loss * rest.clamp(min=1e-30).pow(self.gamma)
        if self._class_weight is not None:
            loss = loss * self._class_weight.index_select(0, value.long())
        return loss


@register("loss", "hybrid_ce")
class HybridCrossEntropy(Loss):
    """Ordinal: ``alpha`` x cross-entropy over brackets + ``(1 - alpha)`` x regression on the expected bracket.

    The expected bracket is the mean of ``0 .. brackets - 1`` under the predicted probabilities; the loss of the
    published LargeMix recipe for L1000 (Beaini et al. 2024), for any number of brackets.

    Args:
        alpha: Share of the cross-entropy, from 0 to 1.
        regression: What the expected bracket is compared by.
    """

    kinds = ("ordinal",)

    def __init__(self, alpha: float = 0.5, regression: Literal["mse", "mae"] = "mse") -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise GraphiumError(f"the alpha of the hybrid_ce loss is {alpha}; give a number from 0 to 1")
        self.alpha = alpha
        self.regression = regression

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        log_shares = _log_shares(prediction)
        bracket = torch.arange(log_shares.shape[0], device=log_shares.device)[:, None]
        # A product and a sum: under autocast a matrix product would be rounded to bfloat16.
        error = (bracket * log_shares.exp()).sum(0) - value
        distance = error.square() if self.regression == "mse" else error.abs()
        return torch.lerp(distance, -_of_class(log_shares, value), self.alpha)


def _log_shares(prediction: Tensor) -> Tensor:
    """Log-probabilities ``[classes, L]`` of logits ``[L, classes]``.

    Classes come first because a softmax over a short last axis is ten times slower on a processor.
    """
    return prediction.t().log_softmax(0)


def _of_class(log_shares: Tensor, value: Tensor) -> Tensor:
    """The entry ``[L]`` of each label's class in ``[classes, L]``."""
    return log_shares.gather(0, value.long()[None])[0]
