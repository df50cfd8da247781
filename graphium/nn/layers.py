"""Message-passing layers: ``layer(x, edges)`` -> new node vectors, ``[nodes, out_channels]``.

A layer does no more than its paper says; norm, activation, dropout and residual belong to the block.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphium.errors import GraphiumError
from graphium.nn.mlp import MLP, RowNorm
from graphium.nn.ops import Edges, closed_edge_message_sum, closed_neighbor_sum
from graphium.registry import PartConfig, register, validate


def build_layer(config: PartConfig, *, in_channels: int, out_channels: int, edge_dim: int, **options: Any) -> nn.Module:
    """Build a layer from its configuration; a ``torch_geometric.nn`` convolution is adapted.

    ``options`` (``hidden_channels``, ``activation``) reach the layers whose signature names them,
    unless the configuration sets them.
    """
    part, arguments = validate("layer", config, where="model.layer")
    accepted = inspect.signature(part).parameters
    if inspect.isclass(part) and hasattr(part, "propagate"):
        return PyGLayer(part, in_channels, out_channels, edge_dim, arguments)
    given = {"in_channels": in_channels, "out_channels": out_channels, "edge_dim": edge_dim, **options}
    given = {key: value for key, value in given.items() if key in accepted}
    layer: nn.Module = part(**{**given, **arguments})
    return layer


def layer_takes(config: PartConfig, argument: str) -> bool:
    """Whether the network gives the configured layer ``argument``: it has it and the configuration is silent."""
    part, arguments = validate("layer", config, where="model.layer")
    return argument in inspect.signature(part).parameters and argument not in arguments


def layer_heads(config: PartConfig) -> int:
    """Number of attention heads the width must be a multiple of; 1 for a layer without heads."""
    part, arguments = validate("layer", config, where="model.layer")
    parameter = inspect.signature(part).parameters.get("heads")
    if parameter is None:
        return 1
    return int(arguments.get("heads", parameter.default))


@register("layer", "gcn")
class GCNLayer(nn.Module):
    """Graph convolution ``D^-1/2 (A + I) D^-1/2 X W + b`` (Kipf & Welling 2017, eq. 2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.xavier_uniform_(self.linear.weight)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """``x`` ``[nodes, in_channels]`` -> ``[nodes, out_channels]``."""
        degree = (edges.rowptr[1:] - edges.rowptr[:-1] + 1).unsqueeze(1)
        scale = degree.to(x.dtype).rsqrt()
        scaled = self.linear(x) * scale
        return torch.addcmul(self.bias, closed_neighbor_sum(scaled, edges), scale)


@register("layer", "gin")
class GINLayer(nn.Module):
    """``MLP((1 + eps) x_i + sum_j x_j)`` (Xu et al. 2019, eq. 4.1), an MLP of two linear maps.

    ``hidden_channels`` is the width inside the MLP, ``norm`` follows its first map; ``train_eps`` makes ``eps``
    learned.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int | None = None,
        activation: str = "gelu",
        eps: float = 0.0,
        train_eps: bool = False,
        norm: RowNorm = "none",
    ) -> None:
        super().__init__()
        channels = [in_channels, hidden_channels or out_channels, out_channels]
        self.mlp = MLP(channels, activation, norm=norm, norm_last=False)
        self.eps = nn.Parameter(torch.tensor(float(eps))) if train_eps else float(eps)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """``x`` ``[nodes, in_channels]`` -> ``[nodes, out_channels]``."""
        out: Tensor = self.mlp(_add_eps(closed_neighbor_sum(x, edges), x, self.eps))
        return out


@register("layer", "gine")
class GINELayer(nn.Module):
    """``MLP((1 + eps) x_i + sum_j relu(x_j + e_ji W))`` (Hu et al. 2020, "Strategies ...", section 5).

    ``e_ji`` are the one-hot bond features and numbers, or the bond vectors of ``model.edge_width``. ``W`` needs
    no bias where one-hots of a property sum to 1; ``edge_bias`` gives it one. ``norm`` follows the first map of
    the MLP.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        edge_dim: int,
        hidden_channels: int | None = None,
        activation: str = "gelu",
        eps: float = 0.0,
        train_eps: bool = False,
        norm: RowNorm = "none",
        edge_bias: bool = False,
    ) -> None:
        super().__init__()
        if edge_dim == 0:
            raise GraphiumError(
                "layer gine reads bond features and there are none; name some under features.bond_onehot, "
                "or use the layer gin"
            )
        self.table = nn.Parameter(torch.empty(edge_dim, in_channels))
        nn.init.normal_(self.table, std=0.5)
        self.edge_bias = nn.Parameter(torch.zeros(in_channels)) if edge_bias else None
        channels = [in_channels, hidden_channels or out_channels, out_channels]
        self.mlp = MLP(channels, activation, norm=norm, norm_last=False)
        self.eps = nn.Parameter(torch.tensor(float(eps))) if train_eps else float(eps)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """``x`` ``[nodes, in_channels]`` -> ``[nodes, out_channels]``."""
        total = closed_edge_message_sum(x, self.table, edges, self.edge_bias)
        out: Tensor = self.mlp(_add_eps(total, x, self.eps))
        return out


class PyGLayer(nn.Module):
    """A ``torch_geometric.nn`` convolution built from ``(in_channels, out_channels[, edge_dim])``.

    One vector per edge goes in where the convolution has an ``edge_dim``. A convolution with
    concatenated attention heads gets ``out_channels / heads`` channels a head.
    """

    def __init__(
        self, conv: Any, in_channels: int, out_channels: int, edge_dim: int, arguments: Mapping[str, Any]
    ) -> None:
        super().__init__()
        accepted = inspect.signature(conv).parameters
        for name in ("in_channels", "out_channels"):
            if name not in accepted:
                raise GraphiumError(f"{conv.__name__} has no argument {name}; wrap it in a class of your own that has")
        self.uses_edges = "edge_dim" in accepted and edge_dim > 0
        heads = _concatenated_heads(accepted, arguments)
        if out_channels % heads:
            raise GraphiumError(f"model.width is {out_channels} and {conv.__name__} has {heads} heads; use a multiple")
        extra = {"edge_dim": edge_dim} if self.uses_edges else {}
        self.conv = conv(in_channels=in_channels, out_channels=out_channels // heads, **extra, **arguments)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """``x`` ``[nodes, in_channels]`` -> ``[nodes, out_channels]``."""
        if self.uses_edges:
            out: Tensor = self.conv(x, edges.edge_index, edge_attr=edges.features())
        else:
            out = self.conv(x, edges.edge_index)
        return out


def _concatenated_heads(accepted: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]) -> int:
    if "heads" not in accepted or "concat" not in accepted:
        return 1
    values = {name: arguments.get(name, accepted[name].default) for name in ("heads", "concat")}
    return int(values["heads"]) if values["concat"] else 1


def _add_eps(total: Tensor, x: Tensor, eps: Tensor | float) -> Tensor:
    """``total + eps * x``; ``total`` holds ``x`` once already."""
    return total + eps * x if isinstance(eps, Tensor) or eps != 0 else total
