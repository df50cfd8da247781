"""How tasks combine into one loss.

Every rule is linear in the numerators, with coefficients that depend on the totals alone. So the gradient
of one batch of 64 equals the sum of the gradients of two micro-batches or two ranks of 32, provided that the
totals are those of all 64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from graphium.errors import GraphiumError
from graphium.registry import register
from graphium.types import HeadSpec

Sums = Mapping[str, Tensor]


class Weighting(nn.Module):
    """How the losses of tasks make one loss; an author writes :meth:`combine`.

    Called with mappings from head name to float ``[tasks]``: ``numerators`` and ``denominators``, the losses and
    label weights of one micro-batch on one rank, and ``totals``, the label weights of the whole optimiser step
    (``Labels.total`` over all ranks, :func:`sum_over_ranks`). Returns a scalar; the *sum* of these scalars over
    micro-batches and ranks is the loss of the step: a trainer that averages gradients over ranks or micro-batches
    needs it multiplied by their number. A head that is not named has no labels.

    Args:
        heads: The heads that are trained.
    """

    def __init__(self, heads: Sequence[HeadSpec]) -> None:
        super().__init__()
        self.heads = tuple(heads)

    def forward(self, numerators: Sums, denominators: Sums, totals: Sums) -> Tensor:
        if not numerators:
            raise GraphiumError("there is no head to combine losses of; give at least one task")
        nothing = next(iter(numerators.values())).new_zeros(())
        numerator, denominator, total = (
            torch.cat([sums[h.name] if h.name in sums else nothing.expand(h.num_tasks) for h in self.heads])
            for sums in (numerators, denominators, totals)
        )
        return self.combine(numerator, denominator.to(numerator), total.to(numerator))

    def combine(self, numerator: Tensor, denominator: Tensor, total: Tensor) -> Tensor:
        """The scalar from sums of all tasks of all heads, ``[tasks]`` each; a task whose total is 0 adds nothing."""
        raise NotImplementedError

    def validation_loss(self, numerators: Sums, totals: Sums) -> Tensor:
        """The loss of a whole part: comparable between epochs, so without anything that is learned."""
        return self(numerators, totals, totals)


@register("weighting", "labels")
class LabelWeighting(Weighting):
    """Every label equal: ``sum n / sum t``."""

    def __init__(self, heads: Sequence[HeadSpec]) -> None:
        super().__init__(heads)

    def combine(self, numerator: Tensor, denominator: Tensor, total: Tensor) -> Tensor:
        return numerator.sum() / nonzero(total.sum())


@register("weighting", "tasks")
class TaskWeighting(Weighting):
    """Every task with labels equal: the mean of ``n / t`` over tasks with ``t > 0``."""

    def __init__(self, heads: Sequence[HeadSpec]) -> None:
        super().__init__(heads)

    def combine(self, numerator: Tensor, denominator: Tensor, total: Tensor) -> Tensor:
        return task_means(numerator, total).sum() / nonzero((total > 0).sum())


@register("weighting", "datasets")
class DatasetWeighting(Weighting):
    """Every dataset with labels equal, and inside it every task with labels equal."""

    dataset: Tensor

    def __init__(self, heads: Sequence[HeadSpec]) -> None:
        super().__init__(heads)
        order = {name: number for number, name in enumerate(dict.fromkeys(head.dataset for head in heads))}
        numbers = [order[head.dataset] for head in heads for _ in head.tasks]
        self.num_datasets = len(order)
        self.register_buffer("dataset", torch.tensor(numbers), persistent=False)

    def combine(self, numerator: Tensor, denominator: Tensor, total: Tensor) -> Tensor:
        present = (total > 0).to(numerator.dtype)
        tasks = present.new_zeros(self.num_datasets).index_add(0, self.dataset, present)
        sums = numerator.new_zeros(self.num_datasets).index_add(0, self.dataset, task_means(numerator, total))
        return (sums / nonzero(tasks)).sum() / nonzero((tasks > 0).sum())


def task_means(numerator: Tensor, total: Tensor) -> Tensor:
    """``n / t`` of every task ``[tasks]``, 0 where ``t`` is 0."""
    return torch.where(total > 0, numerator / nonzero(total), 0)


def sum_over_ranks(totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Totals summed over the ranks of ``torch.distributed`` in one call; unchanged in a single process.

    Every rank must hold the same heads in the same order, with zeros where it has no label.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return dict(totals)
    flat = torch.cat(list(totals.values()))
    dist.all_reduce(flat)
    return dict(zip(totals, flat.split([len(total) for total in totals.values()]), strict=True))


def nonzero(total: Tensor) -> Tensor:
    """``total`` with 1 in place of 0, so that an empty sum divides to 0."""
    return torch.where(total > 0, total, 1)
