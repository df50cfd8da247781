from __future__ import annotations

import bz2
import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.readers import Table, quoting, read_cells
from graphium.errors import GraphiumError
from graphium.types import Task

FRAME = pd.DataFrame({"smiles": ["C", "CC", "CCC", "N", "O"], "log P [uM]": [0.5, None, 2.5, 3.5, -1.0]})


def regression(level: str = "graph", name: str = "y") -> Task:
    return Task(name, "mine", level, "regression")  # type: ignore[arg-type]


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".bz2":
        path.write_bytes(bz2.compress(text.encode()))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(path.stem, text)
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "separator"),
    [
        ("t.csv", ","),
        ("t.csv.gz", ","),
        ("t.csv.bz2", ","),
        ("t.csv.zip", ","),
        ("t.tsv", "\t"),
        ("t.csv", ";"),
        ("t.csv", "|"),
    ]
    + [("t.csv.gz", "\t"), ("t.tsv.gz", ",")],
)
def test_delimited_files(tmp_path: Path, name: str, separator: str) -> None:
    table = Table(write(tmp_path / name, FRAME.to_csv(index=False, sep=separator)))
    assert table.columns == ["smiles", "log P [uM]"]
    assert table.num_rows == 5
    np.testing.assert_array_equal(table.column("log P [uM]"), FRAME["log P [uM]"])
    chunks = list(table.chunks(["log P [uM]", "smiles"], size=2))
    assert [first for first, _ in chunks] == [0, 2, 4]
    assert [list(frame.columns) for _, frame in chunks] == [["log P [uM]", "smiles"]] * 3
    assert pd.concat(frame for _, frame in chunks).index.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("row_group", [1, 2, 3, 100])
@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_parquet_chunks_do_not_depend_on_row_groups(tmp_path: Path, row_group: int, size: int) -> None:
    frame = FRAME.assign(q=[[1.0], [2.0, 3.0], None, [np.nan], []])
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=row_group)
    table = Table(tmp_path / "t.parquet")
    sizes = [len(chunk) for _, chunk in table.chunks(["smiles", "q"], size)]
    assert sizes == [min(size, 5 - start) for start in range(0, 5, size)]
    row, entity, value = read_cells(next(iter(table.chunks(["q", "smiles"], 5)))[1], regression("node", "q"), "smiles")
    assert row.tolist() == [0, 1, 1]
    assert entity.tolist() == [0, 0, 1]
    assert value.tolist() == [1.0, 2.0, 3.0]


def test_limit_and_key(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", FRAME.to_csv(index=False))
    whole, some, more = Table(path), Table(path, limit=3), Table(path, limit=9)
    assert (some.num_rows, some.limited) == (3, True)
    assert (more.num_rows, more.limited) == (5, False)
    assert [len(frame) for _, frame in some.chunks(["smiles"], 2)] == [2, 1]
    assert len({whole.key, some.key}) == 2
    # A limit that cuts nothing off prepares nothing anew.
    assert more.key == whole.key
    copy = write(tmp_path / "other name.csv", FRAME.to_csv(index=False))
    assert Table(copy).key == whole.key
    assert Table(write(copy, FRAME.iloc[:4].to_csv(index=False))).key != whole.key
    with pytest.raises(GraphiumError, match="limit is 0"):
        Table(path, limit=0)


@pytest.mark.parametrize("text", ["smiles, q\nCC, 1\n", "\ufeffsmiles,q\r\nCC,1\r\n", 'smiles, "q"\nCC, "1"\n'])
def test_blanks_after_commas_windows_lines_and_byte_order_marks(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    table = Table(path)
    assert table.columns == ["smiles", "q"]
    assert table.column("smiles").tolist() == ["CC"]
    assert table.column("q").tolist() == [1]


def test_extra_columns_ride_along(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", FRAME.to_csv(index=False))
    pd.DataFrame({"q": [[float(n)] * n for n in range(5)]}).to_parquet(tmp_path / "extra.parquet")
    table = Table(path, limit=4, extra=tmp_path / "extra.parquet")
    assert table.columns == ["smiles", "log P [uM]", "q"]
    for columns in (["q"], ["q", "smiles"]):
        frame = pd.concat(frame for _, frame in table.chunks(columns, 3))
        assert [len(cell) for cell in frame["q"]] == [0, 1, 2, 3]
        assert list(frame.columns) == columns
    assert table.key != Table(path, limit=4).key


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv.gz", gzip.compress(b""), "is empty"),
        ("t.csv.gz", gzip.compress(b"smiles,y\nC,1\n" * 9000)[:-40], "truncated or damaged"),
        ("t.csv.gz", b"smiles,y\nC,1\n", "truncated or damaged"),
        ("t.csv.bz2", bz2.compress(b"smiles,y\nC,1\n" * 9000)[:-20], "truncated or damaged"),
        ("t.csv.zip", b"PK no zip", "truncated or damaged"),
        ("t.parquet", b"PAR1 no parquet", "truncated or damaged"),
        ("t.csv", b"smiles,y\nC,1\nC,2,3\n", "not a readable table"),
        ("t.csv", b"smiles,y\nC,1,4\nC,2,3\n", "more fields than the header"),
        ("t.csv", b'smiles,y\nC,"1\n', "not a readable table"),
        ("t.csv", "smiles,y\nC,å\n".encode("latin-1"), "not UTF-8"),
        ("t.xlsx", b"what", "an ending that is not read"),
    ],
)
def test_bad_files_end_in_a_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(GraphiumError, match=sentence):
        _ = Table(path).columns, Table(path).num_rows


def test_a_parquet_file_cut_in_the_middle(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(GraphiumError, match="truncated or damaged"):
        _ = Table(tmp_path / "t.parquet").columns


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match=r"nowhere\.csv' does not exist"):
        Table(tmp_path / "nowhere.csv")
    with pytest.raises(GraphiumError, match="is a folder"):
        Table(tmp_path)


def test_missing_column_suggests_and_quotes(tmp_path: Path) -> None:
    table = Table(write(tmp_path / "t.csv", FRAME.to_csv(index=False)))
    with pytest.raises(GraphiumError) as caught:
        table.require(["log P"])
    assert "did you mean 'log P [uM]'" in str(caught.value)
    assert """'data.targets=["log P [uM]"]'""" in str(caught.value)
    with pytest.raises(GraphiumError, match="no column 'y'"):
        next(table.chunks(["y"], 3))


@pytest.mark.parametrize("name", ["log P [uM]", 'a "b"', "it's", "x(1,2)", "a: b", "c\\d"])
def test_the_quoted_word_means_the_column(name: str) -> None:
    import shlex

    from graphium.config import compose

    word = quoting([name]).split(": ", 1)[1]
    (argument,) = shlex.split(word)
    assert compose(["data=table", "data.path=x.csv", argument])["data"]["targets"] == [name]


# Labels


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=20))
def test_graph_labels_round_trip(values: list[float | None]) -> None:
    frame = pd.DataFrame({"y": pd.Series(values, dtype=float), "smiles": "C"})
    row, entity, value = read_cells(frame, regression(), "smiles")
    assert row.tolist() == [i for i, v in enumerate(values) if v is not None]
    assert value.tolist() == [v for v in values if v is not None]
    assert (row.dtype, entity.dtype, value.dtype) == (np.int64, np.int32, np.float64)
    assert not entity.any()


def test_classes_by_name_and_number() -> None:
    frame = pd.DataFrame({"y": ["low", None, "high", "low"], "k": [1, 3, None, 2], "smiles": "C"})
    row, _, value = read_cells(frame, Task("y", "d", "graph", "multiclass", 3, ("low", "mid", "high")), "smiles")
    assert (row.tolist(), value.tolist()) == ([0, 2, 3], [0, 2, 0])
    row, _, value = read_cells(frame, Task("k", "d", "graph", "ordinal", 3, ("1", "2", "3")), "smiles")
    assert (row.tolist(), value.tolist()) == ([0, 1, 3], [0, 2, 1])
    _, _, value = read_cells(frame, Task("k", "d", "graph", "ordinal", 4), "smiles")
    assert value.tolist() == [1, 3, 2]
    row, _, value = read_cells(frame, Task("y", "d", "graph", "binary", classes=("low", "high")), "smiles")
    assert value.tolist() == [0, 1, 0]


def test_classes_of_atoms() -> None:
    frame = pd.DataFrame({"y": [[2.0, 5.0], [None, 5.0]], "smiles": "CC"})
    row, entity, value = read_cells(frame, Task("y", "d", "node", "multiclass", 2, ("2", "5")), "smiles")
    assert (row.tolist(), entity.tolist(), value.tolist()) == ([0, 0, 1], [0, 1, 1], [0, 1, 1])
    with pytest.raises(GraphiumError, match="5 is none of the classes 2, 4"):
        read_cells(frame, Task("y", "d", "node", "multiclass", 2, ("2", "4")), "smiles")


@pytest.mark.parametrize(
    ("cells", "task", "sentence"),
    [
        ([1, 2], Task("y", "mine", "graph", "binary"), r"row 8 \('CC'\): 2 is not 0 or 1"),
        ([1.0, np.inf], regression(), "row 8 .*inf is not finite"),
        (["1", ">5"], regression(), "row 8 .*'>5' is not a number"),
        (["a", "b"], Task("y", "mine", "graph", "multiclass", 2, ("a", "c")), "'b' is none of the classes a, c"),
        ([1, 2], Task("y", "mine", "graph", "multiclass", 2), "2 is none of the classes 0 to 1"),
        ([[1.0], 3.0], regression("node"), "row 8 .*3.0 is not a list of numbers, one per atom"),
        ([[1.0], [1.0, 2.0, 3.0]], regression("node"), "the list has 3 elements and the molecule 2 atoms"),
        ([[1.0], [np.inf, 1.0]], regression("node"), "inf is not finite"),
        ([[1.0], [0.0, 2.0]], Task("y", "mine", "node", "binary"), "2 is not 0 or 1"),
        ([1, 2], regression("nodepair"), "pairs are not read yet"),
    ],
)
def test_a_bad_cell_is_named(cells: list[object], task: Task, sentence: str) -> None:
    frame = pd.DataFrame({"y": pd.Series(cells, dtype=None), "smiles": ["C", "CC"]}).set_axis([7, 8])
    with pytest.raises(GraphiumError, match=sentence) as caught:
        read_cells(frame, task, "smiles", np.array([1, 2]))
    if task.level != "nodepair":
        assert "dataset 'mine', column 'y'" in str(caught.value)


def test_lists_of_failed_rows_are_not_judged() -> None:
    frame = pd.DataFrame({"y": [[1.0, 2.0], [3.0, 4.0]], "smiles": ["??", "CC"]})
    row, _, _ = read_cells(frame, regression("node"), "smiles", np.array([-1, 2]))
    assert row.tolist() == [0, 0, 1, 1]


def test_every_real_table_opens(shared_data: Path) -> None:
    files = sorted(shared_data.glob("*/*.csv.gz")) + sorted(shared_data.glob("*/*.parquet"))
    assert len(files) > 40
    for file in files:
        table = Table(file, limit=50)
        assert sum(len(frame) for _, frame in table.chunks(table.columns, 20)) == table.num_rows == 50


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
    _, frame = next(Table(path, limit=300).chunks(["smiles", "c13_exp"], 300))
    row, entity, value = read_cells(frame, regression("node", "c13_exp"), "smiles")
    assert list(zip(row.tolist(), entity.tolist(), value.tolist(), strict=True)) == expected
