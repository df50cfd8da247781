"""Split-conformal intervals and sets: what holds the true label in a given share of cases.

How wrong every validation label was is its *score*. With ``n`` scores that are exchangeable with the one of a new
label, that one is at most their ``ceil((n + 1) level)``-th smallest in a share of at least ``level`` of cases
(Vovk, Gammerman and Shafer 2005; Lei et al. 2018, theorem 2.2). Every task has scores of its own:

- A number: ``|label - prediction|`` in label units. Where the loss predicts a standard deviation (of an evidential
  prediction: aleatoric and epistemic together) the same over it (Lei et al. 2018, section 5.2). Where it predicts
  quantiles, how far the label lies outside the outermost two, negative inside (conformalized quantile regression,
  Romano, Patterson and Candes 2019).
- A class: 1 minus the probability of the true class (LAC: Sadinle, Lei and Wasserman 2019), which makes the smallest
  sets on average. A set that would be empty holds the most probable class, and one of ordered classes all classes
  between its ends: both add classes only, so the guarantee stays.

What is guaranteed is a share over molecules like those of the validation part: not for molecules of another kind,
such as new scaffolds, and not for each kind by itself. The validation part also chose the epoch that was kept, which
makes its scores a little too small; calibrate on another table where that matters. Labels of atoms, bonds and pairs
are pooled, and those of one molecule resemble each other: coverage then holds for many molecules, not exactly for few
(Dunn, Wasserman and Ramdas 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.data.labels.transforms import LabelTransform
from graphium.errors import GraphiumError
from graphium.messages import listed
from graphium.models.ready import Source
from graphium.models.saved import SavedModel
from graphium.models.tables.columns import class_names, label_numbers
from graphium.models.trust.stored import CALIBRATION, judging, read_stored, stored_model
from graphium.nn.network import Network
from graphium.nn.outputs import EVIDENTIAL, GAUSSIAN
from graphium.types import HeadSpec

# Where a task has more scores than these, only those of the ranks ``ceil((n + 1) share)`` are kept, and a level
# between two takes the higher one.
SHARES = np.array([k / 200 for k in range(1, 198)] + [0.99 + k / 1000 for k in range(10)] + [0.9995, 0.9999, 1.0])
# A product that is whole but for rounding is whole.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Scores:
    """The scores of a head's tasks, as many as are kept.

    ``count`` int64 ``[tasks]``: validation labels. ``kept`` float32 ``[tasks, K]``: all scores of a task in rising
    order, or those at ``shares`` (float64 ``[S]``) where it has more than ``S``; infinity fills up.
    """

    count: np.ndarray
    kept: np.ndarray
    shares: np.ndarray

    @classmethod
    def of_keys(cls, keys: np.ndarray, num_tasks: int) -> Scores:
        """Keep what is needed of the scores of all tasks, see :func:`make_keys`."""
        keys = np.sort(keys)
        count = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=num_tasks)
        start = np.cumsum(count) - count
        ranks = kept_ranks(count, SHARES)[:, : max(int(np.minimum(count, len(SHARES)).max(initial=0)), 1)]
        is_there = ranks <= count[:, None]
        kept = np.full(ranks.shape, np.inf, np.float32)
        kept[is_there] = _scores((start[:, None] + ranks - 1)[is_there], keys)
        return cls(count, kept, SHARES)

    def check(self) -> None:
        """Refuse what :meth:`of_keys` does not make.

        Raises:
            ValueError: no scores in rising order.
        """
        if self.count.ndim != 1 or self.count.dtype != np.int64 or (self.count < 0).any():
            raise ValueError("its counts are none")
        if self.kept.ndim != 2 or self.kept.dtype != np.float32 or not self.kept.shape[1]:
            raise ValueError("its scores are none")
        # Infinity stands for no score, and does not rise.
        if not (self.kept[:, 1:] >= self.kept[:, :-1]).all() or np.isnan(self.kept[:, 0]).any():
            raise ValueError("its scores are not in rising order")

    def quantile(self, level: float) -> np.ndarray:
        """The ``ceil((n + 1) level)``-th smallest score of every task, or the next larger one that is kept.

        Returns:
            float64 ``[tasks]``; infinity where a task has too few scores.
        """
        rank = _rank(self.count, level)
        place = (kept_ranks(self.count, self.shares)[:, : self.kept.shape[1]] < rank[:, None]).sum(axis=1)
        found = self.kept[np.arange(len(place)), np.minimum(place, self.kept.shape[1] - 1)].astype(np.float64)
        return np.where(rank > self.count, np.inf, found)


def kept_ranks(count: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Ranks, from 1, of the scores that are kept of so many: int64 ``[tasks, shares]``, beyond ``count`` for none."""
    every = np.arange(1, len(shares) + 1)
    some = np.minimum(_rank(count[:, None], shares), np.maximum(count, 1)[:, None])
    return np.where(count[:, None] <= len(shares), every, some)


def _rank(count: np.ndarray, level: Any) -> np.ndarray:
    found: np.ndarray = np.ceil((count + 1) * level * (1 - _ROUNDING)).astype(np.int64)
    return found


def make_keys(task: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Task and score as uint64 ``[L]`` that order like the pair.

    Args:
        task: Numbers of tasks, ``[L]``.
        score: float64 ``[L]``, kept as float32, rounded up; NaN counts as infinite.
    """
    score = np.where(np.isnan(score), np.inf, score)
    with np.errstate(over="ignore"):
        narrow = score.astype(np.float32)
    narrow = np.where(narrow < score, np.nextafter(narrow, np.float32(np.inf)), narrow) + np.float32(0)
    bits = narrow.view(np.uint32)
    bits = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (task.astype(np.uint64) << np.uint64(32)) | bits


def _scores(place: np.ndarray, keys: np.ndarray) -> np.ndarray:
    bits = keys[place].astype(np.uint32)
    found: np.ndarray = np.where(bits >> 31, bits & np.uint32((1 << 31) - 1), ~bits).view(np.float32)
    return found


def scores(head: HeadSpec, numbers: Tensor, value: Tensor) -> Tensor:
    """How wrong predictions are.

    Args:
        head: Whose tasks they are of.
        numbers: ``[L, columns]`` of :func:`~graphium.models.tables.columns.label_numbers`.
        value: ``[L]``, the labels in their own units, or class numbers.

    Returns:
        float64 ``[L]``.
    """
    if head.kind != "regression":
        return 1 - probabilities(head, numbers).gather(-1, value.long().unsqueeze(-1)).squeeze(-1)
    low, high, unit = core(head, numbers)
    return torch.maximum(low - value, value - high) / unit


def probabilities(head: HeadSpec, numbers: Tensor) -> Tensor:
    """The probability of every class, ``[..., classes]``; both of a binary task."""
    if head.kind == "binary":
        return torch.cat([1 - numbers, numbers], dim=-1)
    return numbers[..., 1 : 1 + head.num_classes]


def core(head: HeadSpec, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The interval ``low`` to ``high`` that a score of 0 leaves, and the ``unit`` of scores beyond it.

    Args:
        head: Of kind regression.
        numbers: ``[..., columns]`` of :func:`~graphium.models.tables.columns.label_numbers`.

    Returns:
        ``[...]`` each, in label units.
    """
    point, beside = numbers[..., 0], numbers[..., 1:]
    if head.outputs in (GAUSSIAN, EVIDENTIAL):
        # Where a transform flattens out, a deviation may vanish.
        return point, point, beside.square().sum(-1).sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    if beside.shape[-1]:
        return beside[..., 0], beside[..., -1], torch.ones_like(point)
    return point, point, torch.ones_like(point)


class Intervals:
    """Columns ``task[low]`` and ``task[high]`` of numbers, ``task[set]`` of classes: see this module.

    Of several networks the interval ends, and what decides on a class, are averaged; how often these hold the label
    is not guaranteed, since the networks were calibrated one by one.

    Args:
        model: The model whose folder holds ``calibration.safetensors``, loaded or as :func:`~graphium.load_model`
            takes it, or those of an ensemble.
        level: The share of labels that shall be inside.

    Attributes:
        remarks: What should be said of the columns, known once they are: tasks without intervals, and why.

    Raises:
        GraphiumError: a level that is no share, a model that was not calibrated; later, a predictor of other models.
    """

    def __init__(self, model: Source | Sequence[Source], level: float = 0.9) -> None:
        if not isinstance(level, int | float) or not 0 < level < 1:
            raise GraphiumError(f"the level of intervals is {level!r}; give a share between 0 and 1, for example 0.9")
        self.level = level
        self.remarks: list[str] = []
        given = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
        if not given:
            raise GraphiumError("intervals of no model are wanted; give a saved model, or those of an ensemble")
        members = [stored_model(one, "the calibration") for one in given]
        self._members: list[dict[tuple[str, str], float]] = []
        self._counts: dict[tuple[str, str], int] = {}
        made = []
        for member in members:
            tensors, about = read_stored(member, CALIBRATION)
            made.append(about["sha256"])
            with judging(member, CALIBRATION):
                self._members.append(self._read(member, tensors))
        self._network: Any = getattr(members[0], "network", None)
        self.key = f"intervals {level} {' '.join(made)}"

    def _read(self, member: SavedModel, tensors: Mapping[str, Tensor]) -> dict[tuple[str, str], float]:
        """(dataset, task) -> quantile."""
        found = {}
        shares = tensors["shares"].numpy()
        for head in member.heads:
            if f"count/{head.name}" not in tensors:
                continue
            kept = Scores(tensors[f"count/{head.name}"].numpy(), tensors[f"scores/{head.name}"].numpy(), shares)
            kept.check()
            for task, quantile, count in zip(head.tasks, kept.quantile(self.level), kept.count, strict=True):
                name = (task.dataset, task.name)
                found[name] = float(quantile)
                self._counts[name] = min(int(count), self._counts.get(name, int(count)))
        return found

    def columns(self, heads: Sequence[HeadSpec], names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, Any]]:
        self._heads = tuple(heads)
        self._names = {head.name: list(names[head.name]) for head in heads}
        self._transforms = {head.name: LabelTransform(head.tasks) for head in heads}
        self._quantiles = {
            head.name: np.mean(
                [[one.get((t.dataset, t.name), np.inf) for t in head.tasks] for one in self._members], axis=0
            )
            for head in heads
        }
        self.remarks = self._missing()
        found: dict[str, tuple[str, Any]] = {}
        for head in heads:
            for name, suffixes in zip(self._names[head.name], _suffixes(head), strict=True):
                kind = pa.float64() if head.kind == "regression" else pa.list_(pa.string())
                found |= {name + suffix: (head.level, kind) for suffix in suffixes}
        return found

    def values(
        self,
        batch: GraphBatch,
        predictions: Mapping[str, Tensor],
        passes: Sequence[Mapping[str, Tensor]],
        network: Network,
    ) -> dict[str, np.ndarray | list[Any] | pa.Array]:
        self._check_models(network, predictions, passes)
        found: dict[str, np.ndarray | list[Any] | pa.Array] = {}
        for head in self._heads:
            if len(self._members) > 1:
                numbers = [one[head.name] for one in passes]
            else:
                # Passes with dropout are not what was calibrated.
                inverse = self._transforms[head.name].inverse
                numbers = [label_numbers(head, predictions[head.name], inverse)]
            make = self._ends if head.kind == "regression" else self._sets
            found |= make(head, numbers, torch.from_numpy(self._quantiles[head.name]))
        return found

    def _check_models(
        self, network: Network, predictions: Mapping[str, Tensor], passes: Sequence[Mapping[str, Tensor]]
    ) -> None:
        """Refuse predictions of other models than were calibrated."""
        # The first pass of an ensemble is what the first network predicts, one with dropout is not.
        is_ensemble = len(passes) > 1 and all(
            torch.equal(
                passes[0][head.name],
                label_numbers(head, predictions[head.name], self._transforms[head.name].inverse),
            )
            for head in self._heads
        )
        if len(self._members) not in (len(passes) if is_ensemble else 1, len(passes)):
            raise GraphiumError(
                f"the intervals are of {len(self._members)} models and there are {len(passes)} predictions to put them "
                "around; give Predictor and Intervals the same models, without dropout where there are several"
            )
        if network is not self._network:
            mine, its = self._network.state_dict(), network.state_dict()
            if mine.keys() != its.keys() or not all(torch.equal(mine[key].cpu(), its[key].cpu()) for key in mine):
                raise GraphiumError("the intervals are of another model than the predictions; give both the same one")
            # It is another copy, as in another process.
            self._network = network

    def _ends(self, head: HeadSpec, numbers: Sequence[Tensor], quantile: Tensor) -> dict[str, np.ndarray | pa.Array]:
        found = []
        for member in numbers:
            low, high, unit = core(head, member)
            low, high = low - quantile * unit, high + quantile * unit
            # Quantiles that were too wide may shrink to nothing.
            middle = (low + high) / 2
            found.append(torch.stack([torch.minimum(low, middle), torch.maximum(high, middle)]))
        ends = torch.stack(found).mean(0).movedim(1, -1).contiguous().numpy()  # [2, tasks, entities]
        columns: dict[str, np.ndarray | pa.Array] = {}
        both = zip(self._names[head.name], _suffixes(head), np.isfinite(quantile.numpy()), strict=True)
        for task, (name, suffixes, is_there) in enumerate(both):
            for side, suffix in enumerate(suffixes):
                columns[name + suffix] = ends[side, task] if is_there else pa.nulls(ends.shape[2], pa.float64())
        return columns

    def _sets(self, head: HeadSpec, numbers: Sequence[Tensor], quantile: Tensor) -> dict[str, pa.Array]:
        share = torch.stack([probabilities(head, member) for member in numbers]).mean(0)  # [entities, tasks, classes]
        inside = 1 - share <= quantile[:, None]
        inside |= torch.nn.functional.one_hot(share.argmax(-1), share.shape[-1]).bool()
        if head.kind == "ordinal":
            inside = (inside.cumsum(-1) > 0) & (inside.flip(-1).cumsum(-1).flip(-1) > 0)
        entities, tasks, classes = inside.shape
        every = inside.movedim(1, 0).reshape(-1, classes).numpy()  # [tasks * entities, classes]
        row, number = np.nonzero(every)
        names = np.array([name for task in head.tasks for name in _class_names(head, task)], dtype=object)
        codes = pa.array((row // max(entities, 1) * classes + number).astype(np.int32))
        ends = pa.array(np.concatenate([[0], np.cumsum(every.sum(axis=1))]).astype(np.int32))
        sets = pa.ListArray.from_arrays(ends, pa.array(names, pa.string()).take(codes))
        return {
            name + suffixes[0]: sets.slice(task * entities, entities)
            if np.isfinite(float(quantile[task]))
            else pa.nulls(entities, sets.type)
            for task, (name, suffixes) in enumerate(zip(self._names[head.name], _suffixes(head), strict=True))
        }

    def _missing(self) -> list[str]:
        """Which tasks have no interval, and why."""
        short: list[str] = []
        never: list[str] = []
        for head in self._heads:
            for task, name, quantile in zip(
                head.tasks, self._names[head.name], self._quantiles[head.name], strict=True
            ):
                if not np.isfinite(quantile):
                    (short if self._counts.get((task.dataset, task.name), 0) else never).append(name)
        least = int(_rank(np.array(0), self.level / (1 - self.level)))
        said = []
        if short:
            said.append(
                f"no interval of level {self.level:g}: {listed(short, most=5)}: fewer than {least} validation labels"
            )
        if never:
            said.append(f"no interval: {listed(never, most=5)}: no validation labels")
        return said


def _class_names(head: HeadSpec, task: Any) -> tuple[str, ...]:
    """Names of the classes, those of a binary task too."""
    return class_names(head, task) or ("0", "1")


def _suffixes(head: HeadSpec) -> list[tuple[str, ...]]:
    """What stands behind the name of every task, one suffix per column."""
    if head.kind == "regression":
        return [("[low]", "[high]")] * head.num_tasks
    # A class may have the same name.
    return [("[set]",) if "set" not in _class_names(head, task) else ("[set of classes]",) for task in head.tasks]
