"""Named places of a network, from its input to its heads: where vectors are taken out, and where a model is cut.

``encoders``: the first node vectors. ``gnn:K``: after message-passing block K, counted from 0; ``gnn`` is the last
one and ``gnn:-2`` the one before. ``readout``: the vectors that the heads read, of graphs where the network predicts
for these; ``readout:LEVEL`` those of another level. ``head:NAME``: the last hidden layer of a head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.errors import GraphiumError, suggest
from graphium.nn.network import Network

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
        groups = list(network.heads.groups)
        name = at or (groups[0] if len(groups) == 1 else "")
        if name not in groups:
            raise GraphiumError(f"{text!r}: the network has no head {name!r}; {suggest(name, groups)}")
        return Stage("head", network.heads.levels[name], name=name)
    raise GraphiumError(
        f"{text!r} is no place in a network; choose encoders, gnn:K, readout, readout:LEVEL or head:NAME"
    )


def vectors(network: Network, batch: GraphBatch, stage: Stage) -> Tensor:
    """The vectors at a place, ``[entities, channels]``, one for every entity of ``stage.level``, padding included."""
    if stage.kind == "encoders":
        return network.encode(batch, 0)[0]
    if stage.kind == "gnn":
        assert stage.number is not None
        return network.encode(batch, stage.number + 1)[0]
    x, edges = network.encode(batch)
    out: Tensor = network.readouts[stage.level](x, batch, edges)
    if stage.kind == "head":
        assert stage.name is not None
        out = network.heads.groups[stage.name].hidden(out)  # type: ignore[operator]
    return out


def depths(network: Network) -> dict[str, int]:
    """Name of every parameter -> how deep it lies.

    0 is the input, ``k + 1`` block ``k`` (with its virtual node), then the readouts and, last, the heads.
    """
    blocks = len(network.blocks)
    tops = {"node_input": 0, "edge_input": 0, "readouts": blocks + 1, "heads": blocks + 2}
    found = {}
    for name, _ in network.named_parameters():
        words = name.split(".")
        if words[0] in ("blocks", "virtual_nodes"):
            found[name] = int(words[1]) + 1
        else:
            # Weights of residual connections have a row for every block; the last one is theirs.
            found[name] = tops.get(words[0], blocks)
    return found
