from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graphium.errors import GraphiumError
from graphium.training.finetuning.freezing import Schedule, freeze, learning_rates, make_schedule
from graphium.training.finetuning.options import FinetuneOptions, LoraOptions


def _schedule(blocks: int = 3, **options: Any) -> list[int]:
    schedule = make_schedule(FinetuneOptions("model", **options), blocks)
    return [schedule.frozen(epoch) for epoch in range(8)]


def test_schedules_count_the_frozen_depths_of_every_epoch() -> None:
    assert _schedule() == [0] * 8
    assert _schedule(freeze="gnn:0") == [2] * 8
    assert _schedule(freeze="readout") == [5] * 8
    assert _schedule(freeze="readout", unfreeze={2: "gnn:1", 5: "encoders"}) == [5, 5, 2, 2, 2, 0, 0, 0]
    assert _schedule(gradual=1) == [5, 4, 3, 2, 1, 0, 0, 0]
    assert _schedule(gradual=3, freeze="gnn:0") == [2, 2, 2, 1, 1, 1, 0, 0]
    assert _schedule(lora=LoraOptions()) == [5] * 8


def test_what_is_always_frozen() -> None:
    assert make_schedule(FinetuneOptions("m", freeze="gnn:0"), 3).always == 2
    assert make_schedule(FinetuneOptions("m", gradual=2), 3).always == 0


def test_a_stage_that_thaws_twice_is_refused() -> None:
    with pytest.raises(GraphiumError, match="from the top down"):
        _schedule(freeze="readout", unfreeze={2: "gnn:0", 3: "gnn:1"})
    with pytest.raises(GraphiumError, match="gnn:0 to gnn:2"):
        _schedule(freeze="gnn:7")


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.node_input = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.input_dropout = nn.Dropout(0.5)
        self.block = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.LayerNorm(2))


def test_modules_that_are_frozen_as_a_whole_rest() -> None:
    network = _Network()
    freeze(network, [name for name, _ in network.node_input.named_parameters("node_input")])
    assert not network.node_input.training and not network.input_dropout.training and network.block.training
    before = {name: value.clone() for name, value in network.node_input.state_dict().items()}
    network.node_input(torch.randn(5, 2))
    assert all(torch.equal(value, before[name]) for name, value in network.node_input.state_dict().items())

    freeze(network, ["block.0.weight", "block.0.bias"])
    assert network.node_input.training and network.input_dropout.training
    assert not network.block[0].training and network.block[1].training
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert not any(name.startswith("block.0") for name in trained) and "block.2.weight" in trained


def test_learning_rates_fall_from_stage_to_stage() -> None:
    depths = {"a": 0, "b": 1, "c": 3}
    rates = learning_rates(FinetuneOptions("m", lr_decay=0.5, head_lr=4.0), depths)
    assert rates == {"a": 0.125, "b": 0.25, "c": 4.0}


def test_a_schedule_is_a_function_of_the_epoch() -> None:
    schedule = Schedule(((0, 3), (2, 1), (4, 0)))
    assert [schedule.frozen(epoch) for epoch in (5, 0, 3, 1)] == [0, 3, 1, 3]
