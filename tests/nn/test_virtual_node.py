"""The virtual node: it joins atoms that no bond joins, and only within their molecule."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from graphium.nn.network import build_network


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
