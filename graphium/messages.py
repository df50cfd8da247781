"""Sentences for the person at the terminal: joined where they say the same, printed beside the result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def alike(sentences: Iterable[str]) -> list[str]:
    """Join the sentences ``name: what`` that say the same of several names, in the order of the first ones.

    >>> alike(["qm9: nothing to compute", "esol: 12 rows", "tox21: nothing to compute"])
    ['qm9, tox21: nothing to compute', 'esol: 12 rows']
    """
    names: dict[str, list[str]] = {}
    for sentence in sentences:
        name, _, said = sentence.partition(": ")
        names.setdefault(said, []).append(name)
    return [f"{', '.join(dict.fromkeys(about))}: {said}" for said, about in names.items()]


def listed(names: Sequence[str], most: int = 20) -> str:
    """The first names of a list, and how many there are in all where it is longer.

    >>> listed(["a", "b"]), listed(["a", "b", "c"], most=2)
    ('a, b', 'a, b, ... (3 in all)')
    """
    return ", ".join(names[:most]) + (f", ... ({len(names):,} in all)" if len(names) > most else "")


def tell(sentences: Iterable[str]) -> None:
    """Print remarks to stderr, one a line, so that stdout holds the result alone."""
    from rich.console import Console

    console = Console(stderr=True)
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
