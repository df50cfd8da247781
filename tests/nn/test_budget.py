"""A budget of parameters is met within 2 %."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from graphium.errors import GraphiumError
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks

TOYMIX = group_tasks(
    [
        *[Task(f"q{i}", "qm9", "graph", "regression") for i in range(19)],
        *[Task(f"t{i}", "tox21", "graph", "binary") for i in range(12)],
        *[Task(f"z{i}", "zinc12k", "graph", "regression") for i in range(3)],
    ]
)


@pytest.mark.parametrize("layer", ["gcn", "gin", "gine"])
@pytest.mark.parametrize("budget", [20_000, 150_000, 1_000_000])
def test_within_two_percent(make: SimpleNamespace, layer: str, budget: int) -> None:
    network = build_network(make.spec, TOYMIX, layer=layer, budget=budget)
    assert abs(network.num_parameters() - budget) <= 0.02 * budget
    again = build_network(make.spec, TOYMIX, **network.config())
    assert again.num_parameters() == network.num_parameters()


def test_fixed_readouts_and_heads(make: SimpleNamespace) -> None:
    options = {
        "edge_width": 32,
        "readouts": {"graph": {"width": 256, "pooling": "sum"}},
        "heads": {"tox": {"of": "tox21", "width": 16, "split": True}, "rest": {"of": ["qm9", "zinc12k"], "width": 64}},
    }
    network = build_network(make.spec, TOYMIX, budget=400_000, **options)
    assert abs(network.num_parameters() - 400_000) <= 8_000
    assert network.config()["readouts"] == options["readouts"] and network.readouts["graph"].width == 256


def test_width_is_a_multiple_of_the_heads(make: SimpleNamespace) -> None:
    layer = {"name": "torch_geometric.nn.GATv2Conv", "heads": 8}
    network = build_network(make.spec, TOYMIX, layer=layer, budget=1_000_000)
    assert network.config()["width"] % 8 == 0
    assert abs(network.num_parameters() - 1_000_000) <= 20_000


def test_a_budget_that_cannot_be_met(make: SimpleNamespace) -> None:
    with pytest.raises(GraphiumError, match="model.budget is 100 and the nearest network has"):
        build_network(make.spec, TOYMIX, budget=100)


def test_the_search_draws_no_random_number(make: SimpleNamespace) -> None:
    torch.manual_seed(0)
    options = build_network(make.spec, TOYMIX, budget=50_000).config()
    torch.manual_seed(0)
    network = build_network(make.spec, TOYMIX, budget=50_000)
    torch.manual_seed(0)
    direct = build_network(make.spec, TOYMIX, **options)
    for one, two in zip(network.parameters(), direct.parameters(), strict=True):
        assert torch.equal(one, two)
