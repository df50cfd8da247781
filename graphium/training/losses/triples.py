"""Between a head's predictions and its label triples: one gather in, one scatter out."""

from __future__ import annotations

import torch
from torch import Tensor

from graphium.data.batch import Labels


def take_labelled(prediction: Tensor, labels: Labels) -> Tensor:
    """The predictions that have a label, in at least float32.

    Args:
        prediction: ``[entities, tasks]`` or ``[entities, tasks, width]``, any float type.
        labels: The labels of the same head.

    Returns:
        ``[L]`` or ``[L, width]``; the latter is the transpose of a contiguous ``[width, L]``, in which sums over
        a few classes are several times cheaper.
    """
    place = torch.add(labels.task, labels.entity, alpha=prediction.shape[1])
    if prediction.ndim == 2:
        picked = prediction.flatten().index_select(0, place)
    else:
        width = prediction.shape[2]
        # [width, L]
        place = torch.arange(width, device=place.device)[:, None] + place * width
        picked = prediction.flatten().index_select(0, place.flatten()).view_as(place).t()
    return picked.to(torch.promote_types(picked.dtype, torch.float32))


def sum_by_task(element: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
    """Weighted sums of ``element`` ``[L]`` and of the weights, per task: two ``[tasks]``."""
    num_tasks = labels.total.shape[0]
    weight = labels.weight.to(element.dtype)
    # Of the two that do the same, index_add has the cheaper gradient and scatter_add the cheaper sum.
    numerator = element.new_zeros(num_tasks).index_add(0, labels.task, element * weight)
    denominator = weight.new_zeros(num_tasks).scatter_add_(0, labels.task, weight)
    return numerator, denominator


def reachable(prediction: Tensor, value: Tensor, bound: Tensor) -> Tensor:
    """What each prediction ``[L]`` is compared with, ``[L]``: the value, or the nearest number that a bound allows.

    A bound is kept by every prediction on its own side, which is then its own target: no loss, no gradient.
    """
    prediction, value = prediction.detach(), value.to(prediction.dtype)
    return torch.where((prediction - value) * bound > 0, prediction, value)
