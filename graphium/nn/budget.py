"""Choosing width and feed-forward ratio so that a network has a given number of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from graphium.errors import GraphiumError
from graphium.nn.layers import layer_heads, layer_takes

TOLERANCE = 0.02
_MAX_WIDTH = 1 << 16


def fit_budget(parameters: Callable[..., int], budget: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``options`` with the ``width`` and ``feed_forward`` that come nearest to ``budget``.

    ``parameters(**options)`` counts the trainable parameters of the network with these options.

    The width is a multiple of the layer's attention heads. Where the layer has an MLP, the width is a
    multiple of 8 too, which matrix products like, and the ratio makes up for the rest in whole hidden
    channels.

    Raises:
        GraphiumError: nothing within 2 % of ``budget``.
    """
    fitted = dict(options)
    layer = options.get("layer", "gine")
    has_mlp = layer_takes(layer, "hidden_channels")
    step = math.lcm(layer_heads(layer), 8 if has_mlp else 1)

    def count(changes: Mapping[str, Any]) -> int:
        return parameters(**{**fitted, **changes})

    fitted["width"] = step * _nearest(lambda multiple: count({"width": step * multiple}), budget, _MAX_WIDTH // step)
    width = fitted["width"]
    if has_mlp:
        hidden = _nearest(lambda channels: count({"feed_forward": channels / width}), budget, 16 * width)
        fitted["feed_forward"] = hidden / width
    found = count({})
    if abs(found - budget) > TOLERANCE * budget:
        raise GraphiumError(
            f"model.budget is {budget} and the nearest network has {found} parameters (width {width}); "
            "change the budget, the depth, or the widths that you fixed"
        )
    return fitted


def _nearest(count: Any, budget: int, most: int) -> int:
    """The whole number in ``1..most`` whose ``count`` is nearest to ``budget``; ``count`` must grow."""
    low, high = 1, 2
    while high < most and count(high) < budget:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if count(middle) < budget:
            low = middle
        else:
            high = middle
    return min(low, high, key=lambda value: abs(count(value) - budget))
