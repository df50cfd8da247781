"""Words of the command line (``model.width=96``) into settings, and settings into a configuration.

Hydra's parser reads the words; what they do to the configuration is decided here: a key that no file
lists is added, and naming a part replaces that part together with its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphium.errors import GraphiumError

# Sections that have a `name` which is a label and not the name of a part.
_LABELLED: tuple[tuple[str, ...], ...] = ((), ("data",), ("data", "datasets", "*"))
# Settings that are lists of names, where `a,b` means `[a,b]`.
_LISTS: tuple[str, ...] = ("targets",)
# Two ways to say one thing: what a word says takes the place of what a file says in the other way.
_INSTEAD: dict[str, str] = {"tasks": "targets", "targets": "tasks"}
# Keys of a part that are parts of their own and stay when the part is replaced.
_STAYS: dict[tuple[str, ...], tuple[str, ...]] = {("optim",): ("schedule",)}


@dataclass(frozen=True)
class Setting:
    """One parsed word: ``key=value``, or ``~key`` where ``delete`` is true.

    ``package`` is what stands behind ``@`` (``dataset@data.datasets.mine``), else None.
    """

    text: str
    key: str
    value: Any
    delete: bool = False
    package: str | None = None

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(self.key.split("."))


def parse(words: Sequence[str]) -> list[Setting]:
    """Parse command-line words with Hydra's grammar.

    Raises:
        GraphiumError: a word that is not ``key=value``, a value that needs quotes, a sweep.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    settings = []
    for word in words:
        key, equals, value = word.partition("=")
        plain = None
        try:
            if word.startswith("="):
                raise GraphiumError(_how_to_write(word, parser))
            override = parser.parse_override(word)
            if override.is_sweep_override() and key.split(".")[-1] in _LISTS:
                override = parser.parse_override(f"{key}=[{value}]")
        except HydraException:
            if not (equals and _is_plain(value) and _parses(f"{key}=x", parser)):
                raise GraphiumError(_how_to_write(word, parser)) from None
            override, plain = parser.parse_override(f"{key}=x"), value.strip()
        if override.is_sweep_override():
            raise GraphiumError(f"{word} gives several values, and {_one_value(key, value)}")
        if override.key_or_group.split(".")[0] == "hydra":
            raise GraphiumError(f"{word} is a setting of Hydra, which only composes here; use run_dir=, name= or seed=")
        read = override.value() if plain is None else plain
        settings.append(Setting(word, override.key_or_group, read, override.is_delete(), override.package))
    return settings


def apply(config: dict[str, Any], settings: Sequence[Setting]) -> list[str]:
    """Change ``config`` in place by the settings; return a sentence for each part that was replaced.

    Shorter keys go first, so ``model.layer.eps=0.1 model.layer=gin`` means the same in either order.
    """
    messages: list[str] = []
    said = {setting.key for setting in settings}
    for setting in sorted(settings, key=lambda s: (s.delete, len(s.path) - (s.path[-1] == "name"))):
        if setting.delete:
            _delete(config, setting)
        else:
            _set(config, setting, messages)
            _drop_other_way(config, setting, said, messages)
    return messages


def merge(base: dict[str, Any], addition: Mapping[str, Any], path: tuple[str, ...] = ()) -> None:
    """Merge ``addition`` into ``base`` in place, key by key; a part of another name replaces the part.

    >>> config = {"layer": {"name": "gine", "eps": 0.1}, "width": 96}
    >>> merge(config, {"layer": {"name": "gcn"}, "depth": 4}, ("model",))
    >>> config
    {'layer': {'name': 'gcn'}, 'width': 96, 'depth': 4}
    """
    if "name" in addition and is_part(path) and _other_part(base, addition["name"]):
        _dropped(base, path)
    for key, value in addition.items():
        old = base.get(key)
        if isinstance(value, Mapping):
            if isinstance(old, str) and "name" not in value:
                old = {"name": old}
            merged = old if isinstance(old, dict) else {}
            merge(merged, value, (*path, str(key)))
            base[key] = merged
        else:
            base[key] = value


def is_part(path: tuple[str, ...]) -> bool:
    """Whether a ``name`` at this place of the configuration names a part.

    >>> is_part(("model", "layer")), is_part(("data", "datasets", "qm9")), is_part(())
    (True, False, False)
    """
    return not any(
        len(path) == len(place) and all(a in ("*", b) for a, b in zip(place, path, strict=True)) for place in _LABELLED
    )


def _set(config: dict[str, Any], setting: Setting, messages: list[str]) -> None:
    *parents, last = setting.path
    node: Any = config
    for depth, word in enumerate(parents):
        node = _step_into(node, word, setting, depth)
    value = setting.value
    if isinstance(node, list):
        node[_position(node, last, setting)] = value
        return
    if last == "name" and is_part(tuple(parents)):
        _replace(node, value, tuple(parents), messages)
        node["name"] = value
        return
    old = node.get(last)
    if isinstance(value, Mapping):
        if isinstance(old, dict) and "name" in value and is_part(setting.path):
            _replace(old, value["name"], setting.path, messages)
        merge(node, {last: value}, tuple(parents))
    else:
        if isinstance(old, dict) and "name" in old and isinstance(value, str) and is_part(setting.path):
            if not _other_part(old, value):
                return
            _replace(old, value, setting.path, messages)
            if old:
                # What stays beside a replaced part, e.g. the schedule of an optimiser.
                old["name"] = value
                return
        node[last] = value


def _drop_other_way(config: Any, setting: Setting, said: set[str], messages: list[str]) -> None:
    *parents, last = setting.path
    other = ".".join([*parents, _INSTEAD.get(last, last)])
    if setting.path[0] != "data" or last not in _INSTEAD or other in said:
        return
    for word in parents:
        config = config[word] if isinstance(config, dict) else None
    if isinstance(config, dict) and config.pop(_INSTEAD[last], None) is not None:
        messages.append(f"{setting.key} takes the place of {other}")


def _step_into(node: Any, word: str, setting: Setting, depth: int) -> Any:
    """Return the section ``word`` of ``node``; a missing one is made, a part's short form is spelt out."""
    if isinstance(node, list):
        position = _position(node, word, setting)
        if isinstance(node[position], str):
            node[position] = {"name": node[position]}
        return node[position]
    child = node.get(word)
    if child is None:
        child = {}
    elif isinstance(child, str):
        child = {"name": child}
    elif not isinstance(child, (dict, list)):
        place = ".".join(setting.path[: depth + 1])
        raise GraphiumError(
            f"{setting.text} goes into {place}, which is {child!r} and not a section; set {place} itself"
        )
    node[word] = child
    return child


def _position(node: list[Any], word: str, setting: Setting) -> int:
    if not word.isdigit() or int(word) >= len(node):
        raise GraphiumError(
            f"{setting.text}: {word!r} is no position in a list of {len(node)}; "
            f"count from 0, or set the whole list as key=[...]"
        )
    return int(word)


def _replace(node: dict[str, Any], name: Any, path: tuple[str, ...], messages: list[str]) -> None:
    if not _other_part(node, name):
        return
    previous = node["name"]
    dropped = _dropped(node, path)
    if dropped:
        messages.append(
            f"{'.'.join(path)} is now {name} instead of {previous}; what was set for {previous} is dropped: "
            + ", ".join(f"{key}={value}" for key, value in dropped.items())
        )


def _other_part(node: Mapping[str, Any], name: Any) -> bool:
    previous = node.get("name")
    return previous is not None and _fold(previous) != _fold(name)


def _fold(name: Any) -> str:
    return str(name).strip().lower().replace("-", "_")


def _dropped(node: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Empty a part except for what stays; return the arguments that went."""
    stays = _STAYS.get(path, ())
    gone = {key: node.pop(key) for key in list(node) if key not in stays}
    gone.pop("name", None)
    return gone


def _delete(config: dict[str, Any], setting: Setting) -> None:
    *parents, last = setting.path
    node: Any = config
    for word in parents:
        node = node.get(word) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        raise GraphiumError(f"{setting.text} removes {setting.key}, which is not set; leave it out")
    del node[last]


def _how_to_write(word: str, parser: Any) -> str:
    key, equals, value = word.partition("=")
    if not equals or not key.strip():
        return f"{word!r} is not a setting; write key=value, e.g. model.width=96"
    if value.startswith("[") and not value.endswith("]"):
        return f"cannot read {word!r}: the list is not closed; write [ and ], with quotes around the whole word"
    form = f"{key}={_quoted(value, parser)}"
    if _parses(form, parser):
        return f"cannot read {word!r}: the value has characters that need quotes; write {_shell(form)}"
    return f"cannot read {word!r}; write key=value, with quotes around a value that has brackets, commas or signs"


def _one_value(key: str, value: str) -> str:
    if "." in key:
        return f"a setting takes one; for a list write {_shell(f'{key}=[{value}]')}"
    if key == "data":
        return 'data takes one; choose one and add others with "+dataset@data.datasets.NAME=NAME"'
    return f"{key} takes one; choose one of them"


def _is_plain(value: str) -> bool:
    """Whether a value that Hydra cannot read is a text all the same, such as ``~/my file (1).csv``."""
    return not value.strip().startswith(("[", "{")) and not any(sign in value for sign in ("'", '"', ",", "${"))


def _quoted(value: str, parser: Any) -> str:
    """Quote a value, or those items of a list that Hydra cannot read as they are."""
    if value.startswith("[") and value.endswith("]"):
        items = [item.strip() for item in value[1:-1].split(",")]
        return "[" + ",".join(i if _parses(f"x=[{i}]", parser) else _quote(i) for i in items) + "]"
    return _quote(value)


def _quote(text: str) -> str:
    inner = text.strip().strip("'\"")
    if "'" in inner and '"' not in inner:
        return f'"{inner}"'
    escaped = inner.replace("'", "\\'")
    return f"'{escaped}'"


def _parses(word: str, parser: Any) -> bool:
    from hydra.errors import HydraException

    try:
        parser.parse_override(word)
    except HydraException:
        return False
    return True


def _shell(word: str) -> str:
    """Quote a word for the shell, with the double quotes that people type where that is simple."""
    if "'" not in word and any(sign in word for sign in '"$`\\!'):
        return f"'{word}'"
    escaped = "".join(f"\\{sign}" if sign in '"$`\\' else sign for sign in word)
    return f'"{escaped}"'
