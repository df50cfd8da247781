"""The plain types that travel between the rooms: what a feature, a task and a head are.

Nothing here imports torch: preparing and listing data must not pay for it.
The batch itself, which is made of tensors, lives in :mod:`graphium.data.batch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from graphium.errors import GraphiumError

Level = Literal["graph", "node", "edge", "nodepair"]
Kind = Literal["regression", "binary", "multiclass", "ordinal"]
Form = Literal["heavy", "explicit_h"]

LEVELS: tuple[str, ...] = ("graph", "node", "edge", "nodepair")
KINDS: tuple[str, ...] = ("regression", "binary", "multiclass", "ordinal")
PARTS: tuple[str, ...] = ("train", "val", "test", "test_seen")

FEATURE_SPEC_VERSION = 1


@dataclass(frozen=True)
class Property:
    """One atom or bond property.

    ``size`` is the vocabulary size of a categorical property (stored as ``uint8`` codes
    ``0..size-1``) and 0 for a numeric one (stored as ``int8`` or ``float32``).
    """

    name: str
    size: int
    dtype: str

    @property
    def is_categorical(self) -> bool:
        return self.size > 0


@dataclass(frozen=True)
class EncodingColumn:
    """One stored column of an encoding: ``dim`` float16 numbers per node or per component.

    ``encoding`` is the registered encoding that makes the column; ``entity`` says what a stored
    row belongs to. In a batch every column has one row per node.
    """

    name: str
    encoding: str
    dim: int
    entity: Literal["node", "component"]


@dataclass(frozen=True)
class FeatureSpec:
    """What a featurizer produces: properties, vocabulary sizes, encodings; ``positions``: 3-D coordinates too.

    Travels from the store's manifest to the network and into the saved model.
    """

    atoms: tuple[Property, ...]
    bonds: tuple[Property, ...]
    encodings: tuple[EncodingColumn, ...] = ()
    form: Form = "heavy"
    positions: bool = False
    version: int = FEATURE_SPEC_VERSION

    @property
    def atom_sizes(self) -> tuple[int, ...]:
        """Vocabulary sizes of the columns of ``GraphBatch.x``."""
        return tuple(p.size for p in self.atoms if p.is_categorical)

    @property
    def bond_sizes(self) -> tuple[int, ...]:
        """Vocabulary sizes of the columns of ``GraphBatch.edge_attr``."""
        return tuple(p.size for p in self.bonds if p.is_categorical)

    @property
    def num_atom_numbers(self) -> int:
        """Columns of ``GraphBatch.x_num``."""
        return sum(not p.is_categorical for p in self.atoms)

    @property
    def num_bond_numbers(self) -> int:
        """Columns of ``GraphBatch.edge_num``."""
        return sum(not p.is_categorical for p in self.bonds)

    def encoding_dims(self) -> dict[str, int]:
        """Column name -> number of values per node."""
        return {column.name: column.dim for column in self.encodings}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> FeatureSpec:
        if raw.get("version", 0) > FEATURE_SPEC_VERSION:
            raise GraphiumError(
                f"this feature specification has version {raw['version']} and this Graphium reads up to "
                f"{FEATURE_SPEC_VERSION}; install a newer graphium"
            )
        return cls(
            atoms=tuple(Property(**p) for p in raw["atoms"]),
            bonds=tuple(Property(**p) for p in raw["bonds"]),
            encodings=tuple(EncodingColumn(**c) for c in raw["encodings"]),
            form=raw["form"],
            positions=raw.get("positions", False),
            version=raw["version"],
        )


@dataclass(frozen=True)
class Task:
    """One label column of one dataset.

    ``transform`` is the fitted label transform as plain values, e.g.
    ``{"name": "zscore", "mean": 6.9, "scale": 1.3}``; predictions and label-unit metrics invert it.
    ``classes`` are the names of classes ``0..num_classes-1``. ``qualifier``: the column that says which
    values are bounds. ``outputs``: names of the numbers that a prediction consists of where the loss asks for
    more than one, see :mod:`graphium.nn.outputs`. ``metrics``: what to measure, empty for the default of the kind.
    """

    name: str
    dataset: str
    level: Level
    kind: Kind
    num_classes: int = 0
    classes: tuple[str, ...] = ()
    unit: str = ""
    loss: str | Mapping[str, Any] = ""
    transform: Mapping[str, Any] = field(default_factory=lambda: {"name": "none"})
    qualifier: str = ""
    outputs: tuple[str, ...] = ()
    metrics: tuple[str | Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for name in ("classes", "outputs", "metrics"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.level not in LEVELS:
            raise GraphiumError(f"task {self.name!r} has level {self.level!r}; choose one of {', '.join(LEVELS)}")
        if self.kind not in KINDS:
            raise GraphiumError(f"task {self.name!r} has kind {self.kind!r}; choose one of {', '.join(KINDS)}")
        if self.kind in ("multiclass", "ordinal") and self.num_classes < 2:
            raise GraphiumError(
                f"task {self.name!r} is {self.kind} with {self.num_classes} classes; it needs at least 2"
            )

    def to_dict(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in ("classes", "outputs", "metrics")}
        return {**asdict(self), **lists, "transform": dict(self.transform)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Task:
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in raw.items() if key in known})


@dataclass(frozen=True)
class HeadSpec:
    """Tasks that share one head: same dataset, level, kind, number of classes and outputs.

    ``name`` is the key of the head in the network, of its predictions and of its labels in a batch.
    Predictions have shape ``[entities, tasks]``, or ``[entities, tasks, width]`` where ``width > 0``: one
    number per class, or per output of the loss.
    """

    name: str
    dataset: str
    level: Level
    kind: Kind
    num_classes: int
    tasks: tuple[Task, ...]

    @property
    def num_tasks(self) -> int:
        return len(self.tasks)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the numbers of one prediction, empty where it is one number or one per class."""
        return self.tasks[0].outputs

    @property
    def width(self) -> int:
        """Numbers per task, 0 where it is one number without an axis of its own."""
        return self.num_classes or len(self.outputs)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "tasks": [task.to_dict() for task in self.tasks]}


def group_tasks(tasks: Iterable[Task]) -> tuple[HeadSpec, ...]:
    """Group tasks into heads by (dataset, level, kind, classes, outputs), in order of first appearance."""
    groups: dict[tuple[str, str, str, int, tuple[str, ...]], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.dataset, task.level, task.kind, task.num_classes, task.outputs), []).append(task)
    heads = []
    for (dataset, level, kind, classes, outputs), members in groups.items():
        # The name is a key of a module, which may hold no dot.
        name = "_".join([f"{dataset}_{level}_{kind}{classes or ''}", *outputs]).replace(".", "_")
        heads.append(HeadSpec(name, dataset, level, kind, classes, tuple(members)))  # type: ignore[arg-type]
    return tuple(heads)
