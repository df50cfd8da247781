from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.tables.cells import form_of, to_lists, to_numbers, to_texts

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
cells = st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), numbers), max_size=5)), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("column", "form"),
    [
        ([1, 2], "number"),
        ([1.5, None], "number"),
        (["1", " 2.5 ", None], "number"),
        ([True, False], "boolean"),
        ([True, None], "boolean"),
        (["true", "FALSE", ""], "boolean"),
        ([[1, 2], None], "list"),
        ([np.array([1.0])], "list"),
        (["[1, 2]", "[]"], "list"),
        (["[1. 2.  -3]"], "list"),
        (["[Na+].[Cl-]", "[Cl]"], "text"),
        (["1", "x"], "text"),
        ([None, None], "empty"),
        (["", " "], "empty"),
        (pd.to_datetime(["2020-01-01"]), "time"),
    ],
)
def test_form(column: object, form: str) -> None:
    assert form_of(pd.Series(column)) == form


def as_python(column: pd.Series) -> list[list[float] | None]:
    """The lists that :func:`to_lists` reads, cell by cell."""
    lists, strange = to_lists(column)
    assert lists is not None
    assert not len(strange)
    parts = np.split(lists.value, np.cumsum(np.maximum(lists.length, 0))[:-1])
    return [None if length < 0 else list(part) for length, part in zip(lists.length, parts, strict=True)]


@settings(max_examples=40, deadline=None)
@given(cells)
def test_lists_read_the_same_from_every_spelling(rows: list[list[float | None] | None]) -> None:
    expected = [None if row is None else [np.nan if x is None else x for x in row] for row in rows]
    python = pd.Series(rows, dtype=object)
    arrow = pd.Series(pd.array(pa.array(rows, pa.list_(pa.float64())), dtype=pd.ArrowDtype(pa.list_(pa.float64()))))
    text = pd.Series([None if row is None else json.dumps(row) for row in rows], dtype=object)
    arrays = pd.Series([None if row is None else np.array(row, dtype=float) for row in expected], dtype=object)
    for column in (python, arrow, text, arrays):
        read = as_python(column)
        assert [row is None for row in read] == [row is None for row in expected]
        for mine, theirs in zip(read, expected, strict=True):
            if theirs is not None:
                np.testing.assert_array_equal(mine, theirs)


def test_numpy_prints_lists_without_commas() -> None:
    row = np.array([1.0, -2.5, np.nan, 1e-8])
    np.testing.assert_allclose(as_python(pd.Series([str(row), None, "[None, nan, 3]"]))[0], row)


def test_row_and_position_of_every_element() -> None:
    lists, _ = to_lists(pd.Series([[5.0, 6.0], None, [], [7.0]]))
    assert lists is not None
    assert lists.row.tolist() == [0, 0, 3]
    assert lists.position.tolist() == [0, 1, 0]


@pytest.mark.parametrize("column", [["[1, 2]", "x"], [[1, 2], 3.0], [[1], ["a"]], [[1], [[1], [2]]], ["[1]", "[[1]]"]])
def test_a_cell_that_is_no_list_is_named(column: list[object]) -> None:
    lists, strange = to_lists(pd.Series(column, dtype=object))
    assert lists is None
    assert strange.tolist() == [1]


def test_numbers_name_what_is_not_one() -> None:
    value, strange = to_numbers(pd.Series(["1", " 2e3", "", None, ">100", "True", "nan"], dtype=object))
    np.testing.assert_array_equal(value, [1, 2000, np.nan, np.nan, np.nan, 1, np.nan])
    assert strange.tolist() == [4]


def test_texts_write_whole_numbers_without_a_point() -> None:
    names, missing = to_texts(pd.Series([1.0, None, 3.0]))
    assert names[~missing].tolist() == ["1", "3"]
    names, missing = to_texts(pd.Series([" low ", "", None, "high"], dtype=object))
    assert names[~missing].tolist() == ["low", "high"]
    assert missing.tolist() == [False, True, True, False]


@pytest.mark.parametrize("dtype", ["int64", "Int64", "int64[pyarrow]"])
def test_long_identifiers_keep_their_digits(dtype: str) -> None:
    names, missing = to_texts(pd.Series([900719925474099101, 900719925474099102], dtype=dtype))
    assert names.tolist() == ["900719925474099101", "900719925474099102"]
    assert not missing.any()


def test_lists_of_something_else_are_no_lists_of_numbers() -> None:
    kind = pa.list_(pa.struct([("a", pa.float64())]))
    lists, strange = to_lists(pd.Series(pd.array(pa.array([[{"a": 1.0}], None], kind), dtype=pd.ArrowDtype(kind))))
    assert lists is None
    assert strange.tolist() == [0]


def test_the_name_of_a_number_does_not_depend_on_its_neighbours() -> None:
    """A table comes in chunks, and only some of them may hold fractions."""
    assert to_texts(pd.Series([1.0, 2.0, np.nan]))[0][:2].tolist() == ["1", "2"]
    assert to_texts(pd.Series([1.0, 1.5, -2.0, 1e300, np.inf]))[0].tolist() == ["1", "1.5", "-2", "1e+300", "inf"]
