"""Norms against torch's and PyG's own, and what padding may not change."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.nn import GraphNorm as PyGGraphNorm

from graphium.nn.norms import BatchNorm, GraphNorm, LayerNorm, build_norm
from graphium.nn.ops import Segments

GRAPHS = Segments(torch.tensor([0, 4, 5, 12]), torch.tensor([0] * 4 + [1] + [2] * 7))


def test_layer_norm() -> None:
    x = torch.randn(12, 5)
    torch.testing.assert_close(LayerNorm(5)(x), nn.LayerNorm(5)(x))


def test_graph_norm() -> None:
    ours, theirs = GraphNorm(5), PyGGraphNorm(5)
    for parameter, twin in (
        (ours.weight, theirs.weight),
        (ours.bias, theirs.bias),
        (ours.mean_scale, theirs.mean_scale),
    ):
        nn.init.normal_(parameter)
        twin.data = parameter.data.clone()
    x = torch.randn(12, 5)
    torch.testing.assert_close(ours(x, GRAPHS), theirs(x, GRAPHS.owner), rtol=1e-5, atol=1e-5)


def test_batch_norm_and_its_masked_form() -> None:
    plain, masked, reference = BatchNorm(5), BatchNorm(5), nn.BatchNorm1d(5)
    for _ in range(3):
        x = torch.randn(12, 5) * 3 + 1
        padding = torch.full((4, 5), 100.0)
        mask = torch.tensor([True] * 12 + [False] * 4)
        expected = reference(x)
        torch.testing.assert_close(plain(x), expected)
        torch.testing.assert_close(masked(torch.cat([x, padding]), None, mask)[:12], expected, rtol=1e-5, atol=1e-5)
    for module in (plain, masked):
        torch.testing.assert_close(module.running_mean, reference.running_mean)
        torch.testing.assert_close(module.running_var, reference.running_var)
        torch.testing.assert_close(module.eval()(x), reference.eval()(x))


@pytest.mark.parametrize("mask", [None, torch.tensor([True]), torch.tensor([True, False])])
def test_batch_norm_of_one_row_uses_what_it_knows(mask: torch.Tensor | None) -> None:
    norm = BatchNorm(3)
    norm.running_mean.fill_(1.0)
    x = torch.full((1 if mask is None else len(mask), 3), 2.0)
    torch.testing.assert_close(norm(x, None, mask)[0], torch.ones(3), rtol=1e-4, atol=1e-4)
    assert torch.equal(norm.running_mean, torch.ones(3))


def test_a_graph_vector_takes_layer_norm_for_graph_norm() -> None:
    assert isinstance(build_norm("graph_norm", 4, of_graphs=True), LayerNorm)
    assert isinstance(build_norm({"name": "graph-norm", "eps": 1e-3}, 4, of_graphs=True), LayerNorm)
    assert isinstance(build_norm("graph_norm", 4), GraphNorm)
    assert isinstance(build_norm("batch_norm", 4, of_graphs=True), BatchNorm)
