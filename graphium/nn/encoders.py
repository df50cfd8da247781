"""Encoders: the columns of one positional or structural encoding -> a vector per node.

What they return goes, beside the other encodings and the numeric properties, through one linear map.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from graphium.errors import GraphiumError
from graphium.nn.activations import build_activation
from graphium.nn.mlp import MLP, RowNorm
from graphium.nn.ops import Segments
from graphium.registry import register

# Encodings that have an encoder of their own; the others take `mlp`.
DEFAULT_ENCODERS: dict[str, str] = {"laplacian": "laplacian"}


@register("encoder", "mlp")
class MLPEncoder(nn.Module):
    """All columns of the encoding side by side through an MLP of ``depth`` layers.

    ``in_channels``: column name -> numbers per node. ``norm`` follows every map; ``input_norms`` layer norms, one
    after another, precede the first.
    """

    def __init__(
        self,
        in_channels: Mapping[str, int],
        out_channels: int,
        hidden: int = 32,
        depth: int = 1,
        activation: str = "relu",
        norm: RowNorm = "none",
        input_norms: int = 0,
    ) -> None:
        super().__init__()
        self.columns = tuple(in_channels)
        total = sum(in_channels.values())
        self.input_norms = nn.ModuleList(nn.LayerNorm(total) for _ in range(input_norms))
        self.mlp = MLP([total, *[hidden] * (depth - 1), out_channels], activation, norm=norm)
        self.activation = build_activation(activation)

    def forward(self, columns: Mapping[str, Tensor], graphs: Segments) -> Tensor:
        """``columns``: name -> ``[nodes, dim]``; returns ``[nodes, out_channels]``."""
        values = torch.cat([columns[name] for name in self.columns], dim=1)
        for norm in self.input_norms:
            values = norm(values)
        out: Tensor = self.activation(self.mlp(values))
        return out


@register("encoder", "laplacian")
class LaplacianEncoder(nn.Module):
    """A DeepSet over the eigenpairs of the graph Laplacian (Zaheer et al. 2017; Dwivedi et al. 2022).

    For node ``i``: ``act(V sum_k relu(W [v_ik, lambda_k, 1]) + b)``, where the sum runs over the pairs that
    exist (a component with fewer atoms than ``k`` has zeros for the others, and they add nothing).
    Eigenvectors have no sign: in training each one is flipped or not, for a whole graph at a time.

    ``count_absent=True`` reproduces the encoder of published models: it sums over ``k`` pairs always, those that
    do not exist being ``(0, 0, 1)``, so that a small component cannot be told from a zero of an eigenvector.
    Their code also exchanged the two columns, so that in training it flipped the signs of eigenvalues and never
    those of vectors: ``flip_signs`` should be off for such weights. Not for new networks.
    """

    vectors = "laplacian_eigvec"
    values = "laplacian_eigval"

    def __init__(
        self,
        in_channels: Mapping[str, int],
        out_channels: int,
        hidden: int = 32,
        activation: str = "relu",
        flip_signs: bool = True,
        count_absent: bool = False,
    ) -> None:
        super().__init__()
        if set(in_channels) != {self.vectors, self.values} or len(set(in_channels.values())) != 1:
            raise GraphiumError(
                f"encoder laplacian reads {self.vectors} and {self.values} of equal width, not {dict(in_channels)}; "
                "use the encoder mlp for other encodings"
            )
        self.flip_signs = flip_signs
        self.count_absent = count_absent
        # No bias: an absent pair (0, 0, 0) must stay 0.
        self.pair = nn.Linear(3, hidden, bias=False)
        self.linear = nn.Linear(hidden, out_channels)
        self.activation = build_activation(activation)

    def forward(self, columns: Mapping[str, Tensor], graphs: Segments) -> Tensor:
        """``columns``: name -> ``[nodes, k]``; returns ``[nodes, out_channels]``."""
        vectors, values = columns[self.vectors], columns[self.values]
        if self.training and self.flip_signs:
            vectors = vectors * draw_signs(graphs, vectors.shape[1], vectors.dtype)
        exists = (vectors != 0) | (values != 0) | self.count_absent
        present = exists.to(vectors.dtype)
        pairs = self.pair(torch.stack([vectors, values, present], dim=2))  # [nodes, k, hidden]
        out: Tensor = self.activation(self.linear(pairs.relu_().sum(dim=1)))
        return out


def draw_signs(graphs: Segments, columns: int, dtype: torch.dtype) -> Tensor:
    """Draw +1 or -1 for each graph and column, spread to the nodes: ``[nodes, columns]``."""
    signs = torch.randint(0, 2, (graphs.num_segments, columns), device=graphs.ptr.device)
    return (2 * signs - 1).to(dtype).index_select(0, graphs.owner)
