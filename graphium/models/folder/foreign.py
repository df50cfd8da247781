"""What a stranger's configuration may make this program do: code that it names, sizes that it asks for.

The registry imports a name that has a dot. Such names are looked for in every place of a configuration that is ever
looked up, when a network is built and later, when it is evaluated or trained further.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphium.models.folder.config_file import ModelConfig

# No encoding has so many columns.
_MOST_COLUMNS = 10_000


def foreign_code(config: ModelConfig) -> dict[str, str]:
    """Place in the configuration -> the code outside graphium that it names."""
    found = {}
    for section in ("model", "features"):
        for path, value in _leaves(getattr(config, section), (section,)):
            # Patterns of data sets and tasks, which may have dots and are no parts.
            is_pattern = path[:2] == ("model", "heads") and path[3:4] == ("of",)
            if isinstance(value, str) and "." in value and not is_pattern:
                found[".".join(path)] = value
    seen: set[int] = set()
    for head in config.heads:
        for task in (head.get("all", {}), *head["tasks"]):
            for key in ("loss", "metrics", "transform"):
                # What thousands of tasks have in common is one object.
                if id(task.get(key)) not in seen:
                    seen.add(id(task.get(key)))
                    found |= dict(_names(task.get(key), f"{key} of {task.get('name', head['name'])}"))
    return found


def oversized(config: ModelConfig, num_tensors: int, num_values: int) -> str | None:
    """The first number in a configuration that is larger than its weights allow, with its place."""
    limits = {"model": num_values, "features": _MOST_COLUMNS}
    for section, most in limits.items():
        for path, value in _leaves(getattr(config, section), (section,)):
            if _number(value) > (num_tensors if path[-1].endswith("depth") else most):
                return f"{'.'.join(path)} is {value}"
    return None


def _number(value: Any) -> float:
    """The number that a value becomes where one is wanted, as texts and fractions do; 0 where it becomes none."""
    try:
        # A whole number may be beyond all fractions, and NaN is above nothing.
        return value if isinstance(value, int) else float(value) if isinstance(value, str | float) else 0
    except ValueError:
        return 0


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every plain value within a value, keys among them, with its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, path)
    else:
        yield path, value


def _names(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Names with a dot of parts, at any depth: a part is a text, or a mapping with a ``name``."""
    if isinstance(value, str):
        if "." in value:
            yield where, value
    elif isinstance(value, list):
        for item in value:
            yield from _names(item, where)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "name" or isinstance(item, dict | list):
                yield from _names(item, where)
