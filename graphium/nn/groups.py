"""Which tasks share hidden layers: the section ``model.heads`` judged, and its patterns matched with the tasks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from graphium.errors import GraphiumError
from graphium.messages import listed
from graphium.nn.mlp import RowNorm
from graphium.nn.readouts import check_layers
from graphium.patterns import match
from graphium.registry import check_arguments
from graphium.types import HeadSpec

# A head and one of its columns.
Cell = tuple[HeadSpec, int]


@dataclass(frozen=True)
class HeadOptions:
    """What ``model.heads.NAME`` may say; None is what the network says for all heads.

    ``of``: data sets, names of heads, or ``dataset/task``, with ``*`` and ``?``. ``width``, ``depth``: channels
    and number of hidden layers. ``split``: every task has hidden layers of its own. ``norm``: of every hidden
    layer, between its map and its activation.
    """

    of: str | list[str]
    width: int | None = None
    depth: int | None = None
    dropout: float | None = None
    activation: str | None = None
    split: bool = False
    norm: RowNorm | None = None

    @property
    def patterns(self) -> list[str]:
        return [self.of] if isinstance(self.of, str) else self.of


@dataclass(frozen=True)
class Group:
    """Tasks that share hidden layers: ``columns`` names, for each head among them, its columns in ascending order.

    ``name`` is the key of ``model.heads``, or the name of the only head. ``options`` is None where nothing is
    said about these tasks.
    """

    name: str
    level: str
    columns: Mapping[str, tuple[int, ...]]
    options: HeadOptions | None = None

    @property
    def num_tasks(self) -> int:
        return sum(map(len, self.columns.values()))


def read_heads(section: Mapping[str, Any] | None, head_depth: int) -> dict[str, HeadOptions]:
    """The section ``model.heads``, judged without the tasks: name -> options.

    ``head_depth`` is the depth of an entry that says none.

    Raises:
        GraphiumError: a name that cannot be one, an unknown key, a wrong type, a value out of range.
    """
    entries = {}
    for name, raw in (section or {}).items():
        where = f"model.heads.{name}"
        # Names become names of modules, beside the attributes that a module dictionary has.
        if not re.fullmatch(r"[\w-]+", name) or hasattr(nn.ModuleDict(), name):
            raise GraphiumError(f"{where}: {name!r} cannot be a name here; choose another of letters, digits, _ and -")
        entry = HeadOptions(**check_arguments(HeadOptions, raw, where=where))
        check_layers(where, entry.width, entry.depth, entry.activation, entry.dropout, least_depth=0)
        if not entry.patterns:
            raise GraphiumError(f"{where}.of is empty; name data sets, heads or dataset/task")
        if (head_depth if entry.depth is None else entry.depth) == 0:
            idle = [key for key in ("width", "dropout", "activation", "split", "norm") if getattr(entry, key)]
            if idle:
                raise GraphiumError(
                    f"{where}.{idle[0]} is {getattr(entry, idle[0])} and there is no hidden layer (depth 0); "
                    f"leave {idle[0]} out, or give a depth"
                )
        entries[name] = entry
    return entries


def check_datasets(entries: Mapping[str, HeadOptions], datasets: Collection[str]) -> None:
    """Refuse patterns that cannot mean anything, knowing the names of the data sets alone.

    Raises:
        GraphiumError: with the nearest name.
    """
    for name, entry in entries.items():
        for pattern in entry.patterns:
            dataset = pattern.partition("/")[0]
            # Without a slash it may be the name of a head, which begins with that of its data set.
            begins = "/" not in pattern and any(pattern.startswith(f"{known.replace('.', '_')}_") for known in datasets)
            if match(dataset, datasets) or begins or {"*", "?"} & set(dataset):
                continue
            raise GraphiumError(
                f"model.heads.{name}.of names {pattern!r} and there is no data set {dataset!r}; "
                f"{_nearest(dataset, datasets)}"
            )


def group_heads(entries: Mapping[str, HeadOptions], heads: Sequence[HeadSpec]) -> list[Group]:
    """Match the patterns with the tasks.

    Returns:
        The groups, in the order of their first heads; the tasks of a head that no entry names are a group.

    Raises:
        GraphiumError: a pattern that matches nothing, a task in two entries, an entry over two levels or with
            the name of a head that is not in it.
    """
    tasks: dict[str, list[Cell]] = {}
    wholes: dict[str, list[Cell]] = {}
    for head in heads:
        for column in range(head.num_tasks):
            tasks.setdefault(_full_name(head, column), []).append((head, column))
            for known in (head.dataset, head.name):
                wholes.setdefault(known, []).append((head, column))
    owners: dict[str, list[str | None]] = {head.name: [None] * head.num_tasks for head in heads}
    for name, entry in entries.items():
        found = [cell for pattern in entry.patterns for cell in _cells(name, pattern, wholes, tasks)]
        _check_one_level(name, found)
        for head, column in found:
            other = owners[head.name][column]
            if other not in (None, name):
                raise GraphiumError(
                    f"task {_full_name(head, column)!r} is in model.heads.{other} and in model.heads.{name}; "
                    "name it in one of them"
                )
            owners[head.name][column] = name
    columns: dict[str, dict[str, tuple[int, ...]]] = {}
    levels = {}
    for head in heads:
        for owner in dict.fromkeys(owners[head.name]):
            if owner is None and head.name in entries:
                raise GraphiumError(
                    f"model.heads.{head.name} has the name of a head with tasks that are not in it; choose another name"
                )
            group = owner or head.name
            levels[group] = head.level
            mine = tuple(column for column, name in enumerate(owners[head.name]) if name == owner)
            columns.setdefault(group, {})[head.name] = mine
    return [Group(name, levels[name], members, entries.get(name)) for name, members in columns.items()]


def _cells(name: str, pattern: str, wholes: Mapping[str, list[Cell]], tasks: Mapping[str, list[Cell]]) -> list[Cell]:
    """What a pattern means: of ``wholes``, by the name of a data set or head, and of ``tasks``, by ``dataset/task``."""
    found = [cell for known in match(pattern, wholes) for cell in wholes[known]]
    if "/" in pattern:
        found += [cell for known in match(pattern, tasks) for cell in tasks[known]]
    if not found:
        dataset = pattern.partition("/")[0]
        of_dataset = [task for task in tasks if "/" in pattern and task.startswith(f"{dataset}/")]
        raise GraphiumError(
            f"model.heads.{name}.of names {pattern!r}, which no task has; {_nearest(pattern, of_dataset or wholes)}"
        )
    return found


def _check_one_level(name: str, cells: Sequence[Cell]) -> None:
    first, column = cells[0]
    for head, other in cells:
        if head.level != first.level:
            raise GraphiumError(
                f"model.heads.{name} has {_full_name(first, column)!r} of level {first.level} and "
                f"{_full_name(head, other)!r} of level {head.level}; hidden layers are shared within a level, so make "
                "an entry for each"
            )


def _full_name(head: HeadSpec, column: int) -> str:
    return f"{head.dataset}/{head.tasks[column].name}"


def _nearest(name: str, choices: Iterable[str]) -> str:
    """The end of a sentence: the nearest of thousands of names, and the first ones."""
    names = list(choices)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? Choices: " if near else "choices: ") + listed(names)
