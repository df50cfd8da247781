"""Named places of a network, from its input to its heads: where vectors are taken out, and where a model is cut.

``encoders``: the first node vectors. ``gnn:K``: after message-passing block K, counted from 0; ``gnn`` is the last
one and ``gnn:-2`` the one before. ``readout``: the vectors that the heads read, of graphs where the network predicts
for these; ``readout:LEVEL`` those of another level. ``head:NAME``: the last hidden layer of a head, or of an entry of
``model.heads``; where its tasks have hidden layers of their own, those of one task after another.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError, suggest
from graphium.nn.network import Network
from graphium.nn.ops import Edges, Segments

Kind = Literal["encoders", "gnn", "readout", "head"]
KINDS: tuple[Kind, ...] = ("encoders", "gnn", "readout", "head")


@dataclass(frozen=True)
class Stage:
    """A place in one network.

    ``number``: of the block, from 0, for ``gnn``. ``name``: the level of a readout, the group of a head. ``level``:
    what has a vector here: ``node``, or the level of the readout or head.
    """

    kind: Kind
    level: str
    number: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        at = self.name if self.number is None else self.number
        return self.kind if at is None else f"{self.kind}:{at}"


def read_stage(text: str, network: Network) -> Stage:
    """Read the name of a place.

    Raises:
        GraphiumError: the network has no such place.
    """
    kind, _, at = text.partition(":")
    if kind == "encoders" and not at:
        return Stage("encoders", "node")
    if kind == "gnn" and re.fullmatch(r"(-?\d+)?", at):
        depth = len(network.blocks)
        number = int(at or -1)
        if not -depth <= number < depth:
            raise GraphiumError(
                f"{text!r}: the network has {depth} blocks, gnn:0 to gnn:{depth - 1}; choose one of them"
            )
        return Stage("gnn", "node", number=number % depth)
    if kind == "readout":
        levels = list(network.readouts)
        level = at or ("graph" if "graph" in levels else levels[0])
        if level not in levels:
            raise GraphiumError(f"{text!r}: the network has no readout of level {level!r}; {suggest(level, levels)}")
        return Stage("readout", level, name=level)
    if kind == "head":
        name = _read_group(text, at, network)
        return Stage("head", network.heads.levels[name], name=name)
    raise GraphiumError(
        f"{text!r} is no place in a network; choose encoders, gnn:K, readout, readout:LEVEL or head:NAME"
    )


def _read_group(text: str, at: str, network: Network) -> str:
    """The group that ``head:AT`` means: by its own name, or by that of a head which it alone predicts."""
    groups = network.heads.groups
    if at in groups:
        return at
    if not at:
        if len(groups) == 1:
            return next(iter(groups))
        raise GraphiumError(f"{text!r} does not say which head; {suggest('', groups)}")
    found = [name for name, group in groups.items() if at in group.tasks]  # type: ignore[operator]
    if not found:
        raise GraphiumError(f"{text!r}: the network has no head {at!r}; {suggest(at, groups)}")
    if len(found) > 1:
        raise GraphiumError(
            f"{text!r}: head {at!r} has its tasks in several groups; choose {' or '.join(f'head:{g}' for g in found)}"
        )
    return found[0]


def vectors(network: Network, batch: GraphBatch, stage: Stage) -> Tensor:
    """The vectors at a place, ``[entities, channels]``, one for every entity of ``stage.level``, padding included."""
    return states(network, batch, [stage])[0]


def states(network: Network, batch: GraphBatch, stages: Sequence[Stage]) -> list[Tensor]:
    """The vectors at several places, of one pass that goes no further than they need.

    Returns:
        One tensor per stage, ``[entities, channels]``, a row for every entity of the stage's level, padding included.

    Raises:
        GraphiumError: vectors of pairs are wanted and the batch names none.
    """
    depth = len(network.blocks)
    blocks = {"encoders": 0, "readout": depth, "head": depth}
    needed = [blocks[stage.kind] if stage.number is None else stage.number + 1 for stage in stages]
    x, edges = _node_states(network, batch, set(needed))
    levels = {stage.level for stage in stages if stage.kind in ("readout", "head")}
    read = {level: network.readouts[level](x[depth], batch, edges) for level in levels}
    found = []
    for stage, count in zip(stages, needed, strict=True):
        out = read[stage.level] if stage.kind in ("readout", "head") else x[count]
        if stage.kind == "head":
            assert stage.name is not None
            out = network.heads.groups[stage.name].hidden(out)  # type: ignore[operator]
            if out.ndim == 3:  # [tasks, entities, width]: every task has hidden layers of its own
                out = out.transpose(0, 1).flatten(1)
        found.append(out)
    return found


def _node_states(network: Network, batch: GraphBatch, counts: Collection[int]) -> tuple[dict[int, Tensor], Edges]:
    """Number of blocks -> the node vectors after them, ``[nodes, channels]``; and the edges as layers read them."""
    last = max(counts)
    kept: dict[int, Tensor] = {}
    # What block k reads are the node vectors after k blocks.
    handles = [
        network.blocks[count].register_forward_pre_hook(
            lambda _, inputs, count=count: kept.__setitem__(count, inputs[0])
        )
        for count in counts
        if count < last
    ]
    try:
        kept[last], edges = network.encode(batch, last)
    finally:
        for handle in handles:
            handle.remove()
    return kept, edges


def owners(batch: GraphBatch, level: str) -> Segments:
    """The atoms, bonds or pairs of a batch: where those of each molecule begin, and whose each is.

    Pairs must be all those of every molecule, molecule after molecule, not those that have labels.
    """
    if level == "node":
        return Segments(batch.ptr, batch.batch)
    if level == "edge":
        owner = batch.batch[batch.edge_index[0, batch.bond_edges[0]]]
    else:
        if batch.pair_index is None:
            raise GraphiumError("vectors of node pairs are wanted and the batch names none; give it pair_index")
        owner = batch.batch[batch.pair_index[0]]
    ptr = torch.searchsorted(owner, torch.arange(batch.num_graphs + 1, device=owner.device))
    return Segments(ptr, owner)


def depths(network: Network) -> dict[str, int]:
    """Name of every parameter -> how deep it lies, see :func:`depth_of`."""
    return {name: depth_of(name, len(network.blocks)) for name, _ in network.named_parameters()}


def depth_of(name: str, num_blocks: int) -> int:
    """How deep a parameter, buffer or module of a network with so many blocks lies, by its name.

    0 is the input, ``k + 1`` block ``k`` (with its virtual node), then the readouts and, last, the heads.
    """
    first, *rest = name.split(".")
    if first in ("blocks", "virtual_nodes"):
        return int(rest[0]) + 1
    tops = {"node_input": 0, "edge_input": 0, "readouts": num_blocks + 1, "heads": num_blocks + 2}
    # Weights of residual connections have a row for every block; the last one is theirs.
    return tops.get(first, num_blocks)
