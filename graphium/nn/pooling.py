"""Pooling: the vectors of a graph's nodes -> one vector per graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphium.errors import GraphiumError
from graphium.nn.ops import Segments, segment_spread, segment_sum
from graphium.registry import PartConfig, build, register


def build_pooling(config: PartConfig | Sequence[PartConfig], channels: int) -> Pooling:
    """Build one pooling, or several whose results are concatenated."""
    configs = [config] if isinstance(config, str | dict) else list(config)
    if not configs:
        raise GraphiumError("model.pooling is an empty list; name at least one pooling, for example sum")
    return Pooling([build("pooling", part, where="model.pooling", channels=channels) for part in configs], channels)


class Pooling(nn.Module):
    """One or several poolings side by side.

    Padding needs no mask: its nodes have a graph to themselves.
    """

    def __init__(self, parts: Sequence[nn.Module], channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.out_channels = channels * len(parts)

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        """Pool ``x`` ``[nodes, channels]`` to ``[graphs, out_channels]``."""
        pooled = [part(x, segments) for part in self.parts]
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)


class _PlainPooling(nn.Module):
    """A pooling without options: the empty signature lets the registry refuse any."""

    def __init__(self) -> None:
        super().__init__()


@register("pooling", "sum")
class SumPooling(_PlainPooling):
    """Sum over the nodes."""

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        return segment_sum(x, segments)


@register("pooling", "mean")
class MeanPooling(_PlainPooling):
    """Mean over the nodes; 0 for a graph without nodes."""

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        return segment_sum(x, segments) / segments.sizes(x.dtype).clamp(min=1)


@register("pooling", "logsum")
class LogSumPooling(nn.Module):
    """Mean over the nodes times ``log(1 + number of nodes)``: grows with the graph, but slowly.

    The 1 keeps the vector of a single atom, which ``log(number of nodes)`` erases; ``plus_one=False`` is this
    published form.
    """

    def __init__(self, plus_one: bool = True) -> None:
        super().__init__()
        self.plus_one = plus_one

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        sizes = segments.sizes(x.dtype)
        at_least_one = sizes.clamp(min=1)
        scale = sizes.log1p() if self.plus_one else at_least_one.log()
        return segment_sum(x, segments) * (scale / at_least_one)


@register("pooling", "max")
class MaxPooling(_PlainPooling):
    """Largest value over the nodes; 0 for a graph without nodes."""

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        return _extreme(x, segments, "amax")


@register("pooling", "min")
class MinPooling(_PlainPooling):
    """Smallest value over the nodes; 0 for a graph without nodes."""

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        return _extreme(x, segments, "amin")


@register("pooling", "std")
class StdPooling(nn.Module):
    """Standard deviation over the nodes, ``sqrt(variance + eps)``.

    ``eps`` keeps the gradient finite where all nodes are equal (a single atom, padding).
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        sizes = segments.sizes(x.dtype).clamp(min=1)
        centred = x - segment_spread(segment_sum(x, segments) / sizes, segments)
        return torch.sqrt(segment_sum(centred.square(), segments) / sizes + self.eps)


def _extreme(x: Tensor, segments: Segments, reduce: str) -> Tensor:
    index = segments.owner.unsqueeze(1).expand_as(x)
    start = x.new_zeros(segments.num_segments, x.shape[1])
    return start.scatter_reduce(0, index, x, reduce, include_self=False)
