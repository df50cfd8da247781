"""Ranks and thresholds of many tasks at once: one sort of 64-bit keys, then sums over segments.

A key holds the task in its high bits, the score as an order-preserving integer below, and (for binary
labels) the label in the lowest bit. One sort of the keys therefore sorts every task by score, and no
permutation has to be applied to the labels. Scores keep all bits of a float32; of a float64 the mantissa is cut to
50 bits less those of the number of tasks, which ties what differs by less than 1 in 10^11 (4,000 tasks).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphium.training.metrics.base import Pooled


def score_bits(num_tasks: int) -> int:
    """Bits of a key that hold the score; what remains of 63 holds tasks ``0 .. num_tasks`` and the label."""
    bits = 62 - num_tasks.bit_length()
    assert bits >= 35, "a float32 needs them"
    return bits


def make_keys(task: Tensor, score: Tensor, num_tasks: int, label: Tensor | None = None) -> Tensor:
    """``task, score[, label]`` as int64 ``[L]`` that order like the tuple.

    Args:
        task: int64 ``[L]``, ``0 .. num_tasks``; the last is no task, and its labels come last.
        score: ``[L]``, no NaN.
        num_tasks: Number of tasks.
        label: ``[L]``, 0 or 1.
    """
    bits = score_bits(num_tasks)
    key = (score.double() + 0.0).view(torch.int64)  # -0.0 + 0.0 = 0.0: both zeros are one score
    # Negative floats order backwards as integers: flipping all bits but the sign mends that.
    key = key.bitwise_xor_((key >> 63).bitwise_and_(2**63 - 1))
    key = key.bitwise_right_shift_(64 - bits).add_(2 ** (bits - 1)).add_(task, alpha=2**bits).mul_(2)
    return key if label is None else key.add_(label)


def pool_keys(heads: list[Pooled]) -> Tensor:
    """Keys ``[L, ...]`` of several heads, without their tasks, as those of a single task."""
    least = min(score_bits(head.num_tasks) for head in heads)
    pieces = []
    for head in heads:
        bits = score_bits(head.num_tasks)
        keep = torch.cat([head.keep, head.keep.new_zeros(1)])
        keys = head.state[keep[head.state.select(-1, 0) >> (bits + 1)]]
        # One score is one key, whatever its head.
        score = (keys >> 1).bitwise_and_(2**bits - 1).bitwise_right_shift_(bits - least)
        pieces.append(score.bitwise_left_shift_(score_bits(1) + 1 - least).bitwise_or_(keys.bitwise_and_(1)))
    return torch.cat(pieces)


def midranks(keys: Tensor) -> Tensor:
    """Rank of each key, ties sharing their mean rank; float64 ``[L]``.

    The ranks of one task are its own ranks plus a constant.
    """
    order = _order_of(keys)
    last = _last_of_tie(keys[order])
    first = torch.cat([last.new_zeros(1), last[:-1] + 1])
    rank = torch.empty(len(keys), dtype=torch.float64, device=keys.device)
    rank[order] = ((first + last).double() / 2).repeat_interleave(last - first + 1, output_size=len(keys))
    return rank


@dataclass(frozen=True)
class Thresholds:
    """Binary labels grouped by (task, distinct score), ascending; groups without a positive are left out.

    ``task`` int64 ``[G]``; ``positives``, ``negatives`` int64 ``[G]``: labels in the group;
    ``positives_below``, ``negatives_below`` int64 ``[G]``: labels of the same task with a lower score;
    ``task_positives``, ``task_negatives`` int64 ``[tasks]``.
    """

    task: Tensor
    positives: Tensor
    negatives: Tensor
    positives_below: Tensor
    negatives_below: Tensor
    task_positives: Tensor
    task_negatives: Tensor


def thresholds(keys: Tensor, num_tasks: int) -> Thresholds:
    """Group binary labels by task and distinct score.

    Args:
        keys: int64 ``[L]`` of :func:`make_keys`, in any order; they are sorted where they are if that saves a copy.
        num_tasks: Number of tasks.
    """
    bits = score_bits(num_tasks)
    keys = _sorted(keys)
    task_start = torch.searchsorted(keys, torch.arange(num_tasks + 1, device=keys.device) << (bits + 1))
    keys = keys[: int(task_start[-1])]
    label = keys.to(torch.uint8).bitwise_and_(1)  # the lowest byte is kept
    where = label.nonzero().squeeze(1)  # positions of the positives
    score_key = keys[where] >> 1
    # Of equal scores the positives come last, so the last positive of a group ends the group.
    last = _last_of_tie(score_key)
    score_key = score_key[last]
    positives = (last + 1).diff(prepend=last.new_zeros(1))
    before = last + 1 - positives
    start, end = where[before], where[last] + 1
    # Few groups hold negatives too: only these are searched for where they start.
    tied = (keys[(start - 1).clamp_(min=0)] == score_key << 1).nonzero().squeeze(1)
    start[tied] = torch.searchsorted(keys, score_key[tied] << 1)
    positives_at = torch.searchsorted(where, task_start)
    negatives_at = task_start - positives_at

    of_task = score_key >> bits
    return Thresholds(
        task=of_task,
        positives=positives,
        negatives=end - start - positives,
        positives_below=before - positives_at[of_task],
        negatives_below=start - before - negatives_at[of_task],
        task_positives=positives_at.diff(),
        task_negatives=negatives_at.diff(),
    )


def roc_areas(groups: Thresholds) -> Tensor:
    """Area under the ROC curve of each task, float64 ``[tasks]``; NaN where a class is missing.

    The share of (positive, negative) pairs in the right order, ties counting one half (Hanley and McNeil
    1982), counted in integers.
    """
    pairs_twice = groups.positives * (2 * groups.negatives_below + groups.negatives)
    won_twice = torch.zeros_like(groups.task_positives).index_add_(0, groups.task, pairs_twice)
    return won_twice.double() / (2 * groups.task_positives * groups.task_negatives).double()


def average_precisions(groups: Thresholds) -> Tensor:
    """Average precision of each task, float64 ``[tasks]``; NaN without positives.

    ``sum over thresholds of (recall gained) x precision``, without interpolation, as scikit-learn has it.
    """
    true = groups.task_positives[groups.task] - groups.positives_below
    called = true + groups.task_negatives[groups.task] - groups.negatives_below
    gained = groups.positives * (true.double() / called)
    total = gained.new_zeros(len(groups.task_positives)).index_add_(0, groups.task, gained)
    return total / groups.task_positives


def _sorted(keys: Tensor) -> Tensor:
    """Sorted keys, the input overwritten where possible; numpy's vectorised sort is 4 x torch's on a CPU."""
    if not keys.is_cpu:
        return torch.sort(keys).values
    keys = keys.contiguous()
    keys.numpy().sort()
    return keys


def _order_of(keys: Tensor) -> Tensor:
    """A permutation that sorts the keys; tied keys come in any order."""
    if keys.is_cpu:
        return torch.from_numpy(keys.numpy().argsort())
    return torch.argsort(keys)


def _last_of_tie(ordered: Tensor) -> Tensor:
    """Positions int64 ``[G]`` of the last of each run of equal values."""
    ends = torch.ones(len(ordered), dtype=torch.bool, device=ordered.device)
    torch.ne(ordered[1:], ordered[:-1], out=ends[:-1])
    return ends.nonzero().squeeze(1)
