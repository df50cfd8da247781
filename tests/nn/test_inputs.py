"""The way in: embedding sums are one-hots and a linear map, and any list of features may be empty."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from graphium.errors import GraphiumError
from graphium.nn.inputs import EdgeInput, NodeInput
from graphium.nn.network import build_network


def test_embedding_rows_are_one_hots_and_a_linear_map(make: SimpleNamespace) -> None:
    spec = replace(make.spec, encodings=())
    module = NodeInput(spec, 5)
    batch = make.collate(make.mixed())
    one_hots = [nn.functional.one_hot(batch.x[:, i].long(), size) for i, size in enumerate(spec.atom_sizes)]
    features = torch.cat([torch.cat(one_hots, dim=1).float(), batch.x_num], dim=1)
    weight = torch.cat([module.table, module.linear.weight.t()])
    torch.testing.assert_close(module(batch), features @ weight)


@pytest.mark.parametrize(
    "missing",
    [
        {"encodings"},
        {"atom codes"},
        {"atom numbers"},
        {"bond codes"},
        {"bond numbers"},
        {"atom codes", "atom numbers"},
        {"atom numbers", "bond numbers", "encodings"},
    ],
    ids=lambda missing: ", ".join(sorted(missing)),
)
def test_every_list_of_features_may_be_empty(make: SimpleNamespace, missing: set[str]) -> None:
    spec = make.spec
    atoms = tuple(p for p in spec.atoms if ("atom codes" if p.is_categorical else "atom numbers") not in missing)
    bonds = tuple(p for p in spec.bonds if ("bond codes" if p.is_categorical else "bond numbers") not in missing)
    spec = replace(spec, atoms=atoms, bonds=bonds, encodings=() if "encodings" in missing else spec.encodings)
    rng = np.random.default_rng(0)
    batch = make.collate([make.molecule(rng, 6, spec=spec), make.molecule(rng, 1, spec=spec)])
    network = build_network(spec, make.heads, width=8, depth=2)
    sum(out.sum() for out in network(batch).values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_no_features_at_all(make: SimpleNamespace) -> None:
    with pytest.raises(GraphiumError, match="no atom property"):
        NodeInput(replace(make.spec, atoms=(), encodings=()), 5)


def test_edge_width_is_an_mlp_of_one_hots_and_numbers(make: SimpleNamespace) -> None:
    batch = make.collate(make.mixed())
    plain, changed = EdgeInput(make.spec), EdgeInput(make.spec, 5, "relu")
    assert (plain.edge_dim, changed.edge_dim) == (14, 5)
    one, two = changed.mlp.linears
    expected = two(one(plain(batch, torch.float32).features()).relu())
    torch.testing.assert_close(changed(batch, torch.float32).features(), expected)
    with pytest.raises(GraphiumError, match="model.edge_width is 5 and there are no bond features"):
        EdgeInput(replace(make.spec, bonds=()), 5)


def test_a_network_without_bond_features(make: SimpleNamespace) -> None:
    spec = replace(make.spec, bonds=())
    batch = make.collate([make.molecule(np.random.default_rng(0), 6, spec=spec)])
    assert build_network(spec, make.heads, layer="gin", width=8, depth=2)(batch)
    with pytest.raises(GraphiumError, match="use the layer gin"):
        build_network(spec, make.heads, layer="gine", width=8, depth=2)
