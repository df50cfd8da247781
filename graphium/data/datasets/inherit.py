"""Tasks that a saved model has already: what they are is taken from the model, and not from the table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphium.data.datasets.dataset import TaskGroup
from graphium.data.labels.transforms import steps_of
from graphium.errors import GraphiumError, suggest
from graphium.messages import listed
from graphium.types import HeadSpec, Task


@dataclass(frozen=True)
class Source:
    """A task of a saved model: the name of its head, its column there, and the task itself."""

    head: str
    column: int
    task: Task

    @property
    def name(self) -> str:
        return f"{self.task.dataset}/{self.task.name}"


class ModelTasks:
    """The tasks of a saved model, looked up by the columns of a table.

    A column is the task of its own name: ``dataset/task``, or ``task`` alone where only one task of the model has
    that name.

    Args:
        heads: The heads of the model.
        renamed: Column, or ``dataset/column``, -> task of the model, for columns that are named otherwise.
        only: Columns that are no task of the model are left out, instead of being tasks of their own.

    Raises:
        GraphiumError: ``renamed`` names a task that the model does not have, has twice, or that two columns have.

    >>> from graphium.types import group_tasks
    >>> heads = group_tasks([Task("gap", "qm9", "graph", "regression"), Task("logp", "zinc", "graph", "regression")])
    >>> found = ModelTasks(heads, {"HL": "gap"}).of_table("mine", ["logp", "gap", "HL"])
    >>> {column: source.name for column, source in found.items()}
    {'logp': 'zinc/logp', 'HL': 'qm9/gap'}
    """

    def __init__(
        self, heads: Iterable[HeadSpec], renamed: Mapping[str, str] | None = None, *, only: bool = False
    ) -> None:
        self.only = only
        every = [Source(head.name, number, task) for head in heads for number, task in enumerate(head.tasks)]
        self._full = {source.name: source for source in every}
        self._short: dict[str, list[Source]] = {}
        for source in every:
            self._short.setdefault(source.task.name, []).append(source)
        self._renamed = {column: self._named(name) for column, name in (renamed or {}).items()}
        taken: dict[tuple[str, str], str] = {}
        for column, source in self._renamed.items():
            dataset, _, short = column.rpartition("/")
            other = taken.setdefault((dataset, source.name), short)
            if other != short:
                raise GraphiumError(
                    f"the columns {other!r} and {short!r} are both said to be the task {source.name!r}; keep one"
                )

    @property
    def names(self) -> list[str]:
        """All tasks, in the shortest form that is not ambiguous."""
        return [s.task.name if len(self._short[s.task.name]) == 1 else s.name for s in self._full.values()]

    @property
    def renamed(self) -> list[str]:
        """The columns that are named otherwise than their tasks, as they were given."""
        return list(self._renamed)

    def of_table(self, dataset: str, columns: Iterable[str]) -> dict[str, Source]:
        """The columns of a dataset that are tasks of the model, in the order of the columns."""
        columns = list(columns)
        spelled = [(name, self._renamed.get(f"{dataset}/{name}") or self._renamed.get(name)) for name in columns]
        said = {name: source for name, source in spelled if source is not None}
        # A task that a column was named for is not also the column of its own name.
        taken = {source.name for source in said.values()}
        found: dict[str, Source] = {}
        for name in columns:
            source = said.get(name)
            if source is None:
                own = self._by_name(dataset, name)
                source = None if own is None or own.name in taken else own
            if source is not None:
                found[name] = source
        return found

    def find(self, dataset: str, column: str) -> Source | None:
        """The task that a column of a dataset is, whatever other columns there are."""
        return self.of_table(dataset, [column]).get(column)

    def why_not(self, column: str) -> str:
        """Why a column is no task of the model."""
        same = self._short.get(column, [])
        if len(same) > 1:
            choices = " or ".join(source.name for source in same)
            return f"the model has {len(same)} tasks of that name; say which one it is, {column}={choices}"
        return "another column was named for that task" if same else "no task of the model"

    def _by_name(self, dataset: str, column: str) -> Source | None:
        same = self._short.get(column, [])
        return self._full.get(f"{dataset}/{column}") or (same[0] if len(same) == 1 else None)

    def _named(self, name: str) -> Source:
        if name in self._full:
            return self._full[name]
        same = self._short.get(name, [])
        if len(same) > 1:
            choices = " or ".join(source.name for source in same)
            raise GraphiumError(f"the model has {len(same)} tasks {name!r}; say which one: {choices}")
        if not same:
            raise GraphiumError(f"the model has no task {name!r}; {suggest(name, self.names)}")
        return same[0]


def inherited_group(group: TaskGroup, source: Source, column: str, dataset: str) -> TaskGroup:
    """What a group says of a column, with level, kind and classes of the model's task.

    Raises:
        GraphiumError: the group names a class that the model does not have.
    """
    task = source.task
    classes = _class_names(task, group.classes, f"dataset {dataset!r}, target column {column!r}")
    return replace(group, level=task.level, kind=task.kind, classes=list(classes) or None)


def differs(group: TaskGroup, source: Source, outputs: Sequence[str] | None) -> str | None:
    """Why a column that is named like a task of the model is another task, or None.

    Args:
        group: What is said of the column.
        source: The task of the model.
        outputs: Numbers of a prediction that the loss said for the column wants; None where none is said.
    """
    task = source.task
    if group.kind not in (None, task.kind) or group.level not in (None, task.level):
        said = " ".join(filter(None, (group.level, group.kind)))
        return f"{said} here, and {task.level} {task.kind} in the model"
    if outputs is not None and tuple(outputs) != task.outputs:
        wanted, has = (", ".join(names) or "one number" for names in (outputs, task.outputs))
        return f"its loss wants predictions of {wanted}, and those of the model are {has}"
    return None


def inherited_task(task: Task, source: Source) -> Task:
    """A task of the table with transform, unit and outputs of the model's; loss and metrics where it says none."""
    model = source.task
    return replace(
        task,
        unit=model.unit,
        transform=model.transform,
        outputs=model.outputs,
        loss=task.loss or model.loss,
        metrics=task.metrics or model.metrics,
    )


def inherited_sentences(
    tasks: Sequence[Task], sources: Mapping[str, Source], with_transform: Collection[str]
) -> list[str]:
    """What is to be known of tasks that were taken from a model: names, units and transforms that differ.

    Args:
        tasks: The tasks of a table, as the table's configuration has them.
        sources: Name of a task -> what it is in the model.
        with_transform: Names of tasks whose transform the configuration says.
    """
    mine = [task for task in tasks if task.name in sources]
    sentences = []
    renamed = [f"{t.name} = {sources[t.name].name}" for t in mine if sources[t.name].task.name != t.name]
    if renamed:
        sentences.append(f"tasks of the model under another name: {listed(renamed)}")
    units = [
        f"{task.name} is in {task.unit} here and in {sources[task.name].task.unit} in the model"
        for task in mine
        if task.unit and sources[task.name].task.unit and task.unit != sources[task.name].task.unit
    ]
    if units:
        sentences.append(f"{listed(units)}; its numbers are taken for those of the model's unit")
    transforms = [
        task.name for task in mine if task.name in with_transform and _steps(task) != _steps(sources[task.name].task)
    ]
    if transforms:
        sentences.append(f"the transform said for {listed(transforms)} is not used, the model has its own")
    return sentences


def _steps(task: Task) -> list[str]:
    return [step["name"] for step in steps_of(task.transform)]


def _class_names(task: Task, said: Sequence[str] | None, place: str) -> tuple[str, ...]:
    """The names under which the model's classes 0, 1, ... stand in the cells; empty where these hold 0 and 1."""
    known = task.classes or tuple(map(str, range(task.num_classes)))
    if not said or set(said) <= set(known):
        return known
    # Where one side has numbers alone, or both name the negative class and then the positive one, order decides.
    in_order = not task.classes or (task.kind == "binary" and not set(said) & set(known))
    if in_order and len(said) == (task.num_classes or 2):
        return tuple(said)
    strange = next(name for name in said if name not in known)
    raise GraphiumError(
        f"{place}: the class {strange!r} is none of the model's, {listed(known) or '0, 1'}; "
        "name the classes as the model does, in the cells too"
    )
