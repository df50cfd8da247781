"""Normalisations of node or graph vectors that leave padding out of their statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graphium.nn.ops import Segments, segment_spread, segment_sum
from graphium.registry import build, register


def build_norm(config: Any, channels: int, *, of_graphs: bool = False) -> nn.Module:
    """Build a norm for node vectors, or for graph vectors.

    A graph vector is alone in its graph, so ``graph_norm`` would erase it: layer norm stands in there.
    """
    name = config if isinstance(config, str) else config.get("name", "")
    if of_graphs and name.replace("-", "_") == "graph_norm":
        config = "layer_norm"
    module: nn.Module = build("norm", config, where="model.norm", channels=channels)
    return module


@register("norm", "none")
class NoNorm(nn.Module):
    """Returns its input."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor, segments: Segments | None = None, mask: Tensor | None = None) -> Tensor:
        return x


@register("norm", "layer_norm")
class LayerNorm(nn.Module):
    """Layer normalisation over the channels of each row (Ba et al. 2016)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, segments: Segments | None = None, mask: Tensor | None = None) -> Tensor:
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@register("norm", "batch_norm")
class BatchNorm(nn.Module):
    """Batch normalisation over the rows that are not padding (Ioffe & Szegedy 2015).

    Running statistics are used at inference, and in training for a batch of one row, which has no
    variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, segments: Segments | None = None, mask: Tensor | None = None) -> Tensor:
        """Normalise ``x`` ``[rows, channels]``; ``mask`` bool ``[rows]`` is False for padding."""
        if self.training and mask is not None:
            return self._masked(x, mask)
        return nn.functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training and x.shape[0] > 1,
            momentum=self.momentum,
            eps=self.eps,
        )

    def _masked(self, x: Tensor, mask: Tensor) -> Tensor:
        wide = x.float()
        present = mask.unsqueeze(1).to(wide.dtype)
        count = present.sum()
        mean = (wide * present).sum(0) / count.clamp(min=1)
        variance = ((wide - mean).square() * present).sum(0) / count.clamp(min=1)
        with torch.no_grad():
            rate = self.momentum * (count > 1)
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate.to(self.running_mean.dtype))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), rate.to(self.running_var.dtype))
        mean = torch.where(count > 1, mean, self.running_mean.to(wide.dtype))
        variance = torch.where(count > 1, variance, self.running_var.to(wide.dtype))
        return ((wide - mean) * torch.rsqrt(variance + self.eps)).to(x.dtype) * self.weight + self.bias


@register("norm", "graph_norm")
class GraphNorm(nn.Module):
    """Normalisation over the nodes of each graph with a learned share of the mean (Cai et al. 2021, eq. 9)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean_scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor, segments: Segments, mask: Tensor | None = None) -> Tensor:
        """Normalise ``x`` ``[nodes, channels]`` within the graphs of ``segments``.

        Padding needs no mask: it has a graph to itself.
        """
        share = segments.sizes(x.dtype).clamp(min=1).reciprocal()
        mean = segment_sum(x, segments) * share
        centred = x - segment_spread(mean * self.mean_scale, segments)
        variance = segment_sum(centred.square(), segments) * share
        scale = segment_spread(torch.rsqrt(variance + self.eps), segments)
        return centred * scale * self.weight + self.bias
