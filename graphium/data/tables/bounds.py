"""Cells that say where a value lies: ``>10``, ``<= 0.5``, ``~3``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from graphium.data.tables.cells import to_numbers, to_texts

# The true value is at least (1) or at most (-1) what the cell says; approximate values count as exact.
_SIGNS = {
    **dict.fromkeys((">", ">=", "=>", ">>", "≥", "≧"), 1),
    **dict.fromkeys(("<", "<=", "=<", "<<", "≤", "≦"), -1),
    **dict.fromkeys(("=", "==", "~", "≈", "~=", ""), 0),
}
_CELL = r"^([><=~≥≤≧≦≈]+)\s*(.*)$"


def to_bounded_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a column as numbers of which some are bounds; truth values are 0 and 1.

    >>> value, bound, _ = to_bounded_numbers(pd.Series(["2.5", ">10", "<= 0.5", "~3", None]))
    >>> value.tolist(), bound.tolist()
    ([2.5, 10.0, 0.5, 3.0, nan], [0, 1, -1, 0, 0])

    Returns:
        ``value`` float64 ``[rows]``, NaN where the cell is missing; ``bound`` int8 ``[rows]``: 1 where the true
        value is at least ``value``, -1 where at most, 0 where it is exact; and the positions of cells that hold
        something else, int64.
    """
    value, strange = to_numbers(column)
    bound = np.zeros(len(value), dtype=np.int8)
    if not len(strange) or column.dtype.kind in "iufbmM":
        return value, bound, strange
    text = column.iloc[strange].astype(str).str.strip()
    may_be = text.str.startswith(tuple(filter(None, _SIGNS))).to_numpy(dtype=bool)
    if not may_be.any():
        return value, bound, strange
    other, strange = strange[~may_be], strange[may_be]
    parts = text[may_be].str.extract(_CELL)
    number = pd.to_numeric(parts[1].str.strip(), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    sign = parts[0].map(_SIGNS).to_numpy(dtype=np.float64, na_value=np.nan)
    good = ~np.isnan(number) & ~np.isnan(sign)
    value[strange[good]] = number[good]
    bound[strange[good]] = sign[good].astype(np.int8)
    return value, bound, np.sort(np.concatenate([other, strange[~good]]))


def to_signs(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Read a qualifier column: ``>``, ``<=``, ``=``, also in quotes; an empty cell says that the value is exact.

    Returns:
        int8 ``[rows]`` as the ``bound`` of :func:`to_bounded_numbers`, and the positions of cells that hold
        something else, int64.
    """
    text, _ = to_texts(column)
    sign = text.str.strip("'\" ").map(_SIGNS).to_numpy(dtype=np.float64, na_value=np.nan)
    return np.nan_to_num(sign).astype(np.int8), np.flatnonzero(np.isnan(sign))
