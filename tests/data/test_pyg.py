"""To PyG's batch and back."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import AddSelfLoops

from graphium.data.batch import GraphBatch
from graphium.data.pyg import from_pyg, to_pyg
from graphium.errors import GraphiumError


def chain(length: int) -> Data:
    """A chain of atoms, its edges in no useful order, bond ``(i, i + 1)`` with code ``i``."""
    forth = torch.stack([torch.arange(length - 1), torch.arange(1, length)])
    order = torch.randperm(2 * (length - 1), generator=torch.Generator().manual_seed(length))
    return Data(
        x=torch.arange(length).unsqueeze(1),
        edge_index=torch.cat([forth, forth.flip(0)], dim=1)[:, order],
        edge_attr=torch.arange(length - 1).repeat(2)[order].unsqueeze(1),
        rw=torch.rand(length, 3),
        num_nodes=length,
    )


def test_list_of_data_becomes_a_sorted_batch() -> None:
    batch = from_pyg([chain(3), chain(1), chain(4)], encodings=["rw"])
    assert batch.ptr.tolist() == [0, 3, 4, 8] and batch.batch.tolist() == [0] * 3 + [1] + [2] * 4
    assert batch.edge_index[1].tolist() == sorted(batch.edge_index[1].tolist())
    assert torch.equal(batch.rowptr, torch.searchsorted(batch.edge_index[1], torch.arange(9)))
    forth, back = batch.bond_edges
    assert torch.equal(batch.edge_index[:, forth], batch.edge_index[:, back].flip(0))
    assert batch.edge_attr[forth].squeeze(1).tolist() == [0, 1, 0, 1, 2]
    assert torch.equal(batch.edge_attr[forth], batch.edge_attr[back])
    assert batch.x.dtype == torch.uint8 and batch.encodings["rw"].shape == (8, 3)


def test_there_and_back_is_the_same_batch() -> None:
    batch = from_pyg([chain(3), chain(1), chain(4)], encodings=["rw"])
    again = from_pyg(to_pyg(batch), encodings=["rw"])
    for item in fields(GraphBatch):
        value = getattr(batch, item.name)
        if isinstance(value, Tensor):
            assert torch.equal(getattr(again, item.name), value), item.name
    assert torch.equal(again.encodings["rw"], batch.encodings["rw"])


def test_pyg_transforms_run_on_the_result() -> None:
    batch = to_pyg(from_pyg([chain(3), chain(4)]))
    assert batch.num_nodes == 7 and batch.num_graphs == 2
    assert AddSelfLoops()(batch).edge_index.shape[1] == 10 + 7


def with_extra(**more: Tensor) -> Data:
    """Two bonded atoms and something else."""
    return Data(x=torch.zeros(2, 1).long(), edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2, **more)


def test_pairs_and_coordinates_go_both_ways() -> None:
    parts = [with_extra(pos=torch.rand(2, 3), pair_index=torch.tensor([[1], [0]])) for _ in range(3)]
    batch = from_pyg(parts)
    assert batch.pair_index is not None and batch.pair_index.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert batch.pos is not None and torch.equal(batch.pos, torch.cat([part.pos for part in parts]))
    again = from_pyg(to_pyg(batch))
    assert again.pair_index is not None and torch.equal(again.pair_index, batch.pair_index)
    assert again.pos is not None and torch.equal(again.pos, batch.pos)
    assert from_pyg(with_extra()).pair_index is None and from_pyg(with_extra()).pos is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data(edge_index=torch.zeros(2, 0, dtype=torch.long), num_nodes=1), "has no 'x'"),
        (Data(x=torch.zeros(2, 1).long(), edge_index=torch.tensor([[0], [1]])), "no reverse"),
        (Data(x=torch.zeros(2, 1).long(), edge_index=torch.tensor([[0], [0]])), "self-loops"),
        (Data(x=torch.zeros(2, 1).long(), edge_index=torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]])), "twice"),
        (Data(x=torch.rand(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]])), "integer codes"),
        (with_extra(pos=torch.rand(2, 2)), r"pos has shape \(2, 2\) for 2 atoms"),
        (with_extra(pair_index=torch.tensor([0, 1])), r"give integers \[2, pairs\]"),
        (with_extra(pair_index=torch.tensor([[0.0], [1.0]])), r"give integers \[2, pairs\]"),
        (with_extra(pair_index=torch.tensor([[1], [1]])), "joins an atom with itself"),
        (with_extra(pair_index=torch.tensor([[0], [2]])), "or with another molecule"),
    ],
)
def test_graphs_that_are_no_molecules(data: Data, message: str) -> None:
    with pytest.raises(GraphiumError, match=message):
        from_pyg(data)
