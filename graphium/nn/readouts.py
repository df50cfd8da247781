"""Readouts: the last node and edge states -> one vector per entity of a level, shared by the heads of that level."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError, suggest
from graphium.nn.activations import build_activation
from graphium.nn.mlp import MLP, RowNorm
from graphium.nn.ops import Edges, Segments
from graphium.nn.pooling import build_pooling
from graphium.registry import Part, PartConfig, check_arguments
from graphium.types import LEVELS

Pooling = Annotated[PartConfig, Part("pooling")]


@dataclass(frozen=True)
class ReadoutOptions:
    """What ``model.readouts.LEVEL`` may say; None is what the network says for all levels.

    ``width``: channels of the last layer, and of those before it unless ``hidden_width`` says otherwise.
    ``depth``: number of layers. ``pooling``: how the nodes of a graph
    become one vector, at the level graph alone. ``norm``: of every layer, between its map and its activation. A
    sum over many nodes needs one: without, a step of the optimiser moves all channels to where the activation
    is flat, and the head predicts a constant from then on. ``activate_last``, ``norm_last``: whether the last layer
    has activation (with dropout) and norm too.
    """

    width: int | None = None
    depth: int = 1
    pooling: Pooling | list[Pooling] | None = None
    activation: str | None = None
    dropout: float | None = None
    norm: RowNorm = "none"
    hidden_width: int | None = None
    activate_last: bool = True
    norm_last: bool = True


def read_readouts(section: Mapping[str, Any] | None) -> dict[str, ReadoutOptions]:
    """The section ``model.readouts``, judged: level -> options.

    Raises:
        GraphiumError: an unknown level, a key that does not fit it, a wrong type, a value out of range.
    """
    readouts = {}
    for level, raw in (section or {}).items():
        where = f"model.readouts.{level}"
        if level not in LEVELS:
            raise GraphiumError(f"{where} is no level; {suggest(level, LEVELS)}")
        options = ReadoutOptions(**check_arguments(ReadoutOptions, raw, where=where))
        check_layers(where, options.width, options.depth, options.activation, options.dropout, least_depth=1)
        check_layers(where, options.hidden_width, None, None, None, least_depth=1, width_name="hidden_width")
        if options.hidden_width is not None and options.depth == 1:
            raise GraphiumError(
                f"{where}.hidden_width is {options.hidden_width} and depth 1 has no hidden layer; give a depth of 2 or "
                "more, or leave it out"
            )
        if options.pooling == []:
            raise GraphiumError(f"{where}.pooling is an empty list; name at least one pooling, for example sum")
        if level != "graph" and options.pooling is not None:
            raise GraphiumError(
                f"{where}.pooling is {options.pooling!r} and the graph level alone pools; leave it out, or write it "
                "under model.readouts.graph"
            )
        readouts[level] = options
    return readouts


def check_layers(
    where: str,
    width: int | None,
    depth: int | None,
    activation: str | None,
    dropout: float | None,
    *,
    least_depth: int,
    width_name: str = "width",
) -> None:
    """Judge what an entry of ``model.readouts`` or ``model.heads`` says of its layers; None is nothing.

    Raises:
        GraphiumError: a value out of range, an unknown activation.
    """
    for name, value, least in ((width_name, width, 1), ("depth", depth, least_depth)):
        if value is not None and value < least:
            raise GraphiumError(f"{where}.{name} is {value}; give at least {least}")
    if dropout is not None and not 0 <= dropout < 1:
        raise GraphiumError(f"{where}.dropout is {dropout}; give a share from 0 up to, not including, 1")
    if activation is not None:
        build_activation(activation)


def check_levels(readouts: Iterable[str], levels: Iterable[str]) -> None:
    """Refuse the readout of a level that no task has."""
    present = set(levels)
    for level in readouts:
        if level not in present:
            raise GraphiumError(
                f"model.readouts.{level} is for {level} tasks and there are only {', '.join(sorted(present))} tasks; "
                "leave it out"
            )


class Readout(nn.Module):
    """Node and edge vectors -> one vector per entity of a level, ``[entities, width]``.

    A graph is the pooling of its nodes; an edge or a pair is the sum and the absolute difference of its
    two nodes (the order of the two does not matter), an edge with the mean of its two directions' bond
    vectors beside. Then come ``depth`` linear maps, each with norm, activation and dropout; see
    :class:`ReadoutOptions`.
    """

    def __init__(
        self,
        level: str,
        in_channels: int,
        width: int,
        *,
        depth: int = 1,
        edge_dim: int = 0,
        pooling: PartConfig | Sequence[PartConfig] = "sum",
        activation: str = "gelu",
        dropout: float = 0.0,
        norm: RowNorm = "none",
        hidden_width: int | None = None,
        activate_last: bool = True,
        norm_last: bool = True,
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
        self.width = width
        channels = [in_channels, *[hidden_width or width] * (depth - 1), width]
        self.mlp = MLP(channels, activation, dropout, activate_last=activate_last, norm=norm, norm_last=norm_last)

    def forward(self, x: Tensor, batch: GraphBatch, edges: Edges) -> Tensor:
        """``x`` ``[nodes, in_channels]`` -> ``[entities, width]``."""
        out: Tensor = self.mlp(self.collect(x, batch, edges))
        return out

    def collect(self, x: Tensor, batch: GraphBatch, edges: Edges) -> Tensor:
        """What the readout's linear map reads, ``[entities, channels]``; for a graph the pooled nodes."""
        if self.level == "graph":
            pooled: Tensor = self.pooling(x, Segments(batch.ptr, batch.batch))
            return pooled
        if self.level == "edge":
            forth, back = batch.bond_edges
            bonds = edges.features()
            bonds = (bonds.index_select(0, forth) + bonds.index_select(0, back)) / 2
            return torch.cat([_join(x, batch.edge_index.index_select(1, forth)), bonds], dim=1)
        if self.level == "nodepair":
            if batch.pair_index is None:
                raise GraphiumError("a head predicts node pairs and the batch names none; give it pair_index")
            return _join(x, batch.pair_index)
        return x


def _join(x: Tensor, ends: Tensor) -> Tensor:
    first, second = x.index_select(0, ends[0]), x.index_select(0, ends[1])
    return torch.cat([first + second, (first - second).abs()], dim=1)
