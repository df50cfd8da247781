"""The way in: embedding sums are one-hots and a linear map, and any list of features may be empty."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from graphium.data.batch import GraphBatch
from graphium.data.padding import pad
from graphium.errors import GraphiumError
from graphium.nn.inputs import EdgeInput, InputOptions, NodeInput
from graphium.nn.network import build_network
from graphium.nn.ops import BondTable
from graphium.types import FeatureSpec, Property


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


def test_hidden_layers_of_the_atoms(make: SimpleNamespace) -> None:
    module = NodeInput(make.spec, 5, options=InputOptions([7], "layer_norm", "relu")).eval()
    batch = make.collate(make.mixed())
    (last,) = module.mlp.linears
    hidden = nn.functional.layer_norm(module.features(batch), (7,)).relu()
    torch.testing.assert_close(module(batch), nn.functional.layer_norm(last[0](hidden), (5,)))


def categorical(spec: FeatureSpec) -> FeatureSpec:
    bonds = (Property("bond-type", 5, "uint8"), Property("stereo", 7, "uint8"), Property("in-ring", 3, "uint8"))
    return replace(spec, bonds=bonds)


def bond_batch(make: SimpleNamespace, spec: FeatureSpec) -> GraphBatch:
    rng = np.random.default_rng(0)
    return make.collate([make.molecule(rng, atoms, spec=spec) for atoms in (9, 1, 12)])  # type: ignore[no-any-return]


@pytest.mark.parametrize("layer", ["gine", {"name": "gine", "edge_bias": True}, "torch_geometric.nn.GATv2Conv"])
def test_few_combinations_of_bond_categories_are_a_table(
    make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, layer: str | dict[str, object]
) -> None:
    """One vector for every combination, or one for every bond: the same predictions and gradients."""
    spec = categorical(make.spec)
    batch = bond_batch(make, spec)
    found = []
    for most in (EdgeInput.MOST_COMBINATIONS, 0):
        monkeypatch.setattr(EdgeInput, "MOST_COMBINATIONS", most)
        torch.manual_seed(0)
        inputs = {"bonds": {"hidden": [6], "norm": "layer_norm"}}
        network = build_network(spec, make.heads, width=8, depth=2, layer=layer, edge_width=4, inputs=inputs).eval()
        edges = network.edge_input(batch, torch.float32)
        assert isinstance(edges.bonds, BondTable) == (most > 0)
        out = network(batch)
        sum(values.square().sum() for values in out.values()).backward()
        found.append((edges.features(), out, {name: p.grad for name, p in network.named_parameters()}))
    (one, out, gradients), (two, expected, wanted) = found
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-4)


def test_a_table_of_bonds_pads_and_exports(make: SimpleNamespace) -> None:
    spec = categorical(make.spec)
    batch = bond_batch(make, spec)
    network = build_network(spec, make.heads, width=8, depth=2, edge_width=4).eval()
    padded = pad(
        batch,
        num_nodes=batch.num_nodes + 5,
        num_edges=batch.num_edges + 9,
        num_graphs=batch.num_graphs + 2,
        num_bonds=batch.num_bonds + 4,
        num_pairs=batch.num_entities("nodepair") + 3,
    )
    expected, found = network(batch), network(padded)
    for name, values in expected.items():
        torch.testing.assert_close(found[name][: len(values)], values)
    exported = torch.export.export(network, (batch,)).module(check_guards=False)(batch)
    torch.testing.assert_close(exported, expected)


def test_many_combinations_are_no_table(make: SimpleNamespace) -> None:
    bonds = tuple(Property(f"p{i}", 10, "uint8") for i in range(3))
    assert EdgeInput(replace(make.spec, bonds=bonds), 4).num_combinations == 0
    assert EdgeInput(make.spec, 4).num_combinations == 0
    assert EdgeInput(categorical(make.spec), 4).num_combinations == 105
    assert EdgeInput(categorical(make.spec)).num_combinations == 0
