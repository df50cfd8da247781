"""The message-passing layers against PyG's own, with shared weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, GINConv, GINEConv

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError
from graphium.nn.inputs import EdgeInput
from graphium.nn.layers import GCNLayer, GINELayer, GINLayer, build_layer, layer_heads
from graphium.nn.ops import Edges

IN, OUT, HIDDEN = 6, 5, 7


@pytest.fixture
def batch(make: SimpleNamespace) -> GraphBatch:
    graphs: GraphBatch = make.collate(make.mixed())
    return graphs


@pytest.fixture
def edges(make: SimpleNamespace, batch: GraphBatch) -> Edges:
    return EdgeInput(make.spec)(batch, torch.float32)


def compare(layer: nn.Module, reference: nn.Module, edges: Edges, edge_attr: Tensor | None = None) -> Tensor:
    """Outputs and the gradient of the input agree; return the reference's random direction."""
    torch.manual_seed(1)
    x = torch.randn(edges.rowptr.shape[0] - 1, IN, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    out = layer(x, edges)
    expected = reference(twin, edges.edge_index) if edge_attr is None else reference(twin, edges.edge_index, edge_attr)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    direction = torch.randn_like(out)
    (out * direction).sum().backward()
    (expected * direction).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-5, atol=1e-5)
    return direction


def empty_mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(IN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, OUT))


def share(layer: GINLayer | GINELayer, reference: GINConv | GINEConv) -> None:
    """Give the reference the weights of our MLP; its constructor draws new ones."""
    for ours, theirs in zip(layer.mlp.linears, (reference.nn[0], reference.nn[2]), strict=True):
        theirs.load_state_dict(ours.state_dict())


def test_gcn_is_degree_normalised_as_in_pyg(edges: Edges) -> None:
    layer, reference = GCNLayer(IN, OUT), GCNConv(IN, OUT)
    nn.init.normal_(layer.bias)
    reference.lin.weight.data = layer.linear.weight.data.clone()
    reference.bias.data = layer.bias.data.clone()
    compare(layer, reference, edges)
    torch.testing.assert_close(layer.linear.weight.grad, reference.lin.weight.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("eps", "train_eps"), [(0.0, False), (0.3, False), (0.3, True)])
def test_gin(edges: Edges, eps: float, train_eps: bool) -> None:
    layer = GINLayer(IN, OUT, HIDDEN, eps=eps, train_eps=train_eps)
    reference = GINConv(empty_mlp(), eps=eps, train_eps=train_eps)
    share(layer, reference)
    compare(layer, reference, edges)
    if train_eps:
        torch.testing.assert_close(layer.eps.grad, reference.eps.grad.squeeze(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("edge_bias", [False, True])
@pytest.mark.parametrize(("eps", "train_eps"), [(0.0, False), (0.3, True)])
def test_gine(make: SimpleNamespace, edges: Edges, eps: float, train_eps: bool, edge_bias: bool) -> None:
    edge_dim = EdgeInput(make.spec).edge_dim
    layer = GINELayer(IN, OUT, edge_dim, HIDDEN, eps=eps, train_eps=train_eps, edge_bias=edge_bias)
    reference = GINEConv(empty_mlp(), eps=eps, train_eps=train_eps, edge_dim=edge_dim)
    share(layer, reference)
    reference.lin.weight.data = layer.table.data.t().clone()
    nn.init.zeros_(reference.lin.bias)
    if layer.edge_bias is not None:
        nn.init.normal_(layer.edge_bias)
        reference.lin.bias.data = layer.edge_bias.data.clone()
    compare(layer, reference, edges, edges.features())
    torch.testing.assert_close(layer.table.grad, reference.lin.weight.grad.t(), rtol=1e-5, atol=1e-5)
    if layer.edge_bias is not None:
        torch.testing.assert_close(layer.edge_bias.grad, reference.lin.bias.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["gin", "gine"])
def test_a_norm_inside_the_mlp(make: SimpleNamespace, edges: Edges, name: str) -> None:
    options = {"in_channels": IN, "out_channels": OUT, "edge_dim": 14, "hidden_channels": HIDDEN, "activation": "relu"}
    layer = build_layer({"name": name, "norm": "layer_norm"}, **options)
    one, two = layer.mlp.linears
    plain = nn.Sequential(one[0], nn.LayerNorm(HIDDEN), nn.ReLU(), two)
    if name == "gin":
        compare(layer, GINConv(plain).eval(), edges)
    else:
        reference = GINEConv(plain, edge_dim=14)
        # Its constructor draws the weights of the shared maps anew, for both.
        reference.lin.weight.data = layer.table.data.t().clone()
        nn.init.zeros_(reference.lin.bias)
        compare(layer, reference, edges, edges.features())


def test_gine_on_bond_vectors(make: SimpleNamespace, edges: Edges) -> None:
    """What an MLP made of the bond features, with a gradient to it."""
    vectors = torch.randn(edges.edge_index.shape[1], 4, requires_grad=True)
    twin = vectors.detach().clone().requires_grad_()
    layer = GINELayer(IN, OUT, 4, HIDDEN)
    reference = GINEConv(empty_mlp(), edge_dim=4)
    share(layer, reference)
    reference.lin.weight.data = layer.table.data.t().clone()
    nn.init.zeros_(reference.lin.bias)
    compare(layer, reference, edges._replace(bonds=vectors), twin)
    torch.testing.assert_close(layer.table.grad, reference.lin.weight.grad.t(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(vectors.grad, twin.grad, rtol=1e-5, atol=1e-5)


def test_gine_gradient_by_finite_differences(make: SimpleNamespace, batch: GraphBatch) -> None:
    edges = EdgeInput(make.spec)(batch, torch.float64)
    layer = GINELayer(2, 2, EdgeInput(make.spec).edge_dim, activation="tanh").double()
    x = torch.randn(batch.num_nodes, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, table: _with_table(layer, table)(x, edges), (x, layer.table))


def _with_table(layer: GINELayer, table: Tensor) -> nn.Module:
    return lambda x, edges: torch.func.functional_call(layer, {"table": table}, (x, edges))  # type: ignore[return-value]


def test_gine_without_bond_features_says_what_to_do() -> None:
    with pytest.raises(GraphiumError, match="use the layer gin"):
        build_layer("gine", in_channels=4, out_channels=4, edge_dim=0)


def test_edge_features_are_one_hots_and_numbers(make: SimpleNamespace, batch: GraphBatch, edges: Edges) -> None:
    expected = torch.cat(
        [
            nn.functional.one_hot(batch.edge_attr[:, 0].long(), 6),
            nn.functional.one_hot(batch.edge_attr[:, 1].long(), 7),
            batch.edge_num,
        ],
        dim=1,
    )
    assert torch.equal(edges.features(), expected.float())


def test_convolutions_of_pyg_by_dotted_path(edges: Edges) -> None:
    options = {"in_channels": IN, "out_channels": 8, "edge_dim": 14}
    x = torch.randn(edges.rowptr.shape[0] - 1, IN)
    for config in (
        "torch_geometric.nn.GCNConv",
        "torch_geometric.nn.GATConv",
        {"name": "torch_geometric.nn.GATv2Conv", "heads": 4},
        {"name": "torch_geometric.nn.TransformerConv", "heads": 2, "concat": False},
    ):
        assert build_layer(config, **options)(x, edges).shape == (len(x), 8)
    assert layer_heads({"name": "torch_geometric.nn.GATv2Conv", "heads": 4}) == 4
    with pytest.raises(GraphiumError, match="has 3 heads"):
        build_layer({"name": "torch_geometric.nn.GATv2Conv", "heads": 3}, **options)
    with pytest.raises(GraphiumError, match=r"model\.layer\.nn is missing"):
        build_layer("torch_geometric.nn.GINEConv", **options)
