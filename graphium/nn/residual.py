"""Residual connections: how the output of a block joins its input.

With ``x`` the input of block ``step`` and ``h`` its output, ``forward(x, h, step)`` is the input of
the next block, ``in_channels(step + 1)`` wide. ``h`` is always ``channels`` wide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphium.registry import register


class Residual(nn.Module):
    """What all residual connections share: the width stays ``channels``."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.channels = channels
        self.depth = depth

    def in_channels(self, step: int) -> int:
        """Width of the input of block ``step``; ``step = depth`` is what the readouts see."""
        return self.channels

    def forward(self, x: Tensor, h: Tensor, step: int) -> Tensor:
        raise NotImplementedError


@register("residual", "none")
class NoResidual(Residual):
    """The block's output replaces its input."""

    def forward(self, x: Tensor, h: Tensor, step: int) -> Tensor:
        return h


@register("residual", "simple")
class SimpleResidual(Residual):
    """``x + h`` (He et al. 2016)."""

    def forward(self, x: Tensor, h: Tensor, step: int) -> Tensor:
        return x + h


@register("residual", "weighted")
class WeightedResidual(Residual):
    """``weight * x + h`` with one learned weight per block and channel, 1 at the start."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__(channels, depth)
        self.weight = nn.Parameter(torch.ones(depth, channels))

    def forward(self, x: Tensor, h: Tensor, step: int) -> Tensor:
        return torch.addcmul(h, x, self.weight[step])


@register("residual", "random")
class RandomResidual(Residual):
    """``weight * x + h`` with weights drawn once from U(0, 1); they are saved with the model."""

    weight: Tensor

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__(channels, depth)
        self.register_buffer("weight", torch.rand(depth, channels))

    def forward(self, x: Tensor, h: Tensor, step: int) -> Tensor:
        return torch.addcmul(h, x, self.weight[step])


@register("residual", "concat")
class ConcatResidual(Residual):
    """Output of the block beside the output of the block before it."""

    def in_channels(self, step: int) -> int:
        return self.channels if step == 0 else 2 * self.channels

    def forward(self, x: Tensor, h: Tensor, step: int) -> Tensor:
        return torch.cat([h, x[:, : self.channels]], dim=1)


@register("residual", "densenet")
class DenseNetResidual(Residual):
    """Output of the block beside the outputs of all blocks before it (Huang et al. 2017)."""

    def in_channels(self, step: int) -> int:
        return (step + 1) * self.channels

    def forward(self, x: Tensor, h: Tensor, step: int) -> Tensor:
        return torch.cat([h, x], dim=1)
