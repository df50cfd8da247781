"""From a dataset's task groups to its tasks: patterns expanded, columns judged, kind and level inferred."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphium.data.dataset import Dataset, TaskGroup
from graphium.data.infer import (
    LARGEST,
    ColumnFacts,
    class_names,
    distinct_cells,
    infer_level,
    scan,
)
from graphium.data.patterns import match, select_columns, split_patterns
from graphium.data.readers import Table, quoting
from graphium.data.transforms import check_transform, default_transform
from graphium.errors import GraphiumError
from graphium.registry import build
from graphium.types import Kind, Level, Task

# So many names stand in the sentence that sums up the tasks.
_SHOWN = 20


def choose_tasks(dataset: Dataset, table: Table, smiles: str) -> tuple[list[Task], list[str]]:
    """Choose the label columns of a dataset and say what they are.

    Returns:
        The tasks in the order of the groups, their transforms not fitted; and sentences that name each
        column that was accepted or left out, with the reason.

    Raises:
        GraphiumError: a column that is missing, empty or no label, an open level, a column named twice.
    """
    reserved = _reserved(dataset, smiles)
    wanted = [[] if g.compute is not None else split_patterns(g.columns, table)[0] for g in dataset.groups]
    for name in (word for words in wanted for word in words if word in reserved):
        raise GraphiumError(f"dataset {dataset.name!r}: {name!r} is {reserved[name]} and cannot be a label too")
    matched = {name for words in wanted for word in words for name in match(word, table.columns)}
    columns = [name for name in table.columns if name in matched and name not in reserved]
    open_level = any(group.level is None for group in dataset.groups)
    facts = scan(table, columns, smiles, levels=columns if open_level else ())
    tasks: list[Task] = []
    messages: list[str] = []
    taken: dict[str, str] = dict(reserved)
    for group in dataset.groups:
        if group.compute is not None:
            tasks.append(_computed_task(dataset, group))
            continue
        names, said = select_columns(group.columns, table, facts, taken, group.level)
        messages += said
        if not names:
            raise GraphiumError(
                f"dataset {dataset.name!r}: {', '.join(group.columns)} takes no column of {table.source.name}"
                f"{' (' + '; '.join(said) + ')' if said else ''}; name the label columns{quoting(table.columns)}"
            )
        twice = next((name for name in names if name in taken), None)
        if twice is not None:
            raise GraphiumError(f"dataset {dataset.name!r}: column {twice!r} stands in two task groups; keep one")
        tasks += _group_tasks(dataset, group, [facts[name] for name in names], table)
        taken.update(dict.fromkeys(names, "named in another task group"))
    return tasks, messages + _task_sentences(tasks, facts)


def _reserved(dataset: Dataset, smiles: str) -> dict[str, str]:
    reserved = {smiles: "the SMILES column"}
    if isinstance(dataset.split, Mapping) and isinstance(dataset.split.get("column"), str):
        reserved[dataset.split["column"]] = "the split column"
    computed = (group.columns[0] for group in dataset.groups if group.compute is not None)
    return {**reserved, **dict.fromkeys(computed, "a computed label")}


def _computed_task(dataset: Dataset, group: TaskGroup) -> Task:
    part = build("computed_label", group.compute)
    name = group.columns[0]
    level, kind = group.level or part.level, group.kind or part.kind
    return _task(dataset, group, name, level, kind, (), unit=group.unit_of(name) or part.unit)


def _group_tasks(dataset: Dataset, group: TaskGroup, columns: Sequence[ColumnFacts], table: Table) -> list[Task]:
    classes = tuple(group.classes or ())
    if group.kind in ("multiclass", "ordinal") and not classes:
        classes = tuple(class_names(distinct_cells(table, [facts.name for facts in columns])))
        if len(classes) < 2:
            raise GraphiumError(
                f"dataset {dataset.name!r}: {', '.join(f.name for f in columns)} has {len(classes)} distinct value"
                f"{'s' * (len(classes) != 1)}, and {group.kind} needs at least 2; name the classes or change the kind"
            )
    tasks = []
    for facts in columns:
        kind = group.kind or facts.kind
        _judge(dataset, facts, kind, bool(classes))
        level = group.level or infer_level(facts, dataset.name)
        _judge_level(dataset, facts, level)
        tasks.append(_task(dataset, group, facts.name, level, kind, classes, unit=group.unit_of(facts.name)))
    return tasks


def _task(
    dataset: Dataset, group: TaskGroup, name: str, level: Level, kind: Kind, classes: tuple[str, ...], *, unit: str
) -> Task:
    transform: Any = group.transform or dataset.transform
    # A transform said for the whole dataset means its regression tasks.
    if group.transform is None and kind != "regression":
        transform = None
    transform = transform or default_transform(kind)
    check_transform(transform, kind, f"dataset {dataset.name!r}, task {name!r}")
    return Task(
        name=name,
        dataset=dataset.name,
        level=level,
        kind=kind,
        num_classes=len(classes) if kind in ("multiclass", "ordinal") else 0,
        classes=classes,
        unit=unit,
        loss=group.loss or dataset.loss or "",
        transform={"name": transform} if isinstance(transform, str) else dict(transform),
    )


def _judge(dataset: Dataset, facts: ColumnFacts, kind: Kind, has_classes: bool) -> None:
    """Refuse a column whose cells cannot be labels of this kind, before anything is prepared."""
    place = f"dataset {dataset.name!r}, target column {facts.name!r}"
    if facts.present == 0:
        raise GraphiumError(f"{place} is empty in every row; leave it out or name another column")
    if facts.form == "time":
        raise GraphiumError(f"{place} holds dates; labels are numbers, lists of numbers or classes")
    if has_classes:
        return
    if facts.odd is not None:
        row, cell = facts.odd
        if facts.num_odd == facts.present:
            raise GraphiumError(
                f"{place} holds text, e.g. {cell!r} in row {row}; say data.kind=multiclass, or name another column"
            )
        raise GraphiumError(
            f"{place}, row {row}: {cell!r} is not a number ({facts.num_odd} of {facts.present} cells are not); "
            "mend or empty the cell"
        )
    if facts.infinite is not None:
        raise GraphiumError(
            f"{place}, row {facts.infinite}: the value is infinite or beyond {LARGEST:g}; mend or empty the cell"
        )
    if kind == "binary" and facts.not_binary is not None:
        row, value = facts.not_binary
        raise GraphiumError(
            f"{place}, row {row}: {value:g} is not 0 or 1, and the kind is binary; "
            "mend the cell or say data.kind=regression"
        )


def _judge_level(dataset: Dataset, facts: ColumnFacts, level: Level) -> None:
    is_list = facts.form == "list"
    if is_list != (level != "graph"):
        cells = "lists" if is_list else "single values"
        wanted = "one value per molecule" if level == "graph" else f"lists, one element per {_ENTITY[level]}"
        raise GraphiumError(
            f"dataset {dataset.name!r}, target column {facts.name!r} holds {cells}, and level {level} takes {wanted}; "
            "leave the level out or name another column"
        )


_ENTITY = {"node": "atom", "edge": "bond", "nodepair": "pair of atoms"}


def _task_sentences(tasks: Iterable[Task], facts: Mapping[str, ColumnFacts]) -> list[str]:
    """One sentence for each group of tasks of the same level and kind."""
    groups: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        groups.setdefault((task.level, task.kind), []).append(task.name)
    sentences = []
    for (level, kind), names in groups.items():
        present = sum(facts[name].present for name in names if name in facts)
        cells = f", {present:,} cell{'s' * (present != 1)}" if present else ""
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        sentences.append(f"{len(names)} {level} {kind} task{'s' * (len(names) != 1)} ({shown}){cells}")
    return sentences
