"""A stack of linear maps with an activation between them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from graphium.nn.activations import build_activation


class MLP(nn.Module):
    """``channels[0] -> ... -> channels[-1]``; activation and dropout after every map but the last.

    >>> MLP([3, 8, 1])
    MLP(3, 8, 1)
    """

    def __init__(self, channels: Sequence[int], activation: str = "gelu", dropout: float = 0.0) -> None:
        super().__init__()
        self.channels = tuple(channels)
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        self.linears = nn.ModuleList(nn.Linear(before, after) for before, after in pairs)
        self.activation = build_activation(activation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``[rows, channels[0]]`` -> ``[rows, channels[-1]]``."""
        for position, linear in enumerate(self.linears):
            if position > 0:
                x = self.dropout(self.activation(x))
            x = linear(x)
        return x

    def __repr__(self) -> str:
        return f"MLP({', '.join(map(str, self.channels))})"
