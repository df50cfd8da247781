"""Stacks of linear maps with an activation between them: one stack, or one per task side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from graphium.nn.activations import build_activation
from graphium.nn.linear import apply_linear

# A row of layer norm stands alone, so padding needs no mask.
RowNorm = Literal["none", "layer_norm"]


class MLP(nn.Module):
    """``channels[0] -> ... -> channels[-1]``; activation and dropout after every map but the last.

    ``activate_last``: after the last one too, as hidden layers under an output need it. ``linear`` makes a
    map from ``(in_channels, out_channels)``. ``norm`` follows every map, the last one too unless ``norm_last`` is
    false; ``make_norm`` makes a layer norm from ``channels``.

    >>> MLP([3, 8, 1])
    MLP(3, 8, 1)
    """

    def __init__(
        self,
        channels: Sequence[int],
        activation: str = "gelu",
        dropout: float = 0.0,
        *,
        activate_last: bool = False,
        linear: Callable[[int, int], nn.Module] = nn.Linear,
        norm: RowNorm = "none",
        norm_last: bool = True,
        make_norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.num_activated = len(channels) - (1 if activate_last else 2)
        num_normed = 0 if norm == "none" else len(channels) - (1 if norm_last else 2)
        self.linears = nn.ModuleList()
        for position, (before, after) in enumerate(pairwise(channels)):
            made = linear(before, after)
            self.linears.append(Normed(made, make_norm(after)) if position < num_normed else made)
        self.activation = build_activation(activation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``[rows, channels[0]]`` -> ``[rows, channels[-1]]``."""
        for position, linear in enumerate(self.linears):
            x = apply_linear(linear, x)
            if position < self.num_activated:
                x = self.dropout(self.activation(x))
        return x

    def __repr__(self) -> str:
        return f"MLP({', '.join(map(str, self.channels))})"


class Normed(nn.Sequential):
    """A linear map and the norm after it."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self[1](apply_linear(self[0], x))
        return out


class TaskLinear(nn.Module):
    """A linear map per task, all of them in one product; each starts as an ``nn.Linear`` does.

    >>> TaskLinear(5, 3, 8)(torch.zeros(2, 3)).shape
    torch.Size([5, 2, 8])
    """

    def __init__(self, num_tasks: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_channels)
        self.weight = nn.Parameter(torch.empty(num_tasks, out_channels, in_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_tasks, out_channels).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """``[tasks, rows, in_channels]``, or ``[rows, in_channels]`` for all -> ``[tasks, rows, out_channels]``."""
        if x.ndim == 2:
            shared = nn.functional.linear(x, self.weight.flatten(0, 1), self.bias.flatten())
            return shared.unflatten(1, self.bias.shape).transpose(0, 1)
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2))


class TaskNorm(nn.Module):
    """Layer normalisation over the channels, with a scale and a shift per task: ``[tasks, rows, channels]``."""

    def __init__(self, num_tasks: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_tasks, 1, channels))
        self.bias = nn.Parameter(torch.zeros(num_tasks, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, nn.functional.layer_norm(x, x.shape[-1:]), self.weight)
