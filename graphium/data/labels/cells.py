"""The label cells of a chunk of a table as flat arrays; empty and NaN cells end here.

Atoms and bonds carry the numbers that the user gave them; :mod:`graphium.data.labels.entities` turns
these into the numbers of the stored graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import partial
from typing import NoReturn

import numpy as np
import pandas as pd

from graphium.data.labels.entities import AS_WRITTEN, BY_NUMBER, IN_GRAPH, Numbering, RowGraphs
from graphium.data.labels.triples import LabelCells, Refuse
from graphium.data.tables.bounds import to_bounded_numbers, to_signs
from graphium.data.tables.cells import Lists, index_columns, to_lists, to_texts
from graphium.data.tables.matrices import to_matrices
from graphium.data.tables.readers import shorten
from graphium.errors import GraphiumError
from graphium.types import Task

# Two triangles of a matrix that differ by less are the same numbers, rounded in two ways.
_SAME = 1e-6
_NUMBERED_BY = {
    "node": [["@atom"]],
    "edge": [["@bond"], ["@first", "@second"]],
    "nodepair": [["@first", "@second"]],
}
_ONE = {"node": "atom", "edge": "bond", "nodepair": "pair of atoms"}


def label_columns(tasks: Iterable[Task], columns: Iterable[str]) -> list[str]:
    """All columns that the labels of some tasks stand in, out of the ``columns`` of a table."""
    known = set(columns)
    names: dict[str, None] = {}
    for task in tasks:
        names[task.name] = None
        if task.level != "graph":
            names.update(dict.fromkeys(index_columns(task.name, known)))
        if task.qualifier:
            names[task.qualifier] = None
    return list(names)


def read_labels(frame: pd.DataFrame, tasks: Sequence[Task], smiles: str, graphs: RowGraphs | None = None) -> LabelCells:
    """Read the labels of the tasks of one head out of a chunk; empty and NaN cells end here.

    Numeric columns are read all at once, whatever their number.

    Args:
        frame: a chunk of :meth:`Table.chunks`, whose index counts the rows of the file. At graph level a
            cell holds one value; for atoms and bonds a list in the order of the row's own text, or, beside
            columns of numbers (:func:`graphium.data.tables.cells.index_columns`), a list of any length; for pairs
            of atoms a square matrix (upper triangle or symmetric, the diagonal is ignored) or a list
            beside two columns of numbers.
        tasks: tasks of the same level and kind; their names are the columns.
        smiles: the SMILES column, for the error sentence.
        graphs: the molecules of the rows; a list of another length is an error. None: lengths are not judged.

    Raises:
        GraphiumError: a cell that is not what the task says, with dataset, column and row.
    """
    refuse = Refuse(frame, smiles)
    if tasks[0].level == "graph":
        labels = _graph_labels(frame, tasks, refuse)
    else:
        labels = _join([_entity_labels(frame, n, task, graphs, refuse) for n, task in enumerate(tasks)])
    binary = tasks[0].kind == "binary"
    good = (labels.value == 0) | (labels.value == 1) if binary else np.isfinite(labels.value)
    if not good.all():
        wrong = int(np.argmin(good))
        what = "is not 0 or 1, and the kind is binary" if binary else "is not finite"
        refuse(tasks[labels.task[wrong]], int(labels.row[wrong]), f"{labels.value[wrong]:g} {what}")
    return labels


def _graph_labels(frame: pd.DataFrame, tasks: Sequence[Task], refuse: Refuse) -> LabelCells:
    """Numeric columns together, the others one by one; sorted by (row, task)."""
    kinds = {name: dtype.kind if isinstance(dtype, np.dtype) else "" for name, dtype in frame.dtypes.items()}
    codes = {names: _numeric_classes(names) for names in dict.fromkeys(map(_class_names, tasks))}
    plain = np.array(
        [
            kinds[task.name] in tuple("fiub") and not task.qualifier and codes[_class_names(task)] is not None
            for task in tasks
        ],
        bool,
    )
    pieces = []
    if plain.any():
        numbers = np.flatnonzero(plain)
        # Column after column, as they lie in memory; the labels come out row by row.
        cells = np.ascontiguousarray(frame[[tasks[n].name for n in numbers.tolist()]].to_numpy(np.float64).T)
        place = np.flatnonzero(~np.isnan(cells))
        column, row = np.divmod(place, len(frame))
        # Small integers are sorted digit by digit.
        order = np.argsort(row.astype(np.uint16 if len(frame) <= 1 << 16 else np.int64), kind="stable")
        found = LabelCells(row[order], numbers[column[order]].astype(np.int32), cells.reshape(-1)[place[order]])
        pieces.append(_number_classes(found, tasks, codes, refuse))
    pieces += [_odd_labels(frame, n, tasks[n], refuse) for n in np.flatnonzero(~plain).tolist()]
    if len(pieces) == 1:
        return pieces[0]
    labels = _join(pieces)
    return labels.take(np.argsort(labels.row * len(tasks) + labels.task, kind="stable"))


def _number_classes(
    labels: LabelCells, tasks: Sequence[Task], codes: dict[tuple[str, ...], np.ndarray | None], refuse: Refuse
) -> LabelCells:
    """Class indices of labels that stand in their cells as numbers."""
    value, groups = labels.value, {names: group for group, names in enumerate(codes)}
    group_of_task = np.array([groups[_class_names(task)] for task in tasks])
    for names, numbers in codes.items():
        if not names or numbers is None:
            continue
        mine = np.flatnonzero(group_of_task[labels.task] == groups[names])
        code = _codes_of_numbers(value[mine], numbers)
        strange = mine[code < 0]
        if len(strange):
            task, position = tasks[labels.task[strange[0]]], int(labels.row[strange[0]])
            refuse(task, position, f"{refuse.cell(task, position)} is none of the classes {_shown(task)}")
        value[mine] = code
    return labels


def _odd_labels(frame: pd.DataFrame, number: int, task: Task, refuse: Refuse) -> LabelCells:
    """One column of a graph-level task that holds text, bounds or class names."""
    column = frame[task.name]
    bound: np.ndarray | None = None
    if _class_names(task):
        value, missing = _class_codes(column, task)
        strange = np.flatnonzero((value < 0) & ~missing)
        if len(strange):
            refuse(task, int(strange[0]), f"{refuse.cell(task, strange[0])} is none of the classes {_shown(task)}")
        row = np.flatnonzero(~missing)
    else:
        value, bound, strange = to_bounded_numbers(column)
        if len(strange):
            refuse(task, int(strange[0]), f"{refuse.cell(task, strange[0])} is not a number")
        row = np.flatnonzero(~np.isnan(value))
        if task.qualifier:
            bound = _qualified(frame, task, row, bound, refuse)
        bound = bound[row] if bound[row].any() else None
        if bound is not None and task.kind != "regression":
            position = int(row[np.argmax(bound != 0)])
            what = f"{refuse.cell(task, position)} is a bound, and the kind is {task.kind}"
            refuse(task, position, what, "bounds are for regression")
    return LabelCells(row, np.full(len(row), number, np.int32), value[row].astype(np.float64), bound)


def _qualified(frame: pd.DataFrame, task: Task, row: np.ndarray, bound: np.ndarray, refuse: Refuse) -> np.ndarray:
    """The bounds of the cells, joined with those of the qualifier column; int8 ``[rows]``."""
    said, strange = to_signs(frame[task.qualifier])
    strange = np.intersect1d(strange, row)
    if len(strange):
        cell = shorten(frame[task.qualifier].iloc[strange[0]])
        what = f"the qualifier {cell} in column {task.qualifier!r} is none of >, >=, <, <=, =, ~"
        refuse(task, int(strange[0]), what, "mend or empty that cell")
    both = row[said[row] * bound[row] < 0]
    if len(both):
        cell = shorten(frame[task.qualifier].iloc[both[0]])
        refuse(
            task, int(both[0]), f"the cell {refuse.cell(task, both[0])} and its qualifier {cell} contradict each other"
        )
    return np.where(bound != 0, bound, said)


def _entity_labels(
    frame: pd.DataFrame, number: int, task: Task, graphs: RowGraphs | None, refuse: Refuse
) -> LabelCells:
    """One column of labels of atoms, bonds or pairs."""
    if task.qualifier:
        raise GraphiumError(
            f"dataset {task.dataset!r}, column {task.name!r}: labels of level {task.level} have no qualifier column; "
            "leave it out"
        )
    index = index_columns(task.name, frame.columns)
    if index:
        row, ends, value = _indexed(frame, task, index, refuse)
        counting = np.full(len(row), BY_NUMBER, np.int8)
    elif task.level == "nodepair":
        row, ends, value, counting = _matrix_labels(frame, task, graphs, refuse)
    else:
        lists = _lists(frame[task.name], partial(refuse, task), f"a list of numbers, one per {_ONE[task.level]}")
        numbering = None if graphs is None else graphs.numbering(task.level)
        of_row = _counting(lists.length, task, numbering, refuse, f"{_ONE[task.level]}s", "the list has {0} elements")
        row, ends, value = lists.row, [lists.position], lists.value
        counting = of_row[row]
    present = ~np.isnan(value)
    row, value, counting = row[present], value[present], counting[present]
    first, *second = (end[present] for end in ends)
    if _class_names(task):
        numbers = _numeric_classes(_class_names(task))
        code = _class_codes(pd.Series(value), task)[0] if numbers is None else _codes_of_numbers(value, numbers)
        if (code < 0).any():
            wrong = int(np.argmin(code))
            refuse(task, int(row[wrong]), f"{value[wrong]:g} is none of the classes {_shown(task)}")
        value = code.astype(np.float64)
    other = second[0] if second else None
    return LabelCells(row, np.full(len(row), number, np.int32), value, None, first, other, counting)


def _lists(column: pd.Series, refuse: partial[NoReturn], wanted: str) -> Lists:
    lists, strange = to_lists(column)
    if lists is None:
        refuse(int(strange[0]), f"{shorten(column.iloc[strange[0]])} is not {wanted}")
    return lists


def _counting(
    length: np.ndarray, task: Task, numbering: Numbering | None, refuse: Refuse, what: str, has: str
) -> np.ndarray:
    """What the elements of each row's list count, int8 ``[rows]``: told by the length of the list."""
    if numbering is None:
        return np.full(len(length), IN_GRAPH, np.int8)
    is_list = (length >= 0) & numbering.usable
    as_written = is_list & (length == numbering.num_written) & (length != numbering.num) & (length > 0)
    wrong = np.flatnonzero(is_list & (length != numbering.num) & ~as_written)
    if len(wrong):
        row = int(wrong[0])
        num, written = int(numbering.num[row]), int(numbering.num_written[row])
        with_h = f" ({written} with the hydrogens that the text writes)" if written else ""
        said = f"{has.format(length[row])} and the molecule {num} {what}"
        if length[row] == refuse.num_with_hydrogens(row, task.level):
            mend = "keep the hydrogens with features.form=explicit_h, or leave them out of the cells"
            refuse(task, row, f"{said} ({length[row]} with all hydrogens)", mend)
        refuse(task, row, said + with_h)
    return np.where(as_written, AS_WRITTEN, IN_GRAPH).astype(np.int8)


def _indexed(
    frame: pd.DataFrame, task: Task, index: list[str], refuse: Refuse
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Rows, numbers of the entities (one or two columns) and values of lists that tell what they are about."""
    choices = [[task.name + end for end in ends] for ends in _NUMBERED_BY[task.level]]
    if index not in choices:
        raise GraphiumError(
            f"dataset {task.dataset!r}, column {task.name!r}: labels of level {task.level} cannot be numbered by the "
            f"column{'s' * (len(index) > 1)} {', '.join(index)}; give {' or '.join(map(' and '.join, choices))}"
        )
    values = _lists(frame[task.name], partial(refuse, task), "a list of numbers")
    ends = []
    for name in index:
        lists = _lists(frame[name], partial(refuse, task), f"a list of numbers in column {name!r}")
        wrong = np.flatnonzero(np.maximum(lists.length, 0) != np.maximum(values.length, 0))
        if len(wrong):
            row = int(wrong[0])
            what = f"the list has {max(values.length[row], 0)} elements and column {name!r} {max(lists.length[row], 0)}"
            refuse(task, row, what)
        number = lists.value
        strange = np.flatnonzero(~((number >= 0) & (number == np.floor(number))) & ~np.isnan(values.value))
        if len(strange):
            row = int(values.row[strange[0]])
            refuse(task, row, f"{number[strange[0]]:g} in column {name!r} is not a number of an atom or bond")
        ends.append(np.nan_to_num(number).astype(np.int64))
    return values.row, ends, values.value


def _matrix_labels(
    frame: pd.DataFrame, task: Task, graphs: RowGraphs | None, refuse: Refuse
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
    """Rows, both atoms, values and counting of the labels in square matrices."""
    column = frame[task.name]
    found, strange = to_matrices(column)
    if found is None:
        cell = refuse.cell(task, strange[0])
        refuse(task, int(strange[0]), f"{cell} is not a square matrix of numbers, one row per atom")
    numbering = None if graphs is None else graphs.numbering("node")
    of_row = _counting(found.size, task, numbering, refuse, "atoms", "the matrix has {0} rows")
    (first, second), mirrored = found.place, found.mirrored
    upper = (first < second) & ~(np.isnan(found.value) & np.isnan(mirrored))
    row, first, second = found.row[upper], first[upper], second[upper]
    value, below = found.value[upper], mirrored[upper]
    differs = np.abs(value - below) > _SAME * np.maximum(np.abs(value), np.abs(below))
    if differs.any():
        k = int(np.argmax(differs))
        what = f"{value[k]:g} at ({first[k]}, {second[k]}) and {below[k]:g} at ({second[k]}, {first[k]})"
        refuse(task, int(row[k]), f"the two triangles of the matrix disagree, {what}")
    return row, [first, second], np.where(np.isnan(value), below, value), of_row[row]


def _join(pieces: Sequence[LabelCells]) -> LabelCells:
    """Labels of several tasks end to end."""
    columns: dict[str, np.ndarray | None] = {}
    filling = {"bound": np.int8(0), "other": np.int64(-1)}
    for name in (f.name for f in fields(LabelCells)):
        parts = [getattr(piece, name) for piece in pieces]
        if all(part is None for part in parts):
            columns[name] = None
            continue
        filled = [np.full(len(p.row), filling[name]) if c is None else c for p, c in zip(pieces, parts, strict=True)]
        columns[name] = np.concatenate(filled)
    return LabelCells(**columns)  # type: ignore[arg-type]


def _class_names(task: Task) -> tuple[str, ...]:
    return task.classes or tuple(map(str, range(task.num_classes)))


def _numeric_classes(names: tuple[str, ...]) -> np.ndarray | None:
    """Class names as numbers, float64; None where one is not a number."""
    try:
        numbers = np.array([float(name) for name in names])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() and len(np.unique(numbers)) == len(numbers) else None


def _codes_of_numbers(value: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Class index of every number, -1 where it is no class; ``numbers`` are the classes."""
    order = np.argsort(numbers)
    place = np.minimum(np.searchsorted(numbers[order], value), len(numbers) - 1)
    return np.where(numbers[order][place] == value, order[place], -1)


def _class_codes(column: pd.Series, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Class index of every cell, -1 where it is no class, and whether the cell is missing."""
    names, missing = to_texts(column)
    return pd.Index(_class_names(task)).get_indexer(pd.Index(names)), missing


def _shown(task: Task) -> str:
    return ", ".join(task.classes) if task.classes else f"0 to {task.num_classes - 1}"
