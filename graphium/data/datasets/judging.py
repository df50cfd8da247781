"""Whether the cells of a column can be labels of a kind and a level, before anything is prepared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from graphium.data.labels.cells import label_columns, read_labels
from graphium.data.tables.bounds import to_bounded_numbers
from graphium.data.tables.cells import MISSING_IN_LIST, to_lists
from graphium.data.tables.facts import LARGEST, ColumnFacts
from graphium.data.tables.matrices import to_matrices
from graphium.data.tables.readers import Table, shorten
from graphium.errors import GraphiumError
from graphium.types import Kind, Level, Task

_JUDGED = 1
_WANTED = {
    "graph": "one value per molecule",
    "node": "lists, one element per atom",
    "edge": "lists, one element per bond",
    "nodepair": "square matrices, one row and one column per atom",
}


def judge_lists(facts: ColumnFacts, dataset: str, table: Table, level: Level | None, *, has_classes: bool) -> None:
    """Refuse lists and matrices with an element that is no number; a text that looks like one may be a class."""
    if facts.odd is None or level == "graph" or (level is None and has_classes):
        return
    text = facts.odd[1].strip()
    if not (text.startswith("[") and text.endswith("]")):
        return
    read, what = (to_matrices, "square matrix") if text[1:].lstrip().startswith("[") else (to_lists, "list")
    for _, frame in table.chunks([facts.name], table.rows_at_once([facts.name])):
        column = frame[facts.name]
        _, strange = read(column)
        # Where not all cells are alike a chunk may be refused as a whole; one of them alone is wrong.
        for position in strange.tolist():
            if read(column.iloc[[position]])[0] is None:
                cell = column.iloc[position]
                odd = _odd_word(cell)
                said = f"{odd[0]} in {shorten(cell)} is {odd[1]}" if odd else f"{shorten(cell)} is no {what} of numbers"
                raise GraphiumError(
                    f"{_place(facts, dataset)}, row {frame.index[position]}: {said}; mend or empty the cell"
                )


def judge_cells(facts: ColumnFacts, dataset: str, table: Table, kind: Kind, *, has_classes: bool) -> None:
    """Refuse a column whose cells cannot be labels of this kind."""
    place = _place(facts, dataset)
    if facts.present == 0:
        raise GraphiumError(f"{place} is empty in every row; leave it out or name another column")
    if facts.form == "time":
        raise GraphiumError(f"{place} holds dates; labels are numbers, lists of numbers or classes")
    if has_classes:
        return
    if facts.odd is not None:
        row, cell = facts.odd
        if facts.num_odd == facts.present:
            raise GraphiumError(
                f"{place} holds text, e.g. {cell!r} in row {row}; say data.kind=multiclass, or of two classes "
                "data.classes=[A,B] (B counts as 1), or name another column"
            )
        raise GraphiumError(
            f"{place}, row {row}: {cell!r} is not a number ({facts.num_odd} of {facts.present} cells are not); "
            "mend or empty the cell"
        )
    _judge_infinite(facts, dataset, table)
    if kind != "regression" and facts.bound is not None:
        row, cell = facts.bound
        raise GraphiumError(
            f"{place}, row {row}: {cell!r} is a bound, and the kind is {kind}; bounds are for regression"
        )
    if kind == "binary" and facts.not_binary is not None:
        row, value = facts.not_binary
        raise GraphiumError(
            f"{place}, row {row}: {value:g} is not 0 or 1, and the kind is binary; "
            "mend the cell or say data.kind=regression"
        )


def judge_class_cells(facts: ColumnFacts, dataset: str, table: Table) -> None:
    """Refuse infinity among numbers whose distinct values are to become the classes."""
    if facts.odd is None:
        _judge_infinite(facts, dataset, table)


def judge_classes(facts: ColumnFacts, dataset: str, kind: Kind, classes: Sequence[str]) -> None:
    """Refuse names of classes where the kind has none, or two."""
    place = _place(facts, dataset)
    if classes and kind == "regression":
        raise GraphiumError(f"{place} has `classes`, and the kind is regression; leave one of them out")
    if classes and kind == "binary" and len(classes) != 2:
        raise GraphiumError(f"{place} has {len(classes)} classes, and the kind is binary; say kind=multiclass")


def judge_level(facts: ColumnFacts, dataset: str, level: Level) -> None:
    """Refuse cells of another form than the labels of a level have."""
    # Lists of pairs are labels in long form only, whose level is not judged.
    if not facts.can_be(level) or (level == "nodepair" and facts.form == "list"):
        raise GraphiumError(
            f"{_place(facts, dataset)} holds {facts.holds}, and level {level} takes {_WANTED[level]}; "
            "leave the level out or name another column"
        )


def check_class_labels(tasks: Sequence[Task], table: Table, smiles: str) -> None:
    """Read all labels of tasks whose classes were named, once for each table.

    Raises:
        GraphiumError: a label that is none of the classes, with dataset, column and row.
    """
    key = ["classes", _JUDGED, table.key, [[task.name, task.level, task.kind, list(task.classes)] for task in tasks]]
    if table.memo.get(key) is not None:
        return
    for _, group in groupby(tasks, key=lambda task: (task.level, task.kind)):
        members = list(group)
        columns = [smiles, *label_columns(members, table.columns)]
        for _, frame in table.chunks(columns, table.rows_at_once(columns)):
            read_labels(frame, members, smiles)
    table.memo.put(key, True)


def _judge_infinite(facts: ColumnFacts, dataset: str, table: Table) -> None:
    if facts.infinite is None:
        return
    chunks = table.chunks([facts.name], table.rows_at_once([facts.name]))
    frame = next(frame for first, frame in chunks if facts.infinite < first + len(frame))
    column = frame[facts.name].loc[[facts.infinite]]
    read = {"list": to_lists, "matrix": to_matrices}.get(facts.form)
    found = read(column)[0] if read is not None else None
    value = to_bounded_numbers(column)[0] if found is None else found.value
    raise GraphiumError(
        f"{_place(facts, dataset)}, row {facts.infinite}: {value[np.abs(value) > LARGEST][0]:g} is infinite or beyond "
        f"{LARGEST:g}; mend or empty the cell"
    )


def _odd_word(cell: object) -> tuple[str, str] | None:
    """The first element of a list or matrix that cannot be a label, and why; None where all can."""
    for word in re.findall(r"[^\s,\[\]]+", str(cell)):
        if MISSING_IN_LIST.fullmatch(word.strip("'\"")):
            continue
        try:
            value = float(word.strip("'\""))
        except ValueError:
            return shorten(word.strip("'\"")), "not a number"
        if np.isinf(value):
            return word, "infinite"
    return None


def _place(facts: ColumnFacts, dataset: str) -> str:
    return f"dataset {dataset!r}, target column {facts.name!r}"
