"""The network: a batch of molecules in, one tensor of predictions per head out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError
from graphium.nn.activations import build_activation
from graphium.nn.budget import fit_budget
from graphium.nn.heads import Head, Readout
from graphium.nn.inputs import EdgeInput, NodeInput
from graphium.nn.layers import build_layer, layer_takes
from graphium.nn.norms import build_norm
from graphium.nn.ops import Edges, Segments
from graphium.nn.virtual_node import VirtualNode
from graphium.registry import Part, PartConfig, build, check_arguments, validate
from graphium.types import FeatureSpec, HeadSpec

Pooling = Annotated[PartConfig, Part("pooling")]


class Block(nn.Module):
    """Layer, norm, activation, dropout: ``[nodes, in_channels]`` -> ``[nodes, width]``."""

    def __init__(self, layer: nn.Module, norm: nn.Module, activation: str, dropout: float) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm
        self.activation = build_activation(activation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, edges: Edges, graphs: Segments, node_mask: Tensor | None) -> Tensor:
        out: Tensor = self.dropout(self.activation(self.norm(self.layer(x, edges), graphs, node_mask)))
        return out


class Network(nn.Module):
    """Input encoders, message-passing blocks with a virtual node, readouts and heads.

    Args:
        spec: The features that the batches carry.
        heads: What to predict.
        width: Channels of node vectors, virtual node, readouts and (by default) heads.
        depth: Number of blocks.
        layer: Message-passing layer, by name or dotted path.
        feed_forward: Hidden width of the MLP inside a layer that has one, as a multiple of ``width``
            (None: 1).
        encoding_width: Channels that an encoder of an encoding returns.
        encoders: Encoding -> encoder, for encodings that should not take their default one.
        norm: Norm of every block and of the virtual node.
        residual: How a block's output joins its input.
        activation: Name of an activation function, used throughout.
        dropout: Share of channels dropped after every block, readout and hidden layer of a head.
        input_dropout: Share of channels dropped from the first node vectors.
        virtual_node: Pooling by which a virtual node reads the graph, or ``none``.
        pooling: Pooling of the graph readout; several are concatenated.
        head_width: Channels of the hidden layers of a head (None: ``width``).
        head_depth: Hidden layers of a head.

    Raises:
        GraphiumError: an unknown part, or a value out of range.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        heads: Sequence[HeadSpec],
        *,
        width: int = 96,
        depth: int = 4,
        layer: Annotated[PartConfig, Part("layer")] = "gine",
        feed_forward: float | None = None,
        encoding_width: int = 32,
        encoders: dict[str, Annotated[PartConfig, Part("encoder")]] | None = None,
        norm: Annotated[PartConfig, Part("norm")] = "layer_norm",
        residual: Annotated[PartConfig, Part("residual")] = "simple",
        activation: str = "gelu",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        virtual_node: PartConfig | None = "sum",
        pooling: Pooling | list[Pooling] = "mean",
        head_width: int | None = None,
        head_depth: int = 1,
    ) -> None:
        super().__init__()
        options = {key: value for key, value in locals().items() if key not in ("self", "spec", "heads", "__class__")}
        check_network(**options)
        self.spec = spec
        self.heads_spec = tuple(heads)
        self._config = options
        self.node_input = NodeInput(spec, width, encoding_width, encoders)
        self.edge_input = EdgeInput(spec)
        self.input_dropout = nn.Dropout(input_dropout)
        self.residual = build("residual", residual, where="model.residual", channels=width, depth=depth)
        hidden = max(1, round(width * (1.0 if feed_forward is None else feed_forward)))
        self.blocks = nn.ModuleList()
        for step in range(depth):
            built = build_layer(
                layer,
                in_channels=self.residual.in_channels(step),
                out_channels=width,
                edge_dim=self.edge_input.edge_dim,
                hidden_channels=hidden,
                activation=activation,
            )
            self.blocks.append(Block(built, build_norm(norm, width), activation, dropout))
        self.virtual_nodes = nn.ModuleList()
        if virtual_node is not None and virtual_node != "none":
            # Nothing reads the virtual node after the last block.
            for _ in range(depth - 1):
                self.virtual_nodes.append(VirtualNode(width, virtual_node, norm, activation, dropout))
        out_channels = self.residual.in_channels(depth)
        self.readouts = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        for head in heads:
            if head.level not in self.readouts:
                self.readouts[head.level] = Readout(
                    head.level,
                    out_channels,
                    width,
                    edge_dim=self.edge_input.edge_dim,
                    pooling=pooling,
                    activation=activation,
                    dropout=dropout,
                )
            self.heads[head.name] = Head(head, width, head_width or width, head_depth, activation, dropout)

    def forward(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Predict.

        Returns:
            Head name -> ``[entities, tasks]`` or ``[entities, tasks, classes]``, one row for every
            entity of the head's level in the batch, padding included: transformed label units, or
            logits.
        """
        x, edges = self.encode(batch)
        vectors = {level: readout(x, batch, edges) for level, readout in self.readouts.items()}
        return {head.name: self.heads[head.name](vectors[head.level]) for head in self.heads_spec}

    def encode(self, batch: GraphBatch) -> tuple[Tensor, Edges]:
        """Node vectors after the last block, ``[nodes, channels]``, and the edges as layers read them."""
        graphs = Segments(batch.ptr, batch.batch)
        x = self.input_dropout(self.node_input(batch))
        edges = self.edge_input(batch, self.node_input.table.dtype)
        v = None
        for step, block in enumerate(self.blocks):
            h = block(x, edges, graphs, batch.node_mask)
            if step < len(self.virtual_nodes):
                h, v = self.virtual_nodes[step](h, v, graphs, batch.graph_mask)
            x = self.residual(x, h, step)
        return x, edges

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain values, without ``spec`` and ``heads``."""
        return dict(self._config)

    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def build_network(
    spec: FeatureSpec, heads: Sequence[HeadSpec], *, budget: int | None = None, **options: Any
) -> Network:
    """Build a network; ``budget`` picks ``width`` and then ``feed_forward``.

    Args:
        spec: The features that the batches carry.
        heads: What to predict.
        budget: Number of trainable parameters to come within 2 % of.
        **options: Arguments of :class:`Network`.

    Raises:
        GraphiumError: an unknown option or part, a value out of range, a budget that cannot be met.
    """
    check_network(budget=budget, **options)
    if budget is None:
        return Network(spec, heads, **options)

    def parameters(**tried: Any) -> int:
        # The meta device has shapes and no numbers: nothing is allocated, no random number is drawn.
        with torch.device("meta"):
            return Network(spec, heads, **tried).num_parameters()

    return Network(spec, heads, **fit_budget(parameters, budget, options))


def check_network(*, budget: int | None = None, **options: Any) -> None:
    """Judge the options of :class:`Network` before there is any data.

    Raises:
        GraphiumError: an unknown option or part, a wrong type, a value out of range.
    """
    checked = check_arguments(Network, options, where="model", given=("spec", "heads"), beside=("budget",))
    for name, least in (("width", 1), ("depth", 1), ("encoding_width", 1), ("head_width", 1), ("head_depth", 0)):
        value = checked.get(name)
        if value is not None and value < least:
            raise GraphiumError(f"model.{name} is {value}; give at least {least}")
    ratio = checked.get("feed_forward")
    if ratio is not None and not ratio > 0:
        raise GraphiumError(f"model.feed_forward is {ratio}; give a ratio above 0, for example 2.0")
    for name in ("dropout", "input_dropout"):
        if not 0 <= checked.get(name, 0.0) < 1:
            raise GraphiumError(f"model.{name} is {checked[name]}; give a share from 0 up to, not including, 1")
    if "activation" in checked:
        build_activation(checked["activation"])
    check_arguments(build_network, {"budget": budget}, where="model", given=("spec", "heads"))
    if budget is not None and budget < 1:
        raise GraphiumError(f"model.budget is {budget}; give a number of parameters, for example 150000")
    if checked.get("virtual_node") not in (None, "none"):
        validate("pooling", checked["virtual_node"], where="model.virtual_node")
    layer = options.get("layer", "gine")
    validate("layer", layer, where="model.layer")
    if options.get("feed_forward") is not None and not layer_takes(layer, "hidden_channels"):
        raise GraphiumError(
            f"model.feed_forward is {options['feed_forward']} and layer {layer!r} has no MLP to widen; leave it out"
        )
