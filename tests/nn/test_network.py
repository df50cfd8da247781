"""The battery: every registered part of the network goes through the same tests."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from graphium.data.batch import GraphBatch
from graphium.data.padding import pad
from graphium.errors import GraphiumError
from graphium.nn.activations import ACTIVATIONS
from graphium.nn.inputs import NodeInput
from graphium.nn.layers import GCNLayer
from graphium.nn.network import Network, build_network, check_heads, check_network
from graphium.nn.ops import Segments
from graphium.registry import names
from graphium.types import Task, group_tasks

LAYERS = [*names("layer"), "torch_geometric.nn.GATv2Conv"]
PARTS: list[dict[str, Any]] = [
    *[{"layer": name} for name in LAYERS],
    *[{"norm": name} for name in names("norm")],
    *[{"residual": name} for name in names("residual")],
    *[{"pooling": name} for name in names("pooling")],
    {"pooling": ["sum", "max"]},
    *[{"virtual_node": name} for name in ["none", *names("pooling")]],
    *[{"encoders": {"rw_return_probs": name}} for name in names("encoder") if name != "laplacian"],
    *[{"activation": name} for name in ACTIVATIONS],
    {"head_depth": 0},
    {"head_depth": 2, "head_width": 5},
    {"layer": {"name": "gin", "train_eps": True}},
    {"layer": {"name": "gine", "eps": 0.5}, "feed_forward": 2.0},
    *[{"edge_width": 6, "layer": name} for name in ("gine", "gcn", "torch_geometric.nn.GATv2Conv")],
    {
        "readouts": {
            "graph": {"width": 20, "depth": 2, "pooling": ["sum", "max"]},
            "node": {"width": 5, "activation": "relu"},
            "edge": {"depth": 2},
            "nodepair": {"width": 7},
        }
    },
    # Heads of different widths share hidden layers.
    {"heads": {"graphs": {"of": ["qm9", "tox", "sol", "assay"], "width": 9}, "atoms": {"of": "drugs/n", "depth": 0}}},
    # Heads in parts: what no entry names keeps a stack of its own.
    {"heads": {"odd": {"of": ["qm9/g0", "qm9/g2", "assay/q1"], "depth": 2}, "even": {"of": "qm9/g1", "width": 5}}},
    *[{"layer": {"name": name, "norm": "layer_norm"}} for name in ("gin", "gine")],
    {"layer": {"name": "gine", "edge_bias": True}},
    {"layer": {"name": "gine", "edge_bias": True}, "edge_width": 6},
    # No residual connection passes by the first and the last block.
    *[{"in_width": 7, "out_width": 9, "residual": name} for name in ("simple", "weighted", "concat")],
    {"in_width": 15, "feed_forward": 2.0},
    *[{"virtual_node_place": "after_residual", "residual": name} for name in ("simple", "weighted")],
    {"virtual_node_projection": True, "virtual_node": "mean"},
    *[{key: {"name": "logsum", "plus_one": False}} for key in ("pooling", "virtual_node")],
    {"inputs": {"atoms": {"hidden": [9, 10], "norm": "layer_norm", "activation": "relu"}}},
    {"inputs": {"atoms": {"norm": "layer_norm"}}},
    {"edge_width": 6, "inputs": {"bonds": {"hidden": [9, 5], "norm": "layer_norm"}}},
    {"edge_width": 6, "inputs": {"bonds": {"hidden": []}}},
    {"encoders": {"rw_return_probs": {"name": "mlp", "depth": 2, "norm": "layer_norm", "input_norms": 2}}},
    {"encoders": {"laplacian": {"name": "laplacian", "flip_signs": False, "count_absent": True}}},
    {
        "readouts": {
            "graph": {"width": 9, "hidden_width": 7, "depth": 2, "norm": "layer_norm", "activate_last": False},
            "node": {"depth": 2, "norm": "layer_norm", "activate_last": False, "norm_last": False},
        }
    },
    {"head_norm": "layer_norm", "heads": {"graphs": {"of": ["qm9", "tox"], "split": True, "width": 5}}},
    # Every task with hidden layers of its own, at all levels.
    {
        "heads": {
            "graphs": {"of": ["qm9", "tox", "sol", "assay"], "split": True, "width": 5, "depth": 2},
            **{level: {"of": f"drugs_{level}_*", "split": True} for level in ("node", "edge", "nodepair")},
        }
    },
]
every_part = pytest.mark.parametrize("options", PARTS, ids=[str(part) for part in PARTS])


def build(make: SimpleNamespace, options: dict[str, Any]) -> Network:
    torch.manual_seed(0)
    # GELU is smooth, and without flipped signs two passes see the same input.
    encoders = {"laplacian": {"name": "laplacian", "flip_signs": False}, **options.get("encoders", {})}
    return build_network(make.spec, make.heads, **{"width": 12, "depth": 3, **options, "encoders": encoders})


def labelled(make: SimpleNamespace, batch: GraphBatch, seed: int = 1) -> GraphBatch:
    rng = np.random.default_rng(seed)
    return replace(batch, labels={h.name: make.labels(rng, h, batch.num_entities(h.level)) for h in make.heads})


def levels(make: SimpleNamespace) -> dict[str, str]:
    return {head.name: head.level for head in make.heads}


@every_part
def test_permuted_atoms_give_permuted_predictions(make: SimpleNamespace, options: dict[str, Any]) -> None:
    network = build(make, options).eval()
    rng = np.random.default_rng(3)
    molecules = make.mixed()
    orders = [rng.permutation(molecule.num_atoms) for molecule in molecules]
    permuted = [molecule.permuted(order) for molecule, order in zip(molecules, orders, strict=True)]
    starts = np.cumsum([0, *[molecule.num_atoms for molecule in molecules]])
    nodes = np.concatenate([order + start for order, start in zip(orders, starts[:-1], strict=True)])
    with torch.no_grad():
        before, after = network(make.collate(molecules)), network(make.collate(permuted))
    for name, level in levels(make).items():
        expected = before[name][nodes] if level == "node" else before[name]
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-4)


@every_part
def test_batch_equals_loop(make: SimpleNamespace, options: dict[str, Any]) -> None:
    network = build(make, options).eval()
    molecules = make.mixed()
    with torch.no_grad():
        together = network(make.collate(molecules))
        apart = [network(make.collate([molecule])) for molecule in molecules]
    for name in together:
        torch.testing.assert_close(together[name], torch.cat([out[name] for out in apart]), rtol=1e-4, atol=1e-4)


@every_part
@pytest.mark.parametrize("extra_graphs", [1, 3])
def test_padded_equals_unpadded_in_training(make: SimpleNamespace, options: dict[str, Any], extra_graphs: int) -> None:
    batch = labelled(make, make.collate(make.mixed()))
    padded = pad(
        batch,
        num_nodes=batch.num_nodes + 5,
        num_edges=batch.num_edges + 9,
        num_graphs=batch.num_graphs + extra_graphs,
        num_bonds=batch.num_bonds + 4,
        num_pairs=batch.num_entities("nodepair") + 3,
        labels={name: labels.entity.shape[0] + 3 for name, labels in batch.labels.items()},
        heads=make.heads,
    )
    results = []
    for case in (batch, padded):
        network = build(make, options).train()
        predictions = network(case)
        loss = make.loss(predictions, case)
        loss.backward()
        results.append((network, predictions, loss))
    (plain, expected, loss), (other, found, padded_loss) = results
    for name, values in expected.items():
        assert torch.isfinite(found[name]).all()
        torch.testing.assert_close(found[name][: len(values)], values, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(padded_loss, loss, rtol=1e-4, atol=1e-4)
    for (name, parameter), twin in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert parameter.grad is not None and twin.grad is not None, name
        assert torch.isfinite(twin.grad).all(), name
        torch.testing.assert_close(twin.grad, parameter.grad, rtol=1e-3, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    for (name, values), twin in zip(plain.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(twin, values, msg=lambda m, n=name: f"{n}: {m}")


@every_part
def test_small_molecules_in_training(make: SimpleNamespace, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    single, salt = make.molecule(rng, 1), make.molecule(rng, 3, components=3)
    for molecules in ([single], [single, single], [salt], [single, salt]):
        network = build(make, options).train()
        batch = labelled(make, make.collate(molecules))
        make.loss(network(batch), batch).backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
        for name, values in network.named_buffers():
            assert torch.isfinite(values).all(), name


@every_part
def test_gradient_reaches_every_parameter(make: SimpleNamespace, options: dict[str, Any]) -> None:
    network = build(make, options).train()
    batch = labelled(make, make.collate(make.mixed() + make.mixed(1)))
    make.loss(network(batch), batch).backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    # ReLU alone may leave a unit dead, never a whole tensor.
    assert not dead


@every_part
def test_state_dict_round_trip(make: SimpleNamespace, options: dict[str, Any]) -> None:
    network = build(make, options)
    batch = make.collate(make.mixed())
    network.train()(batch)
    torch.manual_seed(99)
    twin = Network(make.spec, make.heads, **network.config())
    twin.load_state_dict(network.state_dict())
    with torch.no_grad():
        expected, found = network.eval()(batch), twin.eval()(batch)
    for name in expected:
        assert torch.equal(expected[name], found[name])


@every_part
def test_bfloat16(make: SimpleNamespace, options: dict[str, Any]) -> None:
    network = build(make, options).eval()
    batch = labelled(make, make.collate(make.mixed()))
    with torch.no_grad():
        exact = network(batch)
        rounded = network.to(torch.bfloat16)
        out = rounded(batch)
    make.loss(rounded.train()(batch), batch).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    for name, values in exact.items():
        assert out[name].dtype is torch.bfloat16
        # bfloat16 keeps 8 bits; min, max and std may pick another node.
        error = (out[name].float() - values).abs().mean()
        assert error < 0.1 * values.abs().mean() + 0.1, (name, error)


@every_part
def test_autocast(make: SimpleNamespace, options: dict[str, Any]) -> None:
    network = build(make, options).train()
    batch = labelled(make, make.collate(make.mixed()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictions = network(batch)
    make.loss(predictions, batch).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


EXPORTED = [part for part in PARTS if "activation" not in part and "." not in str(part.get("layer", ""))]


@pytest.mark.parametrize("options", EXPORTED, ids=[str(part) for part in EXPORTED])
def test_export(make: SimpleNamespace, options: dict[str, Any]) -> None:
    network = build(make, options).eval()
    batch = make.collate(make.mixed())
    with torch.no_grad():
        program = torch.export.export(network, (batch,))
        # The guards are left out: torch 2.13 writes them wrongly where one field's name begins another's.
        expected, found = network(batch), program.module(check_guards=False)(batch)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def test_dropout_and_sign_flips_are_inactive_at_inference(make: SimpleNamespace) -> None:
    torch.manual_seed(0)
    network = build_network(make.spec, make.heads, width=12, depth=2, dropout=0.5, input_dropout=0.5)
    batch = make.collate(make.mixed())
    name = make.heads[0].name
    assert not torch.equal(network.train()(batch)[name], network.train()(batch)[name])
    assert torch.equal(network.eval()(batch)[name], network.eval()(batch)[name])


def test_gradients_are_bit_equal_between_runs(make: SimpleNamespace) -> None:
    batch = labelled(make, make.collate(make.mixed()))
    gradients = []
    for _ in range(2):
        network = build(make, {}).train()
        make.loss(network(batch), batch).backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"widht": 96}, "did you mean 'width'"),
        ({"layer": "gnie"}, "Choices: gcn, gin, gine"),
        ({"layer": {"name": "gine", "epss": 1}}, "did you mean 'eps'"),
        ({"norm": "lair_norm"}, "layer_norm"),
        ({"norm": {"name": "none", "eps": 1}}, "eps"),
        ({"pooling": "summ"}, "did you mean 'sum'"),
        ({"pooling": ["sum", "mex"]}, "max"),
        ({"pooling": []}, "model.pooling is an empty list"),
        ({"pooling": {"name": "sum", "of": 1}}, "of"),
        ({"virtual_node": "summ"}, "did you mean 'sum'"),
        ({"residual": "simpel"}, "did you mean 'simple'"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
        ({"width": 0}, "model.width is 0"),
        ({"layer": {"name": "gin", "hidden_channels": 64}, "feed_forward": 2.0}, "has no MLP"),
        ({"feed_forward": 0.0}, "model.feed_forward is 0.0"),
        ({"depth": "four"}, "model.depth is 'four'"),
        ({"dropout": 1.5}, "model.dropout is 1.5"),
        ({"layer": "gcn", "feed_forward": 2.0}, "has no MLP"),
        ({"encoders": {"laplacian": "lapacian"}}, "did you mean 'laplacian'"),
        ({"budget": 0}, "model.budget is 0"),
        ({"edge_width": 0}, "model.edge_width is 0"),
        ({"in_width": 0}, "model.in_width is 0"),
        ({"out_width": 0}, "model.out_width is 0"),
        ({"inputs": {"bond": {}}}, "unknown key model.inputs.bond; did you mean 'bonds'"),
        ({"inputs": {"atoms": {"widths": [3]}}}, "unknown key model.inputs.atoms.widths"),
        ({"inputs": {"atoms": {"hidden": [8, 0]}}}, r"model.inputs.atoms.hidden\[1\] is 0"),
        ({"inputs": {"atoms": {"activation": "rellu"}}}, "did you mean 'relu'"),
        ({"inputs": {"bonds": {"hidden": [8]}}}, "model.inputs.bonds has no effect without model.edge_width"),
        *[
            ({"virtual_node_place": "after_residual", "residual": name}, "makes the nodes wider")
            for name in ("concat", "densenet")
        ],
        ({"virtual_node_place": "aside"}, "model.virtual_node_place is 'aside'"),
        ({"head_norm": "batch_norm"}, "model.head_norm is 'batch_norm'"),
        ({"layer": "torch_geometric.nn.GINConv"}, "model.layer.nn is missing"),
        ({"layer": "torch_geometric.nn.NoSuchConv"}, "NoSuchConv"),
    ],
)
def test_bad_options_are_refused_before_any_data(options: dict[str, Any], part: str) -> None:
    with pytest.raises(GraphiumError, match=part):
        check_network(**options)


def test_config_builds_the_same_network(make: SimpleNamespace) -> None:
    network = build_network(make.spec, make.heads, layer="gin", width=10, depth=2, pooling=["mean", "max"])
    config = network.config()
    assert config["width"] == 10 and config["layer"] == "gin" and config["pooling"] == ["mean", "max"]
    assert Network(make.spec, make.heads, **config).config() == config


def test_unknown_encoding_is_refused(make: SimpleNamespace) -> None:
    with pytest.raises(GraphiumError, match="laplacian"):
        build_network(make.spec, make.heads, encoders={"laplace": "mlp"})


def test_edge_width_that_nothing_reads(make: SimpleNamespace) -> None:
    heads = [head for head in make.heads if head.level != "edge"]
    options = {"layer": "gcn", "edge_width": 8}
    check_network(**options)
    with pytest.raises(GraphiumError, match="neither the layer 'gcn' nor a task of bonds reads bond features"):
        check_heads(options, heads)
    check_heads({**options, "layer": "gine"}, heads)
    check_heads(options, make.heads)


def test_options_survive_yaml(make: SimpleNamespace) -> None:
    options = {
        "edge_width": 5,
        "readouts": {"graph": {"width": 9, "pooling": ["sum", {"name": "std", "eps": 0.1}]}, "node": {"depth": 2}},
        "heads": {"a": {"of": ["qm9/g?", "tox"], "dropout": 0.5}, "b": {"of": "drugs/n", "split": True}},
    }
    network = build_network(make.spec, make.heads, width=8, depth=1, **options).eval()
    config = yaml.safe_load(yaml.safe_dump(network.config()))
    assert config == network.config() and {key: config[key] for key in options} == options
    twin = Network(make.spec, make.heads, **config).eval()
    twin.load_state_dict(network.state_dict())
    batch = make.collate(make.mixed())
    for name, values in network(batch).items():
        assert torch.equal(twin(batch)[name], values)


def test_order_of_creation(make: SimpleNamespace) -> None:
    """Equal seeds give equal networks from one version to the next: what is drawn, and in which order."""
    torch.manual_seed(0)
    network = build_network(make.spec, make.heads, layer="gcn", width=8, depth=2, norm="none", virtual_node="none")
    torch.manual_seed(0)
    drawn = [*NodeInput(make.spec, 8).parameters()]
    for _ in range(2):
        drawn += GCNLayer(8, 8).parameters()
    after, seen = [], set()
    edge_dim = sum(make.spec.bond_sizes) + make.spec.num_bond_numbers
    for head in make.heads:
        if head.level not in seen:
            channels = {"graph": 8, "node": 8, "edge": 16 + edge_dim, "nodepair": 16}[head.level]
            after.append((head.level, [*nn.Linear(channels, 8).parameters()]))
            seen.add(head.level)
        layers = nn.Linear(8, 8), nn.Linear(8, head.num_tasks * max(head.width, 1))
        after.append((head.name, [p for layer in layers for p in layer.parameters()]))
    found = [*network.node_input.parameters(), *network.blocks.parameters()]
    assert all(torch.equal(one, two) for one, two in zip(found, drawn, strict=True))
    for name, expected in after:
        module = network.readouts[name] if name in seen else network.heads.groups[name]
        assert all(torch.equal(one, two) for one, two in zip(module.parameters(), expected, strict=True)), name


def test_published_heads_of_largemix(make: SimpleNamespace) -> None:
    def tasks(dataset: str, count: int, level: str, kind: str, **more: Any) -> list[Task]:
        return [Task(f"{dataset}{i}", dataset, level, kind, **more) for i in range(count)]  # type: ignore[arg-type]

    heads = group_tasks(
        [
            *tasks("l1000_vcap", 978, "graph", "ordinal", num_classes=3),
            *tasks("l1000_mcf7", 978, "graph", "ordinal", num_classes=3),
            *tasks("pcba_1328", 1328, "graph", "binary"),
            *tasks("pcqm4m_g25", 25, "graph", "regression"),
            *tasks("pcqm4m_n4", 4, "node", "regression"),
        ]
    )
    options: dict[str, Any] = {
        "layer": "gine",
        "depth": 4,
        "edge_width": 32,
        "readouts": {"graph": {"width": 1024, "pooling": "sum"}, "node": {"width": 64}},
        "heads": {
            "vcap": {"of": "l1000_vcap", "width": 256},
            "mcf7": {"of": "l1000_mcf7", "width": 256},
            "assays": {"of": "pcba_1328", "width": 128},
            "quantum": {"of": ["pcqm4m_g25"], "width": 64},
            "atoms": {"of": "pcqm4m_n4", "width": 64},
        },
    }
    check_network([head.dataset for head in heads], **options, budget=10_000_000)
    with torch.device("meta"):
        network = Network(make.spec, heads, width=704, **options)
    shapes = {
        name: (group.hidden.channels, [linear.out_features for linear in group.outputs.values()])
        for name, group in network.heads.groups.items()
    }
    assert shapes == {
        "vcap": ((1024, 256), [2934]),
        "mcf7": ((1024, 256), [2934]),
        "assays": ((1024, 128), [1328]),
        "quantum": ((1024, 64), [25]),
        "atoms": ((64, 64), [4]),
    }
    assert 8_000_000 < network.num_parameters() < 14_000_000


def test_widths_of_the_first_and_the_last_block(make: SimpleNamespace) -> None:
    network = build_network(make.spec, make.heads, width=8, in_width=5, out_width=11, depth=4, feed_forward=2.0).eval()
    assert [block.layer.mlp.channels for block in network.blocks] == [(5, 10, 8), (8, 16, 8), (8, 16, 8), (8, 16, 11)]
    assert network.readouts["graph"].mlp.channels == (11, 8)
    batch = make.collate(make.mixed())
    assert [network.encode(batch, step)[0].shape[1] for step in range(5)] == [5, 8, 8, 8, 11]
    one_block = build_network(make.spec, make.heads, width=8, in_width=5, out_width=11, depth=1)
    assert one_block.blocks[0].layer.mlp.channels == (5, 5, 11)


def test_order_of_block_residual_and_virtual_node(make: SimpleNamespace) -> None:
    """The residual connection carries what the virtual node adds, or passes by it."""
    batch = make.collate(make.mixed())
    graphs = Segments(batch.ptr, batch.batch)
    for place in ("before_residual", "after_residual"):
        torch.manual_seed(0)
        network = build_network(make.spec, make.heads, width=8, in_width=5, depth=3, virtual_node_place=place).eval()
        (x, edges), v = network.encode(batch, 0), None
        carried = x
        for step, block in enumerate(network.blocks):
            h = block(x, edges, graphs, None)
            if place == "before_residual":
                if step < 2:
                    h, v = network.virtual_nodes[step](h, v, graphs, None)
                x = h if step == 0 else x + h
            else:
                x = carried = h if step == 0 else carried + h
                if step < 2:
                    x, v = network.virtual_nodes[step](x, v, graphs, None)
        torch.testing.assert_close(network.encode(batch)[0], x)
