"""From a dataset's task groups to its tasks: patterns expanded, columns judged, kind and level inferred."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphium.data.datasets.dataset import Dataset, TaskGroup
from graphium.data.datasets.infer import class_names, distinct_cells, infer_level
from graphium.data.datasets.inherit import (
    ModelTasks,
    Source,
    differs,
    inherited_group,
    inherited_sentences,
    inherited_task,
)
from graphium.data.datasets.judging import (
    check_class_labels,
    judge_cells,
    judge_class_cells,
    judge_classes,
    judge_level,
    judge_lists,
)
from graphium.data.datasets.long import level_of
from graphium.data.datasets.patterns import select_columns, split_patterns
from graphium.data.labels.fitting import check_transform, configuration, default_transform
from graphium.data.tables.bounds import to_bounded_numbers, to_signs
from graphium.data.tables.cells import index_columns
from graphium.data.tables.facts import ColumnFacts, scan
from graphium.data.tables.readers import Table, quoting, shorten
from graphium.errors import GraphiumError, suggest
from graphium.messages import listed
from graphium.patterns import match
from graphium.registry import build
from graphium.types import Kind, Level, Task

# So many names stand in the sentence that sums up the tasks.
_SHOWN = 20


def choose_tasks(
    dataset: Dataset, table: Table, smiles: str, known: ModelTasks | None = None
) -> tuple[list[Task], dict[str, Source], list[str]]:
    """Choose the label columns of a dataset and say what they are.

    Args:
        dataset: What the user said.
        table: Its table.
        smiles: The SMILES column.
        known: The tasks of a saved model, which tasks named alike are taken from.

    Returns:
        The tasks in the order of the groups, their transforms not fitted, unless they are those of a model; name of a
        task -> what it is in the model; and sentences that name each column that was accepted or left out, with the
        reason. No task at all where columns that are none of the model's are left out.

    Raises:
        GraphiumError: a column that is missing, empty or no label, an open level, a column named twice.
    """
    computed = [group.columns[0] for group in dataset.groups if group.compute is not None]
    alike = {} if known is None else known.of_table(dataset.name, dict.fromkeys([*table.columns, *computed]))
    left_out: list[str] = []
    if known is not None and known.only:
        dataset, left_out = _model_columns(dataset, table, smiles, known, alike)
    reserved = _reserved(dataset, table, smiles)
    wanted = [[] if g.compute is not None else split_patterns(g.columns, table)[0] for g in dataset.groups]
    for name in (word for words in wanted for word in words if word in reserved):
        raise GraphiumError(f"dataset {dataset.name!r}: {name!r} is {reserved[name]} and cannot be a label too")
    matched = {name for words in wanted for word in words for name in match(word, table.columns)}
    columns = [name for name in table.columns if name in matched and name not in reserved]
    open_level = any(group.level is None for group in dataset.groups)
    # Lists that say themselves which atoms they are about need not be as long as the molecule.
    by_length = [name for name in columns if not _is_indexed(name, table)]
    facts = scan(table, columns, smiles, levels=by_length if open_level else ())
    tasks: list[Task] = []
    messages: list[str] = left_out
    sources: dict[str, Source] = {}
    with_transform: set[str] = set()
    taken: dict[str, str] = dict(reserved)
    for group in dataset.groups:
        if group.compute is not None:
            tasks.append(_computed_task(dataset, group))
            as_made = replace(group, level=tasks[-1].level, kind=tasks[-1].kind)
            found, said = _sources(dataset, as_made, [tasks[-1].name], known, alike)
            sources, messages = {**sources, **found}, messages + said
            continue
        _check_qualifiers(dataset, group, table)
        names, said = select_columns(group.columns, table, facts, taken, group.level)
        messages += said
        if not names:
            raise GraphiumError(
                f"dataset {dataset.name!r}: {', '.join(group.columns)} takes no column of {table.name}"
                f"{' (' + '; '.join(said) + ')' if said else ''}; name the label columns{quoting(table.columns)}"
            )
        twice = next((name for name in names if name in taken), None)
        if twice is not None:
            raise GraphiumError(f"dataset {dataset.name!r}: column {twice!r} stands in two task groups; keep one")
        found, said = _sources(dataset, group, names, known, alike, facts, table)
        sources, messages = {**sources, **found}, messages + said
        if known is not None and known.only:
            names = list(found)
        for part, members in _parts(dataset, group, names, found):
            tasks += _group_tasks(dataset, part, [facts[name] for name in members], table, smiles)
        if group.transform is not None or dataset.transform is not None:
            with_transform.update(names)
        taken.update(dict.fromkeys(names, "named in another task group"))
    if known is not None and known.only:
        tasks = [task for task in tasks if task.name in sources]
    messages += inherited_sentences(tasks, sources, with_transform)
    tasks = [inherited_task(task, sources[task.name]) if task.name in sources else task for task in tasks]
    messages += _task_sentences(tasks, facts) + _class_sentences(tasks) + _bound_sentences(tasks, facts, table)
    return tasks, sources, messages


def _model_columns(
    dataset: Dataset, table: Table, smiles: str, known: ModelTasks, alike: Mapping[str, Source]
) -> tuple[Dataset, list[str]]:
    """The dataset with those label columns alone that are named like tasks of a model; why others are left out."""
    groups: list[TaskGroup] = []
    reasons: dict[str, list[str]] = {}
    for group in dataset.groups:
        if group.compute is not None:
            groups.append(group)
            continue
        wanted, excluded = split_patterns(group.columns, table)
        names = dict.fromkeys(n for word in wanted for n in match(word, table.columns) if n not in excluded)
        mine = [name for name in names if name in alike]
        for name in (name for name in names if name not in mine and name != smiles):
            reasons.setdefault(known.why_not(name), []).append(name)
        if mine:
            groups.append(replace(group, columns=mine))
    said = [f"leaves out {listed(names)}: {reason}" for reason, names in reasons.items()]
    return replace(dataset, tasks=groups, targets=None), said


def _sources(
    dataset: Dataset,
    group: TaskGroup,
    names: Sequence[str],
    known: ModelTasks | None,
    alike: Mapping[str, Source],
    facts: Mapping[str, ColumnFacts] | None = None,
    table: Table | None = None,
) -> tuple[dict[str, Source], list[str]]:
    """Which columns of a group are tasks of a model, and why others that are named ``alike`` are not."""
    if known is None or not alike:
        return {}, []
    outputs = _outputs(dataset, group) if group.loss or dataset.loss else None
    found: dict[str, Source] = {}
    reasons = []
    for name in names:
        source = alike.get(name)
        if source is None:
            continue
        said = group
        if table is not None and dataset.long is not None and _is_indexed(name, table):
            said = replace(group, level=level_of(dataset.long))
        reason = differs(said, source, outputs)
        if reason is None and facts is not None and said.level is None:
            reason = _other_level(facts[name], source)
        if reason is None and known.only and facts is not None and facts[name].present == 0:
            reason = "every cell is empty"
        if reason is None:
            found[name] = source
        else:
            reasons.append(f"{name} is {'left out' if known.only else 'not taken from the model'}: {reason}")
    return found, reasons


def _other_level(facts: ColumnFacts, source: Source) -> str | None:
    """Why the cells of a column cannot be labels at the level of a model's task, or None."""
    level = source.task.level
    if facts.can_be(level) and (level == "graph" or facts.fits.get(level, True)):
        return None
    return f"{facts.holds}{f' ({facts.misfit})' if facts.misfit else ''} here, and level {level} in the model"


def _parts(
    dataset: Dataset, group: TaskGroup, names: Sequence[str], sources: Mapping[str, Source]
) -> Iterator[tuple[TaskGroup, list[str]]]:
    """A group and its columns, or what is left of both after each task of a model got the group that it is there."""
    parts: list[tuple[TaskGroup, list[str]]] = []
    for name in names:
        mine = inherited_group(group, sources[name], name, dataset.name) if name in sources else group
        if parts and parts[-1][0] == mine:
            parts[-1][1].append(name)
        else:
            parts.append((mine, [name]))
    yield from parts


def _is_indexed(name: str, table: Table) -> bool:
    return bool(index_columns(name, table.columns))


def _check_qualifiers(dataset: Dataset, group: TaskGroup, table: Table) -> None:
    if isinstance(group.qualifier, dict):
        strange = next((name for name in group.qualifier if not match(name, table.columns)), None)
        if strange is not None:
            raise GraphiumError(
                f"dataset {dataset.name!r}: the qualifier of {strange!r} is named, which is no column; "
                f"{suggest(strange, table.columns)}"
            )
    table.require(_qualifiers(group))


def _qualifiers(group: TaskGroup) -> list[str]:
    if group.qualifier is None:
        return []
    return [group.qualifier] if isinstance(group.qualifier, str) else list(group.qualifier.values())


def _reserved(dataset: Dataset, table: Table, smiles: str) -> dict[str, str]:
    reserved = {smiles: "the SMILES column"}
    if dataset.sample_weight is not None:
        reserved[dataset.sample_weight] = "the sample weight column"
    for name in table.columns if dataset.long is not None else ():
        reserved.update(dict.fromkeys(index_columns(name, table.columns), f"the numbers of the atoms of {name!r}"))
    for group in dataset.groups:
        reserved.update(dict.fromkeys(_qualifiers(group), "a qualifier column"))
    split = dataset.split
    # The column that a stratified split balances is often a label.
    if isinstance(split, Mapping) and split.get("name") != "stratified" and isinstance(split.get("column"), str):
        reserved[split["column"]] = "the split column"
    computed = (group.columns[0] for group in dataset.groups if group.compute is not None)
    return {**reserved, **dict.fromkeys(computed, "a computed label")}


def _computed_task(dataset: Dataset, group: TaskGroup) -> Task:
    part = build("computed_label", group.compute)
    name = group.columns[0]
    level, kind = group.level or part.level, group.kind or part.kind
    unit = group.unit_of(name) or part.unit
    return _task(dataset, group, name, level, kind, (), unit=unit, outputs=_outputs(dataset, group))


def _outputs(dataset: Dataset, group: TaskGroup) -> tuple[str, ...]:
    """Names of the numbers that the loss of a group wants for each task."""
    loss = group.loss or dataset.loss
    if not loss:
        return ()
    return tuple(getattr(build("loss", loss, where=f"the loss of {dataset.name}"), "outputs", ()))


def _group_tasks(
    dataset: Dataset, group: TaskGroup, columns: Sequence[ColumnFacts], table: Table, smiles: str
) -> list[Task]:
    classes = tuple(group.classes or ())
    for facts in columns:
        judge_lists(facts, dataset.name, table, group.level, has_classes=bool(classes))
    if group.kind in ("multiclass", "ordinal") and not classes:
        for facts in columns:
            judge_class_cells(facts, dataset.name, table)
        matrices = {facts.name for facts in columns if facts.form == "matrix"}
        classes = tuple(class_names(distinct_cells(table, [facts.name for facts in columns], matrices)))
        if len(classes) < 2:
            raise GraphiumError(
                f"dataset {dataset.name!r}: {', '.join(f.name for f in columns)} has {len(classes)} distinct value"
                f"{'s' * (len(classes) != 1)}, and {group.kind} needs at least 2; name the classes or change the kind"
            )
    tasks, outputs = [], _outputs(dataset, group)
    for facts in columns:
        kind = group.kind or (facts.kind if not classes else "binary" if len(classes) == 2 else "multiclass")
        judge_classes(facts, dataset.name, kind, classes)
        judge_cells(facts, dataset.name, table, kind, has_classes=bool(classes))
        level = _level(dataset, group, facts, table)
        if group.qualifier_of(facts.name) and (kind != "regression" or level != "graph"):
            raise GraphiumError(
                f"dataset {dataset.name!r}, target column {facts.name!r} is {level} {kind} and has a qualifier column; "
                "bounds by a column are for graph regression, so leave `qualifier` out or name its columns, "
                "qualifier={COLUMN: QUALIFIER}"
            )
        unit = group.unit_of(facts.name)
        tasks.append(_task(dataset, group, facts.name, level, kind, classes, unit=unit, outputs=outputs))
    if group.classes:
        check_class_labels(tasks, table, smiles)
    return tasks


def _level(dataset: Dataset, group: TaskGroup, facts: ColumnFacts, table: Table) -> Level:
    if dataset.long is not None and _is_indexed(facts.name, table):
        level = level_of(dataset.long)
        if group.level not in (None, level):
            raise GraphiumError(
                f"dataset {dataset.name!r}, target column {facts.name!r} is in long form at level {level}, and the "
                f"level is said to be {group.level}; leave the level out"
            )
        return level
    level = group.level or infer_level(facts, dataset.name)
    judge_level(facts, dataset.name, level)
    return level


def _task(
    dataset: Dataset,
    group: TaskGroup,
    name: str,
    level: Level,
    kind: Kind,
    classes: tuple[str, ...],
    *,
    unit: str,
    outputs: tuple[str, ...],
) -> Task:
    transform: Any = dataset.transform if group.transform is None else group.transform
    # A transform said for the whole dataset means its regression tasks.
    if group.transform is None and kind != "regression":
        transform = None
    transform = configuration(default_transform(kind) if transform is None else transform)
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
        transform=transform,
        qualifier=group.qualifier_of(name) or "",
        outputs=outputs,
        metrics=tuple(group.metrics or dataset.metrics or ()),
    )


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
        sentences.append(f"{len(names):,} {level} {kind} task{'s' * (len(names) != 1)} ({shown}){cells}")
    return sentences


def _class_sentences(tasks: Iterable[Task]) -> list[str]:
    """One sentence for each set of class names that tasks share: which class has which number."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for task in tasks:
        if task.classes and task.classes != tuple(map(str, range(len(task.classes)))):
            groups.setdefault(task.classes, []).append(task.name)
    return [
        f"classes of {', '.join(names[:_SHOWN])}{', ...' * (len(names) > _SHOWN)}: "
        + ", ".join(f"{number} = {name}" for number, name in enumerate(classes[:_SHOWN]))
        + (", ..." if len(classes) > _SHOWN else "")
        for classes, names in groups.items()
    ]


def _bound_sentences(tasks: Iterable[Task], facts: Mapping[str, ColumnFacts], table: Table) -> list[str]:
    """How many values are known only to lie above or below something."""
    tasks = list(tasks)
    counts = {task.name: facts[task.name].bounds for task in tasks if task.name in facts}
    qualified = {task.name: task.qualifier for task in tasks if task.qualifier}
    counts |= _count_qualified(qualified, table)
    ways = {name: f"by column {column!r}" for name, column in qualified.items()}
    return [
        f"{name}: {count:,} value{'s are bounds' if count != 1 else ' is a bound'}, {ways.get(name, 'as in >10')}"
        for name, count in counts.items()
        if count or name in qualified
    ]


def _count_qualified(qualified: Mapping[str, str], table: Table) -> dict[str, int]:
    """Values that their qualifier column, or their own cell, calls a bound."""
    if not qualified:
        return {}
    key = ["bounds", table.key, qualified]
    counts = table.memo.get(key)
    if counts is None:
        counts = dict.fromkeys(qualified, 0)
        columns = list(dict.fromkeys([*qualified, *qualified.values()]))
        for _, frame in table.chunks(columns, table.rows_at_once(columns)):
            for name, column in qualified.items():
                value, bound, _ = to_bounded_numbers(frame[name])
                sign, strange = to_signs(frame[column])
                strange = strange[~np.isnan(value[strange])]
                if len(strange):
                    raise GraphiumError(
                        f"{table.name}, qualifier column {column!r}, row {frame.index[strange[0]]}: "
                        f"{shorten(frame[column].iloc[strange[0]])} is none of >, >=, <, <=, =, ~; "
                        "mend or empty that cell, or name another column"
                    )
                counts[name] += int(((bound != 0) | (sign != 0))[~np.isnan(value)].sum())
        table.memo.put(key, counts)
    return counts
