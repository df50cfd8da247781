"""Label columns chosen by name and pattern, with the reason for every column taken or left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphium.data.datasets.infer import words_of
from graphium.data.tables.facts import ColumnFacts
from graphium.data.tables.readers import Table, shorten
from graphium.messages import listed
from graphium.patterns import match
from graphium.types import Level

_ID_WORDS = {"id", "ids", "idx", "index", "identifier", "cid", "uuid", "unnamed"}
_SPLIT_WORDS = {"split", "splits", "fold", "folds", "set", "subset", "partition"}
_WEIGHT_NAMES = {"weight", "weights", "sample weight", "sample weights"}
_TIME_NAMES = {"time", "date", "datetime", "timestamp", "year", "month", "day"}


def select_columns(
    patterns: Iterable[str],
    table: Table,
    facts: Mapping[str, ColumnFacts],
    reserved: Mapping[str, str],
    level: Level | None = None,
) -> tuple[list[str], list[str]]:
    """Choose label columns by name and pattern.

    Args:
        patterns: Names, patterns with ``*`` and ``?``, and ``-name`` to exclude.
        table: The table.
        facts: The facts of the columns that patterns match.
        reserved: Column -> why it is no label, e.g. ``the split column``.
        level: What the patterns are restricted to, or None.

    Returns:
        The chosen columns in the table's order (named ones in the order named), and sentences that
        name each column that a pattern accepted or rejected, with the reason.
    """
    wanted, excluded = split_patterns(patterns, table)
    chosen: dict[str, None] = {}
    reasons: dict[tuple[bool, str], list[str]] = {}
    for pattern in wanted:
        if pattern in table.columns:
            chosen[pattern] = None
            continue
        for name in match(pattern, table.columns):
            if name in chosen:
                continue
            reason = reserved.get(name) or (f"excluded by -{excluded[name]}" if name in excluded else None)
            reason = reason or not_a_label(facts[name], by_name=pattern == "*", level=level)
            accepted = reason is None
            if accepted:
                chosen[name] = None
            reasons.setdefault((accepted, reason or _accepted(facts[name])), []).append(name)
    messages = [
        f"{'takes' if accepted else 'leaves out'} {listed(names)}: {reason}"
        for (accepted, reason), names in sorted(reasons.items(), key=lambda item: not item[0][0])
    ]
    return [name for name in chosen if name not in excluded], messages


def split_patterns(patterns: Iterable[str], table: Table) -> tuple[list[str], dict[str, str]]:
    """Part names and patterns into the wanted ones and the excluded columns (column -> what excludes it).

    A text with commas that is no column itself is taken apart: ``"*,-mw"`` is ``["*", "-mw"]``.

    Raises:
        GraphiumError: a name or pattern that matches no column.
    """
    words: list[str] = []
    for pattern in patterns:
        text = str(pattern)
        words += [text] if text in table.columns else [word.strip() for word in text.split(",") if word.strip()]
    wanted, excluded = [], {}
    for word in words:
        removes = word.startswith("-") and word not in table.columns
        names = match(word[1:] if removes else word, table.columns)
        if not names:
            table.require([word[1:] if removes else word])
        if removes:
            excluded.update(dict.fromkeys(names, word[1:]))
        else:
            wanted.append(word)
    if excluded and not wanted:
        wanted = ["*"]
    return wanted, excluded


def not_a_label(facts: ColumnFacts, *, by_name: bool, level: Level | None = None) -> str | None:
    """Say why a column cannot be a label, or None; ``by_name`` also judges names and running numbers."""
    return _wrong_cells(facts, level) or (_looks_otherwise(facts) if by_name else None)


def _wrong_cells(facts: ColumnFacts, level: Level | None) -> str | None:
    if facts.form == "empty":
        return "every cell is empty"
    if facts.form == "time":
        return "dates"
    if facts.form == "text" and facts.odd is not None:
        share = "text" if facts.num_odd == facts.present else f"text in {facts.num_odd} of {facts.present} cells"
        return f"{share}, e.g. {shorten(facts.odd[1])} in row {facts.odd[0]}"
    if level is not None and not facts.can_be(level):
        return f"{facts.holds}, and the level is {level}"
    if facts.form == "list" and not any(facts.fits.values()):
        return f"lists as long as neither the atoms nor the bonds ({facts.misfit})"
    if facts.form == "matrix" and not any(facts.fits.values()):
        return f"matrices of another size than the number of atoms ({facts.misfit})"
    return None


def _looks_otherwise(facts: ColumnFacts) -> str | None:
    words = words_of(facts.name)
    if words and (words[-1] in _ID_WORDS or words[0] == "unnamed"):
        return "named like an id"
    if words and (words[-1] in _SPLIT_WORDS and (len(words) > 1 or words[0] in _SPLIT_WORDS)):
        return "named like a split"
    name = " ".join(words)
    if name in _WEIGHT_NAMES:
        return "named like a weight"
    if name in _TIME_NAMES or (words and words[-1] == "date"):
        return "named like a time"
    if facts.is_running():
        return "a running number"
    if facts.is_unique():
        return "integers that never repeat, as in an id"
    return None


def _accepted(facts: ColumnFacts) -> str:
    forms = {"number": "numbers", "boolean": "true/false", "list": "lists of numbers", "matrix": "square matrices"}
    what = forms[facts.form] + (f" ({facts.bounds:,} bounds, e.g. {facts.bound[1]!r})" if facts.bound else "")
    return f"0/1 {what}, binary" if facts.kind == "binary" and facts.form != "boolean" else f"{what}, {facts.kind}"
