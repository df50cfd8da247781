"""The ``config.yaml`` of a saved model: written, and read without trust in who wrote it.

It holds two texts. The upper one says what people want to know, and checksums of the weights and of the lower one;
the lower one, from ``model:`` on, decides predictions. A file of a stranger can make no object other than plain
values, refer to no other file, and grow to no more than its own length.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from graphium.errors import GraphiumError
from graphium.models.folder.tensors import first_line
from graphium.types import HeadSpec, Task

FORMAT = 2
# Lists of more numbers are kept beside the weights: a label transform may have a thousand knots for every task.
LONG = 16
# Where these lists lie among the tensors; no parameter has a slash in its name.
HEADS = "heads/"

_ABOVE = ("format", "facts", "versions", "checksums")
_SECTIONS = ("model", "features", "spec", "heads")
# Keys of a file, by its format.
_KEYS = {1: ("format", "facts", *_SECTIONS), 2: (*_ABOVE, *_SECTIONS)}
# The parser takes a second and a hundred times the memory for each million: 3,300 tasks have 80,000.
_MOST_BYTES = 1 << 23
_DEEPEST = 64
# Whole numbers and fractions have fewer signs; more of them would take long to compute.
_LONGEST_NUMBER = 64
# Fields that all tasks of a head have in common are written once.
_COMMON = "all"
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# What a task is where nothing more is said of it.
_FIELDS = tuple(one.name for one in fields(Task))
_DEFAULTS = {
    key: getattr(Task("", "", "graph", "regression"), key)
    for key in _FIELDS
    if key not in ("name", "dataset", "level", "kind")
}
_TEXTS = ("name", "dataset", "unit", "qualifier")
_LISTS = ("classes", "outputs", "metrics")


@dataclass(frozen=True)
class ModelConfig:
    """What a ``config.yaml`` says, as plain values.

    ``heads``: as in ``HeadSpec.to_dict``, with ``{"tensor": name}`` for every long list. ``weights_sha256``: of the
    file of weights, None in format 1. ``versions``: of the programs that wrote it.
    """

    model: dict[str, Any]
    features: dict[str, Any]
    spec: dict[str, Any]
    heads: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    weights_sha256: str | None = None
    format: int = FORMAT

    def text(self) -> str:
        """The content of the file."""
        below = _dump({name: getattr(self, name) for name in _SECTIONS[:3]} | {"heads": list(map(_short, self.heads))})
        checksums = {"weights": self.weights_sha256, "config": hashlib.sha256(below.encode()).hexdigest()}
        above = {"format": FORMAT, "facts": self.facts, "versions": self.versions, "checksums": checksums}
        return _dump(above) + below


def read_config(path: Path) -> ModelConfig:
    """Read and judge the file.

    Raises:
        GraphiumError: no file; a damaged one, one of another kind or of a newer format; anything but plain values.
    """
    if not path.is_file():
        raise GraphiumError(f"{str(path.parent)!r} holds no model (no {path.name}); give the model/ folder of a run")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        raw = _sections(path.read_text(encoding="utf-8"), path)
        _check_plain(raw)
    except (yaml.YAMLError, OSError, TypeError, ValueError, RecursionError) as error:
        raise GraphiumError(f"{str(path)!r} cannot be read ({first_line(error)}); copy the model again") from None
    checksums = raw.get("checksums", {})
    return ModelConfig(
        **{name: raw[name] for name in _SECTIONS},
        facts=raw.get("facts", {}),
        versions=raw.get("versions", {}),
        weights_sha256=checksums.get("weights"),
        format=raw["format"],
    )


def _sections(text: str, path: Path) -> dict[str, Any]:
    """The sections of the file; those that decide predictions have their checksum."""
    said = re.search(r"^format: (\d{1,9})$", text, re.MULTILINE)
    number = int(said[1]) if said else 0
    if number > FORMAT:
        raise GraphiumError(
            f"{str(path)!r} has format {number} and this graphium reads up to {FORMAT}; install a newer graphium"
        )
    start = re.search(r"^model:", text, re.MULTILINE)
    if number < FORMAT or start is None:
        raw = _load(text)
        checksums: Any = {}
    else:
        above, below = _load(text[: start.start()]), text[start.start() :]
        checksums = above.get("checksums") if isinstance(above, dict) else None
        if not isinstance(checksums, dict) or not isinstance(checksums.get("weights"), str):
            raise ValueError("it has no checksums")
        if checksums.get("config") != hashlib.sha256(below.encode()).hexdigest():
            raise ValueError("its checksum is another one: it was changed after it was saved")
        raw = {**above, **_load(below)}
    keys = _KEYS.get(number, ())
    if (
        not isinstance(raw, dict)
        or raw.get("format") != number
        or not {*_SECTIONS} <= raw.keys() <= {*keys}
        or not all(isinstance(raw[name], dict) for name in raw if name not in ("format", "heads"))
    ):
        raise GraphiumError(f"{str(path)!r} is not the configuration of a saved model; give a model/ folder")
    return raw


class _Loader(_Base):
    """YAML's plain values alone: no tags, no dates, no merged mappings; not nested without end."""

    # Of the scalars and collections of YAML, those of JSON.
    yaml_constructors = {
        tag: make
        for tag, make in _Base.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str", "seq", "map")
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.level = 0

    # The parser calls these two around every value, before it goes deeper: its own recursion has no bound.
    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self.level += 1
        if self.level > _DEEPEST:
            raise yaml.YAMLError(f"it is nested deeper than {_DEEPEST} levels")

    def ascend_resolver(self) -> None:
        self.level -= 1

    def flatten_mapping(self, node: Any) -> None:
        """Leave ``<<`` as it is, which no constructor takes: mappings merged into each other grow without bound."""

    def construct_yaml_int(self, node: Any) -> Any:
        return super().construct_yaml_int(_short_number(node))

    def construct_yaml_float(self, node: Any) -> Any:
        return super().construct_yaml_float(_short_number(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def _short_number(node: Any) -> Any:
    if len(node.value) > _LONGEST_NUMBER:
        raise yaml.YAMLError(f"a number of {len(node.value):,} signs")
    return node


def _load(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def _dump(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return text


def _check_plain(raw: Mapping[str, Any]) -> None:
    """Refuse values that refer to each other so that they grow.

    A value that stands in several places is written once. No section and no task may come out larger than all that
    the file writes, so that whatever walks through one, or shows it, is done soon.

    Raises:
        ValueError: a value within itself, values that grow, a key that is no text.
    """
    sizes: dict[int, tuple[int, int]] = {}
    written = 0

    def size(value: Any) -> tuple[int, int]:
        """How many values there are in all, and how many levels."""
        nonlocal written
        if not isinstance(value, dict | list):
            written += 1
            return 1, 0
        found = sizes.get(id(value))
        if found is None:
            sizes[id(value)] = (0, 0)
            if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
                raise ValueError("a key is no text")
            written += 1 + len(value)
            parts = [size(item) for item in (value.values() if isinstance(value, dict) else value)]
            total = min(1 + len(value) + sum(part[0] for part in parts), 1 << 62)
            found = sizes[id(value)] = total, 1 + max((part[1] for part in parts), default=0)
        if not 0 < found[1] <= _DEEPEST:
            raise ValueError(f"a value contains itself, or is nested deeper than {_DEEPEST} levels")
        return found

    size(raw)
    heads = [head for head in raw["heads"] if isinstance(head, dict)] if isinstance(raw["heads"], list) else []
    tasks = [head["tasks"] for head in heads if isinstance(head.get("tasks"), list)]
    if len({id(one) for one in [*heads, *tasks]}) < len(heads) + len(tasks):
        raise ValueError("two heads are one")
    pieces = [value for name, value in raw.items() if name != "heads"]
    pieces += [value for head in heads for name, value in head.items() if name != "tasks"]
    pieces += [task for members in tasks for task in members]
    if max(size(piece)[0] for piece in pieces) > written:
        raise ValueError("values that refer to each other grow without bound")


def heads_to_plain(heads: Sequence[HeadSpec], lists: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Heads as plain values; long lists of numbers go to ``lists``, under the names that the values refer to.

    What is left at its default is left out. Values that tasks have in common are one object.
    """
    return [_head(head, f"{HEADS}{number}", lists) for number, head in enumerate(heads)]


def _head(head: HeadSpec, name: str, lists: dict[str, list[float]]) -> dict[str, Any]:
    # Thousands of tasks have a loss in common, with a number for each of them.
    seen: dict[str, list[tuple[Any, Any]]] = {}
    tasks = []
    for number, task in enumerate(head.tasks):
        kept = {}
        for key in _FIELDS:
            value = getattr(task, key)
            if key in _DEFAULTS and value == _DEFAULTS[key]:
                continue
            known = seen.setdefault(key, [])
            shares = key != "transform" and not isinstance(value, str | int)
            found = (
                next((done for before, done in known if before is value or before == value), None) if shares else None
            )
            if found is None:
                found = _packed(plain(value), f"{name}/{number}/{key}", lists)
                if shares:
                    known.append((value, found))
            kept[key] = found
        tasks.append(kept)
    return {"name": head.name, "tasks": tasks}


def _short(head: Mapping[str, Any]) -> dict[str, Any]:
    """A head in which fields that all tasks have, with one value, stand once."""
    first, *others = head["tasks"]
    common = {
        key: value
        for key, value in first.items()
        if key != "name" and all(key in task and task[key] == value for task in others)
    }
    tasks = [{key: value for key, value in task.items() if key not in common} for task in head["tasks"]]
    return {"name": head["name"], _COMMON: common, "tasks": tasks}


def heads_from_plain(raw: Sequence[Mapping[str, Any]], lists: Mapping[str, list[float]]) -> tuple[HeadSpec, ...]:
    """The inverse of :func:`heads_to_plain`, for the heads of any format; ``lists`` is asked for each long list.

    Raises:
        GraphiumError: a task that is none.
        LookupError, TypeError, ValueError: other values than a file of ours has.
    """
    seen: dict[int, Any] = {}
    heads = []
    for head in raw:
        common = _unpacked(head.get(_COMMON, {}), lists, seen)
        tasks = tuple(_task({**common, **_unpacked(task, lists, seen)}) for task in head["tasks"])
        first = tasks[0]
        heads.append(HeadSpec(head["name"], first.dataset, first.level, first.kind, first.num_classes, tasks))
    if len({head.name for head in heads}) < len(heads):
        raise ValueError("two heads have one name")
    return tuple(heads)


def _task(raw: Mapping[str, Any]) -> Task:
    for kind, names in ((str, _TEXTS), (list, _LISTS), (dict, ("transform",))):
        for name in names:
            if name in raw and not isinstance(raw[name], kind):
                raise TypeError(f"{name} of a task is {str(raw[name])[:40]!r}")
    for name, number in raw.get("transform", {}).items():
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{name} of a transform is {number}")
    return Task.from_dict(raw)


def _packed(value: Any, name: str, lists: dict[str, list[float]]) -> Any:
    if isinstance(value, dict):
        return {key: _packed(item, f"{name}/{key}", lists) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > LONG and all(type(item) is float for item in value):
        lists[name] = value
        return {"tensor": name}
    return [_packed(item, f"{name}/{number}", lists) for number, item in enumerate(value)]


def _unpacked(value: Any, lists: Mapping[str, list[float]], seen: dict[int, Any]) -> Any:
    """The value with its long lists; what stands in several places is one object again, by ``seen``."""
    if isinstance(value, dict) and value.keys() == {"tensor"}:
        return lists[value["tensor"]]
    if not isinstance(value, dict | list):
        return value
    if id(value) not in seen:
        if isinstance(value, dict):
            seen[id(value)] = {key: _unpacked(item, lists, seen) for key, item in value.items()}
        else:
            seen[id(value)] = [_unpacked(item, lists, seen) for item in value]
    return seen[id(value)]


def plain(value: Any) -> Any:
    """Mappings, sequences, numbers and strings as YAML's and JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "item"):
        return value.item()
    return str(value)
