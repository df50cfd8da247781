"""The stack of linear maps."""

from __future__ import annotations

import torch
from torch import nn

from graphium.nn.mlp import MLP


def test_equals_a_sequential() -> None:
    module = MLP([3, 4, 5, 2], "relu")
    one, two, three = module.linears
    reference = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three)
    x = torch.randn(6, 3)
    assert torch.equal(module(x), reference(x))


def test_dropout_is_between_the_maps_and_only_in_training() -> None:
    torch.manual_seed(0)
    module = MLP([3, 64, 2], dropout=0.5)
    x = torch.randn(6, 3)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))
    assert torch.equal(MLP([3, 2], dropout=0.9)(x) != 0, torch.ones(6, 2, dtype=torch.bool))
