"""The tasks of saved models that are wanted, and only as much of each network as these need."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from graphium.data.batch import GraphBatch
from graphium.data.labels.transforms import LabelTransform
from graphium.errors import GraphiumError, suggest
from graphium.models.saved import SavedModel
from graphium.models.tables.columns import label_numbers
from graphium.nn.network import Network
from graphium.patterns import match
from graphium.types import HeadSpec


@dataclass(frozen=True)
class Chosen:
    """Those tasks of a head that are wanted: ``head`` has them alone, ``columns`` are their places in the whole one."""

    head: HeadSpec
    columns: tuple[int, ...]
    is_whole: bool


def choose_tasks(heads: Sequence[HeadSpec], patterns: Sequence[str] | None) -> list[Chosen]:
    """The tasks that names and patterns mean, in the order of the heads.

    Args:
        heads: All tasks of a model.
        patterns: ``task`` or ``dataset/task``, with ``*`` and ``?``; None is all.

    Raises:
        GraphiumError: a name or a pattern that no task has.
    """
    names: dict[str, set[tuple[str, int]]] = {}
    for head in heads:
        for column, task in enumerate(head.tasks):
            for name in (task.name, f"{task.dataset}/{task.name}"):
                names.setdefault(name, set()).add((head.name, column))
    wanted: set[tuple[str, int]] = set()
    for pattern in ["*"] if patterns is None else patterns:
        found = match(pattern, names)
        if not found:
            short = [task.name for head in heads for task in head.tasks]
            choices = [name for name in names if "/" in name] if "/" in pattern else short
            raise GraphiumError(f"the model has no task {pattern!r}; {suggest(pattern, choices)}")
        wanted |= {cell for name in found for cell in names[name]}
    chosen = []
    for head in heads:
        columns = tuple(column for column in range(head.num_tasks) if (head.name, column) in wanted)
        if columns:
            part = replace(head, tasks=tuple(head.tasks[column] for column in columns))
            chosen.append(Chosen(part, columns, len(columns) == head.num_tasks))
    if not chosen:
        raise GraphiumError("no task is chosen; name at least one, or leave the choice out for all")
    return chosen


class Member:
    """One saved model of a predictor.

    Args:
        saved: The model.
        chosen: Its tasks that are wanted.
    """

    def __init__(self, saved: SavedModel, chosen: Sequence[Chosen]) -> None:
        self.saved = saved
        self.chosen = tuple(chosen)
        heads = saved.network.heads
        wanted = {one.head.name for one in chosen}
        # Readouts and hidden layers that no wanted task reads are not computed.
        self._groups = [name for name, group in heads.groups.items() if wanted & set(group.tasks)]  # type: ignore[arg-type]
        self._levels = list(dict.fromkeys(heads.levels[name] for name in self._groups))
        self._inverse = {one.head.name: LabelTransform(one.head.tasks).inverse for one in chosen}

    def forward(self, batch: GraphBatch, network: Network | None = None) -> dict[str, Tensor]:
        """Head name -> predictions of the wanted tasks, on the processor; ``network``: one of the same shape."""
        network = network or self.saved.network
        x, edges = network.encode(batch)
        vectors = {level: network.readouts[level](x, batch, edges) for level in self._levels}
        pieces: dict[str, list[Tensor]] = {}
        for name in self._groups:
            group = network.heads.groups[name]
            for head, piece in group(vectors[network.heads.levels[name]]).items():
                pieces.setdefault(head, []).append(piece)
        made = {}
        for one in self.chosen:
            whole = network.heads.join(one.head.name, pieces[one.head.name])
            part = whole if one.is_whole else whole[:, torch.tensor(one.columns, device=whole.device)]
            made[one.head.name] = part.float().cpu()
        return made

    def numbers(self, predictions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Head name -> label units, see :func:`~graphium.models.tables.columns.label_numbers`."""
        return {
            one.head.name: label_numbers(one.head, predictions[one.head.name], self._inverse[one.head.name])
            for one in self.chosen
        }


class DrawnDropout(nn.Module):
    """Dropout that is always at work and draws from a generator of its own, so that no global state is touched."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self.share = share
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.empty_like(x).bernoulli_(1 - self.share, generator=self.generator)
        return x * kept / (1 - self.share)


def with_dropout(network: Network, generator: torch.Generator) -> Network:
    """A copy of a network whose dropout is at work (Gal and Ghahramani 2016), with draws of a generator.

    Raises:
        GraphiumError: the network has no dropout.
    """
    copied = copy.deepcopy(network)
    places = [
        (module, name, child.p)
        for module in copied.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.Dropout) and child.p > 0
    ]
    if not places:
        raise GraphiumError(
            "this model was trained without dropout, so its passes with dropout would all be the same; use several "
            "models as an ensemble, or train with model.dropout above 0"
        )
    for module, name, share in places:
        setattr(module, name, DrawnDropout(share, generator))
    return copied
