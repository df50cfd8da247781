"""The network: a batch of molecules in, one tensor of predictions per head out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError
from graphium.nn.activations import build_activation
from graphium.nn.budget import fit_budget
from graphium.nn.groups import Group, HeadOptions, check_datasets, group_heads, read_heads
from graphium.nn.heads import HeadGroup, Heads
from graphium.nn.inputs import EdgeInput, NodeInput, read_inputs
from graphium.nn.layers import build_layer, layer_takes
from graphium.nn.mlp import RowNorm
from graphium.nn.norms import build_norm
from graphium.nn.ops import Edges, Segments
from graphium.nn.readouts import Pooling, Readout, ReadoutOptions, check_levels, read_readouts
from graphium.nn.virtual_node import VirtualNode
from graphium.registry import Part, PartConfig, build, check_arguments, validate
from graphium.types import FeatureSpec, HeadSpec

# What the constructor is given beside its options.
_GIVEN = ("self", "spec", "head_specs", "__class__")


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
        head_specs: What to predict.
        width: Channels of node vectors and virtual node, and by default of readouts and heads.
        in_width: Channels of the node vectors that the first block reads (None: ``width``).
        out_width: Channels of the node vectors that the last block makes (None: ``width``). No residual
            connection passes by a block that changes the width.
        depth: Number of blocks.
        layer: Message-passing layer, by name or dotted path.
        feed_forward: Hidden width of the MLP inside a layer that has one, as a multiple of ``width``, or of
            ``in_width`` in the first block where that is narrower (None: 1).
        inputs: ``atoms`` and ``bonds`` -> fields of :class:`InputOptions`, for hidden layers and norms between
            the features and the first block.
        encoding_width: Channels that an encoder of an encoding returns.
        encoders: Encoding -> encoder, for encodings that should not take their default one.
        norm: Norm of every block and of the virtual node.
        residual: How a block's output joins its input.
        activation: Name of an activation function, used throughout.
        dropout: Share of channels dropped after every block, readout and hidden layer of a head.
        input_dropout: Share of channels dropped from the first node vectors.
        virtual_node: Pooling by which a virtual node reads the graph, or ``none``.
        virtual_node_projection: Whether nodes read the virtual node through a linear map.
        virtual_node_place: Where it stands, ``before_residual`` or ``after_residual``. In the latter case the
            next block reads what it adds to the nodes and the residual connection passes by it.
        pooling: Pooling of the graph readout; several are concatenated.
        edge_width: Channels of the bond vectors that layers and the edge readout read, made by an MLP of the
            bond features (None: these as they are).
        readouts: Level -> fields of :class:`ReadoutOptions`, for levels whose readout should differ.
        head_width: Channels of the hidden layers of a head (None: ``width``).
        head_depth: Hidden layers of a head.
        head_norm: Norm of every hidden layer of a head.
        heads: Name -> fields of :class:`HeadOptions`, for heads and tasks that should share hidden layers or
            have some of their own. The others have a stack of hidden layers per head.

    Raises:
        GraphiumError: an unknown part, a value out of range, a pattern that matches no task.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        head_specs: Sequence[HeadSpec],
        *,
        width: int = 96,
        in_width: int | None = None,
        out_width: int | None = None,
        depth: int = 4,
        layer: Annotated[PartConfig, Part("layer")] = "gine",
        feed_forward: float | None = None,
        encoding_width: int = 32,
        encoders: dict[str, Annotated[PartConfig, Part("encoder")]] | None = None,
        inputs: dict[str, dict[str, Any]] | None = None,
        norm: Annotated[PartConfig, Part("norm")] = "layer_norm",
        residual: Annotated[PartConfig, Part("residual")] = "simple",
        activation: str = "gelu",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        virtual_node: PartConfig | None = "sum",
        virtual_node_projection: bool = False,
        virtual_node_place: Literal["before_residual", "after_residual"] = "before_residual",
        pooling: Pooling | list[Pooling] = "mean",
        edge_width: int | None = None,
        readouts: dict[str, dict[str, Any]] | None = None,
        head_width: int | None = None,
        head_depth: int = 1,
        head_norm: RowNorm = "none",
        heads: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        options = {key: value for key, value in locals().items() if key not in _GIVEN}
        check_network(**options)
        groups = check_heads(options, head_specs)
        self.spec = spec
        self.head_specs = tuple(head_specs)
        self._config = options
        read = read_inputs(inputs)
        first, last = in_width or width, out_width or width
        self.node_input = NodeInput(spec, first, encoding_width, encoders, read.get("atoms"), activation=activation)
        self.edge_input = EdgeInput(spec, edge_width, activation, read.get("bonds"))
        self.input_dropout = nn.Dropout(input_dropout)
        # Blocks that change the width have no residual connection.
        self.bypassed = range(int(first != width), depth - int(last != width))
        self.residual = build("residual", residual, where="model.residual", channels=width, depth=len(self.bypassed))
        # Channels that each block reads and, at the end, those that the readouts read.
        inner = [self.residual.in_channels(step) for step in range(len(self.bypassed) + 1)]
        self.channels = [first] * (first != width) + inner + [last] * (last != width)
        self.blocks = nn.ModuleList()
        for step in range(depth):
            out_channels = last if step == depth - 1 else width
            narrower = min(self.channels[step], width)
            built = build_layer(
                layer,
                in_channels=self.channels[step],
                out_channels=out_channels,
                edge_dim=self.edge_input.edge_dim,
                hidden_channels=max(1, round(narrower * (1.0 if feed_forward is None else feed_forward))),
                activation=activation,
            )
            self.blocks.append(Block(built, build_norm(norm, out_channels), activation, dropout))
        self.virtual_nodes = nn.ModuleList()
        self.residual_first = virtual_node_place == "after_residual"
        if virtual_node is not None and virtual_node != "none":
            # Nothing reads the virtual node after the last block.
            widths = self.channels[1:depth] if self.residual_first else [width] * (depth - 1)
            for channels in widths:
                self.virtual_nodes.append(
                    VirtualNode(channels, virtual_node, norm, activation, dropout, virtual_node_projection)
                )
        said = read_readouts(readouts)
        self.readouts = nn.ModuleDict()
        modules = []
        for group in groups:
            if group.level not in self.readouts:
                self.readouts[group.level] = self.make_readout(group.level, said.get(group.level, ReadoutOptions()))
            modules.append(self.make_group(group))
        self.heads = Heads(head_specs, list(zip(groups, modules, strict=True)))

    def make_readout(self, level: str, options: ReadoutOptions) -> Readout:
        """The readout of a level; ``options`` and, where they are silent, those of the network."""
        return Readout(
            level,
            self.channels[-1],
            options.width or self._config["width"],
            depth=options.depth,
            edge_dim=self.edge_input.edge_dim,
            pooling=options.pooling or self._config["pooling"],
            activation=options.activation or self._config["activation"],
            dropout=self._config["dropout"] if options.dropout is None else options.dropout,
            norm=options.norm,
            hidden_width=options.hidden_width,
            activate_last=options.activate_last,
            norm_last=options.norm_last,
        )

    def make_group(self, group: Group) -> HeadGroup:
        """The module of tasks that share hidden layers; the options of the network where theirs are silent."""
        config = self._config
        options = group.options or HeadOptions(of=group.name)
        return HeadGroup(
            {name: len(columns) for name, columns in group.columns.items()},
            {head.name: head.width for head in self.head_specs if head.name in group.columns},
            int(self.readouts[group.level].width),  # type: ignore[arg-type]
            width=options.width or config["head_width"] or config["width"],
            depth=config["head_depth"] if options.depth is None else options.depth,
            activation=options.activation or config["activation"],
            dropout=config["dropout"] if options.dropout is None else options.dropout,
            split=options.split,
            norm=options.norm or config["head_norm"],
        )

    def forward(self, batch: GraphBatch) -> dict[str, Tensor]:
        """Predict.

        Returns:
            Head name -> ``[entities, tasks]`` or ``[entities, tasks, classes or outputs]``, one row for
            every entity of the head's level in the batch, padding included: transformed label units, or
            logits.
        """
        x, edges = self.encode(batch)
        predictions: dict[str, Tensor] = self.heads(
            {level: readout(x, batch, edges) for level, readout in self.readouts.items()}
        )
        return predictions

    def encode(self, batch: GraphBatch, num_blocks: int | None = None) -> tuple[Tensor, Edges]:
        """Node vectors after the first ``num_blocks`` blocks (None: all), and the edges as layers read them."""
        graphs = Segments(batch.ptr, batch.batch)
        x = self.input_dropout(self.node_input(batch))
        edges = self.edge_input(batch, self.node_input.table.dtype)
        v = None
        # What the residual connection carries past the virtual node, where that stands after it.
        carried = x
        for step, block in enumerate(self.blocks[:num_blocks]):
            h = block(x, edges, graphs, batch.node_mask)
            has_virtual_node = step < len(self.virtual_nodes)
            if has_virtual_node and not self.residual_first:
                h, v = self.virtual_nodes[step](h, v, graphs, batch.graph_mask)
            x = carried = self.residual(carried, h, step - self.bypassed.start) if step in self.bypassed else h
            if has_virtual_node and self.residual_first:
                x, v = self.virtual_nodes[step](x, v, graphs, batch.graph_mask)
        return x, edges

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain values, without ``spec`` and ``head_specs``."""
        return dict(self._config)

    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def build_network(
    spec: FeatureSpec, head_specs: Sequence[HeadSpec], *, budget: int | None = None, **options: Any
) -> Network:
    """Build a network; ``budget`` picks ``width`` and then ``feed_forward``.

    Args:
        spec: The features that the batches carry.
        head_specs: What to predict.
        budget: Number of trainable parameters to come within 2 % of.
        **options: Arguments of :class:`Network`.

    Raises:
        GraphiumError: an unknown option or part, a value out of range, a budget that cannot be met.
    """
    check_network(budget=budget, **options)
    if budget is None:
        return Network(spec, head_specs, **options)

    def parameters(**tried: Any) -> int:
        # The meta device has shapes and no numbers: nothing is allocated, no random number is drawn.
        with torch.device("meta"):
            return Network(spec, head_specs, **tried).num_parameters()

    return Network(spec, head_specs, **fit_budget(parameters, budget, options))


def check_network(datasets: Collection[str] | None = None, /, *, budget: int | None = None, **options: Any) -> None:
    """Judge the options of :class:`Network` before there is any data.

    ``datasets``: the names of the data sets, where they are known.

    Raises:
        GraphiumError: an unknown option or part, a wrong type, a value out of range.
    """
    checked = check_arguments(Network, options, where="model", given=("spec", "head_specs"), beside=("budget",))
    _check_numbers(checked)
    if "activation" in checked:
        build_activation(checked["activation"])
    check_arguments(build_network, {"budget": budget}, where="model", given=("spec", "head_specs"))
    if budget is not None and budget < 1:
        raise GraphiumError(f"model.budget is {budget}; give a number of parameters, for example 150000")
    if checked.get("pooling") == []:
        raise GraphiumError("model.pooling is an empty list; name at least one pooling, for example sum")
    virtual_node = checked.get("virtual_node", "sum")
    if virtual_node not in (None, "none"):
        validate("pooling", virtual_node, where="model.virtual_node")
        _check_place(checked.get("virtual_node_place"), checked.get("residual", "simple"))
    layer = options.get("layer", "gine")
    validate("layer", layer, where="model.layer")
    if options.get("feed_forward") is not None and not layer_takes(layer, "hidden_channels"):
        raise GraphiumError(
            f"model.feed_forward is {options['feed_forward']} and layer {layer!r} has no MLP to widen; leave it out"
        )
    if read_inputs(checked.get("inputs")).get("bonds") is not None and checked.get("edge_width") is None:
        raise GraphiumError("model.inputs.bonds has no effect without model.edge_width; give that too, or leave it out")
    read_readouts(checked.get("readouts"))
    entries = read_heads(checked.get("heads"), checked.get("head_depth", 1))
    if datasets is not None:
        check_datasets(entries, datasets)


def _check_numbers(options: Mapping[str, Any]) -> None:
    """Refuse numbers out of range."""
    for name, least in (
        ("width", 1),
        ("depth", 1),
        ("in_width", 1),
        ("out_width", 1),
        ("encoding_width", 1),
        ("edge_width", 1),
        ("head_width", 1),
        ("head_depth", 0),
    ):
        value = options.get(name)
        if value is not None and value < least:
            raise GraphiumError(f"model.{name} is {value}; give at least {least}")
    ratio = options.get("feed_forward")
    if ratio is not None and not ratio > 0:
        raise GraphiumError(f"model.feed_forward is {ratio}; give a ratio above 0, for example 2.0")
    for name in ("dropout", "input_dropout"):
        if not 0 <= options.get(name, 0.0) < 1:
            raise GraphiumError(f"model.{name} is {options[name]}; give a share from 0 up to, not including, 1")


def _check_place(place: str | None, residual: PartConfig) -> None:
    """Refuse a virtual node after a residual connection that makes the nodes wider: it has one width."""
    if place != "after_residual":
        return
    with torch.device("meta"):
        built = build("residual", residual, where="model.residual", channels=1, depth=3)
    if any(built.in_channels(step) > 1 for step in range(3)):
        raise GraphiumError(
            f"model.virtual_node_place is {place} and the residual connection {residual!r} makes the nodes "
            "wider; choose another, for example simple, or before_residual"
        )


def check_heads(options: Mapping[str, Any], head_specs: Sequence[HeadSpec]) -> list[Group]:
    """Judge those options of :class:`Network` that name tasks and levels, knowing the tasks.

    Returns:
        The groups of tasks that share hidden layers, in the order in which they are built.

    Raises:
        GraphiumError: a pattern of ``heads`` that matches nothing, a task in two entries, an entry over two
            levels; a readout of a level without tasks; an ``edge_width`` that nothing reads.
    """
    levels = {head.level for head in head_specs}
    check_levels(options.get("readouts") or {}, levels)
    layer = options.get("layer", "gine")
    if options.get("edge_width") is not None and not layer_takes(layer, "edge_dim") and "edge" not in levels:
        raise GraphiumError(
            f"model.edge_width is {options['edge_width']} and neither the layer {layer!r} nor a task of bonds reads "
            "bond features; leave it out"
        )
    return group_heads(read_heads(options.get("heads"), options.get("head_depth", 1)), head_specs)
