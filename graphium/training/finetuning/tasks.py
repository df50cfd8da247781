"""Which tasks of the data go on from a task of the model, and the heads that they need for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphium.data.datasets.inherit import ModelTasks
from graphium.errors import GraphiumError
from graphium.nn.groups import Group, group_heads, read_heads
from graphium.types import HeadSpec

# The name of a head and one of its columns.
Place = tuple[str, int]


def offered_heads(model: Sequence[HeadSpec], datasets: Collection[str], said: Mapping[str, str]) -> list[HeadSpec]:
    """What of a model the data may go on from: tasks that were named, and those of data sets of the same name.

    A column ``Y`` means something else in every table, so that the name of a task alone says nothing.
    """
    chosen = [ModelTasks(model, {own: name}).find("", own) for own, name in said.items()]
    named = {(source.task.dataset, source.task.name) for source in chosen if source is not None}
    kept = []
    for head in model:
        tasks = [task for task in head.tasks if task.dataset in datasets or (task.dataset, task.name) in named]
        if tasks:
            kept.append(replace(head, tasks=tuple(tasks)))
    return kept


def inherited_places(
    heads: Sequence[HeadSpec], model: Sequence[HeadSpec], offered: Sequence[HeadSpec], said: Mapping[str, str]
) -> dict[Place, Place]:
    """Place of a task in the data -> its place in the model, for tasks that go on from one.

    Raises:
        GraphiumError: a task was named for one of another level, kind or number of classes.
    """
    places = {
        (task.dataset, task.name): (head.name, column) for head in model for column, task in enumerate(head.tasks)
    }
    known = ModelTasks(offered, said)
    names: dict[str, list[str]] = {}
    for head in heads:
        names.setdefault(head.dataset, []).extend(task.name for task in head.tasks)
    sources = {dataset: known.of_table(dataset, columns) for dataset, columns in names.items()}
    found = {}
    for head in heads:
        for column, task in enumerate(head.tasks):
            source = sources[task.dataset].get(task.name)
            if source is None:
                continue
            other = source.task
            mine, theirs = _kind(task), _kind(other)
            was_said = task.name in said or f"{task.dataset}/{task.name}" in said
            if mine == theirs and not was_said and other.dataset != task.dataset:
                raise GraphiumError(
                    f"task {task.dataset}/{task.name} has the name of {source.name} of the model, which the data have "
                    f"too; if they are the same say finetune.heads={{{task.dataset}/{task.name}: {source.name}}}, else "
                    "give the column another name"
                )
            if mine == theirs:
                found[head.name, column] = places[other.dataset, other.name]
            elif was_said:
                raise GraphiumError(
                    f"finetune.heads: {task.dataset}/{task.name} is {_in_words(mine)} and {source.name} of the model "
                    f"is {_in_words(theirs)}; leave it out of finetune.heads, or say the same of the task"
                )
    return found


def _kind(task: Any) -> tuple[str, str, int, tuple[str, ...]]:
    return task.level, task.kind, task.num_classes, tuple(task.outputs)


def _in_words(kind: tuple[str, str, int, tuple[str, ...]]) -> str:
    level, name, classes, outputs = kind
    more = [f"{classes} classes"] if classes else []
    more += [f"predicted by {', '.join(outputs)}"] if outputs else []
    return ", ".join([f"{level} {name}", *more])


def owners(groups: Sequence[Group]) -> dict[Place, Group]:
    """Place of every task -> the group whose hidden layers it shares."""
    return {(head, column): group for group in groups for head, columns in group.columns.items() for column in columns}


def inherited_entries(
    heads: Sequence[HeadSpec],
    places: Mapping[Place, Place],
    groups: Sequence[Group],
    config: Mapping[str, Any],
    section: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Entries of ``model.heads`` that give inherited tasks the hidden layers that they have in the model.

    Args:
        heads: Of the data.
        places: :func:`inherited_places`.
        groups: Of the model.
        config: The options of the model's network.
        section: The ``model`` section of the configuration.

    Raises:
        GraphiumError: ``model.heads`` says something about an inherited task.
    """
    own = owners(group_heads(read_heads(section.get("heads"), config["head_depth"]), heads))
    owner = owners(groups)
    members: dict[str, list[Place]] = {}
    for place, source in places.items():
        if own[place].options is not None:
            head = next(head for head in heads if head.name == place[0])
            raise GraphiumError(
                f"task {head.dataset}/{head.tasks[place[1]].name} goes on from the model with its head and is in "
                f"model.heads.{own[place].name}; leave it out there, or make all heads new with finetune.up_to=readout"
            )
        members.setdefault(owner[source].name, []).append(place)
    by_name = {group.name: group for group in groups}
    taken = {*(section.get("heads") or {}), *(head.name for head in heads)}
    entries: dict[str, dict[str, Any]] = {}
    for name, mine in members.items():
        of = _patterns(heads, mine)
        entry = name
        while entry in taken and of != [entry]:
            entry = f"{entry}_inherited"
        taken.add(entry)
        entries[entry] = {"of": of, **_layers(by_name[name], config)}
    return entries


def _patterns(heads: Sequence[HeadSpec], mine: Collection[Place]) -> list[str]:
    """How ``model.heads`` names some tasks: whole heads by their names."""
    found = []
    for head in heads:
        columns = [column for name, column in mine if name == head.name]
        whole = len(columns) == head.num_tasks
        found += [head.name] if whole else [f"{head.dataset}/{head.tasks[column].name}" for column in sorted(columns)]
    return found


def _layers(group: Group, config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the shapes of the hidden layers of a group, said in full."""
    options = group.options
    said = {} if options is None else {key: value for key, value in vars(options).items() if key != "of"}
    said.setdefault("depth", None)
    if said["depth"] is None:
        said["depth"] = config["head_depth"]
    if said["depth"]:
        said["width"] = said.get("width") or config["head_width"] or config["width"]
        said["norm"] = said.get("norm") or config["head_norm"]
    return {key: value for key, value in said.items() if value not in (None, False)}
