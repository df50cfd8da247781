"""Padding a batch to fixed sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from graphium.data.batch import GraphBatch, Labels
from graphium.data.padding import pad
from graphium.errors import GraphiumError
from graphium.types import Task, group_tasks

HEADS = group_tasks([Task("g", "a", "graph", "regression"), Task("e", "a", "edge", "regression")])
SIZES = {"num_nodes": 8, "num_edges": 7, "num_graphs": 4, "num_bonds": 4}


def make_batch() -> GraphBatch:
    """Ethanol's chain and a lone atom."""
    one = torch.ones(1)
    return GraphBatch(
        x=torch.tensor([[1], [2], [3], [4]], dtype=torch.uint8),
        x_num=torch.ones(4, 2),
        edge_index=torch.tensor([[1, 0, 2, 1], [0, 1, 1, 2]]),
        edge_attr=torch.tensor([[1], [1], [2], [2]], dtype=torch.uint8),
        edge_num=torch.zeros(4, 1),
        rowptr=torch.tensor([0, 1, 3, 4, 4]),
        batch=torch.tensor([0, 0, 0, 1]),
        ptr=torch.tensor([0, 3, 4]),
        bond_edges=torch.tensor([[1, 3], [0, 2]]),
        table=torch.tensor([0, 0]),
        row=torch.tensor([5, 7]),
        encodings={"rw": torch.ones(4, 2, dtype=torch.float16)},
        labels={
            head.name: Labels(torch.tensor([1]), torch.tensor([0]), torch.tensor([2.5]), one, one) for head in HEADS
        },
        pair_index=torch.tensor([[0], [1]]),
    )


def test_counts_masks_and_the_dummy_graph() -> None:
    batch = make_batch()
    padded = pad(batch, **SIZES, num_pairs=3, labels={head.name: 3 for head in HEADS}, heads=HEADS)
    assert (padded.num_nodes, padded.num_edges, padded.num_graphs, padded.num_bonds) == (8, 7, 4, 4)
    assert padded.ptr.tolist() == [0, 3, 4, 4, 8]
    assert padded.batch.tolist() == [0, 0, 0, 1, 3, 3, 3, 3]
    assert padded.rowptr.tolist() == [0, 1, 3, 4, 4, 4, 4, 4, 7]
    assert padded.edge_index[:, 4:].tolist() == [[7] * 3] * 2
    assert padded.bond_edges[:, 2:].tolist() == [[6, 6]] * 2
    assert padded.pair_index is not None and padded.pair_index.tolist() == [[0, 7, 7], [1, 7, 7]]
    assert padded.row.tolist() == [5, 7, -1, -1]
    for mask, real in ((padded.node_mask, 4), (padded.edge_mask, 4), (padded.graph_mask, 2)):
        assert mask is not None and int(mask.sum()) == real and bool(mask[:real].all())
    graph, edge = (padded.labels[head.name] for head in HEADS)
    assert graph.entity.tolist() == [1, 3, 3] and edge.entity.tolist() == [1, 3, 3]
    assert graph.weight.tolist() == [1, 0, 0] and graph.total.tolist() == [1]


def test_weights_and_labels_in_their_own_units_are_padded() -> None:
    batch = make_batch()
    raw, bound = torch.tensor([2.5], dtype=torch.float64), torch.tensor([1], dtype=torch.int8)
    weighted = {n: replace(old, weight=old.weight / 2, raw=raw, bound=bound) for n, old in batch.labels.items()}
    padded = pad(replace(batch, labels=weighted), **SIZES, labels={head.name: 3 for head in HEADS}, heads=HEADS)
    for labels in padded.labels.values():
        assert labels.weight.tolist() == [0.5, 0, 0]
        assert labels.raw is not None and labels.raw.tolist() == [2.5, 0, 0] and labels.raw.dtype == torch.float64
        assert labels.bound is not None and labels.bound.tolist() == [1, 0, 0]


def test_real_part_is_unchanged() -> None:
    batch = make_batch()
    padded = pad(batch, **SIZES)
    assert torch.equal(padded.x[:4], batch.x) and padded.x.dtype == torch.uint8
    assert torch.equal(padded.edge_index[:, :4], batch.edge_index)
    assert torch.equal(padded.encodings["rw"][:4], batch.encodings["rw"])
    assert torch.equal(padded.labels[HEADS[0].name].value, batch.labels[HEADS[0].name].value)


def test_edges_stay_sorted_by_destination() -> None:
    padded = pad(make_batch(), **SIZES)
    destination = padded.edge_index[1]
    assert bool((destination[1:] >= destination[:-1]).all())
    expected = torch.searchsorted(destination, torch.arange(padded.num_nodes + 1))
    assert torch.equal(padded.rowptr, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_nodes": 4}, "4 nodes does not fit into 4"),
        ({"num_graphs": 2}, "2 graphs"),
        ({"num_edges": 3}, "4 edges"),
        ({"num_edges": 4}, "4 edges"),
        ({"num_bonds": 1}, "2 bonds"),
        ({"num_pairs": 0}, "1 pairs"),
        ({"labels": {"nobody": 4}, "heads": HEADS}, "'nobody'"),
        ({"labels": {HEADS[0].name: 4}}, "must both have it"),
        ({"labels": {HEADS[0].name: 0}, "heads": HEADS}, "1 labels"),
        ({"labels": {HEADS[1].name: 4}, "heads": HEADS, "num_bonds": 2}, "dummy edge"),
    ],
)
def test_sizes_that_are_too_small(change: dict, message: str) -> None:
    with pytest.raises(GraphiumError, match=message):
        pad(make_batch(), **{**SIZES, **change})


def test_a_padded_batch_is_not_padded_again() -> None:
    padded = pad(make_batch(), **SIZES)
    with pytest.raises(GraphiumError, match="padded already"):
        pad(padded, **{name: size + 5 for name, size in SIZES.items()})


def test_a_batch_without_bonds() -> None:
    batch = make_batch()
    lone = replace(
        batch,
        edge_index=batch.edge_index[:, :0],
        edge_attr=batch.edge_attr[:0],
        edge_num=batch.edge_num[:0],
        rowptr=torch.zeros(5, dtype=torch.long),
        bond_edges=batch.bond_edges[:, :0],
    )
    padded = pad(lone, **SIZES)
    assert padded.num_bonds == 4 and padded.rowptr.tolist() == [0] * 8 + [7]


def test_pairs_bounds_and_coordinates() -> None:
    heads = group_tasks([Task("p", "a", "nodepair", "regression")])
    one = torch.ones(1)
    bound = torch.tensor([-1], dtype=torch.int8)
    labels = {heads[0].name: Labels(torch.tensor([0]), torch.tensor([0]), one, one, one, bound)}
    batch = replace(make_batch(), labels=labels, pos=torch.rand(4, 3))
    padded = pad(batch, **SIZES, num_pairs=4, labels={heads[0].name: 3}, heads=heads)
    found = padded.labels[heads[0].name]
    assert found.entity.tolist() == [0, 3, 3] and found.weight.tolist() == [1, 0, 0]
    assert found.bound is not None and found.bound.tolist() == [-1, 0, 0] and found.bound.dtype == torch.int8
    assert padded.pos is not None and padded.pos.shape == (8, 3) and not padded.pos[4:].any()
    with pytest.raises(GraphiumError, match="dummy nodepair"):
        pad(batch, **SIZES, num_pairs=1, labels={heads[0].name: 3}, heads=heads)


def test_no_pairs_are_padded_with_dummies() -> None:
    batch = replace(make_batch(), pair_index=torch.empty(2, 0, dtype=torch.int64))
    padded = pad(batch, **SIZES, num_pairs=2)
    assert padded.pair_index is not None and padded.pair_index.tolist() == [[7, 7], [7, 7]]
