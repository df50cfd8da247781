"""Label transforms: fitted on the training labels in float64, applied to labels, inverted on predictions.

A part fits, and returns plain values that name one of the steps of :mod:`graphium.data.labels.steps`; what a
saved model holds are these values, so that loading it runs nobody's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphium.data.labels.moments import Moments
from graphium.data.labels.samples import Extremes, Sample
from graphium.errors import GraphiumError
from graphium.registry import register
from graphium.types import Task

if TYPE_CHECKING:
    from torch import Tensor

Piece = tuple[np.ndarray, np.ndarray]
Fitted = dict[str, Any]

# A range below this share of the labels' size is rounding, not spread.
_ROUNDING = 1e-12
_MOST_KNOTS = 1000
# The name of several transforms, one after another, in ``Task.transform``.
CHAIN = "chain"


@register("transform", "none")
class NoTransform:
    """Labels stay as they are."""

    def fit(self, pieces: Iterable[Piece], num_tasks: int) -> list[Fitted]:
        return [{"name": "none"} for _ in range(num_tasks)]


@register("transform", "zscore")
class ZScore:
    """Labels minus their mean, over their standard deviation (population, n in the denominator).

    A task without labels gets mean 0 and scale 1, a constant one scale 1.
    """

    def fit(self, pieces: Iterable[Piece], num_tasks: int) -> list[Fitted]:
        """Fit on label triples, some at a time: ``task`` int64 ``[L]``, ``value`` float64 ``[L]``."""
        moments = _moments(pieces, num_tasks)
        scale = moments.deviation()
        scale[scale == 0] = 1.0
        both = zip(moments.mean.tolist(), scale.tolist(), strict=True)
        return [{"name": "zscore", "mean": mean, "scale": deviation} for mean, deviation in both]


@register("transform", "min_max")
class MinMax:
    """Labels moved and stretched so that those of the training part fill a range.

    A constant task is moved to the start of the range and not stretched; one without labels takes 0 for constant.

    Args:
        range: Where the least and the largest training label go.
    """

    def __init__(self, range: tuple[float, float] = (0.0, 1.0)) -> None:
        self.range = _ascending("the range of min_max is", range)

    def fit(self, pieces: Iterable[Piece], num_tasks: int) -> list[Fitted]:
        """Fit on label triples, some at a time: ``task`` int64 ``[L]``, ``value`` float64 ``[L]``."""
        extremes = Extremes(num_tasks)
        for task, value in pieces:
            extremes.add(task, value)
        low = np.where(np.isfinite(extremes.low), extremes.low, 0.0)
        high = np.where(np.isfinite(extremes.high), extremes.high, 0.0)
        high = np.where(high - low <= _ROUNDING * np.maximum(np.abs(low), np.abs(high)), low, high)
        both = zip(low.tolist(), high.tolist(), strict=True)
        return [{"name": "min_max", "low": least, "high": most, "range": list(self.range)} for least, most in both]


@register("transform", "log1p")
class LogOnePlus:
    """The natural logarithm of 1 + label, for labels above -1; others are refused once it is fitted."""

    def fit(self, pieces: Iterable[Piece], num_tasks: int) -> list[Fitted]:
        return [{"name": "log1p"} for _ in range(num_tasks)]


@register("transform", "clip")
class Clip:
    """Labels beyond two limits become the limits; predictions are not clipped, nor are labels in label units.

    The limits are given (``low``, ``high``, or one of them), or fitted: ``quantiles``, such as ``[0.005, 0.995]``, of
    the training labels (linear interpolation; of a sample, see :class:`Sample`, where they are many), or the mean
    plus and minus so many ``deviations`` (5 where nothing is said). Where fitted limits coincide, nothing is clipped.

    Args:
        low: The lower limit in label units.
        high: The upper limit in label units.
        quantiles: Fractions of the training labels below each limit.
        deviations: Standard deviations between the mean and each limit.
    """

    def __init__(
        self,
        low: float | None = None,
        high: float | None = None,
        quantiles: tuple[float, float] | None = None,
        deviations: float | None = None,
    ) -> None:
        ways = [low is not None or high is not None, quantiles is not None, deviations is not None]
        if sum(ways) > 1:
            given = f"clip has low={low}, high={high}, quantiles={quantiles}, deviations={deviations}"
            raise GraphiumError(f"{given}; give low and high, or quantiles, or deviations")
        if not any(ways):
            deviations = 5.0
        if low is not None and high is not None:
            _ascending("low and high of clip are", (low, high))
        if quantiles is not None:
            quantiles = _ascending("the quantiles of clip are", quantiles)
            if quantiles[0] < 0 or quantiles[1] > 1:
                raise GraphiumError(f"the quantiles of clip are {list(quantiles)}; give two fractions from 0 to 1")
        if deviations is not None and not 0 < deviations < np.inf:
            raise GraphiumError(f"the deviations of clip are {deviations}; give a number above 0")
        self.low, self.high = low, high
        self.quantiles, self.deviations = quantiles, deviations

    def fit(self, pieces: Iterable[Piece], num_tasks: int) -> list[Fitted]:
        """Fit on label triples, some at a time: ``task`` int64 ``[L]``, ``value`` float64 ``[L]``."""
        if self.quantiles is not None:
            sample = _sample(pieces, num_tasks)
            limits = [tuple(np.quantile(v, self.quantiles).tolist()) if len(v) else (0.0, 0.0) for v in sample.sorted()]
        elif self.deviations is not None:
            moments = _moments(pieces, num_tasks)
            reach = self.deviations * moments.deviation()
            limits = list(zip((moments.mean - reach).tolist(), (moments.mean + reach).tolist(), strict=True))
        else:
            return [{"name": "clip", "low": self.low, "high": self.high} for _ in range(num_tasks)]
        kept = [pair if pair[0] < pair[1] else (None, None) for pair in limits]
        return [{"name": "clip", "low": low, "high": high} for low, high in kept]


@register("transform", "rank_gauss")
class RankGaussian:
    """Labels as normal scores of their ranks: the standard normal quantile of ``(rank - 1/2) / n``.

    Equal labels share their mean rank. The scores are exact at the knots, half of which are spread evenly by rank and
    half by score (all distinct labels where these are not more), and lie on straight lines between them. Beyond the
    least and the largest training label the line goes on as steeply as that between the two, so that order is kept
    and inverted predictions stay moderate. A constant task is its label subtracted, one without labels stays as it is.
    Ranks of more labels than :class:`Sample` keeps are those of the sample.

    Args:
        knots: Knots of each task at most, from 2 to 1,000; the model's ``config.yaml`` holds two numbers for each.
    """

    def __init__(self, knots: int = 250) -> None:
        if not 2 <= knots <= _MOST_KNOTS:
            raise GraphiumError(f"rank_gauss has {knots} knots; give a number from 2 to {_MOST_KNOTS}")
        self.knots = knots

    def fit(self, pieces: Iterable[Piece], num_tasks: int) -> list[Fitted]:
        """Fit on label triples, some at a time: ``task`` int64 ``[L]``, ``value`` float64 ``[L]``."""
        sample, extremes, count = Sample(num_tasks), Extremes(num_tasks), np.zeros(num_tasks, np.int64)
        for task, value in pieces:
            sample.add(task, value)
            extremes.add(task, value)
            count += np.bincount(task, minlength=num_tasks)
        every = zip(sample.sorted(), extremes.low.tolist(), extremes.high.tolist(), count.tolist(), strict=True)
        return [self._knots(*one) for one in every]

    def _knots(self, labels: np.ndarray, low: float, high: float, count: int) -> Fitted:
        """The knots of one task from its sorted labels, or a sample of ``count`` labels from ``low`` to ``high``."""
        if not len(labels):
            return {"name": "rank_gauss", "values": [], "scores": []}
        value, first, times = np.unique(labels, return_index=True, return_counts=True)
        share = (first + times / 2) / len(labels)
        if low < value[0]:
            value, share = np.append(low, value), np.append(0.5 / count, share)
        if high > value[-1]:
            value, share = np.append(value, high), np.append(share, 1 - 0.5 / count)
        score = _normal_scores(share)
        if len(value) > self.knots:
            half = self.knots // 2
            by_score = np.searchsorted(score, np.linspace(score[0], score[-1], half))
            by_rank = np.searchsorted(share, np.linspace(share[0], share[-1], self.knots - half))
            chosen = np.unique(np.concatenate([by_score, by_rank, [len(value) - 1]]).clip(0, len(value) - 1))
            value, score = value[chosen], score[chosen]
        return {"name": "rank_gauss", "values": value.tolist(), "scores": score.tolist()}


class LabelTransform:
    """The fitted transforms of one head's tasks, applied to label triples and to predictions.

    Increasing. ``keeps_all``: ``inverse(forward(v))`` is ``v`` for every label, up to the rounding of float32; where
    not (clip, rank_gauss), batches carry the labels in their own units too.

    Raises:
        GraphiumError: a transform that is not fitted, or not known.

    >>> import torch
    >>> task = Task("y", "d", "graph", "regression", transform={"name": "zscore", "mean": 10.0, "scale": 2.0})
    >>> LabelTransform([task]).forward(torch.tensor([12.0, 6.0]), torch.tensor([0, 0]))
    tensor([ 1., -2.])
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        import torch

        from graphium.data.labels.steps import stack

        for task in tasks:
            _check_fitted(task)
        self._steps = stack([steps_of(task.transform) for task in tasks])
        self._device = torch.device("cpu")
        self.keeps_all = all(step.keeps_all for step in self._steps)

    def forward(self, value: Tensor, task: Tensor) -> Tensor:
        """Transform labels ``[L]`` of tasks int64 ``[L]``; computed in float64, returned as float32."""
        return self.forward64(value, task).float() if self._steps else value.float()

    def forward64(self, value: Tensor, task: Tensor) -> Tensor:
        """The same in float64."""
        self._bring_to(value)
        value = value.double()
        for step in self._steps:
            value = step.forward(value, task)
        return value

    def inverse(self, value: Tensor, task: Tensor | None = None) -> Tensor:
        """Return to label units, float64: predictions ``[..., num_tasks]``, or ``[L]`` with ``task`` int64 ``[L]``."""
        self._bring_to(value)
        value = value.double()
        for step in reversed(self._steps):
            value = step.inverse(value, task)
        return value

    def outside(self, value: Tensor, task: Tensor) -> Tensor:
        """Labels ``[L]`` of tasks int64 ``[L]`` that the transform cannot take, bool ``[L]``."""
        self._bring_to(value)
        value, found = value.double(), value.isnan()
        for step in self._steps:
            refused = step.outside(value, task)
            found = found if refused is None else found | refused
            value = step.forward(value, task)
        return found

    def _bring_to(self, value: Tensor) -> None:
        if value.device != self._device:
            self._device = value.device
            for step in self._steps:
                step.to(value.device)


def steps_of(transform: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The transforms, fitted or not, that ``Task.transform`` applies one after another."""
    return transform["steps"] if transform.get("name") == CHAIN else [transform]


# What a fitted transform holds besides its name.
_HELD: dict[str, tuple[str, ...]] = {
    "none": (),
    "zscore": ("mean", "scale"),
    "min_max": ("low", "high", "range"),
    "log1p": (),
    "clip": ("low", "high"),
    "rank_gauss": ("values", "scores"),
}


def _check_fitted(task: Task) -> None:
    for step in steps_of(task.transform):
        name = step.get("name")
        if name not in _HELD:
            raise GraphiumError(
                f"the transform of task {task.name!r} is {name!r}, which is none of {', '.join(_HELD)}; install the "
                "graphium that fitted it, or let the `fit` of your own transform return one of these"
            )
        if any(key not in step for key in _HELD[name]):
            raise GraphiumError(
                f"the transform {name!r} of task {task.name!r} is not fitted; fit it on the training labels first"
            )


def _moments(pieces: Iterable[Piece], num_tasks: int) -> Moments:
    moments = Moments(num_tasks)
    for task, value in pieces:
        moments.add(task, np.asarray(value, dtype=np.float64))
    return moments


def _sample(pieces: Iterable[Piece], num_tasks: int) -> Sample:
    sample = Sample(num_tasks)
    for task, value in pieces:
        sample.add(task, np.asarray(value, dtype=np.float64))
    return sample


def _normal_scores(share: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of fractions strictly between 0 and 1, float64."""
    import torch

    return torch.special.ndtri(torch.from_numpy(share)).numpy()


def _ascending(what: str, pair: Sequence[float]) -> tuple[float, float]:
    if not -np.inf < pair[0] < pair[1] < np.inf:
        raise GraphiumError(f"{what} {list(pair)}; give two numbers, the smaller one first")
    return pair[0], pair[1]
