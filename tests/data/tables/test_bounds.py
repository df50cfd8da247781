from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.tables.bounds import to_bounded_numbers, to_signs
from graphium.data.tables.cells import to_numbers

SIGNS = {">": 1, ">=": 1, "≥": 1, ">>": 1, "<": -1, "<=": -1, "≤": -1, "<<": -1, "=": 0, "~": 0, "≈": 0, "": 0}
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.tuples(st.sampled_from(sorted(SIGNS)), st.sampled_from(["", " "]), NUMBER))))
def test_cells_round_trip(cells: list[tuple[str, str, float] | None]) -> None:
    texts = [None if cell is None else f"{cell[0]}{cell[1]}{cell[2]!r}" for cell in cells]
    for dtype in (object, "str"):
        value, bound, strange = to_bounded_numbers(pd.Series(texts, dtype=dtype))
        np.testing.assert_array_equal(value, [math.nan if cell is None else cell[2] for cell in cells])
        assert bound.tolist() == [0 if cell is None else SIGNS[cell[0]] for cell in cells]
        assert (value.dtype, bound.dtype, len(strange)) == (np.float64, np.int8, 0)


def test_other_cells_are_strange() -> None:
    cells = [
        "> 10",
        ">",
        "<x",
        "high",
        "<nan",
        "10>",
        "> 1 2",
        ">10 uM",
        "1e-3",
        " <= 1e-3 ",
        "true",
        "<>3",
        "-5",
        "> -5",
    ]
    value, bound, strange = to_bounded_numbers(pd.Series(cells))
    assert strange.tolist() == [1, 2, 3, 4, 5, 6, 7, 11]
    assert np.isnan(value[strange]).all()
    assert np.delete(value, strange).tolist() == [10, 1e-3, 1e-3, 1, -5, -5]
    assert np.delete(bound, strange).tolist() == [1, 0, -1, 0, 0, 1]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2]),
        pd.Series([0.5, None]),
        pd.Series([True, False]),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([None, None], dtype=object),
        pd.Series([1, "2", 0.5, True, None], dtype=object),
        pd.Series([], dtype=object),
    ],
)
def test_columns_without_bounds_are_as_ever(column: pd.Series) -> None:
    value, bound, strange = to_bounded_numbers(column)
    np.testing.assert_array_equal(value, to_numbers(column)[0])
    assert not bound.any() and not len(strange) and bound.dtype == np.int8


def test_lists_and_dates_hold_no_bounds() -> None:
    lists = pd.Series(pa.array([[1.0], None]), dtype=pd.ArrowDtype(pa.list_(pa.float64())))
    assert to_bounded_numbers(lists)[2].tolist() == [0]
    assert to_bounded_numbers(pd.Series([[1.0], [2.0]], dtype=object))[2].tolist() == [0, 1]


def test_signs() -> None:
    sign, strange = to_signs(pd.Series([">", "'<='", "=", None, "", " ~ ", "about", "≥"]))
    assert sign.tolist() == [1, -1, 0, 0, 0, 0, 0, 1]
    assert strange.tolist() == [6]
    assert to_signs(pd.Series([None, None], dtype=float))[0].tolist() == [0, 0]
