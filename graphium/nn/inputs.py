"""The way in: codes, numbers and encodings of a batch -> first node vectors, and the edges that layers read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError, suggest
from graphium.nn.activations import build_activation
from graphium.nn.encoders import DEFAULT_ENCODERS
from graphium.nn.mlp import MLP, RowNorm
from graphium.nn.ops import BondTable, BondTerms, Edges, Segments, group_by_code, one_hots, table_sum
from graphium.registry import PartConfig, build, check_arguments
from graphium.types import FeatureSpec

ENTITIES = ("atoms", "bonds")


@dataclass(frozen=True)
class InputOptions:
    """What ``model.inputs.atoms`` and ``model.inputs.bonds`` may say of the MLP between features and first layer.

    ``hidden``: channels of its hidden layers; where nothing is said, atoms have none and bonds one of 128.
    ``norm``: of every layer, the last one too. ``activation``: of the hidden layers; None is the network's.
    """

    hidden: list[int] | None = None
    norm: RowNorm = "none"
    activation: str | None = None


def read_inputs(section: Mapping[str, Any] | None) -> dict[str, InputOptions]:
    """The section ``model.inputs``, judged: ``atoms`` and ``bonds`` -> options.

    Raises:
        GraphiumError: an unknown key, a wrong type, a value out of range.
    """
    inputs = {}
    for name, raw in (section or {}).items():
        where = f"model.inputs.{name}"
        if name not in ENTITIES:
            raise GraphiumError(f"unknown key {where}; {suggest(name, ENTITIES)}")
        options = InputOptions(**check_arguments(InputOptions, raw, where=where))
        for position, width in enumerate(options.hidden or ()):
            if width < 1:
                raise GraphiumError(f"{where}.hidden[{position}] is {width}; give at least 1")
        if options.activation is not None:
            build_activation(options.activation)
        inputs[name] = options
    return inputs


class NodeInput(nn.Module):
    """Node features and encodings -> ``[nodes, width]``.

    The sum of one embedding row per category (the same function as one-hots and a linear map), and a
    linear map of the numeric properties beside the outputs of one encoder per encoding. Further layers follow
    where ``options`` has hidden ones, of which this sum is then the first.
    """

    offsets: Tensor

    def __init__(
        self,
        spec: FeatureSpec,
        width: int,
        encoding_width: int = 32,
        encoders: Mapping[str, PartConfig] | None = None,
        options: InputOptions | None = None,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        options = options or InputOptions()
        channels = [*(options.hidden or ()), width]
        first = channels[0]
        if not spec.atoms and not spec.encodings:
            raise GraphiumError("the features have no atom property and no encoding; name some under features")
        self.table = nn.Parameter(torch.empty(sum(spec.atom_sizes), first))
        nn.init.normal_(self.table, std=max(len(spec.atom_sizes), 1) ** -0.5)
        self.register_buffer("offsets", _offsets(spec.atom_sizes), persistent=False)
        self.encoders = build_encoders(spec, encoding_width, encoders or {})
        self.columns = {
            name: [column.name for column in spec.encodings if column.encoding == name] for name in self.encoders
        }
        num_values = spec.num_atom_numbers + encoding_width * len(self.encoders)
        self.linear = nn.Linear(num_values, first, bias=False) if num_values else None
        self.norm = nn.LayerNorm(first) if options.norm == "layer_norm" else None
        self.activation = build_activation(options.activation or activation)
        self.mlp = None
        if len(channels) > 1:
            self.mlp = MLP(channels, options.activation or activation, norm=options.norm)

    def forward(self, batch: GraphBatch) -> Tensor:
        x = self.features(batch)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.mlp is None else self.mlp(self.activation(x))

    def features(self, batch: GraphBatch) -> Tensor:
        """The linear map of all features, ``[nodes, channels of the first layer]``."""
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
    MLP makes a vector of ``width`` channels out of them, with one hidden layer of ``HIDDEN`` channels (as in the
    published models) unless ``options`` says otherwise. Where all features are categorical and have few
    combinations, it does so once per combination and not once per bond.
    """

    HIDDEN = 128
    MOST_COMBINATIONS = 512
    offsets: Tensor
    strides: Tensor
    combinations: Tensor

    def __init__(
        self,
        spec: FeatureSpec,
        width: int | None = None,
        activation: str = "gelu",
        options: InputOptions | None = None,
    ) -> None:
        super().__init__()
        options = options or InputOptions()
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
            hidden = [self.HIDDEN] if options.hidden is None else options.hidden
            self.mlp = MLP([self.num_features, *hidden, width], options.activation or activation, norm=options.norm)
            # A row of one-hots is long and holds one 1 per property; the default is made for rows full of numbers.
            first = self.mlp.linears[0]
            weight = first[0].weight if isinstance(first, nn.Sequential) else first.weight
            nn.init.normal_(weight, std=len(spec.bonds) ** -0.5)  # type: ignore[arg-type]
        self.register_buffer("offsets", _offsets(spec.bond_sizes), persistent=False)
        sizes = spec.bond_sizes
        self.num_combinations = 0
        if width is not None and not spec.num_bond_numbers and prod(sizes) <= self.MOST_COMBINATIONS:
            self.num_combinations = prod(sizes)
            strides = [prod(sizes[place + 1 :]) for place in range(len(sizes))]
            self.register_buffer("strides", torch.tensor(strides, dtype=torch.long), persistent=False)
            codes = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).reshape(-1, len(sizes))
            self.register_buffer("combinations", codes + self.offsets, persistent=False)

    def forward(self, batch: GraphBatch, dtype: torch.dtype) -> Edges:
        forth = batch.bond_edges.flatten()
        back = batch.bond_edges.flip(0).flatten()
        reverse = torch.arange(batch.num_edges, device=batch.edge_index.device).scatter(0, forth, back)
        return Edges(batch.edge_index, batch.rowptr, reverse, self.bonds(batch, dtype))

    def bonds(self, batch: GraphBatch, dtype: torch.dtype) -> BondTerms | BondTable | Tensor:
        """What layers read of the bonds, see :class:`Edges`."""
        codes, numbers = batch.edge_attr.long(), batch.edge_num.to(dtype)
        if self.mlp is None:
            return self.terms(batch, codes + self.offsets, numbers, self.num_categories)
        if self.num_combinations:
            vectors = self.mlp(
                one_hots(self.combinations, numbers[:0].new_empty(self.num_combinations, 0), self.num_categories)
            )
            combination = (codes * self.strides).sum(1, keepdim=True)
            return BondTable(vectors, self.terms(batch, combination, numbers, self.num_combinations))
        out: Tensor = self.mlp(one_hots(codes + self.offsets, numbers, self.num_categories))
        return out

    @staticmethod
    def terms(batch: GraphBatch, codes: Tensor, numbers: Tensor, num_categories: int) -> BondTerms:
        """Bond features as terms of a sum: table rows ``codes`` below ``num_categories``, and ``numbers``."""
        num_edges, device = batch.num_edges, batch.edge_index.device
        last = num_categories + numbers.shape[1]
        number_rows = torch.arange(num_categories, last, device=device).expand(num_edges, -1)
        rows = torch.cat(
            [batch.edge_index[0].unsqueeze(1), codes + batch.num_nodes, number_rows + batch.num_nodes], dim=1
        )
        weights = None
        if numbers.shape[1]:
            weights = torch.cat([numbers.new_ones(num_edges, 1 + codes.shape[1]), numbers], dim=1).flatten()
        order, starts = group_by_code(codes, num_categories)
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
