from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from graphium.errors import GraphiumError
from graphium.registry import build, names
from graphium.training.optim import check_optim, learning_rate, scaled_groups


def _rates(schedule: dict, steps: int = 100, lr: float = 0.5) -> list[float]:
    optimizer = build("optimizer", {"name": "sgd", "lr": lr}, parameters=[nn.Parameter(torch.zeros(2, 2))])
    scheduler = build("schedule", schedule, optimizer=optimizer, num_steps=steps)
    rates = []
    for _ in range(steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [0.1, 10])
def test_cosine_rises_linearly_and_falls_to_zero(warmup: float) -> None:
    rates = _rates({"name": "cosine", "warmup": warmup})
    assert rates[:10] == pytest.approx([0.5 * (i + 1) / 10 for i in range(10)])
    expected = [0.25 * (1 + math.cos(math.pi * i / 90)) for i in range(91)]
    assert rates[10:] == pytest.approx(expected, abs=1e-12)


def test_linear_falls_to_its_final_share() -> None:
    rates = _rates({"name": "linear", "warmup": 0, "final": 0.2})
    assert rates == pytest.approx([0.5 * (1 - 0.8 * i / 100) for i in range(101)])


def test_constant_stays() -> None:
    assert _rates({"name": "constant", "warmup": 2})[1:] == [0.5] * 100


def test_warmup_longer_than_the_run_never_divides_by_zero() -> None:
    assert _rates({"name": "cosine", "warmup": 50}, steps=5) == pytest.approx([0.01 * i for i in range(1, 7)])


@pytest.mark.parametrize("name", names("optimizer"))
def test_every_optimiser_lowers_a_loss_and_restores_its_state(name: str) -> None:
    torch.manual_seed(0)
    data, target = torch.randn(32, 3), torch.randn(32, 1)
    layer = nn.Linear(3, 1)
    optimizer = build("optimizer", {"name": name, "lr": 0.01}, parameters=layer.parameters())
    losses = []
    for _ in range(30):
        loss = (layer(data) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    fresh = build("optimizer", {"name": name, "lr": 0.3}, parameters=layer.parameters())
    fresh.load_state_dict(optimizer.state_dict())
    assert fresh.param_groups[0]["lr"] == 0.01


def test_adamw_decays_matrices_only() -> None:
    layer = nn.Linear(4, 4)
    optimizer = build("optimizer", {"name": "adamw", "weight_decay": 0.1}, parameters=layer.parameters())
    decay = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {2: 0.1, 1: 0.0}


def test_frozen_parameters_are_left_alone() -> None:
    layer = nn.Linear(4, 4)
    layer.bias.requires_grad_(False)
    optimizer = build("optimizer", "adamw", parameters=layer.parameters())
    assert [p for group in optimizer.param_groups for p in group["params"]] == [layer.weight]


@pytest.mark.parametrize(
    "section,message",
    [
        ({"lrr": 0.1}, "unknown key optim.lrr; did you mean 'lr'"),
        ({"name": "adamx"}, "unknown optimizer 'adamx'"),
        ({"lr": "fast"}, "optim.lr is 'fast'"),
        ({"lr": -0.1}, "optim.lr is -0.1; give a number of at least 0"),
        ({"lr": math.nan}, "optim.lr is nan"),
        ({"lr": math.inf}, "optim.lr is inf"),
        ({"weight_decay": -1}, "optim.weight_decay is -1"),
        ({"betas": [0.9, 1.0]}, "optim.betas is .*1.0"),
        ({"schedule": {"name": "linear", "warmup": -1}}, "optim.schedule.warmup is -1"),
        ({"schedule": {"name": "cosin"}}, "unknown schedule 'cosin'"),
        ({"schedule": {"name": "cosine", "warm": 3}}, "unknown key optim.schedule.warm"),
    ],
)
def test_a_wrong_section_is_one_sentence(section: dict, message: str) -> None:
    with pytest.raises(GraphiumError, match=message):
        check_optim(section)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_groups_of_different_learning_rates_follow_one_schedule(name: str) -> None:
    layers = nn.ModuleDict({"low": nn.Linear(3, 3), "high": nn.Linear(3, 3)})
    layers["low"].bias.requires_grad_(False)
    scales = {"low.weight": 0.25, "low.bias": 0.25}
    groups = scaled_groups(dict(layers.named_parameters()), scales, 0.1)
    config = {"name": name, **({"weight_decay": 0.01} if name != "adam" else {})}
    optimizer = build("optimizer", config, parameters=groups)
    build("schedule", {"name": "cosine", "warmup": 0}, optimizer=optimizer, num_steps=10)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert set(rates) == {id(p) for p in layers.parameters() if p.requires_grad}
    assert rates[id(layers["low"].weight)] == pytest.approx(0.025)
    assert rates[id(layers["high"].weight)] == rates[id(layers["high"].bias)] == 0.1
    assert optimizer.param_groups[0]["lr"] == 0.1
    if name != "adam":
        decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        assert decays[id(layers["high"].bias)] == 0 and decays[id(layers["low"].weight)] == 0.01


def test_the_learning_rate_is_the_one_said_or_the_part_s_own() -> None:
    assert learning_rate({"name": "sgd"}) == 0.01 and learning_rate({"name": "adamw", "lr": 3}) == 3.0


def test_defaults() -> None:
    assert check_optim({}) == ({"name": "adamw"}, "cosine")
    assert check_optim({"schedule": None})[1] is None
