"""Pieces of a table as CSV and Parquet, against what pandas and json read."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.errors import GraphiumError
from graphium.models.tables.output_formats import CsvFormat, ParquetFormat, find_format

WORDS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(WORDS, st.floats(width=32, allow_nan=False), st.none() | st.integers(-9, 9)), max_size=8)
)
def test_csv_reads_back(rows: list[tuple[str | None, float, int | None]]) -> None:
    columns = {
        'a "b", c': pa.array([row[0] for row in rows], pa.large_string()),
        "x": pa.array([row[1] for row in rows], pa.float32()),
        "n": pa.array([row[2] for row in rows], pa.int64()),
        "status": pa.array(["ok"] * len(rows), pa.string()),
    }
    table = pa.table(columns)
    form = CsvFormat()
    text = bytes(form.begin(table.schema)) + bytes(form.encode(table))
    header, *found = list(csv.reader(io.StringIO(text.decode(), newline="")))
    assert header == list(columns)
    assert [line[0] for line in found] == [row[0] or "" for row in rows]
    assert [np.float32(line[1]) for line in found] == [np.float32(row[1]) for row in rows]
    assert [line[2] for line in found] == ["" if row[2] is None else str(row[2]) for row in rows]
    assert all(line[3] == "ok" for line in found)


def test_lists_are_json() -> None:
    values = {
        "pairs": pa.array([[[0, 1], [1, 2]], None, []], pa.list_(pa.list_(pa.int64()))),
        "numbers": pa.array([[0.5, None, 0.25], [], None], pa.list_(pa.float32())),
        "words": pa.array([["a", 'q"uo,te', "a"], ["é\n"], None], pa.list_(pa.string())),
        "struct": pa.array([{"k": 1}, None, {"k": 2}]),
    }
    table = pa.concat_tables([pa.table(values)] * 2).slice(1, 4).combine_chunks()
    found = list(csv.reader(io.StringIO(bytes(CsvFormat().encode(table)).decode(), newline="")))
    for number, line in enumerate(found):
        wanted = [column.to_pylist()[number] for column in table.columns]
        assert [json.loads(cell) if cell else None for cell in line] == wanted


def test_other_types_are_text() -> None:
    table = pa.table(
        {
            "day": pa.array([date(2020, 1, 2), None]),
            "flag": pa.array([True, False]),
            "kind": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    assert bytes(CsvFormat().encode(table)) == b"2020-01-02,true,x\n,false,y\n"


def test_bytes_that_are_no_text() -> None:
    assert bytes(CsvFormat().encode(pa.table({"a": [b"CCO"]}))) == b"CCO\n"
    with pytest.raises(GraphiumError, match="column 'a' is of type binary and cannot be written as text"):
        CsvFormat().encode(pa.table({"a": [b"\xff\x00"]}))


def test_pieces_make_the_whole(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(10, dtype=np.float32), "s": [f"row {k}" for k in range(10)]})
    pieces = [table.slice(0, 4), table.slice(4, 0), table.slice(4, 6)]
    for name in ("t.csv", "t.csv.gz", "t.parquet", "T.CSV"):
        form = find_format(Path(name))
        encoded = [bytes(form.encode(piece)) for piece in pieces]
        form.join(tmp_path / name, table.schema, encoded)
        read = pd.read_parquet if form.is_typed else pd.read_csv
        if name.endswith(".gz"):
            assert gzip.decompress((tmp_path / name).read_bytes()).count(b"\n") == 11
        pd.testing.assert_frame_equal(read(tmp_path / name), table.to_pandas(), check_dtype=form.is_typed)
    first = (tmp_path / "t.csv.gz").read_bytes()
    CsvFormat(packed=True).join(tmp_path / "t.csv.gz", table.schema, [CsvFormat(packed=True).encode(p) for p in pieces])
    assert (tmp_path / "t.csv.gz").read_bytes() == first


def test_row_groups_are_large(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pa.table({"a": np.arange(4096)})
    form = ParquetFormat()
    form.join(tmp_path / "t.parquet", table.schema, [form.encode(table)] * 40)
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.csv.bz2"])
def test_an_unknown_suffix(name: str) -> None:
    with pytest.raises(GraphiumError, match="is not written; give .csv, .csv.gz, .parquet"):
        find_format(Path(name))
