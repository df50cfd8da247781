"""Parts by name: the tables of layers, encoders, losses ... and the judge of their arguments.

A part registers itself with ``@register("layer", "gine")`` on a class or function. The signature of
that object is the schema of its configuration: :func:`build` and :func:`validate` refuse an unknown
argument, a wrong type or a missing value with one sentence before anything is constructed.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Annotated, Any, TypeVar, get_args, get_origin

from graphium.errors import GraphiumError, suggest

# Modules that register the parts of a kind, imported at the first look-up of that kind.
_MODULES: dict[str, tuple[str, ...]] = {
    "atom_onehot": ("graphium.chem.atoms",),
    "atom_float": ("graphium.chem.atoms",),
    "bond_onehot": ("graphium.chem.bonds",),
    "bond_float": ("graphium.chem.bonds",),
    "encoding": ("graphium.chem.laplacian", "graphium.chem.random_walk"),
    "computed_label": ("graphium.chem.computed_labels",),
    "split": ("graphium.data.splits.simple",),
    "transform": ("graphium.data.labels.transforms",),
    "encoder": ("graphium.nn.encoders",),
    "layer": ("graphium.nn.layers",),
    "norm": ("graphium.nn.norms",),
    "pooling": ("graphium.nn.pooling",),
    "residual": ("graphium.nn.residual",),
    "loss": ("graphium.training.losses.regression", "graphium.training.losses.classes"),
    "metric": ("graphium.training.metrics.regression", "graphium.training.metrics.classes"),
    "weighting": ("graphium.training.weighting",),
    "optimizer": ("graphium.training.optim",),
    "schedule": ("graphium.training.optim",),
}
# Constructor arguments that the program supplies and a configuration may not set.
_SUPPLIED: dict[str, tuple[str, ...]] = {
    "encoder": ("in_channels", "out_channels"),
    "layer": ("in_channels", "out_channels", "edge_dim"),
    "norm": ("channels",),
    "pooling": ("channels",),
    "residual": ("channels", "depth"),
    "weighting": ("heads",),
    "optimizer": ("parameters",),
    "schedule": ("optimizer", "num_steps"),
}
_ENTRY_POINT_GROUP = "graphium.parts"

_parts: dict[str, dict[str, Any]] = {kind: {} for kind in _MODULES}
_loaded: set[str] = set()

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Marks a constructor argument that is itself a part: ``Annotated[PartConfig, Part("norm")]``.

    Also inside containers: ``list[Annotated[PartConfig, Part("encoding")]]``.
    """

    kind: str


PartConfig = str | dict[str, Any]


def register(kind: str, name: str) -> Callable[[T], T]:
    """Register a class or function as the part ``name`` of ``kind``; a second one is an error."""

    def add(part: T) -> T:
        table = _table(kind)
        key = _key(name)
        if key in table and table[key] is not part:
            raise GraphiumError(f"two parts of kind {kind!r} are named {name!r}; rename one of them")
        table[key] = part
        return part

    return add


def names(kind: str) -> list[str]:
    """Sorted names of the registered parts of a kind."""
    _load(kind)
    return sorted(_table(kind))


def lookup(kind: str, name: str, *, where: str = "", trust_code: bool = True) -> Any:
    """Find a part by its name (case, ``-`` and ``_`` do not matter) or by a dotted path.

    A dotted path imports the user's own code; with ``trust_code=False`` it is refused.
    """
    _load(kind)
    table = _table(kind)
    place = f" at {where}" if where else ""
    if not isinstance(name, str):
        raise GraphiumError(f"{name!r}{place} is not the name of a {kind}; {suggest(str(name), table)}")
    part = table.get(_key(name))
    if part is not None:
        return part
    if "." not in name:
        raise GraphiumError(f"unknown {kind} {name!r}{place}; {suggest(_key(name), table)}")
    if not trust_code:
        raise GraphiumError(
            f"{name!r}{place} is code outside graphium; load with trust_code=True only if you trust its author"
        )
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise GraphiumError(f"cannot import the {kind} {name!r}{place}: {error}; check the dotted path") from None


def validate(kind: str, config: Any, *, where: str = "") -> tuple[Any, dict[str, Any]]:
    """Judge a part's configuration without constructing it.

    Args:
        kind: The kind of part, e.g. ``"layer"``.
        config: A name, or a mapping with ``name`` and constructor arguments.
        where: The place in the configuration, for the error sentence, e.g. ``"model.layer"``.

    Returns:
        The part and its checked arguments (numbers converted to the annotated type).

    Raises:
        GraphiumError: unknown name, unknown or missing argument, wrong type.
    """
    if isinstance(config, str):
        config = {"name": config}
    if not isinstance(config, Mapping) or "name" not in config:
        raise GraphiumError(
            f"{where or kind} is {config!r}; give the name of a {kind} or a mapping with `name`; "
            f"{suggest('', names(kind))}"
        )
    part = lookup(kind, config["name"], where=where)
    arguments = {key: value for key, value in config.items() if key != "name"}
    return part, check_arguments(part, arguments, where=where or kind, given=_SUPPLIED.get(kind, ()))


def build(kind: str, config: Any, *, where: str = "", **given: Any) -> Any:
    """Construct a part from its name or mapping; ``given`` are the arguments the program supplies.

    Of ``given``, a part receives those that its signature names.
    """
    part, arguments = validate(kind, config, where=where)
    accepted = inspect.signature(part).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    supplied = {key: value for key, value in given.items() if takes_all or key in accepted}
    return part(**supplied, **arguments)


def check_arguments(
    target: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    where: str,
    given: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> dict[str, Any]:
    """Check arguments against the signature of ``target``; return them with numbers converted.

    A user may not set those in ``given``; those in ``beside`` are judged elsewhere and named as choices.

    Raises:
        GraphiumError: an unknown or missing argument, or a value of the wrong type.
    """
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if name not in given and name != "self"
    }
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    parameters = {n: p for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    hints = _hints(target)
    checked = {}
    for name, value in arguments.items():
        if name not in parameters and not open_ended:
            raise GraphiumError(f"unknown key {where}.{name}; {suggest(name, [*parameters, *beside])}")
        checked[name] = _convert(hints.get(name, Any), value, f"{where}.{name}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in checked:
            raise GraphiumError(f"{where}.{name} is missing; give it a value")
    return checked


def _convert(hint: Any, value: Any, where: str) -> Any:
    kind = _part_kind(hint)
    if kind is not None:
        return _convert_part(hint, kind, value, where)
    from pydantic import ValidationError

    adapter = _adapter(hint)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"][0].lower() + first["msg"][1:]
        raise GraphiumError(f"{where} is {value!r}; {message}") from None


@functools.cache
def _adapter(hint: Any) -> Any:
    """What converts values of a type; to make one costs more than to use it."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        return TypeAdapter(hint)


def _convert_part(hint: Any, kind: str, value: Any, where: str) -> Any:
    """Check one part, or each part of a list or mapping of parts; the configuration is returned as it is."""
    if value is None and type(None) in get_args(_strip(hint)):
        return None
    if isinstance(value, str) and not _allows_one(hint):
        raise GraphiumError(f"{where} is {value!r}; give a list, e.g. {where}=[{value}]")
    if isinstance(value, Sequence) and not isinstance(value, str):
        for position, item in enumerate(value):
            validate(kind, item, where=f"{where}[{position}]")
    elif isinstance(value, Mapping) and "name" not in value:
        for key, item in value.items():
            validate(kind, item, where=f"{where}.{key}")
    else:
        validate(kind, value, where=where)
    return value


def _part_kind(hint: Any) -> str | None:
    if get_origin(hint) is Annotated:
        for extra in hint.__metadata__:
            if isinstance(extra, Part):
                return extra.kind
    for argument in get_args(hint):
        kind = _part_kind(argument)
        if kind is not None:
            return kind
    return None


def _allows_one(hint: Any) -> bool:
    """Whether a part may stand by itself here, and not only in a list or mapping of parts."""
    members = get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return any(get_origin(member) is Annotated for member in members)


def _strip(hint: Any) -> Any:
    return hint.__origin__ if get_origin(hint) is Annotated else hint


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _table(kind: str) -> dict[str, Any]:
    if kind not in _parts:
        raise GraphiumError(f"unknown kind of part {kind!r}; {suggest(kind, _parts)}")
    return _parts[kind]


def _key(name: str) -> str:
    return name if "." in name else name.strip().lower().replace("-", "_").replace(" ", "_")


def _load(kind: str) -> None:
    """Import the modules that register this kind, once, then what other packages add."""
    _table(kind)
    if kind in _loaded:
        return
    _loaded.add(kind)
    for module in _MODULES[kind]:
        importlib.import_module(module)
    for entry in entry_points(group=_ENTRY_POINT_GROUP):
        entry.load()
