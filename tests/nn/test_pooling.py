"""Poolings against a loop over graphs, one of them without nodes."""

from __future__ import annotations

import pytest
import torch

from graphium.errors import GraphiumError
from graphium.nn.ops import Segments
from graphium.nn.pooling import build_pooling
from graphium.registry import names

SIZES = [4, 1, 0, 7]
GRAPHS = Segments(torch.tensor([0, 4, 5, 5, 12]), torch.tensor([0] * 4 + [1] + [3] * 7))
EXPECTED = {
    "sum": lambda x: x.sum(0),
    "mean": lambda x: x.sum(0) / max(len(x), 1),
    "logsum": lambda x: x.sum(0) / max(len(x), 1) * torch.log(torch.tensor(len(x) + 1.0)),
    "max": lambda x: x.max(0).values if len(x) else torch.zeros(x.shape[1]),
    "min": lambda x: x.min(0).values if len(x) else torch.zeros(x.shape[1]),
    "std": lambda x: (x.var(0, unbiased=False).nan_to_num() + 1e-5).sqrt() if len(x) else torch.full((3,), 1e-5).sqrt(),
}


@pytest.mark.parametrize("name", names("pooling"))
def test_pooling_equals_loop(name: str) -> None:
    x = torch.randn(12, 3)
    expected = torch.stack([EXPECTED[name](part) for part in x.split(SIZES)])
    torch.testing.assert_close(build_pooling(name, 3)(x, GRAPHS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", names("pooling"))
def test_gradient_of_equal_nodes_is_finite(name: str) -> None:
    x = torch.ones(12, 3, requires_grad=True)
    build_pooling(name, 3)(x, GRAPHS).square().sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_several_poolings_are_concatenated() -> None:
    x = torch.randn(12, 3)
    both = build_pooling(["sum", {"name": "std", "eps": 1e-3}], 3)
    assert both.out_channels == 6
    assert torch.equal(both(x, GRAPHS)[:, :3], build_pooling("sum", 3)(x, GRAPHS))
    with pytest.raises(GraphiumError, match="empty list"):
        build_pooling([], 3)


def test_the_published_logsum_erases_single_atoms() -> None:
    x = torch.randn(12, 3)
    pooled = build_pooling({"name": "logsum", "plus_one": False}, 3)(x, GRAPHS)
    expected = torch.stack(
        [part.sum(0) / max(len(part), 1) * torch.tensor(max(len(part), 1)).log() for part in x.split(SIZES)]
    )
    torch.testing.assert_close(pooled, expected)
    assert torch.equal(pooled[1], torch.zeros(3))
