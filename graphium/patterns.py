"""Names chosen by patterns: ``*`` stands for any signs, ``?`` for one, every other sign for itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

T = TypeVar("T")


def match(pattern: str, names: Collection[str]) -> list[str]:
    """The names that a name or a pattern means; none where there is no such name.

    A name that is there means itself, whatever signs it holds.

    >>> match("log*", ["logP [uM]", "log", "mw"])
    ['logP [uM]', 'log']
    """
    if pattern in names:
        return [pattern]
    if not {"*", "?"} & set(pattern):
        return []
    # In a pattern of fnmatch a bracket has a meaning too. Many stars cost it no more than few.
    plain = pattern.replace("[", "[[]")
    return [name for name in names if fnmatchcase(name, plain)]


def choose(said: Mapping[str, T], names: Sequence[Sequence[str]], default: T) -> list[T]:
    """What is said of each thing, by one of its names or by a pattern.

    Args:
        said: Name or pattern -> value. A name goes before patterns, of several patterns the last one counts.
        names: The names of every thing.
        default: For things that nothing fits.

    >>> choose({"a": 1, "a*": 2, "d/*": 3}, [["d/a", "a"], ["e/ab", "ab"], ["e/b", "b"]], default=0)
    [1, 2, 0]
    """
    every = [name for spelled in names for name in spelled]
    # Sorted by whether it is the name itself, then by where it was said.
    meant: dict[str, tuple[bool, int]] = {}
    for place, pattern in enumerate(said):
        for name in match(pattern, every):
            meant[name] = max(meant.get(name, (False, -1)), (name == pattern, place))
    values = [*said.values(), default]
    return [values[max(meant.get(name, (False, -1)) for name in spelled)[1]] for spelled in names]
