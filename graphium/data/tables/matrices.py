"""Columns of square matrices, as labels of pairs of atoms stand in a table, as flat arrays."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from graphium.data.tables.cells import MISSING_IN_LIST


@dataclass(frozen=True)
class Matrices:
    """The square matrices of a column, end to end.

    ``size`` int64 ``[rows]``: rows of each cell's matrix, -1 where the cell is missing.
    ``value`` float64 ``[sum of size ** 2]``: row by row; NaN is missing.
    """

    size: np.ndarray
    value: np.ndarray

    @cached_property
    def row(self) -> np.ndarray:
        """Row of the table of every element, int64."""
        return np.repeat(np.arange(len(self.size)), np.maximum(self.size, 0) ** 2)

    @cached_property
    def place(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column in its own matrix of every element, int64."""
        first, second = np.divmod(np.arange(len(self.value)) - self._start, self._side)
        return first, second

    @property
    def mirrored(self) -> np.ndarray:
        """The values of the transposed matrices, float64."""
        first, second = self.place
        return self.value[self._start + second * self._side + first]

    @cached_property
    def _side(self) -> np.ndarray:
        return self.size[self.row]

    @cached_property
    def _start(self) -> np.ndarray:
        squares = np.maximum(self.size, 0) ** 2
        return np.repeat(np.cumsum(squares) - squares, squares)


def to_matrices(column: pd.Series) -> tuple[Matrices | None, np.ndarray]:
    """Read a column of nested lists: of Arrow, of Python, arrays, or texts such as ``"[[0, 1.5], [null, 0]]"``.

    >>> to_matrices(pd.Series(["[[0, 2], [2, 0]]", None]))[0].size
    array([ 2, -1])

    Returns:
        The matrices, or None where a cell is not a square matrix of numbers; and the positions of such
        cells, int64.
    """
    missing = column.isna().to_numpy(dtype=bool, copy=True)
    if not isinstance(column.dtype, pd.ArrowDtype):
        missing |= column.map(lambda cell: isinstance(cell, str) and not cell.strip()).to_numpy(dtype=bool)
    positions = np.flatnonzero(~missing)
    cells: Any
    if isinstance(column.dtype, pd.ArrowDtype):
        array = pa.array(column.array)
        array = (array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array).filter(pa.array(~missing))
        found = _arrow_matrices(array)
        cells = array
    else:
        cells = column[~missing].tolist()
        found = _matrices(cells)
    if found is None:
        read = _arrow_matrices if isinstance(cells, pa.Array) else _matrices
        return None, positions[[read(cells[k : k + 1]) is None for k in range(len(cells))]]
    size = np.full(len(column), -1, np.int64)
    size[positions] = found[0]
    return Matrices(size, found[1]), np.empty(0, np.int64)


def _arrow_matrices(array: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
    """Sides and elements of Arrow lists of lists without nulls among the outer ones."""
    if not len(array):
        return np.empty(0, np.int64), np.empty(0)
    try:
        side = pc.list_value_length(array).to_numpy(zero_copy_only=False)
        inner = pc.list_flatten(array)
        width = pc.list_value_length(inner).fill_null(-1).to_numpy(zero_copy_only=False)
        value = pc.list_flatten(inner).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None
    side = side.astype(np.int64)
    return (side, value) if np.array_equal(width, np.repeat(side, side)) else None


def _matrices(cells: list[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    if cells and isinstance(cells[0], str):
        parsed = _parse(cells) if all(isinstance(cell, str) for cell in cells) else None
        if parsed is None:
            return None
        cells = parsed
    try:
        side = np.fromiter(map(len, cells), np.int64, len(cells))
        inner = list(chain.from_iterable(cells))
        width = np.fromiter(map(len, inner), np.int64, len(inner))
        value = np.array(list(chain.from_iterable(inner)), np.float64)
    except (TypeError, ValueError):
        return None
    return (side, value) if value.ndim == 1 and np.array_equal(width, np.repeat(side, side)) else None


def _parse(texts: list[str]) -> list[Any] | None:
    """Parse many texts in one call: JSON, or as numpy prints a matrix."""
    joined = MISSING_IN_LIST.sub("NaN", ",".join(texts))
    printed = re.sub(r"\.(?=[\s,\]])", ".0", re.sub(r"(?<=[\w.\]])\s+(?=[-+.\w\[])", ",", joined))
    for text in (joined, printed):
        try:
            found = json.loads(f"[{text}]")
        except ValueError:
            continue
        if len(found) == len(texts):
            return found
    return None
