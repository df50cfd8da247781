"""The batch as one thing: every tensor goes along, and what is not there stays away."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch, Labels


def make_batch(bound: Tensor | None = None, **more: Tensor) -> GraphBatch:
    """Two atoms with one bond."""
    one, none = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    return GraphBatch(
        x=torch.tensor([[1], [2]], dtype=torch.uint8),
        x_num=torch.ones(2, 1),
        edge_index=torch.tensor([[1, 0], [0, 1]]),
        edge_attr=torch.tensor([[1], [1]], dtype=torch.uint8),
        edge_num=torch.zeros(2, 0),
        rowptr=torch.tensor([0, 1, 2]),
        batch=torch.tensor([0, 0]),
        ptr=torch.tensor([0, 2]),
        bond_edges=torch.tensor([[1], [0]]),
        table=none,
        row=none,
        encodings={"rw": torch.ones(2, 3, dtype=torch.float16)},
        labels={"head": Labels(none, none, one, one, one, bound)},
        **more,
    )


FULL = {
    "bound": torch.tensor([-1], dtype=torch.int8),
    "pair_index": torch.tensor([[0], [1]]),
    "pos": torch.rand(2, 3),
    "node_mask": torch.ones(2, dtype=torch.bool),
    "edge_mask": torch.ones(2, dtype=torch.bool),
    "graph_mask": torch.ones(1, dtype=torch.bool),
}


@pytest.mark.parametrize("more", [{}, FULL], ids=["plain", "full"])
def test_map_reaches_every_tensor(more: dict[str, Tensor]) -> None:
    batch = make_batch(**more)
    seen: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        seen.append(tensor)
        return tensor.clone()

    mapped = batch.map(note)
    assert len(seen) == 11 + 1 + 5 + len(more)
    for item in (*fields(GraphBatch), *fields(Labels)):
        old = getattr(batch if hasattr(batch, item.name) else batch.labels["head"], item.name)
        new = getattr(mapped if hasattr(batch, item.name) else mapped.labels["head"], item.name)
        assert type(old) is type(new), item.name
        if isinstance(old, Tensor):
            assert torch.equal(old, new) and old is not new and old.dtype == new.dtype, item.name
    assert batch.to("cpu") is batch


def test_moving_takes_everything_along() -> None:
    moved = make_batch(**FULL).to("meta")
    labels = moved.labels["head"]
    tensors = [getattr(moved, item.name) for item in fields(GraphBatch)] + [
        getattr(labels, f.name) for f in fields(Labels)
    ]
    assert all(tensor.device.type == "meta" for tensor in tensors if isinstance(tensor, Tensor))
    assert labels.bound is not None and moved.pos is not None and moved.pair_index is not None


def test_entities_of_every_level() -> None:
    batch = make_batch(**FULL)
    assert [batch.num_entities(level) for level in ("graph", "node", "edge", "nodepair")] == [1, 2, 1, 1]
    assert make_batch().num_entities("nodepair") == 0


@pytest.mark.parametrize("more", [{}, FULL], ids=["plain", "full"])
def test_a_program_takes_and_returns_batches(more: dict[str, Tensor]) -> None:
    class Shift(nn.Module):
        def forward(self, batch: GraphBatch) -> GraphBatch:
            return replace(batch, x_num=batch.x_num + 1)

    batch = make_batch(**more)
    program = torch.export.export(Shift(), (batch,))
    shifted = program.module(check_guards=False)(batch)
    assert torch.equal(shifted.x_num, batch.x_num + 1)
    assert (shifted.pos is None) == (batch.pos is None)
    assert (shifted.labels["head"].bound is None) == (batch.labels["head"].bound is None)
