"""The virtual node: it joins atoms that no bond joins, and only within their molecule."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from graphium.nn.network import build_network
from graphium.nn.ops import Segments
from graphium.nn.virtual_node import VirtualNode


@pytest.mark.parametrize("virtual_node", ["none", "sum"])
def test_it_reaches_other_components_but_no_other_molecule(make: SimpleNamespace, virtual_node: str) -> None:
    rng = np.random.default_rng(0)
    salt, other = make.molecule(rng, 2, components=2), make.molecule(rng, 3)
    changed = make.molecule(rng, 2, components=2)
    for name in ("codes", "numbers"):
        getattr(changed, name)[1] = getattr(salt, name)[1]
    changed.encodings = {name: values.copy() for name, values in salt.encodings.items()}
    torch.manual_seed(0)
    network = build_network(make.spec, make.heads, width=8, depth=2, virtual_node=virtual_node).eval()
    before = network(make.collate([salt, other]))["drugs_node_regression"]
    after = network(make.collate([changed, other]))["drugs_node_regression"]
    assert not torch.allclose(before[0], after[0])
    assert torch.allclose(before[1], after[1]) == (virtual_node == "none")
    torch.testing.assert_close(before[2:], after[2:])


def test_there_is_none_after_the_last_block(make: SimpleNamespace) -> None:
    assert len(build_network(make.spec, make.heads, width=8, depth=3).virtual_nodes) == 2
    assert len(build_network(make.spec, make.heads, width=8, depth=3, virtual_node=None).virtual_nodes) == 0


def test_projection(make: SimpleNamespace) -> None:
    batch = make.collate(make.mixed())
    graphs = Segments(batch.ptr, batch.batch)
    module = VirtualNode(6, "mean", "layer_norm", "relu", 0.0, projection=True)
    h, v = torch.randn(batch.num_nodes, 6), torch.randn(batch.num_graphs, 6)
    out, after = module(h, v, graphs, None)
    pooled = torch.stack([part.mean(0) for part in h.split(batch.ptr.diff().tolist())])
    expected = v + nn.functional.layer_norm(module.linear(v + pooled), (6,)).relu()
    torch.testing.assert_close(after, expected)
    torch.testing.assert_close(out, h + module.projection(expected)[batch.batch])
