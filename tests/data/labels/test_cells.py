from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.labels.cells import label_columns, read_labels
from graphium.data.labels.entities import AS_WRITTEN, BY_NUMBER, IN_GRAPH, Numbering, RowGraphs
from graphium.data.tables.matrices import to_matrices
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.types import Task


def task(name: str = "y", level: str = "graph", kind: str = "regression", **more: Any) -> Task:
    classes = more.get("classes", ())
    more.setdefault("num_classes", len(classes) if kind in ("multiclass", "ordinal") else 0)
    return Task(name, "mine", level, kind, **more)  # type: ignore[arg-type]


def graphs(atoms: list[int], written: dict[int, list[int]] | None = None) -> RowGraphs:
    """Rows with so many atoms (-1: failed) and as many bonds, in the user's order."""
    written = written or {}
    usable = np.array([n >= 0 for n in atoms])
    ptr = np.concatenate([[0], np.cumsum(np.maximum(atoms, 0))])
    order = np.concatenate([np.arange(max(n, 0)) for n in atoms])
    written_ptr = np.concatenate([[0], np.cumsum([len(written.get(k, [])) for k in range(len(atoms))])])
    flat = np.array([target for k in range(len(atoms)) for target in written.get(k, [])], np.int64)
    numbering = Numbering(usable, ptr, order, written_ptr, flat)
    return RowGraphs(usable, numbering, numbering, None)


def triples(frame: pd.DataFrame, *tasks: Task) -> list[tuple[int, int, float]]:
    found = read_labels(frame, tasks, "smiles")
    return list(zip(found.row.tolist(), found.task.tolist(), found.value.tolist(), strict=True))


number = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), rows=st.integers(1, 8), columns=st.integers(1, 6))
def test_numeric_columns_equal_a_plain_loop(data: st.DataObject, rows: int, columns: int) -> None:
    cells = [data.draw(st.lists(number, min_size=rows, max_size=rows)) for _ in range(columns)]
    frame = pd.DataFrame({f"t{k}": pd.Series(column, dtype=float) for k, column in enumerate(cells)})
    # Some columns hold their numbers as text, as where one cell of a chunk is odd.
    for k in data.draw(st.sets(st.integers(0, columns - 1))):
        frame[f"t{k}"] = [None if cell is None else repr(cell) for cell in cells[k]]
    expected = [(r, k, cells[k][r]) for r in range(rows) for k in range(columns) if cells[k][r] is not None]
    assert triples(frame, *(task(f"t{k}") for k in range(columns))) == expected


def test_dtypes_and_whole_numbers() -> None:
    frame = pd.DataFrame({"a": [1, 0, 1], "b": [True, False, True], "c": pd.array([1, None, 0], "Int64")})
    found = read_labels(frame, [task(name, kind="binary") for name in "abc"], "smiles")
    assert (found.row.dtype, found.task.dtype, found.value.dtype) == (np.int64, np.int32, np.float64)
    assert found.bound is found.entity is found.other is None
    assert found.row.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert found.value.tolist() == [1, 1, 1, 0, 0, 1, 1, 0]


def test_classes_by_name_and_number() -> None:
    frame = pd.DataFrame({"y": ["low", None, "high", "low"], "k": [1, 3, None, 2]})
    assert triples(frame, task(kind="multiclass", classes=("low", "mid", "high"))) == [(0, 0, 0), (2, 0, 2), (3, 0, 0)]
    assert triples(frame, task("k", kind="ordinal", classes=("3", "1", "2"))) == [(0, 0, 1), (1, 0, 0), (3, 0, 2)]
    assert triples(frame, task("k", kind="ordinal", num_classes=4)) == [(0, 0, 1), (1, 0, 3), (3, 0, 2)]
    assert [v for _, _, v in triples(frame, task(kind="binary", classes=("low", "high")))] == [0, 1, 0]


@pytest.mark.parametrize("classes", [("1", "1.5", "2"), ("1.0", "1.5", "2.0")])
def test_classes_that_are_fractions_are_found_in_every_chunk(classes: tuple[str, ...]) -> None:
    """The bond orders of a chunk may all be whole, and the list of all of them holds 1.5."""
    for cells in ([[1.0, 2.0], [2.0]], [[1.5, 1.0], [2.0, 1.5]]):
        found = read_labels(pd.DataFrame({"y": cells}), [task(level="edge", kind="ordinal", classes=classes)], "smiles")
        assert found.value.tolist() == [2 * value - 2 for cell in cells for value in cell]
    column = [1.0, 2.0, np.nan]
    found = read_labels(pd.DataFrame({"y": column}), [task(kind="ordinal", classes=classes)], "smiles")
    assert found.value.tolist() == [0, 2]


def test_tasks_of_one_head_with_their_own_class_names() -> None:
    frame = pd.DataFrame({"a": [0, 5, None], "b": [5, 7, 7], "c": ["x", None, "y"]})
    tasks = [
        task(n, kind="multiclass", classes=c) for n, c in (("a", ("0", "5")), ("b", ("7", "5")), ("c", ("y", "x")))
    ]
    assert triples(frame, *tasks) == [(0, 0, 0), (0, 1, 1), (0, 2, 1), (1, 0, 1), (1, 1, 0), (2, 1, 0), (2, 2, 0)]
    with pytest.raises(GraphiumError, match=r"column 'a', row 1: 5\.0 is none of the classes 0, 1"):
        triples(frame, task("a", kind="multiclass", classes=("0", "1")), *tasks[1:])


def test_bounds_in_cells_and_in_a_qualifier_column() -> None:
    frame = pd.DataFrame(
        {
            "y": ["1.5", ">10", "<= 0.5", None, "7"],
            "z": [1.0, 2.0, np.nan, 4.0, 5.0],
            "q": [">", "=", "strange", None, "<="],
        }
    )
    found = read_labels(frame, [task("y"), task("z", qualifier="q")], "smiles")
    assert found.bound is not None and found.bound.dtype == np.int8
    got = list(zip(found.row, found.task, found.value, found.bound, strict=True))
    assert got == [
        (0, 0, 1.5, 0),
        (0, 1, 1.0, 1),
        (1, 0, 10, 1),
        (1, 1, 2, 0),
        (2, 0, 0.5, -1),
        # The strange qualifier stands beside an empty cell.
        (3, 1, 4, 0),
        (4, 0, 7, 0),
        (4, 1, 5, -1),
    ]
    assert label_columns([task("y"), task("z", qualifier="q")], frame.columns) == ["y", "z", "q"]
    agreed = pd.DataFrame({"y": [">10", "3"], "q": [">", "~"]})
    assert read_labels(agreed, [task(qualifier="q")], "smiles").bound.tolist() == [1, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cells", "task_", "sentence"),
    [
        ([1, 2], task(kind="binary"), r"row 8 \('CC'\): 2 is not 0 or 1"),
        ([1.0, np.inf], task(), "row 8 .*inf is not finite"),
        (["1", "5 mg"], task(), "row 8 .*'5 mg' is not a number"),
        (["1", ">5"], task(kind="binary"), "row 8 .*'>5' is a bound, and the kind is binary"),
        (["a", "b"], task(kind="multiclass", classes=("a", "c")), "'b' is none of the classes a, c"),
        ([1, 2], task(kind="multiclass", num_classes=2), "2 is none of the classes 0 to 1"),
        ([[1.0], 3.0], task(level="node"), "row 8 .*3.0 is not a list of numbers, one per atom"),
        ([[1.0], ["a"]], task(level="edge"), "row 8 .* is not a list of numbers, one per bond"),
        ([[1.0], [1.0, 2.0, 3.0]], task(level="node"), "the list has 3 elements and the molecule 2 atoms"),
        ([[1.0], []], task(level="node"), "the list has 0 elements and the molecule 2 atoms"),
        ([[1.0], [np.inf, 1.0]], task(level="node"), "inf is not finite"),
        ([[1.0], [0.0, 2.0]], task(level="node", kind="binary"), "2 is not 0 or 1"),
        (
            [[2.0], [2.0, 5.0]],
            task(level="node", kind="multiclass", classes=("2", "4")),
            "5 is none of the classes 2, 4",
        ),
        (
            [[[0.0]], [[0.0, 1.0]]],
            task(level="nodepair"),
            "row 8 .*is not a square matrix of numbers, one row per atom",
        ),
        ([[[0.0]], [[0.0]]], task(level="nodepair"), "row 8 .*the matrix has 1 rows and the molecule 2 atoms"),
        ([[[0.0]], [[0, 1], [2, 0]]], task(level="nodepair"), r"row 8 .*disagree, 1 at \(0, 1\) and 2 at \(1, 0\)"),
    ],
)
def test_a_bad_cell_is_named(cells: list[object], task_: Task, sentence: str) -> None:
    frame = pd.DataFrame({"y": pd.Series(cells, dtype=None), "smiles": ["C", "CC"]}).set_axis([7, 8])
    with pytest.raises(GraphiumError, match=sentence) as caught:
        read_labels(frame, [task_], "smiles", graphs([1, 2]))
    assert "dataset 'mine', column 'y'" in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "task_", "sentence"),
    [
        ({"y": ["1", "2"], "q": ["", "about"]}, task(qualifier="q"), "row 1: the qualifier 'about' in column 'q'"),
        ({"y": ["1", "<2"], "q": ["", ">"]}, task(qualifier="q"), "row 1: the cell '<2' and its qualifier '>' contr"),
        ({"y": [1, 0], "q": [">", ""]}, task(kind="binary", qualifier="q"), "row 0: 1 is a bound, and the kind is b"),
        ({"y": [[1.0], [1.0]], "q": ["", ""]}, task(level="node", qualifier="q"), "labels of level node have no qual"),
        ({"y": [[1.0], [1.0]], "y@atom": [[0], []]}, task(level="node"), "row 1: the list has 1 .* 'y@atom' 0"),
        ({"y": [[1.0], [1.0]], "y@atom": [[0], [0.5]]}, task(level="node"), "row 1: 0.5 in column 'y@atom' is not"),
        ({"y": [[1.0], [1.0]], "y@atom": [[-1], [0]]}, task(level="node"), "row 0: -1 in column 'y@atom' is not"),
        ({"y": [[1.0], [1.0]], "y@bond": [[0], [0]]}, task(level="nodepair"), "level nodepair cannot be numbered by"),
        ({"y": [[1.0], [1.0]], "y@atom": [[0], [0]]}, task(level="edge"), "level edge cannot be numbered by"),
    ],
)
def test_bad_companions_of_a_column_are_named(columns: dict[str, list[Any]], task_: Task, sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        read_labels(pd.DataFrame(columns), [task_], "smiles")


def test_the_length_of_a_list_says_what_it_counts() -> None:
    lists = [[1.0, 2.0], [1.0, 2.0, 3.0], None, [1.0] * 7, [1.0, 2.0]]
    rows = graphs([2, 2, 2, -1, 2], written={1: [0, -1, 1], 4: [0, -1, 1]})
    found = read_labels(pd.DataFrame({"y": lists}), [task(level="node")], "smiles", rows)
    assert found.row.tolist() == [0, 0, 1, 1, 1, *[3] * 7, 4, 4]
    assert found.counting is not None and found.entity is not None
    assert found.counting.tolist() == [IN_GRAPH] * 2 + [AS_WRITTEN] * 3 + [IN_GRAPH] * 9
    assert found.entity.tolist() == [0, 1, 0, 1, 2, *range(7), 0, 1]
    with pytest.raises(GraphiumError, match=r"4 elements and the molecule 2 atoms \(3 with the hydrogens"):
        read_labels(pd.DataFrame({"y": [[0.0] * 4]}), [task(level="node")], "smiles", graphs([2], {0: [0, -1, 1]}))


def test_lists_with_their_own_numbers() -> None:
    frame = pd.DataFrame(
        {
            "y": [[1.0, 2.0, None], None, []],
            "y@first": [[2, 0, 1], None, []],
            "y@second": [[1, 3, 0], None, None],
            "z": [[5.0], [6.0], None],
            "z@bond": [[1], [0], None],
        }
    )
    tasks = [task("y", "edge"), task("z", "edge")]
    found = read_labels(frame, tasks, "smiles")
    assert found.entity is not None and found.other is not None and found.counting is not None
    got = list(zip(found.row, found.task, found.entity, found.other, found.value, strict=True))
    assert got == [(0, 0, 2, 1, 1.0), (0, 0, 0, 3, 2.0), (0, 1, 1, -1, 5.0), (1, 1, 0, -1, 6.0)]
    assert set(found.counting) == {BY_NUMBER}
    assert label_columns(tasks, frame.columns) == ["y", "y@first", "y@second", "z", "z@bond"]


square = st.integers(0, 4).flatmap(lambda n: st.lists(st.lists(number, min_size=n, max_size=n), min_size=n, max_size=n))


def as_text(matrix: list[list[float | None]]) -> str:
    return "[" + ", ".join("[" + ", ".join("nan" if v is None else repr(v) for v in row) + "]" for row in matrix) + "]"


@settings(max_examples=30, deadline=None)
@given(
    cells=st.lists(st.one_of(st.none(), square), min_size=1, max_size=5),
    form=st.sampled_from(["python", "arrow", "text"]),
)
def test_matrices_in_every_form(cells: list[list[list[float | None]] | None], form: str) -> None:
    column = pd.Series(cells, dtype=object)
    if form == "arrow":
        dtype = pa.list_(pa.list_(pa.float64()))
        column = pd.Series(pd.arrays.ArrowExtensionArray(pa.array(cells, dtype)))
    elif form == "text":
        column = pd.Series([None if cell is None else as_text(cell) for cell in cells], dtype=object)
    found, strange = to_matrices(column)
    assert found is not None and not len(strange)
    assert found.size.tolist() == [-1 if cell is None else len(cell) for cell in cells]
    expected = [
        (r, i, j, v) for r, cell in enumerate(cells) for i, row in enumerate(cell or []) for j, v in enumerate(row)
    ]
    first, second = found.place
    got = zip(found.row.tolist(), first.tolist(), second.tolist(), found.value.tolist(), strict=True)
    assert [(r, i, j, None if np.isnan(v) else v) for r, i, j, v in got] == expected
    lookup = {(r, i, j): v for r, i, j, v in expected}
    mirrored = [None if np.isnan(v) else v for v in found.mirrored.tolist()]
    assert mirrored == [lookup[r, j, i] for r, i, j, _ in expected]


def test_matrices_as_numpy_prints_them_and_strange_ones() -> None:
    printed = str(np.array([[0.0, 1.5], [1.5, 0.0]]))
    found, _ = to_matrices(pd.Series([printed, "[[0, 1], [1, 0]]", " "]))
    assert found is not None
    assert found.value.tolist() == [0, 1.5, 1.5, 0, 0, 1, 1, 0]
    assert to_matrices(pd.Series([np.eye(2), None]))[0].value.tolist() == [1, 0, 0, 1]  # type: ignore[union-attr]
    for strange in ("[[1, 2], [3]]", "[1, 2]", "[[1]", 3.0, [[1], [2]]):
        found, positions = to_matrices(pd.Series(["[[1]]" if isinstance(strange, str) else [[1.0]], strange]))
        assert found is None and positions.tolist() == [1]


def test_matrix_labels_take_either_triangle() -> None:
    upper = [[None, 1.0, None], [None, 9.0, 2.0], [None, None, None]]
    lower = [[None, None, None], [1.0, None, None], [None, 2.0, None]]
    both = [[0.0, 1.0, None], [1.0 + 1e-9, 0.0, 2.0], [None, 2.0, 5.0]]
    frame = pd.DataFrame({"y": [upper, lower, both, None]})
    found = read_labels(frame, [task(level="nodepair")], "smiles", graphs([3, 3, 3, -1]))
    assert found.entity is not None and found.other is not None
    got = list(zip(found.row, found.entity, found.other, found.value, strict=True))
    assert got == [(row, i, i + 1, i + 1.0) for row in range(3) for i in range(2)]


def test_lists_of_failed_rows_are_not_judged() -> None:
    frame = pd.DataFrame({"y": [[1.0, 2.0], [3.0, 4.0]], "smiles": ["??", "CC"]})
    assert read_labels(frame, [task(level="node")], "smiles", graphs([-1, 2])).row.tolist() == [0, 0, 1, 1]


def test_real_node_labels_equal_a_plain_loop(shared_data: Path) -> None:
    path = shared_data / "nmr_cascade" / "nmr_node_edge.parquet"
    plain = pd.read_parquet(path, columns=["c13_exp"])["c13_exp"].iloc[:300]
    expected = [
        (row, atom, value)
        for row, cell in enumerate(plain)
        if cell is not None
        for atom, value in enumerate(cell)
        if not np.isnan(value)
    ]
    _, frame = next(iter(Table(path, limit=300).chunks(["smiles", "c13_exp"], 300)))
    found = read_labels(frame, [task("c13_exp", "node")], "smiles")
    assert found.entity is not None
    assert list(zip(found.row.tolist(), found.entity.tolist(), found.value.tolist(), strict=True)) == expected


def test_real_sparse_table_equals_melting_it(shared_data: Path) -> None:
    path = shared_data / "moleculenet" / "toxcast.csv.gz"
    plain = pd.read_csv(path, nrows=700)
    tasks = [task(name, kind="binary") for name in plain.columns if name != "smiles"]
    _, frame = next(iter(Table(path, limit=700).chunks(list(plain.columns), 700)))
    found = read_labels(frame, tasks, "smiles")
    row, column = np.nonzero(plain.drop(columns="smiles").notna().to_numpy())
    assert np.array_equal(found.row, row) and np.array_equal(found.task, column)
    assert np.array_equal(found.value, plain.drop(columns="smiles").to_numpy()[row, column])
