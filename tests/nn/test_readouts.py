"""Readouts: a width per level, the two ends of a bond as equal partners, and pairs without all n^2 of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from graphium.errors import GraphiumError
from graphium.nn.network import build_network, check_heads, check_network
from graphium.types import Task, group_tasks


def test_every_level_may_have_its_own_readout(make: SimpleNamespace) -> None:
    readouts = {
        "graph": {"width": 20, "depth": 2, "pooling": ["sum", "max"], "dropout": 0.5},
        "node": {"width": 5, "activation": "relu", "norm": "layer_norm"},
    }
    network = build_network(make.spec, make.heads, width=8, depth=2, readouts=readouts)
    assert network.readouts["graph"].mlp.channels == (16, 20, 20)
    assert network.readouts["graph"].mlp.dropout.p == 0.5 and network.readouts["node"].mlp.dropout.p == 0
    assert network.readouts["node"].mlp.channels == (8, 5)
    assert isinstance(network.readouts["node"].mlp.activation, torch.nn.ReLU)
    # What nobody mentions is as it was.
    assert network.readouts["nodepair"].mlp.channels == (16, 8)
    batch = make.collate(make.mixed())
    x, edges = network.encode(batch)
    assert network.readouts["graph"](x, batch, edges).shape == (batch.num_graphs, 20)
    assert network.readouts["node"](x, batch, edges).shape == (batch.num_nodes, 5)


def test_a_norm_holds_the_sum_of_many_nodes(make: SimpleNamespace) -> None:
    readouts = {"graph": {"width": 6, "pooling": "sum", "norm": "layer_norm", "activation": "none"}}
    network = build_network(make.spec, make.heads, width=8, depth=2, readouts=readouts).eval()
    batch = make.collate(make.mixed())
    x, edges = network.encode(batch)
    small, large = network.readouts["graph"](x, batch, edges), network.readouts["graph"](1000 * x, batch, edges)
    torch.testing.assert_close(large.std(dim=1), small.std(dim=1), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("edge_width", [None, 6])
def test_an_edge_is_the_same_from_both_ends(make: SimpleNamespace, edge_width: int | None) -> None:
    batch = make.collate(make.mixed())
    # Directions that differ, as the edge states of a layer may.
    batch = replace(batch, edge_num=torch.rand_like(batch.edge_num), edge_attr=batch.edge_attr.clone())
    batch.edge_attr[batch.bond_edges[0], 0] = 1
    batch.edge_attr[batch.bond_edges[1], 0] = 2
    network = build_network(make.spec, make.heads, width=8, depth=2, edge_width=edge_width).eval()
    name = "drugs_edge_regression"
    turned = network(replace(batch, bond_edges=batch.bond_edges.flip(0)))[name]
    assert torch.equal(network(batch)[name], turned)
    # Both directions are read: a change of either one is seen by the readout of this bond, and of no other.
    readout, (x, edges) = network.readouts["edge"], network.encode(batch)
    for direction in batch.bond_edges:
        features = edges.features().clone()
        features[direction[3]] += 1
        changed = readout(x, batch, edges._replace(bonds=features)) != readout(x, batch, edges)
        assert changed.any(dim=1).nonzero().flatten().tolist() == [3]


def test_node_pairs(make: SimpleNamespace) -> None:
    heads = group_tasks([Task("d", "pairs", "nodepair", "regression")])
    network = build_network(make.spec, heads, width=8, depth=1).eval()
    batch = make.collate(make.mixed())
    with pytest.raises(GraphiumError, match="pair_index"):
        network(replace(batch, pair_index=None))
    pairs = torch.tensor([[0, 2], [5, 3]])
    forth = network(replace(batch, pair_index=pairs))["pairs_nodepair_regression"]
    back = network(replace(batch, pair_index=pairs.flip(0)))["pairs_nodepair_regression"]
    assert forth.shape == (2, 1)
    torch.testing.assert_close(forth, back)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_pairs_that_nobody_asked_for_cost_nothing(make: SimpleNamespace) -> None:
    batch = make.collate([make.molecule(np.random.default_rng(0), 2000)])
    assert batch.num_entities("nodepair") == 3
    network = build_network(make.spec, group_tasks([Task("d", "pairs", "nodepair", "regression")]), width=4, depth=1)
    with Largest() as largest:
        network(batch)["pairs_nodepair_regression"].sum().backward()
    assert batch.num_nodes < largest.numel < batch.num_nodes**2 / 4


@pytest.mark.parametrize("autocast", [False, True])
def test_a_batch_without_any_pair_trains(make: SimpleNamespace, autocast: bool) -> None:
    network = build_network(make.spec, make.heads, width=8, depth=1)
    batch = replace(make.collate(make.mixed()), pair_index=torch.empty(2, 0, dtype=torch.int64))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = network(batch)
    assert out["drugs_nodepair_regression"].shape == (0, 1)
    sum(value.float().sum() for value in out.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("readouts", "sentence"),
    [
        ({"graf": {"width": 8}}, r"model\.readouts\.graf is no level; did you mean 'graph'"),
        ({"graph": {"widht": 8}}, r"model\.readouts\.graph\.widht; did you mean 'width'"),
        ({"node": {"pooling": "sum"}}, r"model\.readouts\.node\.pooling is 'sum' and the graph level alone pools"),
        ({"graph": {"pooling": "summ"}}, "did you mean 'sum'"),
        ({"graph": {"pooling": []}}, r"model\.readouts\.graph\.pooling is an empty list"),
        ({"graph": {"width": 0}}, r"model\.readouts\.graph\.width is 0; give at least 1"),
        ({"graph": {"width": "wide"}}, r"model\.readouts\.graph\.width is 'wide'"),
        ({"node": {"depth": 0}}, r"model\.readouts\.node\.depth is 0"),
        ({"node": {"dropout": 1}}, r"model\.readouts\.node\.dropout is 1\.0; give a share"),
        ({"node": {"activation": "rellu"}}, "did you mean 'relu'"),
        ({"node": 64}, r"model\.readouts is"),
    ],
)
def test_bad_readouts_are_refused_before_any_data(readouts: Any, sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        check_network(readouts=readouts)


def test_a_readout_of_a_level_without_tasks(make: SimpleNamespace) -> None:
    heads = [head for head in make.heads if head.level == "graph"]
    options = {"readouts": {"graph": {"width": 8}, "node": {"width": 8}}}
    check_network(**options)
    for judge in (lambda: check_heads(options, heads), lambda: build_network(make.spec, heads, **options)):
        with pytest.raises(GraphiumError, match=r"model\.readouts\.node is for node tasks and there are only graph"):
            judge()


def test_the_last_layer_may_be_a_bare_map(make: SimpleNamespace) -> None:
    options = {"width": 5, "hidden_width": 7, "depth": 3, "norm": "layer_norm", "activate_last": False}
    batch = make.collate(make.mixed())
    for norm_last in (True, False):
        readouts = {"node": {**options, "norm_last": norm_last}}
        readout = build_network(make.spec, make.heads, width=8, depth=1, readouts=readouts).eval().readouts["node"]
        assert readout.mlp.channels == (8, 7, 7, 5)
        out = readout(torch.randn(batch.num_nodes, 8), batch, None)
        assert bool((out < 0).any())
        assert bool((out.mean(1).abs() < 1e-5).all()) == norm_last
    with pytest.raises(GraphiumError, match="hidden_width is 7 and depth 1 has no hidden layer"):
        check_network(readouts={"node": {"hidden_width": 7}})
    with pytest.raises(GraphiumError, match="hidden_width is 0; give at least 1"):
        check_network(readouts={"node": {"hidden_width": 0, "depth": 2}})
