"""Linear maps at inference: the numbers of the layer itself, and never where it has to be differentiated or traced."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphium.nn import linear as module
from graphium.nn.linear import apply_linear, has_onednn


class Counter:
    """Stands for oneDNN's operator and counts its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        monkeypatch.setattr(module, "has_onednn", lambda: True)
        monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", self, raising=False)

    def __call__(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *rest: object) -> torch.Tensor:
        self.calls += 1
        return nn.functional.linear(x, weight, bias)


@pytest.mark.skipif(not has_onednn(), reason="this processor has no AVX-512, or this torch no oneDNN")
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_layer(bias: bool) -> None:
    layer, x = nn.Linear(256, 300, bias=bias), torch.randn(100, 256)
    with torch.no_grad():
        torch.testing.assert_close(apply_linear(layer, x), layer(x), rtol=1e-5, atol=1e-5)


def test_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    layer, x = nn.Linear(256, 256), torch.randn(64, 256)
    with torch.no_grad():
        apply_linear(layer, x)
        assert counter.calls == 1
        # Small, of another kind, or watched by somebody.
        apply_linear(layer, x[:8])
        apply_linear(nn.Sequential(layer), x)
        apply_linear(layer.bfloat16(), x.bfloat16())
        layer.float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            apply_linear(layer, x)
        handle = layer.register_forward_hook(lambda *_: None)
        apply_linear(layer, x)
        handle.remove()
    apply_linear(layer, x).sum().backward()
    assert counter.calls == 1 and layer.weight.grad is not None


def test_an_exported_program_does_not_have_it() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(256, 256)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return apply_linear(self.layer, x)

    with torch.no_grad():
        program = torch.export.export(Wide().eval(), (torch.randn(64, 256),))
    assert "mkldnn" not in str(program.graph)
