"""Residual connections: widths, formulas, and that nothing is missing from the checkpoint."""

from __future__ import annotations

import pytest
import torch

from graphium.registry import build, names


@pytest.mark.parametrize("name", names("residual"))
def test_width_is_what_in_channels_says(name: str) -> None:
    residual = build("residual", name, channels=4, depth=3)
    x = torch.randn(2, residual.in_channels(0))
    for step in range(3):
        x = residual(x, torch.randn(2, 4), step)
        assert x.shape == (2, residual.in_channels(step + 1))


def test_formulas() -> None:
    x, h = torch.randn(2, 4), torch.randn(2, 4)
    built = {name: build("residual", name, channels=4, depth=2) for name in names("residual")}
    assert torch.equal(built["none"](x, h, 0), h)
    assert torch.equal(built["simple"](x, h, 0), x + h)
    assert torch.equal(built["weighted"](x, h, 0), x + h)
    torch.testing.assert_close(built["random"](x, h, 1), built["random"].weight[1] * x + h)
    later = torch.randn(2, 4)
    assert torch.equal(built["concat"](built["concat"](x, h, 0), later, 1), torch.cat([later, h], 1))
    assert torch.equal(built["densenet"](built["densenet"](x, h, 0), later, 1), torch.cat([later, h, x], 1))


def test_random_weights_are_in_the_checkpoint() -> None:
    one, two = (build("residual", "random", channels=4, depth=2) for _ in range(2))
    assert not torch.equal(one.weight, two.weight)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.weight, two.weight)
