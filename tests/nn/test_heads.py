"""Heads: shapes per level, hidden layers shared, split and per task, each against layers put together by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphium.nn.groups import HeadOptions, group_heads
from graphium.nn.heads import HeadGroup, Heads
from graphium.nn.network import build_network
from graphium.types import HeadSpec, Task, group_tasks


def build(heads: tuple[HeadSpec, ...], entries: dict[str, HeadOptions], **options: Any) -> Heads:
    """The heads alone, on readouts of 6 channels."""
    groups = group_heads(entries, heads)
    widths = {head.name: head.width for head in heads}
    defaults = {"width": 4, "depth": 1, "activation": "tanh", "dropout": 0.0, **options}
    modules = [
        HeadGroup(
            {name: len(columns) for name, columns in group.columns.items()},
            widths,
            6,
            **{**defaults, "split": group.options is not None and group.options.split},
        )
        for group in groups
    ]
    return Heads(heads, list(zip(groups, modules, strict=True)))


def test_shapes_per_level(make: SimpleNamespace) -> None:
    batch = make.collate(make.mixed())
    out = build_network(make.spec, make.heads, width=8, depth=1)(batch)
    assert out["qm9_graph_regression"].shape == (batch.num_graphs, 3)
    assert out["sol_graph_multiclass3"].shape == (batch.num_graphs, 1, 3)
    assert out["assay_graph_regression_q0_1_q0_5_q0_9"].shape == (batch.num_graphs, 2, 3)
    assert out["drugs_node_regression"].shape == (batch.num_nodes, 1)
    assert out["drugs_edge_regression"].shape == (batch.num_bonds, 1)
    assert out["drugs_nodepair_regression"].shape == (batch.num_entities("nodepair"), 1)
    assert list(out) == [head.name for head in make.heads]


def test_heads_of_one_level_share_its_readout(make: SimpleNamespace) -> None:
    network = build_network(make.spec, make.heads, width=8, depth=1)
    assert set(network.readouts) == {"graph", "node", "edge", "nodepair"}
    assert set(network.heads.groups) == {head.name for head in make.heads}


def test_heads_of_an_entry_share_their_hidden_layers(make: SimpleNamespace) -> None:
    entries = {"both": {"of": ["qm9", "sol"], "width": 5, "depth": 2, "dropout": 0.5, "activation": "relu"}}
    network = build_network(make.spec, make.heads, width=8, depth=1, head_width=7, heads=entries).eval()
    group = network.heads.groups["both"]
    assert group.hidden.channels == (8, 5, 5) and group.hidden.dropout.p == 0.5
    assert network.heads.groups["tox_graph_binary"].hidden.channels == (8, 7)
    batch = make.collate(make.mixed())
    one, two = group.hidden.linears
    vectors = network.readouts["graph"](*reordered(network.encode(batch), batch))
    hidden = two(one(vectors).relu()).relu()
    out = network(batch)
    torch.testing.assert_close(out["qm9_graph_regression"], group.outputs["qm9_graph_regression"](hidden))
    torch.testing.assert_close(out["sol_graph_multiclass3"].flatten(1), group.outputs["sol_graph_multiclass3"](hidden))


def reordered(encoded: Any, batch: Any) -> tuple[Any, Any, Any]:
    x, edges = encoded
    return x, batch, edges


def three_widths() -> tuple[HeadSpec, ...]:
    return group_tasks(
        [
            *[Task(f"r{i}", "one", "graph", "regression") for i in range(5)],
            *[Task(f"c{i}", "two", "graph", "multiclass", num_classes=4) for i in range(2)],
        ]
    )


def by_loop(group: HeadGroup, x: Tensor, task: int, name: str, column: int) -> Tensor:
    """One task of a group that is split, with layers of its own."""
    for linear in group.hidden.linears:
        x = nn.functional.linear(x, linear.weight[task], linear.bias[task]).tanh()
    last = group.outputs[name]
    return nn.functional.linear(x, last.weight[column], last.bias[column])


@pytest.mark.parametrize("depth", [1, 3])
def test_split_is_a_loop_over_tasks(depth: int) -> None:
    specs = three_widths()
    heads = build(specs, {"all": HeadOptions(of=["one", "two"], split=True)}, depth=depth)
    (group,) = heads.groups.values()
    x = torch.randn(7, 6, requires_grad=True)
    out = heads({"graph": x})
    ones, twos = (head.name for head in specs)
    assert out[ones].shape == (7, 5) and out[twos].shape == (7, 2, 4)
    expected = {
        ones: torch.cat([by_loop(group, x, task, ones, task) for task in range(5)], dim=1),
        twos: torch.stack([by_loop(group, x, 5 + task, twos, task) for task in range(2)], dim=1),
    }
    for name, values in expected.items():
        assert out[name].is_contiguous()
        torch.testing.assert_close(out[name], values)
    total, reference = (sum(v.square().sum() for v in values.values()) for values in (out, expected))
    parameters = [x, *heads.parameters()]
    for one, two in zip(
        torch.autograd.grad(total, parameters), torch.autograd.grad(reference, parameters), strict=True
    ):
        torch.testing.assert_close(one, two)


def test_split_tasks_start_as_linear_layers_do() -> None:
    torch.manual_seed(0)
    (group,) = build(three_widths()[:1], {"all": HeadOptions(of="one", split=True)}, width=400).groups.values()
    for layer, channels in ((group.hidden.linears[0], 6), (group.outputs["one_graph_regression"], 400)):
        for values in (layer.weight, layer.bias):
            assert values.abs().max() <= channels**-0.5
        assert layer.weight.abs().max() > 0.98 * channels**-0.5


def test_parts_of_a_head_return_to_the_order_of_its_tasks() -> None:
    specs = three_widths()
    entries = {"odd": HeadOptions(of=["one/r1", "one/r3", "two/c1"]), "last": HeadOptions(of="one/r4", split=True)}
    heads = build(specs, entries)
    assert list(heads.groups) == ["one_graph_regression", "odd", "last", "two_graph_multiclass4"]
    x = torch.randn(3, 6, requires_grad=True)
    out = heads({"graph": x})
    pieces = {name: group(x) for name, group in heads.groups.items()}
    ones, twos = (head.name for head in specs)
    own, odd, last = (pieces[name][ones] for name in (ones, "odd", "last"))
    expected = torch.stack([own[:, 0], odd[:, 0], own[:, 1], odd[:, 1], last[:, 0]], dim=1)
    assert torch.equal(out[ones], expected)
    assert torch.equal(out[twos], torch.stack([pieces[twos][twos][:, 0], pieces["odd"][twos][:, 0]], dim=1))
    # The gradient of a task reaches the layers of its own group alone.
    out[ones][:, 3].sum().backward(retain_graph=True)
    touched = {
        name
        for name, group in heads.groups.items()
        if any(p.grad is not None and p.grad.any() for p in group.parameters())
    }
    assert touched == {"odd"}
    direction = torch.randn(3, 5)
    one, two = (
        torch.autograd.grad((values * direction).sum(), x, retain_graph=True)[0] for values in (out[ones], expected)
    )
    torch.testing.assert_close(one, two)


def test_a_wide_head_is_one_linear_map() -> None:
    specs = group_tasks([Task(f"g{i}", "l1000", "graph", "ordinal", num_classes=3) for i in range(978)])
    heads = build(specs, {}, depth=0)
    assert [tuple(p.shape) for p in heads.parameters()] == [(2934, 6), (2934,)]
    x = torch.randn(2, 6)
    (group,), (out,) = heads.groups.values(), heads({"graph": x}).values()
    assert out.shape == (2, 978, 3) and out.is_contiguous()
    torch.testing.assert_close(out.flatten(1), group.outputs[specs[0].name](x))
    # The module tree does not grow with the tasks, nor where each has hidden layers of its own.
    per_task = build(specs, {"all": HeadOptions(of="l1000", split=True)})
    assert len(list(per_task.modules())) < 20
    assert per_task({"graph": x})[specs[0].name].shape == (2, 978, 3)


def test_orders_are_not_saved_and_follow_the_device() -> None:
    heads = build(three_widths(), {"odd": HeadOptions(of=["one/r1", "one/r3"])})
    assert not any("order" in name for name in heads.state_dict())
    assert {buffer.device.type for buffer in heads.to("meta").buffers()} == {"meta"}


def test_norm_of_hidden_layers(make: SimpleNamespace) -> None:
    entries = {"bare": {"of": "tox", "norm": "none"}, "own": {"of": "sol", "norm": "layer_norm", "activation": "none"}}
    options = {"head_norm": "layer_norm", "heads": entries}
    groups = build_network(make.spec, make.heads, width=8, depth=1, **options).eval().heads.groups
    x = torch.randn(4, 8)
    assert type(groups["bare"].hidden.linears[0]) is nn.Linear
    (own,) = groups["own"].hidden.linears
    torch.testing.assert_close(groups["own"].hidden(x), nn.functional.layer_norm(own[0](x), (8,)))
    (default,) = groups["qm9_graph_regression"].hidden.linears
    expected = nn.functional.gelu(nn.functional.layer_norm(default[0](x), (8,)))
    torch.testing.assert_close(groups["qm9_graph_regression"].hidden(x), expected)
