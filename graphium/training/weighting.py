"""How tasks combine into one loss.

Every rule is linear in the numerators, with coefficients that depend on the totals alone. So the gradient
of one batch of 64 equals the sum of the gradients of two micro-batches or two ranks of 32, provided that the
totals are those of all 64.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from graphium.errors import GraphiumError, suggest

Weighting = Literal["labels", "tasks", "datasets"]


def combine(
    numerators: Mapping[str, Tensor],
    totals: Mapping[str, Tensor],
    weighting: Weighting = "tasks",
    datasets: Mapping[str, str] | None = None,
) -> Tensor:
    """One loss out of per-task sums; a task whose total is 0 adds nothing above or below the line.

    * ``labels``: every label equal, ``sum n / sum t``.
    * ``tasks``: every task with labels equal, the mean of ``n / t`` over tasks with ``t > 0``.
    * ``datasets``: every dataset with labels equal, and inside it every task with labels equal.

    Args:
        numerators: Head name -> ``[tasks]``, the losses of this micro-batch on this rank.
        totals: Head name -> ``[tasks]``, sums of label weights over the whole optimiser step: all
            micro-batches (``Labels.total``) and all ranks (:func:`sum_over_ranks`).
        weighting: The rule.
        datasets: Head name -> dataset, for ``datasets``; a head that is not named is its own dataset.

    Returns:
        A scalar. The *sum* of these scalars over micro-batches and ranks is the loss of the step: a trainer
        that averages gradients over ranks or micro-batches needs it multiplied by their number.

    >>> combine({"a": torch.tensor([6.0, 0.0]), "b": torch.tensor([1.0])},
    ...         {"a": torch.tensor([2.0, 0.0]), "b": torch.tensor([1.0])}, "tasks")
    tensor(2.)
    """
    if weighting not in get_args(Weighting):
        raise GraphiumError(f"unknown weighting {weighting!r}; {suggest(str(weighting), get_args(Weighting))}")
    if not numerators:
        raise GraphiumError("there is no head to combine losses of; give at least one task")
    heads = list(numerators)
    numerator = torch.cat([numerators[head] for head in heads])
    total = torch.cat([totals[head] for head in heads]).to(numerator)
    if weighting == "labels":
        return numerator.sum() / _nonzero(total.sum())
    present = total > 0
    mean = torch.where(present, numerator / _nonzero(total), 0)
    if weighting == "tasks":
        return mean.sum() / _nonzero(present.sum())
    names = tuple((datasets or {}).get(head, head) for head in heads)
    index, count = _dataset_index(names, tuple(len(numerators[head]) for head in heads), numerator.device)
    tasks = present.new_zeros(count, dtype=mean.dtype).index_add_(0, index, present.to(mean.dtype))
    means = mean.new_zeros(count).index_add(0, index, mean) / _nonzero(tasks)
    return means.sum() / _nonzero((tasks > 0).sum())


def sum_over_ranks(totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Totals summed over the ranks of ``torch.distributed`` in one call; unchanged in a single process.

    Every rank must hold the same heads in the same order, with zeros where it has no label.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return dict(totals)
    flat = torch.cat(list(totals.values()))
    dist.all_reduce(flat)
    return dict(zip(totals, flat.split([len(total) for total in totals.values()]), strict=True))


def _nonzero(total: Tensor) -> Tensor:
    """``total`` with 1 in place of 0, so that an empty sum divides to 0."""
    return torch.where(total > 0, total, 1)


@lru_cache(maxsize=16)
def _dataset_index(names: tuple[str, ...], sizes: tuple[int, ...], device: torch.device) -> tuple[Tensor, int]:
    """Dataset of every task of the concatenated heads, on the device; cached, as it is the same every step."""
    order = {name: position for position, name in enumerate(dict.fromkeys(names))}
    with torch.inference_mode(False):  # a tensor born in a validation must serve the backward of a training step
        heads = torch.tensor([order[name] for name in names])
        return heads.repeat_interleave(torch.tensor(sizes)).to(device), len(order)
