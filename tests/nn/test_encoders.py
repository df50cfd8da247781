"""Encoders of encodings: what they read, and the signs of Laplacian eigenvectors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphium.errors import GraphiumError
from graphium.nn.encoders import LaplacianEncoder, MLPEncoder, draw_signs
from graphium.nn.ops import Segments

GRAPHS = Segments(torch.tensor([0, 4, 5, 12]), torch.tensor([0] * 4 + [1] + [2] * 7))
COLUMNS = {"laplacian_eigvec": 3, "laplacian_eigval": 3}


def columns() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(12, dim, generator=generator) for name, dim in COLUMNS.items()}


def test_laplacian_equals_a_loop_over_the_pairs() -> None:
    encoder = LaplacianEncoder(COLUMNS, 5, hidden=4).eval()
    data = columns()
    data["laplacian_eigvec"][4], data["laplacian_eigval"][4] = 0, 0
    inner = torch.zeros(12, 4)
    for k in range(3):
        vector, value = data["laplacian_eigvec"][:, k], data["laplacian_eigval"][:, k]
        there = torch.ones(12)
        there[4] = 0
        inner += (torch.stack([vector, value, there], 1) @ encoder.pair.weight.t()).relu()
    torch.testing.assert_close(encoder(data, GRAPHS), encoder.linear(inner).relu())
    assert torch.equal(inner[4], torch.zeros(4))


def test_values_are_not_read_as_vectors() -> None:
    encoder = LaplacianEncoder(COLUMNS, 5).eval()
    data = columns()
    swapped = dict(zip(data, reversed(data.values()), strict=True))
    assert not torch.allclose(encoder(data, GRAPHS), encoder(swapped, GRAPHS))
    reordered = dict(reversed(data.items()))
    assert torch.equal(encoder(data, GRAPHS), encoder(reordered, GRAPHS))


def test_signs_are_drawn_per_graph_and_column() -> None:
    torch.manual_seed(0)
    signs = torch.stack([draw_signs(GRAPHS, 3, torch.float32) for _ in range(200)])  # [draws, nodes, columns]
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(signs, signs[:, GRAPHS.ptr[:-1]][:, GRAPHS.owner])
    per_graph = signs[:, GRAPHS.ptr[:-1]].flatten(1)
    # Nine independent coins: no two columns of draws agree much more often than by chance.
    agreement = (per_graph.t() @ per_graph) / len(per_graph) - torch.eye(9)
    assert agreement.abs().max() < 0.35


def test_signs_are_flipped_in_training_only() -> None:
    torch.manual_seed(0)
    encoder = LaplacianEncoder(COLUMNS, 5)
    data = columns()
    draws = [encoder.train()(data, GRAPHS) for _ in range(8)]
    assert any(not torch.equal(draws[0], other) for other in draws[1:])
    assert torch.equal(encoder.eval()(data, GRAPHS), encoder(data, GRAPHS))
    still = LaplacianEncoder(COLUMNS, 5, flip_signs=False)
    assert torch.equal(still(data, GRAPHS), still(data, GRAPHS))


def test_laplacian_refuses_other_encodings() -> None:
    with pytest.raises(GraphiumError, match="use the encoder mlp"):
        LaplacianEncoder({"rw_return_probs": 16}, 5)


def test_published_weights_count_absent_pairs() -> None:
    """Two maps, the sum over all pairs and two more maps, as the published encoder has them, are one map each."""
    torch.manual_seed(0)
    first, second, third, last = nn.Linear(2, 6), nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 5)
    encoder = LaplacianEncoder(COLUMNS, 5, hidden=4, activation="none", flip_signs=False, count_absent=True)
    weight, bias = second.weight @ first.weight, second.weight @ first.bias + second.bias
    encoder.pair.weight.data = torch.stack([weight[:, 1], weight[:, 0], bias], dim=1).detach()
    encoder.linear.weight.data = (last.weight @ third.weight).detach()
    encoder.linear.bias.data = (3 * last.weight @ third.bias + last.bias).detach()
    data = columns()
    data["laplacian_eigvec"][4], data["laplacian_eigval"][4] = 0, 0
    pairs = torch.stack([data["laplacian_eigval"], data["laplacian_eigvec"]], dim=2)
    expected = last(third(second(first(pairs)).relu()).sum(1))
    torch.testing.assert_close(encoder(data, GRAPHS), expected)


def test_norms_of_the_mlp_encoder() -> None:
    encoder = MLPEncoder({"rw_return_probs": 4}, 5, hidden=6, depth=2, norm="layer_norm", input_norms=2)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)
    x = torch.rand(12, 4)
    one, two = encoder.mlp.linears
    values = x
    for norm in encoder.input_norms:
        values = nn.functional.layer_norm(values, (4,), norm.weight, norm.bias)
    hidden = one[1](one[0](values)).relu()
    torch.testing.assert_close(encoder({"rw_return_probs": x}, GRAPHS), two[1](two[0](hidden)).relu())
