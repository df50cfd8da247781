"""The one exception that users see, and the sentence that suggests the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Names that a sentence lists.
_MOST = 60


class GraphiumError(Exception):
    """Something a user can mend: one plain sentence that names the value and says what to do.

    The command line prints it without a traceback and exits with code 1.

    >>> raise GraphiumError("batch_size is -3; give a positive whole number")
    Traceback (most recent call last):
    ...
    graphium.errors.GraphiumError: batch_size is -3; give a positive whole number
    """


def suggest(name: str, choices: Iterable[str]) -> str:
    """Return the end of an error sentence: the nearest of ``choices``, then all of them, if they are not hundreds.

    >>> suggest("widht", ["width", "depth"])
    "did you mean 'width'? Choices: depth, width"
    >>> suggest("colour", ["width", "depth"])
    'choices: depth, width'
    """
    names = sorted({str(choice) for choice in choices})
    more = f", ... ({len(names):,} in all)" if len(names) > _MOST else ""
    listing = ", ".join(names[:_MOST]) + more if names else "(none)"
    spelled = {choice.lower(): choice for choice in names}
    near = difflib.get_close_matches(str(name).lower(), spelled, n=1, cutoff=0.6)
    return f"did you mean {spelled[near[0]]!r}? Choices: {listing}" if near else f"choices: {listing}"
