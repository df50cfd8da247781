"""Heads: the vectors of a level's entities -> the predictions of tasks; hidden layers shared, or one stack per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from graphium.nn.groups import Group
from graphium.nn.linear import apply_linear
from graphium.nn.mlp import MLP, RowNorm, TaskLinear, TaskNorm
from graphium.nn.ops import permute_columns
from graphium.types import HeadSpec


class HeadGroup(nn.Module):
    """``depth`` hidden layers that some tasks share, and one linear map to all predictions of each head among them.

    Args:
        tasks: Head -> how many of its tasks are in the group.
        widths: Head -> numbers per task, 0 where it is one number without an axis of its own.
        in_channels: Width of the readout.
        width: Channels of the hidden layers.
        depth: Number of hidden layers, 0 for none.
        activation: Name of an activation function.
        dropout: Share of channels dropped after every hidden layer.
        split: Give every task hidden layers of its own, of which there is at least one, all computed by one
            batched product per layer.
        norm: Of every hidden layer, between its map and its activation.
    """

    def __init__(
        self,
        tasks: Mapping[str, int],
        widths: Mapping[str, int],
        in_channels: int,
        *,
        width: int,
        depth: int,
        activation: str,
        dropout: float,
        split: bool = False,
        norm: RowNorm = "none",
    ) -> None:
        super().__init__()
        self.tasks = dict(tasks)
        self.widths = dict(widths)
        self.split = split
        channels = [in_channels, *[width] * depth]
        linear = partial(TaskLinear, sum(tasks.values())) if split else nn.Linear
        make_norm = partial(TaskNorm, sum(tasks.values())) if split else nn.LayerNorm
        self.hidden = MLP(
            channels, activation, dropout, activate_last=True, linear=linear, norm=norm, make_norm=make_norm
        )
        self.outputs = nn.ModuleDict()
        for name, count in tasks.items():
            size = max(widths[name], 1)
            self.outputs[name] = (
                TaskLinear(count, channels[-1], size) if split else nn.Linear(channels[-1], count * size)
            )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """``[entities, in_channels]`` -> head name -> ``[entities, tasks]`` or ``[entities, tasks, width]``."""
        x = self.hidden(x)
        if self.split:  # x: [tasks, entities, width]
            pieces = zip(self.outputs.items(), x.split(list(self.tasks.values())), strict=True)
            wide = {name: linear(piece).transpose(0, 1).contiguous() for (name, linear), piece in pieces}
        else:
            wide = {
                name: apply_linear(linear, x).unflatten(1, (self.tasks[name], -1))
                for name, linear in self.outputs.items()
            }
        return {name: out if self.widths[name] else out.squeeze(2) for name, out in wide.items()}


class Heads(nn.Module):
    """All heads: groups of tasks, and where their columns belong in a head that is in several groups.

    Args:
        heads: What to predict.
        groups: Every task of ``heads`` in one of them, and the module that predicts it.
    """

    def __init__(self, heads: Sequence[HeadSpec], groups: Sequence[tuple[Group, HeadGroup]]) -> None:
        super().__init__()
        self.groups = nn.ModuleDict({group.name: module for group, module in groups})
        self.levels = {group.name: group.level for group, _ in groups}
        self.orders: dict[str, str] = {}
        self.names = [head.name for head in heads]
        for number, head in enumerate(heads):
            columns = [column for group, _ in groups for column in group.columns.get(head.name, ())]
            if columns != sorted(columns):
                place = torch.tensor(columns)
                self.orders[head.name] = f"order{number}"
                self.register_buffer(f"order{number}", torch.stack([place.argsort(), place]), persistent=False)

    def forward(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Level -> ``[entities, width of its readout]`` to head name -> predictions, in the order of the heads."""
        pieces: dict[str, list[Tensor]] = {name: [] for name in self.names}
        for group, module in self.groups.items():
            for name, piece in module(vectors[self.levels[group]]).items():
                pieces[name].append(piece)
        return {name: self.join(name, parts) for name, parts in pieces.items()}

    def join(self, name: str, pieces: Sequence[Tensor]) -> Tensor:
        """The columns that the groups predict, in the order of the head's tasks."""
        if len(pieces) == 1:
            return pieces[0]
        joined = torch.cat(list(pieces), dim=1)
        return permute_columns(joined, getattr(self, self.orders[name])) if name in self.orders else joined
