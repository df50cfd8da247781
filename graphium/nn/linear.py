"""Linear maps at inference, by the faster of torch's two matrix libraries."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

# Multiplications below which the way to oneDNN costs more than it saves.
_LEAST = 1 << 22


def apply_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)``; a plain ``nn.Linear`` at inference on a processor with AVX-512 by oneDNN.

    torch multiplies matrices of floats by MKL, which uses AVX-512 on processors of its own maker alone; elsewhere
    oneDNN, which comes with torch too, is twice as fast. Its operator has no gradient: training, autocast and
    programs that are being traced keep to the layer itself.
    """
    out: Tensor
    if type(layer) is nn.Linear and not torch.is_grad_enabled() and _fits(layer, x) and has_onednn():
        out = torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")
    else:
        out = layer(x)
    return out


@cache
def has_onednn() -> bool:
    """Whether oneDNN is there and has AVX-512 to use."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _fits(layer: nn.Linear, x: Tensor) -> bool:
    return (
        x.ndim == 2
        and x.shape[0] * layer.weight.numel() >= _LEAST
        and x.device.type == layer.weight.device.type == "cpu"
        and x.dtype is layer.weight.dtype is torch.float32
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )
