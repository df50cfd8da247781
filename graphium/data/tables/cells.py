"""Columns of a table as numbers and lists: what form a column has, and its values as flat arrays.

Everything works on a whole column at once; a missing cell is NaN, None, an empty text or a null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Form = Literal["number", "boolean", "list", "text", "time", "empty"]

# Spellings of a missing number inside a list that JSON does not know.
MISSING_IN_LIST = re.compile(r"(?<![\w.])-?(nan|none|null|na)(?![\w.])", re.IGNORECASE)
_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Lists:
    """The lists of a column, end to end.

    ``length`` int64 ``[rows]``: elements of each row's list, -1 where the cell is missing.
    ``value`` float64 ``[sum of lengths]``: the elements; NaN is missing.
    """

    length: np.ndarray
    value: np.ndarray

    @property
    def row(self) -> np.ndarray:
        """Row of every element, int64."""
        return np.repeat(np.arange(len(self.length)), np.maximum(self.length, 0))

    @property
    def position(self) -> np.ndarray:
        """Position of every element in its own list, int64."""
        lengths = np.maximum(self.length, 0)
        starts = np.cumsum(lengths) - lengths
        return np.arange(len(self.value)) - np.repeat(starts, lengths)


def index_columns(name: str, columns: Collection[str]) -> list[str]:
    """Names of the columns that say which atoms, bonds or pairs the lists of column ``name`` are about.

    >>> index_columns("shift", {"shift", "shift@atom"})
    ['shift@atom']
    """
    return [name + end for end in ("@atom", "@bond", "@first", "@second") if name + end in columns]


def form_of(column: pd.Series) -> Form:
    """Say what the cells of a column are; a column without any value is ``empty``.

    >>> form_of(pd.Series(["[1, 2]", None])), form_of(pd.Series(["0.5", "x"])), form_of(pd.Series([1, 0]))
    ('list', 'text', 'number')
    """
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "time"
    if column.isna().all():
        return "empty"
    if pd.api.types.is_numeric_dtype(dtype):
        return "number"
    if _is_arrow_list(dtype):
        return "list"
    present = column[column.notna()]
    if isinstance(present.iloc[0], (list, tuple, np.ndarray)):
        return "list"
    if present.map(type).eq(bool).all():
        return "boolean"
    return _form_of_text(present.astype(str).str.strip())


def to_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Read a column as numbers, truth values as 0 and 1.

    Returns:
        float64 ``[rows]`` with NaN where the cell is missing, and the positions of cells that hold
        something that is not a number, int64.
    """
    dtype = column.dtype
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan), np.empty(0, dtype=np.int64)
    missing = column.isna().to_numpy(dtype=bool, copy=True)
    if _is_arrow_list(dtype):
        return np.full(len(column), np.nan), np.flatnonzero(~missing)
    text = column.astype(object).where(~missing, "").astype(str).str.strip()
    missing |= (text == "").to_numpy() | text.str.lower().eq("nan").to_numpy()
    number = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    strange = np.isnan(number) & ~missing
    if strange.any():
        truth = text[strange].str.lower().map(_TRUTH).to_numpy(dtype=np.float64)
        number[strange] = truth
        strange &= np.isnan(number)
    return number, np.flatnonzero(strange)


def to_lists(column: pd.Series) -> tuple[Lists | None, np.ndarray]:
    """Read a column of Arrow lists, Python lists, arrays or texts such as ``"[1, 2.5, null]"``.

    Returns:
        The lists, or None where a cell is not a list of numbers; and the positions of such cells.
    """
    nothing = np.empty(0, dtype=np.int64)
    if _is_arrow_list(column.dtype):
        array = _arrow_array(column)
        length = pc.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        try:
            value = pc.list_flatten(array).cast(pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None, np.flatnonzero(length >= 0)
        return Lists(length, value.to_numpy(zero_copy_only=False)), nothing
    missing = _missing(column)
    present = column[~missing].tolist()
    positions = np.flatnonzero(~missing)
    if present and isinstance(present[0], str):
        parsed = _parse(present)
        if parsed is None:
            return None, positions[[_parse([text]) is None for text in present]]
        present = parsed
    flat = _flatten(present)
    if flat is None:
        return None, positions[[_flatten([cell]) is None for cell in present]]
    length = np.full(len(column), -1, dtype=np.int64)
    length[positions] = np.fromiter(map(len, present), dtype=np.int64, count=len(present))
    return Lists(length, flat), nothing


def to_texts(column: pd.Series) -> tuple[pd.Series, np.ndarray]:
    """Read a column as class names: texts stripped, whole numbers without ``.0``.

    Returns:
        The names, and bool ``[rows]``: the cell is missing.
    """
    missing = _missing(column)
    if pd.api.types.is_bool_dtype(column.dtype):
        column = column.astype("Int8")
    if pd.api.types.is_integer_dtype(column.dtype):
        # Long identifiers have more digits than a float.
        return column.astype(object).where(~missing, 0).astype(str), missing
    if pd.api.types.is_numeric_dtype(column.dtype):
        number = pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index).where(~missing, 0)
        # Cell by cell: a name must not depend on the other cells of the chunk.
        whole = (number == number.round()) & (number.abs() < 2**53)
        names = number.where(whole, 0).astype(np.int64).astype(str)
        return names if whole.all() else names.where(whole, number.astype(str)), missing
    return column.astype(object).where(~missing, "").astype(str).str.strip(), missing


def _form_of_text(text: pd.Series) -> Form:
    text = text[text != ""]
    if text.empty:
        return "empty"
    if text.str.lower().isin(_TRUTH).all():
        return "boolean"
    if pd.to_numeric(text, errors="coerce").notna().all():
        return "number"
    if text.str.startswith("[").all() and text.str.endswith("]").all() and _parse(text.tolist()) is not None:
        return "list"
    return "text"


def _parse(texts: list[str]) -> list[list[float]] | None:
    """Parse many texts as lists of numbers in one call: JSON, or as numpy prints an array."""
    joined = MISSING_IN_LIST.sub("NaN", ",".join(texts))
    # numpy leaves the commas out and writes `1.`, which JSON does not allow.
    printed = re.sub(r"\.(?=[\s,\]])", ".0", re.sub(r"(?<=[\w.])\s+(?=[-+.\w])", ",", joined))
    for text in (joined, printed):
        try:
            lists = json.loads(f"[{text}]")
        except ValueError:
            continue
        if len(lists) == len(texts) and _flatten(lists) is not None:
            return lists
    return None


def _flatten(lists: list) -> np.ndarray | None:
    """Join lists of numbers end to end as float64; None where one is not a list of numbers."""
    if not all(issubclass(kind, (list, tuple, np.ndarray)) for kind in set(map(type, lists))):
        return None
    try:
        flat = np.array(list(chain.from_iterable(lists)), dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return flat if flat.ndim == 1 else None


def _missing(column: pd.Series) -> np.ndarray:
    missing = column.isna().to_numpy(dtype=bool, copy=True)
    if not pd.api.types.is_numeric_dtype(column.dtype) and not _is_arrow_list(column.dtype):
        missing |= column.map(lambda cell: isinstance(cell, str) and not cell.strip()).to_numpy(dtype=bool)
    return missing


def _is_arrow_list(dtype: object) -> bool:
    return isinstance(dtype, pd.ArrowDtype) and (
        pa.types.is_list(dtype.pyarrow_dtype)
        or pa.types.is_large_list(dtype.pyarrow_dtype)
        or pa.types.is_fixed_size_list(dtype.pyarrow_dtype)
    )


def _arrow_array(column: pd.Series) -> pa.Array:
    array = pa.array(column.array)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
