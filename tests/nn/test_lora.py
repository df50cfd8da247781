from __future__ import annotations

import pytest
import torch
from torch import nn

from graphium.nn.lora import LoRALinear, add_lora, linear_layers, merge_lora


def _filled(layer: nn.Linear, **options: float) -> LoRALinear:
    adapted = LoRALinear(layer, rank=3, **options)
    nn.init.normal_(adapted.up)
    return adapted


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_formula(bias: bool) -> None:
    layer, x = nn.Linear(5, 4, bias=bias), torch.randn(7, 5)
    adapted = _filled(layer, alpha=6.0)
    product = adapted.up.double() @ adapted.down.double()
    weight = layer.weight.double() + 6.0 / 3 * product
    expected = x.double() @ weight.T + (layer.bias.double() if bias else 0)
    assert torch.allclose(adapted(x).double(), expected, atol=1e-5)


def test_it_begins_as_the_layer_itself() -> None:
    layer, x = nn.Linear(5, 4), torch.randn(7, 5)
    assert torch.equal(LoRALinear(layer, rank=2)(x), layer(x))


def test_merged_is_a_plain_layer_that_computes_the_same() -> None:
    layer, x = nn.Linear(50, 40), torch.randn(7, 50)
    adapted = _filled(layer, dropout=0.5).eval()
    merged = adapted.merged()
    assert type(merged) is nn.Linear and list(merged.state_dict()) == ["weight", "bias"]
    assert torch.allclose(merged(x), adapted(x), atol=1e-5)


def test_the_layer_keeps_its_names_and_its_numbers() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    add_lora(network, ["0"], rank=1, alpha=1.0, dropout=0.0)
    after = network.state_dict()
    assert set(after) - set(before) == {"0.down", "0.up"}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert linear_layers(network) == ["2"]
    merge_lora(network)
    assert set(network.state_dict()) == set(before)


def test_dropout_acts_on_the_small_matrices_alone() -> None:
    torch.manual_seed(0)
    adapted = _filled(nn.Linear(5, 4), dropout=0.9)
    x = torch.randn(3, 5)
    assert not torch.equal(adapted(x), adapted(x))
    nn.init.zeros_(adapted.up)
    assert torch.equal(adapted(x), adapted(x))
