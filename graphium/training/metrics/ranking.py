"""Ranks and thresholds of many tasks at once: one sort of 64-bit keys, then sums over segments.

A key holds the task in its high bits, the score as an order-preserving integer below, and (for binary
labels) the label in the lowest bit. One sort of the keys therefore sorts every task by score, and no
permutation has to be applied to the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 1 << 18  # keys are made in pieces whose intermediate results stay in the cache


def ordered_bits(score: Tensor) -> Tensor:
    """int64 ``[L]`` in ``0 .. 2^32 - 1``, ordered and tied as the float32 scores ``[L]`` are (no NaN)."""
    bits = (score.float() + 0.0).view(torch.int32)  # -0.0 + 0.0 = 0.0: both zeros are one score
    # Negative floats order backwards as integers: flipping all bits but the sign mends that.
    return (bits ^ (bits >> 31).bitwise_and_(0x7FFFFFFF)).long().add_(2**31)


def midranks(task: Tensor, score: Tensor) -> Tensor:
    """Rank of each score in the order of (task, score), ties sharing their mean rank; float64 ``[L]``.

    The ranks of one task are its own ranks plus a constant.
    """
    keys = _keys(task, score)
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


def thresholds(task: Tensor, score: Tensor, label: Tensor, num_tasks: int) -> Thresholds:
    """Group labels by task and distinct score.

    Args:
        task: Integers ``[L]``.
        score: ``[L]``, compared as float32, no NaN.
        label: ``[L]``, 0 or 1.
        num_tasks: Tasks are below it, and it is below 2^30.
    """
    keys = _sort(_keys(task, score, label))
    where = (keys & 1).nonzero().squeeze(1)  # positions of the positives
    score_key = keys[where] >> 1
    # Of equal scores the positives come last, so the last positive of a group ends the group.
    last = _last_of_tie(score_key)
    score_key = score_key[last]
    start, end = torch.searchsorted(keys, score_key << 1), where[last] + 1
    task_start = torch.searchsorted(keys, torch.arange(num_tasks + 1, device=keys.device) << 33)
    positives_at = torch.searchsorted(where, task_start)
    negatives_at = task_start - positives_at

    positives = (last + 1).diff(prepend=last.new_zeros(1))
    before = last + 1 - positives
    of_task = score_key >> 32
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


def _keys(task: Tensor, score: Tensor, label: Tensor | None = None) -> Tensor:
    """``task, score[, label]`` as int64 ``[L]`` that order like the tuple; the task from bit 32 (33) on."""
    keys = torch.empty(len(task), dtype=torch.int64, device=task.device)
    for piece in (slice(start, start + _CHUNK) for start in range(0, len(task), _CHUNK)):
        key = (task[piece].long() << 32).add_(ordered_bits(score[piece]))
        keys[piece] = key if label is None else (key << 1).add_(label[piece].long())
    return keys


def _sort(keys: Tensor) -> Tensor:
    """Sorted keys, the input overwritten where possible; numpy's vectorised sort is 4 x torch's on a CPU."""
    if keys.is_cpu:
        keys.numpy().sort()
        return keys
    return torch.sort(keys).values


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
