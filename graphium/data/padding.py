"""Padding a batch to fixed sizes, so that every step of a program has the same shapes.

What is added belongs to one dummy graph, the last one, apart from the real ones: nodes with zeros, edges
from the last node to itself, bonds that are the last of these edges, pairs of the last node with itself,
labels of weight 0 that point at the last entity. The masks say what is real; pairs have none, because
nothing is computed across pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from graphium.data.batch import GraphBatch, Labels
from graphium.errors import GraphiumError
from graphium.types import HeadSpec


def pad(
    batch: GraphBatch,
    *,
    num_nodes: int,
    num_edges: int,
    num_graphs: int,
    num_bonds: int,
    labels: Mapping[str, int] | None = None,
    heads: Sequence[HeadSpec] = (),
    num_pairs: int | None = None,
) -> GraphBatch:
    """Pad a batch to the given counts.

    Args:
        batch: A batch without padding.
        num_nodes: Nodes after padding; more than the batch has, because the dummy graph needs one.
        num_edges: Directed edges after padding.
        num_graphs: Graphs after padding; more than the batch has.
        num_bonds: Bonds after padding.
        labels: Head name -> labels after padding; heads not named keep their number.
        heads: The heads of ``labels``, which say at what level their labels are.
        num_pairs: Pairs after padding, where the batch has ``pair_index``.

    Returns:
        The padded batch; ``total`` of the labels is unchanged.

    Raises:
        GraphiumError: the batch is too large for the counts, or a head of ``labels`` is not in ``heads``.
    """
    if batch.node_mask is not None:
        raise GraphiumError("this batch is padded already; pad the batch that the gather made")
    _check_room(batch, num_nodes, num_edges, num_graphs, num_bonds)
    nodes, edges = num_nodes - batch.num_nodes, num_edges - batch.num_edges
    graphs, bonds = num_graphs - batch.num_graphs, num_bonds - batch.num_bonds
    ptr = torch.cat([batch.ptr, batch.ptr[-1:].expand(graphs)])
    ptr[-1] = num_nodes
    rowptr = torch.cat([batch.rowptr, batch.rowptr[-1:].expand(nodes)])
    rowptr[-1] = num_edges
    pair_index = batch.pair_index
    if pair_index is not None and num_pairs is not None:
        _check("pairs", pair_index.shape[1], num_pairs)
        pair_index = _extend(pair_index, num_pairs - pair_index.shape[1], num_nodes - 1, dim=1)
    padded = replace(
        batch,
        x=_extend(batch.x, nodes),
        x_num=_extend(batch.x_num, nodes),
        edge_index=_extend(batch.edge_index, edges, num_nodes - 1, dim=1),
        edge_attr=_extend(batch.edge_attr, edges),
        edge_num=_extend(batch.edge_num, edges),
        rowptr=rowptr,
        batch=_extend(batch.batch, nodes, num_graphs - 1),
        ptr=ptr,
        bond_edges=_extend(batch.bond_edges, bonds, num_edges - 1, dim=1),
        table=_extend(batch.table, graphs, -1),
        row=_extend(batch.row, graphs, -1),
        encodings={name: _extend(values, nodes) for name, values in batch.encodings.items()},
        node_mask=_mask(batch.x, batch.num_nodes, num_nodes),
        edge_mask=_mask(batch.x, batch.num_edges, num_edges),
        graph_mask=_mask(batch.x, batch.num_graphs, num_graphs),
        pair_index=pair_index,
        pos=None if batch.pos is None else _extend(batch.pos, nodes),
    )
    return replace(padded, labels=_pad_labels(batch, padded, labels or {}, heads))


def _pad_labels(
    batch: GraphBatch, padded: GraphBatch, sizes: Mapping[str, int], heads: Sequence[HeadSpec]
) -> dict[str, Labels]:
    levels = {head.name: head.level for head in heads}
    result = dict(batch.labels)
    for name, size in sizes.items():
        if name not in result or name not in levels:
            raise GraphiumError(f"labels of head {name!r} cannot be padded; the batch and `heads` must both have it")
        old = result[name]
        count = old.entity.shape[0]
        _check(f"labels of head {name!r}", count, size)
        extra, level = size - count, levels[name]
        if extra and padded.num_entities(level) == batch.num_entities(level):
            raise GraphiumError(f"padding labels of head {name!r} need a dummy {level}; pad to more {level} entities")
        result[name] = Labels(
            entity=_extend(old.entity, extra, padded.num_entities(level) - 1),
            task=_extend(old.task, extra),
            value=_extend(old.value, extra),
            weight=_extend(old.weight, extra),
            total=old.total,
            bound=None if old.bound is None else _extend(old.bound, extra),
            raw=None if old.raw is None else _extend(old.raw, extra),
        )
    return result


def _check_room(batch: GraphBatch, num_nodes: int, num_edges: int, num_graphs: int, num_bonds: int) -> None:
    _check("nodes", batch.num_nodes, num_nodes, dummy=1)
    _check("graphs", batch.num_graphs, num_graphs, dummy=1)
    _check("bonds", batch.num_bonds, num_bonds)
    _check("edges", batch.num_edges, num_edges, dummy=int(num_bonds > batch.num_bonds))


def _check(what: str, count: int, room: int, dummy: int = 0) -> None:
    if count + dummy > room:
        raise GraphiumError(
            f"a batch with {count} {what} does not fit into {room} (one more is kept for padding where "
            "anything is padded); give a larger size or fewer molecules"
        )


def _extend(values: Tensor, extra: int, fill: float = 0, dim: int = 0) -> Tensor:
    shape = list(values.shape)
    shape[dim] = extra
    return torch.cat([values, values.new_full(shape, fill)], dim=dim)


def _mask(like: Tensor, real: int, size: int) -> Tensor:
    return torch.arange(size, device=like.device) < real
