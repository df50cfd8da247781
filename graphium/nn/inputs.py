"""The way in: codes, numbers and encodings of a batch -> first node vectors, and the edges that layers read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError, suggest
from graphium.nn.encoders import DEFAULT_ENCODERS
from graphium.nn.mlp import MLP
from graphium.nn.ops import BondTerms, Edges, Segments, group_by_code, one_hots, table_sum
from graphium.registry import PartConfig, build
from graphium.types import FeatureSpec


class NodeInput(nn.Module):
    """Node features and encodings -> ``[nodes, width]``.

    The sum of one embedding row per category (the same function as one-hots and a linear map), and a
    linear map of the numeric properties beside the outputs of one encoder per encoding.
    """

    offsets: Tensor

    def __init__(
        self,
        spec: FeatureSpec,
        width: int,
        encoding_width: int = 32,
        encoders: Mapping[str, PartConfig] | None = None,
    ) -> None:
        super().__init__()
        if not spec.atoms and not spec.encodings:
            raise GraphiumError("the features have no atom property and no encoding; name some under features")
        self.table = nn.Parameter(torch.empty(sum(spec.atom_sizes), width))
        nn.init.normal_(self.table, std=max(len(spec.atom_sizes), 1) ** -0.5)
        self.register_buffer("offsets", _offsets(spec.atom_sizes), persistent=False)
        self.encoders = build_encoders(spec, encoding_width, encoders or {})
        self.columns = {
            name: [column.name for column in spec.encodings if column.encoding == name] for name in self.encoders
        }
        num_values = spec.num_atom_numbers + encoding_width * len(self.encoders)
        self.linear = nn.Linear(num_values, width, bias=False) if num_values else None

    def forward(self, batch: GraphBatch) -> Tensor:
        rows = table_sum(self.table, batch.x.long() + self.offsets)
        if self.linear is None:
            return rows
        dtype = self.table.dtype
        graphs = Segments(batch.ptr, batch.batch)
        parts = [batch.x_num.to(dtype)]
        for name, encoder in self.encoders.items():
            columns = {column: batch.encodings[column].to(dtype) for column in self.columns[name]}
            parts.append(encoder(columns, graphs))
        return torch.addmm(rows, torch.cat(parts, dim=1), self.linear.weight.t())


class EdgeInput(nn.Module):
    """Bond codes and numbers -> :class:`Edges`.

    Without ``width`` it has no parameters: layers own a table with a row per category and number. With it, an
    MLP with one hidden layer (of ``HIDDEN`` channels, as in the published models) makes a vector of ``width``
    channels out of them.
    """

    HIDDEN = 128
    offsets: Tensor

    def __init__(self, spec: FeatureSpec, width: int | None = None, activation: str = "gelu") -> None:
        super().__init__()
        self.num_categories = sum(spec.bond_sizes)
        self.num_features = self.num_categories + spec.num_bond_numbers
        if width is not None and self.num_features == 0:
            raise GraphiumError(
                f"model.edge_width is {width} and there are no bond features; name some under features.bond_onehot, "
                "or leave it out"
            )
        self.edge_dim = self.num_features if width is None else width
        self.mlp = None
        if width is not None:
            self.mlp = MLP([self.num_features, self.HIDDEN, width], activation)
            # A row of one-hots is long and holds one 1 per property; the default is made for rows full of numbers.
            nn.init.normal_(self.mlp.linears[0].get_parameter("weight"), std=len(spec.bonds) ** -0.5)
        self.register_buffer("offsets", _offsets(spec.bond_sizes), persistent=False)

    def forward(self, batch: GraphBatch, dtype: torch.dtype) -> Edges:
        forth = batch.bond_edges.flatten()
        back = batch.bond_edges.flip(0).flatten()
        reverse = torch.arange(batch.num_edges, device=batch.edge_index.device).scatter(0, forth, back)
        codes = batch.edge_attr.long() + self.offsets
        numbers = batch.edge_num.to(dtype)
        if self.mlp is None:
            return Edges(batch.edge_index, batch.rowptr, reverse, self.terms(batch, codes, numbers))
        bonds = self.mlp(one_hots(codes, numbers, self.num_categories))
        return Edges(batch.edge_index, batch.rowptr, reverse, bonds)

    def terms(self, batch: GraphBatch, codes: Tensor, numbers: Tensor) -> BondTerms:
        """The bond features as terms of a sum, by table rows ``codes`` and ``numbers``."""
        num_edges, device = batch.num_edges, batch.edge_index.device
        number_rows = torch.arange(self.num_categories, self.num_features, device=device).expand(num_edges, -1)
        rows = torch.cat(
            [batch.edge_index[0].unsqueeze(1), codes + batch.num_nodes, number_rows + batch.num_nodes], dim=1
        )
        weights = None
        if numbers.shape[1]:
            weights = torch.cat([numbers.new_ones(num_edges, 1 + codes.shape[1]), numbers], dim=1).flatten()
        order, starts = group_by_code(codes, self.num_categories)
        return BondTerms(
            codes=codes,
            numbers=numbers,
            rows=rows.flatten(),
            row_starts=torch.arange(num_edges + 1, device=device) * rows.shape[1],
            weights=weights,
            order=order,
            starts=starts,
        )


def build_encoders(spec: FeatureSpec, width: int, chosen: Mapping[str, PartConfig]) -> nn.ModuleDict:
    """One encoder per encoding of ``spec``: the chosen one, or the default of that encoding."""
    dims: dict[str, dict[str, int]] = {}
    for column in spec.encodings:
        dims.setdefault(column.encoding, {})[column.name] = column.dim
    for name in chosen:
        if name not in dims:
            raise GraphiumError(f"model.encoders.{name} has no such encoding in the features; {suggest(name, dims)}")
    modules = {}
    for name, columns in dims.items():
        config = chosen.get(name, DEFAULT_ENCODERS.get(name, "mlp"))
        modules[name] = build(
            "encoder", config, where=f"model.encoders.{name}", in_channels=columns, out_channels=width
        )
    return nn.ModuleDict(modules)


def _offsets(sizes: tuple[int, ...]) -> Tensor:
    """First table row of each property."""
    return torch.tensor([0, *accumulate(sizes)][: len(sizes)], dtype=torch.long)
