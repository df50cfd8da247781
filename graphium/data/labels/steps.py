"""Fitted label transforms as steps over label triples: all tasks of a head at once, in float64.

A step holds one entry per task; a task that does not take part has the entry that changes nothing. Every
step is increasing, so that bounds keep their side and ranks their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from graphium.errors import GraphiumError

# The logarithm is taken of nothing smaller, and exponentials stop at the largest label that a table may hold.
_LEAST, _MOST_LOG = float(np.nextafter(-1.0, 0.0)), float(np.log1p(1e150))
# A slope that overflows would turn a difference of 0 into NaN.
_STEEPEST = 1e300

# The fitted values of one task, None where the task has no such step.
Entry = Mapping[str, Any] | None


class Step:
    """One step of a label transform; float64 in, float64 out.

    ``keeps_all``: ``inverse(forward(v))`` is ``v`` for every label, up to the rounding of float32.
    """

    names: ClassVar[tuple[str, ...]] = ()
    keeps_all: bool = True

    def __init__(self, **tables: Tensor) -> None:
        self._tables = tables

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Self:
        """Make the step from the fitted values of every task."""
        raise NotImplementedError

    def forward(self, value: Tensor, task: Tensor) -> Tensor:
        """Labels ``[L]`` of tasks int64 ``[L]`` after the step."""
        raise NotImplementedError

    def inverse(self, value: Tensor, task: Tensor | None) -> Tensor:
        """Labels ``[L]`` before the step, or predictions ``[..., tasks]`` where ``task`` is None."""
        raise NotImplementedError

    def outside(self, value: Tensor, task: Tensor) -> Tensor | None:
        """Labels ``[L]`` that the step cannot take, bool ``[L]``; None: it takes all."""
        return None

    def to(self, device: torch.device) -> None:
        """Bring the values of the tasks to a device."""
        self._tables = {name: table.to(device) for name, table in self._tables.items()}

    def _of(self, name: str, task: Tensor | None) -> Tensor:
        table = self._tables[name]
        return table if task is None else table.index_select(0, task)


class Affine(Step):
    """``(v - shift) / scale``."""

    names = ("zscore", "min_max")

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Affine:
        pairs = [_shift_and_scale(entry) for entry in entries]
        wrong = next((scale for _, scale in pairs if not scale > 0), None)
        if wrong is not None:
            raise GraphiumError(f"the scale of a label transform is {wrong:g}; it has to be above 0, fit it again")
        shift, scale = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2).unbind(1)
        return cls(shift=shift, scale=scale)

    def forward(self, value: Tensor, task: Tensor) -> Tensor:
        return (value - self._of("shift", task)) / self._of("scale", task)

    def inverse(self, value: Tensor, task: Tensor | None) -> Tensor:
        return value * self._of("scale", task) + self._of("shift", task)


class Clamp(Step):
    """Labels beyond the limits become the limits; predictions stay as they are."""

    names = ("clip",)

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Clamp:
        limits = [(-np.inf, np.inf) if entry is None else _limits(entry) for entry in entries]
        low, high = torch.tensor(limits, dtype=torch.float64).reshape(-1, 2).unbind(1)
        step = cls(low=low, high=high)
        step.keeps_all = all(pair == (-np.inf, np.inf) for pair in limits)
        return step

    def forward(self, value: Tensor, task: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(value, self._of("low", task)), self._of("high", task))

    def inverse(self, value: Tensor, task: Tensor | None) -> Tensor:
        return value


class Logarithm(Step):
    """``log(1 + v)``, for labels above -1."""

    names = ("log1p",)

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Logarithm:
        return cls(used=torch.tensor([entry is not None for entry in entries]))

    def forward(self, value: Tensor, task: Tensor) -> Tensor:
        return torch.where(self._of("used", task), value.clamp(min=_LEAST).log1p(), value)

    def inverse(self, value: Tensor, task: Tensor | None) -> Tensor:
        return torch.where(self._of("used", task), value.clamp(max=_MOST_LOG).expm1(), value)

    def outside(self, value: Tensor, task: Tensor) -> Tensor:
        return self._of("used", task) & ~(value > -1)


class RankGauss(Step):
    """From quantile knots of the training labels to their normal scores, in straight lines."""

    names = ("rank_gauss",)
    keeps_all = False

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> RankGauss:
        knots = [([], []) if entry is None else (entry["values"], entry["scores"]) for entry in entries]
        values, scores = ([np.array(one[side], np.float64) for one in knots] for side in (0, 1))
        there = {f"forward_{name}": table for name, table in _lines(values, scores).items()}
        back = {f"inverse_{name}": table for name, table in _lines(scores, values).items()}
        return cls(**there, **back)

    def forward(self, value: Tensor, task: Tensor) -> Tensor:
        return self._along("forward", value, task)

    def inverse(self, value: Tensor, task: Tensor | None) -> Tensor:
        if task is not None:
            return self._along("inverse", value, task)
        every = torch.arange(value.shape[-1], device=value.device).expand(value.shape)
        return self._along("inverse", value.reshape(-1), every.reshape(-1)).reshape(value.shape)

    def _along(self, way: str, value: Tensor, task: Tensor) -> Tensor:
        start, x, y, slope, most = (self._tables[f"{way}_{name}"] for name in ("start", "x", "y", "slope", "most"))
        width = start.shape[1]
        start, place, half = start.view(-1), task * width, width // 2
        # The last line that starts at or before the value; the first one starts at minus infinity.
        while half:
            place = place.add(start.index_select(0, place + half) <= value, alpha=half)
            half //= 2
        along = (value - x.view(-1).index_select(0, place)) * slope.view(-1).index_select(0, place)
        # Rounding may not lead beyond the start of the next line.
        return torch.minimum(along + y.view(-1).index_select(0, place), most.view(-1).index_select(0, place))


def _lines(x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """The straight lines between the knots ``(x, y)`` of every task, and beyond the outermost ones.

    Beyond them a line goes on as steeply as that between the first and the last knot; one knot has the slope 1,
    and no knot is the identity. Returns float64 ``[tasks, width]`` each, width a power of 2: ``start`` of every line, a
    point (``x``, ``y``) of it, its ``slope``, and the ``most`` it may reach.
    """
    width = 1 << max((1, *map(len, x))).bit_length()
    tables = {name: np.full((len(x), width), np.inf) for name in ("start", "x", "y", "slope", "most")}
    for number, (own_x, own_y) in enumerate(zip(x, y, strict=True)):
        if not len(own_x):
            own_x, own_y = np.zeros(1), np.zeros(1)
        if len(own_x) != len(own_y) or (np.diff(own_x) <= 0).any() or (np.diff(own_y) <= 0).any():
            raise GraphiumError("the knots of a rank_gauss transform do not increase; fit it again")
        beyond = (own_y[-1] - own_y[0]) / (own_x[-1] - own_x[0]) if len(own_x) > 1 else 1.0
        with np.errstate(over="ignore"):
            between = np.diff(own_y) / np.diff(own_x)
        count = len(own_x) + 1
        filled = {
            "start": np.concatenate([[-np.inf], own_x]),
            "x": np.concatenate([own_x[:1], own_x]),
            "y": np.concatenate([own_y[:1], own_y]),
            "slope": np.minimum(np.concatenate([[beyond], between, [beyond]]), _STEEPEST),
            "most": np.concatenate([own_y, [np.inf]]),
        }
        for name, table in tables.items():
            table[number, :count] = filled[name]
            if name != "start":
                # A value of infinity ends in the padding.
                table[number, count:] = filled[name][-1]
    return {name: torch.from_numpy(table) for name, table in tables.items()}


def _shift_and_scale(entry: Entry) -> tuple[float, float]:
    if entry is None:
        return 0.0, 1.0
    if entry["name"] == "zscore":
        return float(entry["mean"]), float(entry["scale"])
    low, high, (first, last) = float(entry["low"]), float(entry["high"]), entry["range"]
    scale = (high - low) / (last - first) if high > low else 1.0
    return low - first * scale, scale


def _limits(entry: Mapping[str, Any]) -> tuple[float, float]:
    low, high = entry["low"], entry["high"]
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)


_STEPS: tuple[type[Step], ...] = (Affine, Clamp, Logarithm, RankGauss)


def stack(chains: Sequence[Sequence[Mapping[str, Any]]]) -> list[Step]:
    """The steps of all tasks: first every task's first one, kind by kind, then the second ones.

    Args:
        chains: For every task the fitted values of its transforms, in order.
    """
    steps = []
    for position in range(max(map(len, chains), default=0)):
        current = [chain[position] if position < len(chain) else {"name": "none"} for chain in chains]
        for kind in _STEPS:
            if any(one["name"] in kind.names for one in current):
                steps.append(kind.of([one if one["name"] in kind.names else None for one in current]))
    return steps
