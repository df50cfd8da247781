"""Between our batch and PyG's, for explainers, transforms and graphs made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

_FIELDS = ("x", "x_num", "edge_index", "edge_attr", "edge_num", "batch", "ptr", "table", "row")
_OPTIONAL = ("pos", "pair_index")


def to_pyg(batch: GraphBatch) -> Batch:
    """Make a ``torch_geometric.data.Batch`` with the same names; encodings become node attributes.

    Coordinates and pairs go along where there are any; labels and padding masks stay behind.
    ``batch.get_example(i)`` does not work on the result, as on every PyG batch that was not collated
    from a list.
    """
    from torch_geometric.data import Batch

    result = Batch()
    for name in _FIELDS:
        setattr(result, name, getattr(batch, name))
    for name in _OPTIONAL:
        if getattr(batch, name) is not None:
            setattr(result, name, getattr(batch, name))
    for name, values in batch.encodings.items():
        setattr(result, name, values)
    result.num_nodes = batch.num_nodes
    return result


def from_pyg(data: Data | Batch | Sequence[Data], encodings: Sequence[str] = ()) -> GraphBatch:
    """Make a batch from a PyG ``Data``, a ``Batch`` or a list of ``Data``.

    Args:
        data: Has ``x`` integer ``[nodes, atom codes]`` and ``edge_index`` with both directions of every
            bond; may have ``x_num``, ``edge_attr`` (integer codes), ``edge_num``, ``table``, ``row``,
            ``pos`` ``[nodes, 3]`` and ``pair_index`` integer ``[2, pairs]``.
        encodings: Names of node attributes that are encodings, ``[nodes, dim]``.

    Raises:
        GraphiumError: an attribute is missing, has a wrong type or shape, an edge has no reverse, or the
            atoms of a pair are not two atoms of one molecule.
    """
    if isinstance(data, Sequence):
        from torch_geometric.data import Batch

        data = Batch.from_data_list(list(data))
    x, edge_index = _codes(_require(data, "x"), "x"), _require(data, "edge_index")
    num_nodes, num_edges = x.shape[0], edge_index.shape[1]
    graph = data.batch if data.get("batch") is not None else torch.zeros(num_nodes, dtype=torch.long)
    num_graphs = data.get("ptr").shape[0] - 1 if data.get("ptr") is not None else int(graph.max()) + 1
    order, bond_edges = _sort_edges(edge_index, num_nodes)
    edge_index = edge_index[:, order]
    attr, number = data.get("edge_attr"), data.get("edge_num")
    x_num, table, row = data.get("x_num"), data.get("table"), data.get("row")
    return GraphBatch(
        x=x,
        x_num=x.new_zeros(num_nodes, 0, dtype=torch.float32) if x_num is None else x_num.float(),
        edge_index=edge_index,
        edge_attr=x.new_zeros(num_edges, 0) if attr is None else _codes(attr, "edge_attr")[order],
        edge_num=x.new_zeros(num_edges, 0, dtype=torch.float32) if number is None else number.float()[order],
        rowptr=_offsets(edge_index[1], num_nodes),
        batch=graph,
        ptr=_offsets(graph, num_graphs),
        bond_edges=bond_edges,
        table=torch.zeros(num_graphs, dtype=torch.long) if table is None else table,
        row=torch.arange(num_graphs) if row is None else row,
        encodings={name: _require(data, name) for name in encodings},
        pos=_positions(data.get("pos"), num_nodes),
        pair_index=_pairs(data.get("pair_index"), graph),
    )


def _positions(pos: Tensor | None, num_nodes: int) -> Tensor | None:
    if pos is not None and tuple(pos.shape) != (num_nodes, 3):
        raise GraphiumError(f"pos has shape {tuple(pos.shape)} for {num_nodes} atoms; give three coordinates per atom")
    return None if pos is None else pos.float()


def _pairs(pair_index: Tensor | None, graph: Tensor) -> Tensor | None:
    """The pairs with the smaller node first."""
    if pair_index is None:
        return None
    if pair_index.ndim != 2 or pair_index.shape[0] != 2 or pair_index.is_floating_point():
        raise GraphiumError(
            f"pair_index is {pair_index.dtype} with shape {tuple(pair_index.shape)}; give integers [2, pairs]"
        )
    first, second = pair_index.long().sort(dim=0).values
    inside = bool(((first >= 0) & (first < second) & (second < len(graph))).all())
    if not inside or not torch.equal(graph[first], graph[second]):
        raise GraphiumError("pair_index joins an atom with itself or with another molecule; a pair is two of its atoms")
    return torch.stack([first, second])


def _sort_edges(edge_index: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Order by (destination, source), and the two sorted edges of every bond ``[2, bonds]``."""
    key = edge_index[1] * num_nodes + edge_index[0]
    order = torch.argsort(key)
    reverse_key = (edge_index[0] * num_nodes + edge_index[1])[order]
    if not torch.equal(torch.sort(reverse_key).values, key[order]):
        raise GraphiumError(
            "an edge has no reverse; give edge_index both directions of every bond, for example with "
            "torch_geometric.utils.to_undirected"
        )
    if bool((edge_index[0] == edge_index[1]).any()):
        raise GraphiumError("edge_index has self-loops; remove them, for a bond joins two atoms")
    if torch.unique(key).shape[0] != key.shape[0]:
        raise GraphiumError("edge_index has the same edge twice; remove repeats")
    reverse = torch.searchsorted(key[order], reverse_key)
    source, destination = edge_index[:, order]
    forth = torch.nonzero(source < destination).squeeze(1)
    # Bonds in the order of their first atom, then their second, as the store keeps them.
    forth = forth[torch.argsort(source[forth] * num_nodes + destination[forth])]
    return order, torch.stack([forth, reverse[forth]])


def _offsets(index: Tensor, count: int) -> Tensor:
    return torch.searchsorted(index, torch.arange(count + 1))


def _codes(values: Tensor, name: str) -> Tensor:
    if values.is_floating_point() or values.ndim != 2:
        raise GraphiumError(
            f"{name} is {values.dtype} with shape {tuple(values.shape)}; give integer codes [rows, properties] "
            "and numbers as x_num or edge_num"
        )
    return values.to(torch.uint8)


def _require(data: Any, name: str) -> Tensor:
    value = data.get(name)
    if value is None:
        raise GraphiumError(f"the PyG data has no {name!r}; set it, or see graphium.data.pyg.from_pyg for the names")
    tensor: Tensor = value
    return tensor
