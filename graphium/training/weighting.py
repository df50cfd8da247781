"""How tasks combine into one loss.

Every rule is linear in the numerators, with coefficients that do not depend on how a step is spread. So the
gradient of one batch of 64 equals the sum of the gradients of two micro-batches or two ranks of 32, provided that
the totals are those of all 64.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from graphium.errors import GraphiumError, suggest
from graphium.patterns import choose, match
from graphium.registry import register
from graphium.training.losses.heads import negative_losses
from graphium.types import HeadSpec

Sums = Mapping[str, Tensor]
Groups = Literal["tasks", "datasets"]

# Learned log-variances stay inside: a task whose loss goes to 0 would push its own without end.
_LOG_VARIANCE = 10.0
# Names in the sentence about a task that does not exist; a data set may have thousands.
_NAMED = 8


class Weighting(nn.Module):
    """How the losses of tasks make one loss; an author writes :meth:`shares`, or :meth:`combine` for more.

    Called with mappings from head name to float ``[tasks]``: ``numerators`` and ``denominators``, the losses and
    label weights of one micro-batch on one rank, and ``totals``, the label weights of the whole optimiser step
    (``Labels.total`` over all ranks, :func:`sum_over_ranks`). Returns a scalar; the *sum* of these scalars over
    micro-batches and ranks is the loss of the step: a trainer that averages gradients over ranks or micro-batches
    needs it multiplied by their number. A head that is not named has no labels.

    Parameters are trained with the network; they have one axis, which no optimiser decays.

    ``remembered``: names of buffers, not persistent ones, that a resumed run needs: see :meth:`state`.

    Args:
        heads: The heads that are trained.
    """

    remembered: ClassVar[tuple[str, ...]] = ()
    dataset: Tensor

    def __init__(self, heads: Sequence[HeadSpec]) -> None:
        super().__init__()
        self.heads = tuple(heads)
        self.datasets = tuple(dict.fromkeys(head.dataset for head in heads))
        numbers = [self.datasets.index(head.dataset) for head in heads for _ in head.tasks]
        self.register_buffer("dataset", torch.tensor(numbers, dtype=torch.int64), persistent=False)

    def forward(self, numerators: Sums, denominators: Sums, totals: Sums) -> Tensor:
        numerator = self.flat(numerators)
        return self.combine(numerator, self.flat(denominators).to(numerator), self.flat(totals).to(numerator))

    def flat(self, sums: Sums) -> Tensor:
        """The sums of all tasks of all heads, ``[tasks]``, with zeros for a head that is not named."""
        if not sums:
            raise GraphiumError("there is no head to combine losses of; give at least one task")
        nothing = next(iter(sums.values())).new_zeros(())
        return torch.cat([sums[h.name] if h.name in sums else nothing.expand(h.num_tasks) for h in self.heads])

    def combine(self, numerator: Tensor, denominator: Tensor, total: Tensor) -> Tensor:
        """The scalar from sums of all tasks of all heads, ``[tasks]`` each; a task whose total is 0 adds nothing."""
        return (self.shares(total) * task_means(numerator, total)).sum()

    def shares(self, total: Tensor) -> Tensor:
        """What each task's mean loss counts, ``[tasks]``; 0 where ``total`` is 0."""
        raise NotImplementedError

    def validation_loss(self, numerators: Sums, totals: Sums) -> Tensor:
        """The loss of a whole part: comparable between epochs, so without anything that is learned or adapted."""
        return self(numerators, totals, totals)

    def note(self, numerators: Sums, totals: Sums) -> None:
        """Learn from a micro-batch: detached numerators over all ranks, totals of the whole step."""

    def close_step(self) -> None:
        """The optimiser step, of which :meth:`note` has seen all micro-batches, is complete."""

    def close_epoch(self) -> None:
        """All steps of an epoch are complete; called before the first step of the next one."""

    def dataset_weights(self) -> Tensor | None:
        """What the losses of each dataset are multiplied by now, ``[datasets]``; None where that never changes."""
        return None

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beyond parameters: complete steps only."""
        return {name: self.get_buffer(name).detach().cpu().clone() for name in self.remembered}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state`."""
        for name in self.remembered:
            self.get_buffer(name).copy_(state[name])


@register("weighting", "labels")
class LabelWeighting(Weighting):
    """Every label equal: ``sum n / sum t``."""

    def __init__(self, heads: Sequence[HeadSpec]) -> None:
        super().__init__(heads)

    def shares(self, total: Tensor) -> Tensor:
        return total / nonzero(total.sum())


@register("weighting", "tasks")
class TaskWeighting(Weighting):
    """Every task with labels equal: the mean of ``n / t`` over tasks with ``t > 0``."""

    def __init__(self, heads: Sequence[HeadSpec]) -> None:
        super().__init__(heads)

    def shares(self, total: Tensor) -> Tensor:
        present = (total > 0).to(total.dtype)
        return present / nonzero(present.sum())


@register("weighting", "datasets")
class DatasetWeighting(Weighting):
    """Every dataset with labels equal, and inside it every task with labels equal."""

    def __init__(self, heads: Sequence[HeadSpec]) -> None:
        super().__init__(heads)

    def shares(self, total: Tensor) -> Tensor:
        return dataset_shares(total, self.dataset, len(self.datasets))


@register("weighting", "fixed")
class FixedWeighting(Weighting):
    """Weights as given: every task counts the product of its dataset's weight and its own, over their sum.

    The sum is over the tasks with labels. What is not named has weight 1.

    Args:
        heads: The heads that are trained.
        datasets: Dataset -> weight.
        tasks: Task -> weight; a task is written ``dataset/task`` or just ``task``, also with the wildcards
            ``*`` and ``?``, e.g. ``tox21/NR-*``. Its own name goes before patterns; the last of these counts.

    Raises:
        GraphiumError: a dataset or task that does not exist, a negative weight, or no weight above 0.
    """

    weight: Tensor

    def __init__(
        self,
        heads: Sequence[HeadSpec],
        datasets: dict[str, float] | None = None,
        tasks: dict[str, float] | None = None,
    ) -> None:
        super().__init__(heads)
        names = [(f"{head.dataset}/{task.name}", task.name) for head in heads for task in head.tasks]
        _check_tasks(tasks or {}, names)
        weight = choose(tasks or {}, names, default=1.0)
        for dataset, value in (datasets or {}).items():
            if dataset not in self.datasets:
                raise GraphiumError(
                    f"trainer.weighting.datasets gives a weight to {dataset!r}, which is not trained; "
                    f"{suggest(dataset, self.datasets)}"
                )
            factor, place = _judged(value, f"datasets[{dataset!r}]"), self.datasets.index(dataset)
            weight = [w * factor if d == place else w for w, d in zip(weight, self.dataset.tolist(), strict=True)]
        if names and not any(weight):
            raise GraphiumError("trainer.weighting leaves every task with weight 0; give one of them a positive weight")
        self.register_buffer("weight", torch.tensor(weight), persistent=False)

    def shares(self, total: Tensor) -> Tensor:
        present = torch.where(total > 0, self.weight, 0)
        return present / nonzero(present.sum())


@register("weighting", "uncertainty")
class UncertaintyWeighting(Weighting):
    """Learned homoscedastic uncertainty (Kendall, Gal & Cipolla 2018, equations 7 and 10).

    A task with mean loss ``L`` and learned deviation ``s`` adds ``L / (2 s^2) + log s`` (regression) or
    ``L / s^2 + log s`` (classes), and the tasks with labels are averaged. ``log s^2`` starts at 0 and stays
    between -10 and 10. A loss that may be negative, as that of a density, has no optimal ``s``.

    Args:
        heads: The heads that are trained.
        of: One ``s`` for every task, or one for every dataset, then with datasets equal and tasks equal inside.

    Raises:
        GraphiumError: a loss that may be negative.
    """

    log_variance: nn.Parameter
    group: Tensor
    factor: Tensor

    def __init__(self, heads: Sequence[HeadSpec], of: Groups = "tasks") -> None:
        super().__init__(heads)
        for dataset, loss in negative_losses(heads).items():
            raise GraphiumError(
                f"trainer.weighting is uncertainty, and the loss of {dataset} is {loss}, which may be negative and "
                "learns an uncertainty of its own; choose another weighting, or a loss such as mae, mse or huber"
            )
        self.of = of
        group, size = _groups(self, of)
        factor = [0.5 if head.kind == "regression" else 1.0 for head in heads for _ in head.tasks]
        self.log_variance = nn.Parameter(torch.zeros(size))
        self.register_buffer("group", group, persistent=False)
        self.register_buffer("factor", torch.tensor(factor), persistent=False)

    def shares(self, total: Tensor) -> Tensor:
        return dataset_shares(total, self.group, len(self.log_variance))

    def combine(self, numerator: Tensor, denominator: Tensor, total: Tensor) -> Tensor:
        log_variance = self.log_variance.clamp(-_LOG_VARIANCE, _LOG_VARIANCE)[self.group]
        losses = self.factor * torch.exp(-log_variance) * task_means(numerator, total)
        # The logarithm belongs to the step and not to the micro-batch, which has this share of the step's labels.
        return (self.shares(total) * (losses + 0.5 * log_variance * task_means(denominator, total))).sum()

    def validation_loss(self, numerators: Sums, totals: Sums) -> Tensor:
        total = self.flat(totals)
        return (self.shares(total) * task_means(self.flat(numerators), total)).sum()

    def close_step(self) -> None:
        # Beyond its limits it would have no gradient that brings it back.
        with torch.no_grad():
            self.log_variance.clamp_(-_LOG_VARIANCE, _LOG_VARIANCE)

    def dataset_weights(self) -> Tensor:
        log_variance = self.log_variance.detach().clamp(-_LOG_VARIANCE, _LOG_VARIANCE)[self.group]
        return dataset_means(self.factor * torch.exp(-log_variance), self.dataset, len(self.datasets))


@register("weighting", "dwa")
class DynamicWeighting(Weighting):
    """Dynamic weight average (Liu, Johns & Davison 2019, equation 7): what learns slowly counts more.

    With ``r = L(t - 1) / L(t - 2)``, the mean losses of the two epochs before, each of ``K`` tasks counts
    ``K softmax(r / temperature)`` times its mean loss, and the tasks with labels are averaged. In the first two
    epochs, and where a mean is missing or not positive, ``r`` is 1.

    Args:
        heads: The heads that are trained.
        of: ``K`` tasks, or ``K`` datasets, then with datasets equal and tasks equal inside.
        temperature: The higher, the more equal the weights.
    """

    remembered = ("means", "sums")
    group: Tensor
    means: Tensor
    sums: Tensor
    unfinished: Tensor

    def __init__(self, heads: Sequence[HeadSpec], of: Groups = "tasks", temperature: float = 2.0) -> None:
        super().__init__(heads)
        if not temperature > 0:
            raise GraphiumError(f"trainer.weighting.temperature is {temperature}; give a positive number, e.g. 2")
        self.temperature = temperature
        group, self.size = _groups(self, of)
        self.register_buffer("group", group, persistent=False)
        # Mean losses of the last epoch and of the one before; then numerators and totals of this one, and of the
        # step under way. In float64: an epoch may have millions of steps.
        self.register_buffer("means", torch.full((2, self.size), math.nan, dtype=torch.float64), persistent=False)
        self.register_buffer("sums", torch.zeros(2, len(group), dtype=torch.float64), persistent=False)
        self.register_buffer("unfinished", torch.zeros(2, len(group), dtype=torch.float64), persistent=False)

    def shares(self, total: Tensor) -> Tensor:
        return dataset_shares(total, self.group, self.size) * self._weights().to(total.dtype)[self.group]

    def _weights(self) -> Tensor:
        last, before = self.means
        known = (last > 0) & (before > 0)
        rate = torch.where(known, last / torch.where(known, before, 1), 1)
        return self.size * torch.softmax(rate / self.temperature, dim=0)

    def validation_loss(self, numerators: Sums, totals: Sums) -> Tensor:
        total = self.flat(totals)
        return (dataset_shares(total, self.group, self.size) * task_means(self.flat(numerators), total)).sum()

    def note(self, numerators: Sums, totals: Sums) -> None:
        self.unfinished[0] += self.flat(numerators)
        self.unfinished[1] = self.flat(totals)

    def close_step(self) -> None:
        self.sums += self.unfinished
        self.unfinished.zero_()

    def close_epoch(self) -> None:
        numerator, total = self.sums
        last = numerator.new_zeros(self.size).index_add_(
            0, self.group, dataset_shares(total, self.group, self.size) * task_means(numerator, total)
        )
        counted = numerator.new_zeros(self.size).index_add_(0, self.group, dataset_shares(total, self.group, self.size))
        # Groups without a label in this epoch have no mean: 0 / 0.
        self.means.copy_(torch.stack([last / counted, self.means[0]]))
        self.sums.zero_()

    def dataset_weights(self) -> Tensor:
        return dataset_means(self._weights()[self.group], self.dataset, len(self.datasets))


def task_means(numerator: Tensor, total: Tensor) -> Tensor:
    """``n / t`` of every task ``[tasks]``, 0 where ``t`` is 0."""
    return torch.where(total > 0, numerator / nonzero(total), 0)


def dataset_shares(total: Tensor, dataset: Tensor, num_datasets: int) -> Tensor:
    """Shares ``[tasks]`` with every dataset that has a label equal, and inside it every task that has one.

    ``dataset`` int64 ``[tasks]``: number of the dataset, or other group, of each task.
    """
    present = (total > 0).to(total.dtype)
    tasks = present.new_zeros(num_datasets).index_add(0, dataset, present)
    return present / nonzero(tasks)[dataset] / nonzero((tasks > 0).sum())


def dataset_means(value: Tensor, dataset: Tensor, num_datasets: int) -> Tensor:
    """Mean of ``value`` ``[tasks]`` over the tasks of each dataset, ``[datasets]``."""
    sums = value.new_zeros(num_datasets).index_add(0, dataset, value)
    return sums / value.new_zeros(num_datasets).index_add(0, dataset, torch.ones_like(value))


def sum_over_ranks(*sums: Sums) -> tuple[dict[str, Tensor], ...]:
    """Mappings of vectors summed over the ranks of ``torch.distributed`` in one call; as they are in one process.

    Every rank must hold the same heads in the same order, with zeros where it has no label.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tuple(dict(one) for one in sums)
    flat = torch.cat([vector for one in sums for vector in one.values()])
    dist.all_reduce(flat)
    pieces = iter(flat.split([len(vector) for one in sums for vector in one.values()]))
    return tuple({name: next(pieces) for name in one} for one in sums)


def nonzero(total: Tensor) -> Tensor:
    """``total`` with 1 in place of 0, so that an empty sum divides to 0."""
    return torch.where(total > 0, total, 1)


def _groups(weighting: Weighting, of: Groups) -> tuple[Tensor, int]:
    """Number of each task's group, int64 ``[tasks]``, and how many groups there are."""
    if of == "datasets":
        return weighting.dataset, len(weighting.datasets)
    return torch.arange(len(weighting.dataset)), len(weighting.dataset)


def _check_tasks(weights: Mapping[str, float], names: Sequence[tuple[str, str]]) -> None:
    """Refuse names and patterns that mean no task, and weights that are none."""
    every = list(dict.fromkeys(name for spelled in names for name in spelled))
    for pattern, weight in weights.items():
        _judged(weight, f"tasks[{pattern!r}]")
        if not match(pattern, every):
            raise GraphiumError(
                f"trainer.weighting.tasks gives a weight to {pattern!r}, which is no task that is trained; "
                f"{suggest(pattern, difflib.get_close_matches(pattern, every, n=_NAMED, cutoff=0.0))}"
            )


def _judged(weight: float, key: str) -> float:
    if not (math.isfinite(weight) and weight >= 0):
        raise GraphiumError(f"trainer.weighting.{key} is {weight}; give a weight of 0 or more")
    return weight
