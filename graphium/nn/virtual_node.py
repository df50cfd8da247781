"""A virtual node: one vector per graph that reads all nodes and that all nodes read, once per block."""

from __future__ import annotations

from torch import Tensor, nn

from graphium.nn.activations import build_activation
from graphium.nn.linear import apply_linear
from graphium.nn.norms import build_norm
from graphium.nn.ops import Segments, add_to_segments
from graphium.registry import PartConfig, build


class VirtualNode(nn.Module):
    """``v' = v + act(norm(W (v + pool(h))))`` and ``h' = h + v'`` (Gilmer et al. 2017, section 5.2).

    ``projection``: ``h' = h + P v'`` with a linear map ``P``. ``v`` is None before the first block.
    """

    def __init__(
        self,
        width: int,
        pooling: PartConfig,
        norm: PartConfig,
        activation: str,
        dropout: float,
        projection: bool = False,
    ) -> None:
        super().__init__()
        self.pooling = build("pooling", pooling, where="model.virtual_node", channels=width)
        self.linear = nn.Linear(width, width)
        self.norm = build_norm(norm, width, of_graphs=True)
        self.activation = build_activation(activation)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(width, width) if projection else None

    def forward(
        self, h: Tensor, v: Tensor | None, graphs: Segments, graph_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """``h`` ``[nodes, width]``, ``v`` ``[graphs, width]`` -> the same, updated."""
        pooled = self.pooling(h, graphs)
        update = apply_linear(self.linear, pooled if v is None else v + pooled)
        update = self.dropout(self.activation(self.norm(update, None, graph_mask)))
        v = update if v is None else v + update
        return add_to_segments(h, v if self.projection is None else apply_linear(self.projection, v), graphs), v
