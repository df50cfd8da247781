"""The way in: codes, numbers and encodings of a batch -> first node vectors, and the edges that layers read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError, suggest
from graphium.nn.encoders import DEFAULT_ENCODERS
from graphium.nn.ops import Edges, Segments, group_by_code, table_sum
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
    """Bond codes and numbers -> :class:`Edges`; no parameters, the layers own their tables."""

    offsets: Tensor

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.num_categories = sum(spec.bond_sizes)
        self.num_numbers = spec.num_bond_numbers
        self.edge_dim = self.num_categories + self.num_numbers
        self.register_buffer("offsets", _offsets(spec.bond_sizes), persistent=False)

    def forward(self, batch: GraphBatch, dtype: torch.dtype) -> Edges:
        num_edges, device = batch.num_edges, batch.edge_index.device
        codes = batch.edge_attr.long() + self.offsets
        numbers = batch.edge_num.to(dtype)
        number_rows = torch.arange(self.num_categories, self.edge_dim, device=device).expand(num_edges, -1)
        rows = torch.cat(
            [batch.edge_index[0].unsqueeze(1), codes + batch.num_nodes, number_rows + batch.num_nodes], dim=1
        )
        weights = None
        if self.num_numbers:
            weights = torch.cat([numbers.new_ones(num_edges, 1 + codes.shape[1]), numbers], dim=1).flatten()
        forth = batch.bond_edges.flatten()
        back = batch.bond_edges.flip(0).flatten()
        reverse = torch.arange(num_edges, device=device).scatter(0, forth, back)
        order, starts = group_by_code(codes, self.num_categories)
        return Edges(
            edge_index=batch.edge_index,
            rowptr=batch.rowptr,
            reverse=reverse,
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
