"""Low-rank adaptation: small trained matrices beside frozen linear layers (Hu et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class LoRALinear(nn.Linear):
    """``x (W + alpha / rank * B A)^T + b`` with ``W`` and ``b`` of another layer, which stay frozen.

    ``down`` is A ``[rank, in_features]``, ``up`` is B ``[out_features, rank]``, zero at first. The names of ``W``
    and ``b`` are those of the layer itself.

    Args:
        linear: The layer; its weight and bias are shared, not copied.
        rank: Rows of A.
        alpha: Weight of the product, times ``rank``.
        dropout: Share of the input that A does not see in training.

    >>> layer = nn.Linear(3, 2)
    >>> x = torch.ones(4, 3)
    >>> bool((LoRALinear(layer, rank=1)(x) == layer(x)).all())
    True
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float = 16.0, dropout: float = 0.0) -> None:
        with torch.device("meta"):
            super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = alpha / rank
        self.down = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.up = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``[rows, in_features]`` -> ``[rows, out_features]``."""
        small = nn.functional.linear(nn.functional.linear(self.dropout(x), self.down), self.up)
        return super().forward(x) + self.scale * small

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer that computes the same, dropout aside."""
        with torch.device("meta"):
            linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        product = self.up.double() @ self.down.double()
        linear.weight = nn.Parameter((self.weight + self.scale * product).to(self.weight.dtype))
        linear.bias = self.bias
        return linear


def linear_layers(network: nn.Module) -> list[str]:
    """Names of the linear layers that are called as such, and so can be adapted."""
    # What the node input computes with the weight of its map goes past the layer.
    return [
        name for name, module in network.named_modules() if type(module) is nn.Linear and name != "node_input.linear"
    ]


def add_lora(network: nn.Module, names: Iterable[str], rank: int, alpha: float, dropout: float) -> None:
    """Put a :class:`LoRALinear` in the place of each of these linear layers."""
    for name in names:
        _put(network, name, LoRALinear(network.get_submodule(name), rank, alpha, dropout))  # type: ignore[arg-type]


def merge_lora(network: nn.Module) -> None:
    """Put plain linear layers with the sums of their matrices in the place of all :class:`LoRALinear`."""
    for name, module in list(network.named_modules()):
        if isinstance(module, LoRALinear):
            _put(network, name, module.merged())


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
