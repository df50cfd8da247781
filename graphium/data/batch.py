"""The batch: many molecules and their labels as a few tensors, in PyG's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Labels:
    """The labels of one head: triples and a weight; an absent label does not exist.

    ``entity`` int64 ``[L]``: row of the level's entities (graph, node, bond or pair) in the batch.
    ``task`` int64 ``[L]``: column of the head. ``value`` float32 ``[L]``: transformed value or class
    index. ``weight`` float32 ``[L]``: 1 by default, 0 is padding. ``total`` float32 ``[tasks]``: sum of
    the weights per task over the whole optimiser step, of which this batch may be one micro-batch.
    ``bound`` int8 ``[L]``: +1 where the true value is at least ``value``, -1 where it is at most, 0 where
    ``value`` is exact; None where all are. ``raw`` float64 ``[L]``: the labels in their own units, where the
    transform of ``value`` cannot be undone (clipping); None elsewhere.
    """

    entity: Tensor
    task: Tensor
    value: Tensor
    weight: Tensor
    total: Tensor
    bound: Tensor | None = None
    raw: Tensor | None = None


@dataclass(frozen=True)
class GraphBatch:
    """A batch of molecular graphs; tensors only, counts come from their shapes.

    ``x`` uint8 ``[nodes, atom codes]``; ``x_num`` float32 ``[nodes, atom numbers]``.
    ``edge_index`` int64 ``[2, edges]`` (source, destination), sorted by destination, both directions
    of every bond; ``edge_attr`` uint8 ``[edges, bond codes]``; ``edge_num`` float32
    ``[edges, bond numbers]``; ``rowptr`` int64 ``[nodes + 1]``: edges ``rowptr[i]:rowptr[i + 1]`` end in
    node ``i``. ``batch`` int64 ``[nodes]``: graph of a node; ``ptr`` int64 ``[graphs + 1]``.
    ``bond_edges`` int64 ``[2, bonds]``: the two directed edges of a bond, in bond order.
    ``encodings``: name -> ``[nodes, dim]`` (float16 or float32). ``labels``: head name -> Labels.
    ``table``, ``row`` int64 ``[graphs]``: where a graph's labels come from (-1 is padding).
    ``node_mask``, ``edge_mask``, ``graph_mask`` bool: False is padding; None where nothing is padded.
    ``pair_index`` int64 ``[2, pairs]``: two nodes of one graph, first < second; where a head predicts node
    pairs these are the pairs with labels of one such head after another, or all pairs where asked for.
    ``pos`` float32 ``[nodes, 3]``: the coordinates of the row, Angstrom.
    """

    x: Tensor
    x_num: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    edge_num: Tensor
    rowptr: Tensor
    batch: Tensor
    ptr: Tensor
    bond_edges: Tensor
    table: Tensor
    row: Tensor
    encodings: dict[str, Tensor] = field(default_factory=dict)
    labels: dict[str, Labels] = field(default_factory=dict)
    node_mask: Tensor | None = None
    edge_mask: Tensor | None = None
    graph_mask: Tensor | None = None
    pair_index: Tensor | None = None
    pos: Tensor | None = None

    @property
    def num_nodes(self) -> int:
        return self.x.shape[0]

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    @property
    def num_bonds(self) -> int:
        return self.bond_edges.shape[1]

    @property
    def num_graphs(self) -> int:
        return self.ptr.shape[0] - 1

    def num_entities(self, level: str) -> int:
        """Number of rows that a head of this level predicts."""
        if level == "nodepair":
            return 0 if self.pair_index is None else self.pair_index.shape[1]
        return {"graph": self.num_graphs, "node": self.num_nodes, "edge": self.num_bonds}[level]

    def map(self, function: Callable[[Tensor], Tensor]) -> GraphBatch:
        """Apply ``function`` to every tensor."""
        changed = _map_tensors(self, function)
        changed["encodings"] = {name: function(value) for name, value in self.encodings.items()}
        changed["labels"] = {
            name: replace(labels, **_map_tensors(labels, function)) for name, labels in self.labels.items()
        }
        return replace(self, **changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> GraphBatch:
        """The batch on ``device``; itself where it is there already."""
        if self.x.device == torch.device(device):
            return self
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> GraphBatch:
        return self.map(lambda tensor: tensor.pin_memory())


def _map_tensors(item: GraphBatch | Labels, function: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    values = {part.name: getattr(item, part.name) for part in fields(item)}
    return {name: function(value) for name, value in values.items() if isinstance(value, Tensor)}


torch.export.register_dataclass(Labels)
torch.export.register_dataclass(GraphBatch)
