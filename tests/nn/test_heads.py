"""Readouts and heads: shapes per level, and that the two ends of a bond are equal partners."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from graphium.errors import GraphiumError
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks


def test_shapes_per_level(make: SimpleNamespace) -> None:
    batch = make.collate(make.mixed())
    out = build_network(make.spec, make.heads, width=8, depth=1)(batch)
    assert out["qm9_graph_regression"].shape == (batch.num_graphs, 3)
    assert out["sol_graph_multiclass3"].shape == (batch.num_graphs, 1, 3)
    assert out["drugs_node_regression"].shape == (batch.num_nodes, 1)
    assert out["drugs_edge_regression"].shape == (batch.num_bonds, 1)


def test_heads_of_one_level_share_its_readout(make: SimpleNamespace) -> None:
    network = build_network(make.spec, make.heads, width=8, depth=1)
    assert set(network.readouts) == {"graph", "node", "edge"}
    assert set(network.heads) == {head.name for head in make.heads}


def test_node_pairs(make: SimpleNamespace) -> None:
    heads = group_tasks([Task("d", "pairs", "nodepair", "regression")])
    network = build_network(make.spec, heads, width=8, depth=1).eval()
    batch = make.collate(make.mixed())
    with pytest.raises(GraphiumError, match="pair_index"):
        network(batch)
    pairs = torch.tensor([[0, 2], [5, 3]])
    forth = network(replace(batch, pair_index=pairs))["pairs_nodepair_regression"]
    back = network(replace(batch, pair_index=pairs.flip(0)))["pairs_nodepair_regression"]
    assert forth.shape == (2, 1)
    torch.testing.assert_close(forth, back)


def test_an_edge_is_the_same_from_both_ends(make: SimpleNamespace) -> None:
    batch = make.collate(make.mixed())
    network = build_network(make.spec, make.heads, width=8, depth=2).eval()
    name = "drugs_edge_regression"
    turned = network(replace(batch, bond_edges=batch.bond_edges.flip(0)))[name]
    torch.testing.assert_close(network(batch)[name], turned)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_batch_without_any_pair_trains(make: SimpleNamespace, autocast: bool) -> None:
    heads = (*make.heads, *group_tasks([Task("d", "pairs", "nodepair", "regression")]))
    network = build_network(make.spec, heads, width=8, depth=1)
    batch = replace(make.collate(make.mixed()), pair_index=torch.empty(2, 0, dtype=torch.int64))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = network(batch)
    assert out["pairs_nodepair_regression"].shape == (0, 1)
    sum(value.float().sum() for value in out.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
