from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphium.data.padding import pad
from graphium.errors import GraphiumError
from graphium.nn.network import Network, build_network
from graphium.nn.ops import Segments
from graphium.nn.stages import depths, owners, read_stage, states, vectors
from graphium.registry import names

DEPTH, WIDTH = 3, 12


def build(make: SimpleNamespace, **options: Any) -> Network:
    torch.manual_seed(0)
    return build_network(make.spec, make.heads, **{"width": WIDTH, "depth": DEPTH, **options}).eval()


def every_stage(network: Network) -> list[str]:
    return (
        ["encoders", *(f"gnn:{k}" for k in range(len(network.blocks)))]
        + [f"readout:{level}" for level in network.readouts]
        + [f"head:{name}" for name in network.heads.groups]
    )


def test_names(make: SimpleNamespace) -> None:
    network = build(make)
    said = {text: str(read_stage(text, network)) for text in ["encoders", "gnn", "gnn:-2", "gnn:0", "readout"]}
    assert said == {
        "encoders": "encoders",
        "gnn": "gnn:2",
        "gnn:-2": "gnn:1",
        "gnn:0": "gnn:0",
        "readout": "readout:graph",
    }
    # What a stage calls itself is read as the same stage.
    assert all(read_stage(str(read_stage(text, network)), network) == read_stage(text, network) for text in said)
    assert read_stage("readout:edge", network).level == "edge"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("gnn:3", "3 blocks, gnn:0 to gnn:2"),
        ("gnn:-4", "3 blocks"),
        ("gnn:x", "is no place"),
        ("encoders:1", "is no place"),
        ("", "is no place"),
        ("readout:bond", "no readout of level 'bond'"),
        ("head", "does not say which head"),
        ("head:qm9_graph", "did you mean 'qm9_graph_regression'"),
    ],
)
def test_a_place_that_does_not_exist(make: SimpleNamespace, text: str, sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        read_stage(text, build(make))


def test_a_head_is_named_by_its_group_or_by_itself(make: SimpleNamespace) -> None:
    heads = {"odd": {"of": ["qm9/g0", "qm9/g2", "tox"]}, "even": {"of": "qm9/g1"}}
    network = build(make, heads=heads)
    assert read_stage("head:tox_graph_binary", network).name == "odd"
    with pytest.raises(GraphiumError, match="choose head:odd or head:even"):
        read_stage("head:qm9_graph_regression", network)


def test_the_only_head_needs_no_name(make: SimpleNamespace) -> None:
    network = build_network(make.spec, make.heads[:1], width=4, depth=1)
    assert read_stage("head", network).name == make.heads[0].name


@pytest.mark.parametrize("residual", names("residual"))
def test_one_pass_gives_what_blocks_run_by_hand_give(make: SimpleNamespace, residual: str) -> None:
    network = build(make, residual=residual)
    batch = make.collate(make.mixed())
    graphs = Segments(batch.ptr, batch.batch)
    with torch.no_grad():
        x = network.node_input(batch)
        edges = network.edge_input(batch, torch.float32)
        expected = {"encoders": x}
        v = None
        for step, block in enumerate(network.blocks):
            h = block(x, edges, graphs, None)
            if step < len(network.virtual_nodes):
                h, v = network.virtual_nodes[step](h, v, graphs, None)
            x = network.residual(x, h, step)
            expected[f"gnn:{step}"] = x
        for level, readout in network.readouts.items():
            expected[f"readout:{level}"] = readout(x, batch, edges)
        texts = every_stage(network)
        stages = [read_stage(text, network) for text in texts]
        found = states(network, batch, stages)
        for text, stage, out in zip(texts, stages, found, strict=True):
            assert out.ndim == 2 and len(out) == batch.num_entities(stage.level)
            assert torch.equal(out, vectors(network, batch, stage))
            if text in expected:
                assert torch.equal(out, expected[text]), text
    assert not any(block._forward_pre_hooks for block in network.blocks)


@pytest.mark.parametrize(
    "options",
    [
        {"in_width": 6},
        {"in_width": 6, "out_width": 20, "virtual_node_place": "after_residual"},
        {"out_width": 5, "residual": "densenet"},
        {"virtual_node": "none", "depth": 1},
    ],
)
def test_one_pass_is_as_good_as_several(make: SimpleNamespace, options: dict[str, Any]) -> None:
    network = build(make, **options)
    batch = make.collate(make.mixed())
    stages = [read_stage(text, network) for text in every_stage(network)]
    for stage, out in zip(stages, states(network, batch, stages), strict=True):
        assert torch.equal(out, vectors(network, batch, stage)), stage
        if stage.kind == "gnn":
            assert torch.equal(out, network.encode(batch, int(str(stage)[4:]) + 1)[0])


def test_readouts_and_heads_lead_to_the_predictions(make: SimpleNamespace) -> None:
    network = build(make, head_depth=2)
    batch = make.collate(make.mixed())
    predictions = network(batch)
    for name, group in network.heads.groups.items():
        read, hidden = states(network, batch, [read_stage(f"readout:{network.heads.levels[name]}", network),
                                               read_stage(f"head:{name}", network)])  # fmt: skip
        assert torch.equal(group(read)[name], predictions[name])
        out: Tensor = group.outputs[name](hidden)
        assert torch.equal(out.flatten(), predictions[name].flatten())
    last = vectors(network, batch, read_stage("gnn", network))
    edges = network.encode(batch)[1]
    read = {level: readout(last, batch, edges) for level, readout in network.readouts.items()}
    assert all(torch.equal(out, predictions[name]) for name, out in network.heads(read).items())


def test_no_block_is_run_that_is_not_needed(make: SimpleNamespace) -> None:
    network = build(make)
    batch = make.collate(make.mixed())
    run: list[int] = []
    for step, block in enumerate(network.blocks):
        block.register_forward_hook(lambda *_, step=step: run.append(step))
    for texts, needed in [
        (["encoders"], []),
        (["gnn:1"], [0, 1]),
        (["gnn:0", "encoders", "gnn:1"], [0, 1]),
        (["readout", "gnn:0", "head:qm9_graph_regression", "readout:node"], [0, 1, 2]),
    ]:
        run.clear()
        states(network, batch, [read_stage(text, network) for text in texts])
        assert run == needed


def test_tasks_with_hidden_layers_of_their_own_stand_side_by_side(make: SimpleNamespace) -> None:
    name = "qm9_graph_regression"
    network = build(make, heads={name: {"of": name, "split": True, "width": 5, "depth": 2}})
    batch = make.collate(make.mixed())
    stage = read_stage(f"head:{name}", network)
    found = vectors(network, batch, stage)
    assert found.shape == (batch.num_graphs, 3 * 5)
    output = network.heads.groups[name].outputs[name]
    wide = output(found.unflatten(1, (3, 5)).transpose(0, 1))  # [tasks, graphs, 1]
    torch.testing.assert_close(wide.squeeze(2).t(), network(batch)[name])


def test_a_head_without_hidden_layers_is_its_readout(make: SimpleNamespace) -> None:
    network = build(make, head_depth=0)
    batch = make.collate(make.mixed())
    read, hidden = states(
        network, batch, [read_stage("readout", network), read_stage("head:tox_graph_binary", network)]
    )
    assert torch.equal(read, hidden)


def test_padding_changes_no_vector(make: SimpleNamespace) -> None:
    network = build(make)
    batch = make.collate(make.mixed())
    padded = pad(
        batch,
        num_nodes=batch.num_nodes + 7,
        num_edges=batch.num_edges + 6,
        num_graphs=batch.num_graphs + 2,
        num_bonds=batch.num_bonds + 3,
        num_pairs=batch.num_entities("nodepair") + 2,
    )
    for text in every_stage(network):
        stage = read_stage(text, network)
        plain, wide = vectors(network, batch, stage), vectors(network, padded, stage)
        assert len(wide) == padded.num_entities(stage.level)
        torch.testing.assert_close(wide[: len(plain)], plain, msg=text)


def test_owners(make: SimpleNamespace) -> None:
    molecules = make.mixed()
    batch = make.collate(molecules)
    for level, counts in {
        "node": [m.num_atoms for m in molecules],
        "edge": [len(m.bonds) for m in molecules],
        "nodepair": [len(m.pairs) for m in molecules],
    }.items():
        segments = owners(batch, level)
        assert segments.sizes(torch.int64).flatten().tolist() == counts
        assert segments.owner.tolist() == [graph for graph, count in enumerate(counts) for _ in range(count)]


def test_depths_rise_from_the_input_to_the_heads(make: SimpleNamespace) -> None:
    network = build(make, residual="weighted")
    found = depths(network)
    assert found.keys() == dict(network.named_parameters()).keys()
    of: dict[str, set[int]] = {}
    for name, depth in found.items():
        of.setdefault(name.partition(".")[0], set()).add(depth)
    assert of == {
        "node_input": {0},
        "residual": {DEPTH},
        "blocks": {1, 2, 3},
        "virtual_nodes": {1, 2},
        "readouts": {DEPTH + 1},
        "heads": {DEPTH + 2},
    }
    # What a stage does not need lies deeper than the stage.
    batch = make.collate(make.mixed())
    for number in range(DEPTH):
        network.zero_grad(set_to_none=True)
        vectors(network, batch, read_stage(f"gnn:{number}", network)).sum().backward()
        touched = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
        assert max(found[name] for name in touched if not name.startswith("residual")) == number + 1


def test_vectors_carry_gradients_to_the_input(make: SimpleNamespace) -> None:
    network = build(make)
    out = states(network, make.collate(make.mixed()), [read_stage(t, network) for t in ("gnn:0", "readout")])
    torch.cat([one.flatten() for one in out]).sum().backward()
    assert isinstance(network.node_input.table, nn.Parameter) and network.node_input.table.grad is not None
