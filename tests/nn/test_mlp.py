"""The stack of linear maps."""

from __future__ import annotations

import torch
from torch import nn

from graphium.nn.mlp import MLP, TaskLinear, TaskNorm


def test_equals_a_sequential() -> None:
    module = MLP([3, 4, 5, 2], "relu")
    one, two, three = module.linears
    reference = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three)
    x = torch.randn(6, 3)
    assert torch.equal(module(x), reference(x))


def test_activation_after_the_last_map() -> None:
    module = MLP([3, 4, 5], "relu", activate_last=True)
    one, two = module.linears
    x = torch.randn(6, 3)
    assert torch.equal(module(x), two(one(x).relu()).relu())
    assert torch.equal(MLP([3], "relu", activate_last=True)(x), x)


def test_one_map_per_task_is_a_loop_over_maps() -> None:
    module = TaskLinear(4, 3, 2)
    shared, own = torch.randn(6, 3), torch.randn(4, 6, 3)
    maps = list(zip(module.weight, module.bias, strict=True))
    torch.testing.assert_close(module(shared), torch.stack([shared @ w.t() + b for w, b in maps]))
    torch.testing.assert_close(module(own), torch.stack([x @ w.t() + b for x, (w, b) in zip(own, maps, strict=True)]))


def test_dropout_is_between_the_maps_and_only_in_training() -> None:
    torch.manual_seed(0)
    module = MLP([3, 64, 2], dropout=0.5)
    x = torch.randn(6, 3)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))
    assert torch.equal(MLP([3, 2], dropout=0.9)(x) != 0, torch.ones(6, 2, dtype=torch.bool))


def test_norms_follow_the_maps() -> None:
    x = torch.randn(6, 3)
    for norm_last in (True, False):
        module = MLP([3, 4, 5], "relu", norm="layer_norm", norm_last=norm_last)
        one, two = module.linears
        hidden = nn.functional.layer_norm(one[0](x), (4,)).relu()
        expected = nn.functional.layer_norm(two[0](hidden), (5,)) if norm_last else two(hidden)
        torch.testing.assert_close(module(x), expected)


def test_a_norm_per_task_is_a_loop_over_norms() -> None:
    module = TaskNorm(4, 3)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    x = torch.randn(4, 6, 3)
    norms = zip(x, module.weight, module.bias, strict=True)
    expected = torch.stack([nn.functional.layer_norm(part, (3,), w[0], b[0]) for part, w, b in norms])
    torch.testing.assert_close(module(x), expected)
