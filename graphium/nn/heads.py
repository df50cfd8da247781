"""The way out: one readout per level, shared by the heads of that level, and one head per :class:`HeadSpec`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError
from graphium.nn.activations import build_activation
from graphium.nn.mlp import MLP
from graphium.nn.ops import Edges, Segments
from graphium.nn.pooling import build_pooling
from graphium.registry import PartConfig
from graphium.types import HeadSpec, Level


class Readout(nn.Module):
    """Node vectors -> one vector per entity of a level, ``[entities, width]``.

    A graph is the pooling of its nodes; an edge or a pair is the sum and the absolute difference of its
    two nodes (the order of the two does not matter), an edge with its bond features beside.
    """

    def __init__(
        self,
        level: Level,
        in_channels: int,
        width: int,
        *,
        edge_dim: int = 0,
        pooling: PartConfig | Sequence[PartConfig] = "sum",
        activation: str = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.level = level
        if level == "graph":
            self.pooling = build_pooling(pooling, in_channels)
            in_channels = self.pooling.out_channels
        elif level == "edge":
            in_channels = 2 * in_channels + edge_dim
        elif level == "nodepair":
            in_channels = 2 * in_channels
        self.linear = nn.Linear(in_channels, width)
        self.activation = build_activation(activation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, batch: GraphBatch, edges: Edges) -> Tensor:
        """``x`` ``[nodes, in_channels]`` -> ``[entities, width]``."""
        out: Tensor = self.dropout(self.activation(self.linear(self.collect(x, batch, edges))))
        return out

    def collect(self, x: Tensor, batch: GraphBatch, edges: Edges) -> Tensor:
        """What the readout's linear map reads, ``[entities, channels]``; for a graph the pooled nodes."""
        if self.level == "graph":
            pooled: Tensor = self.pooling(x, Segments(batch.ptr, batch.batch))
            return pooled
        if self.level == "edge":
            forth = batch.bond_edges[0]
            ends = batch.edge_index.index_select(1, forth)
            return torch.cat([_join(x, ends), edges.features().index_select(0, forth)], dim=1)
        if self.level == "nodepair":
            if batch.pair_index is None:
                raise GraphiumError("a head predicts node pairs and the batch names none; give it pair_index")
            return _join(x, batch.pair_index)
        return x


class Head(nn.Module):
    """``depth`` hidden layers, then one output per task, or ``width`` of them."""

    def __init__(
        self, spec: HeadSpec, in_channels: int, hidden: int, depth: int, activation: str, dropout: float
    ) -> None:
        super().__init__()
        self.num_tasks = spec.num_tasks
        self.width = spec.width
        out_channels = self.num_tasks * max(self.width, 1)
        self.mlp = MLP([in_channels, *[hidden] * depth, out_channels], activation, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``[entities, in_channels]`` -> ``[entities, tasks]`` or ``[entities, tasks, width]``."""
        out: Tensor = self.mlp(x)
        return out.unflatten(1, (self.num_tasks, self.width)) if self.width else out


def _join(x: Tensor, ends: Tensor) -> Tensor:
    first, second = x.index_select(0, ends[0]), x.index_select(0, ends[1])
    return torch.cat([first + second, (first - second).abs()], dim=1)
