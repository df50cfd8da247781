"""Names chosen by patterns: ``*`` stands for any signs, ``?`` for one, every other sign for itself."""

from __future__ import annotations

import re
from collections.abc import Collection


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
    expression = re.compile("".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern), re.DOTALL)
    return [name for name in names if expression.fullmatch(name)]
