from __future__ import annotations

import bz2
import gzip
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphium.data.tables.memo import Memo
from graphium.data.tables.readers import Table, quoting
from graphium.errors import GraphiumError

FRAME = pd.DataFrame({"smiles": ["C", "CC", "CCC", "N", "O"], "log P [uM]": [0.5, None, 2.5, 3.5, -1.0]})


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
    _, frame = next(iter(table.chunks(["q", "smiles"], 5)))
    assert [None if cell is None or cell is pd.NA else len(cell) for cell in frame["q"]] == [1, 2, None, 1, 0]


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
    # The same bytes mean something else in a file of another format.
    assert Table(write(tmp_path / "t.tsv", FRAME.to_csv(index=False))).key != whole.key
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
        ("t.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("t.csv.gz", gzip.compress(b"smiles,y\nC,1\n" * 9000, mtime=0)[:-40], "truncated or damaged"),
        ("t.csv.gz", b"smiles,y\nC,1\n", "truncated or damaged"),
        ("t.csv.bz2", bz2.compress(b"smiles,y\nC,1\n" * 9000)[:-20], "truncated or damaged"),
        ("t.csv.zip", b"PK no zip", "truncated or damaged"),
        ("t.sdf.gz", gzip.compress(b"x\n\n\nM  END\n$$$$\n" * 9000, mtime=0)[:-40], "truncated or damaged"),
        ("t.sdf", b"x\n\n\nM  END\n$$$$\nx\n\n\n", "truncated or damaged"),
        ("t.smi.gz", gzip.compress(b"CCO ethanol\n" * 9000, mtime=0)[:-40], "truncated or damaged"),
        ("t.smi", "CC å".encode("latin-1"), "not UTF-8"),
        ("t.parquet", b"PAR1 no parquet", "truncated or damaged"),
        ("t.csv", b"smiles,y\nC,1\nC,2,3\n", "not a readable table"),
        ("t.csv", b"smiles,y\nC,1,4\nC,2,3\n", "more fields than the header"),
        ("t.csv", b'smiles,y\nC,"1\n', "not a readable table"),
        ("t.csv", "smiles,y\nC,å\n".encode("latin-1"), "not UTF-8"),
        ("t.xlsx", b"what", "an ending that is not read"),
        ("t.csv", b"smiles,y\rC,1\rCC,2\r", "carriage return alone"),
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


def test_every_real_table_opens(shared_data: Path) -> None:
    files = sorted(shared_data.glob("*/*.csv.gz")) + sorted(shared_data.glob("*/*.parquet"))
    assert len(files) > 40
    for file in files:
        table = Table(file, limit=50)
        assert sum(len(frame) for _, frame in table.chunks(table.columns, 20)) == table.num_rows == 50


# Several files


NUMBERS = st.lists(
    st.tuples(
        st.text("CNO()=#", min_size=1, max_size=5),
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
        st.integers(-9, 9),
    ),
    min_size=1,
    max_size=30,
)


def read(table: Table, size: int, columns: list[str] | None = None) -> pd.DataFrame:
    columns = columns or table.columns
    chunks = list(table.chunks(columns, size))
    assert [first for first, _ in chunks] == list(range(0, table.num_rows, size))
    assert all(len(frame) == size for _, frame in chunks[:-1])
    whole = pd.concat([frame for _, frame in chunks])
    assert whole.index.tolist() == list(range(table.num_rows))
    return whole


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=NUMBERS,
    cuts=st.lists(st.integers(0, 30), max_size=3),
    endings=st.lists(st.sampled_from([".csv", ".tsv.gz", ".csv.bz2", ".csv.zip", ".parquet"]), min_size=4, max_size=4),
    size=st.integers(1, 31),
    limit=st.one_of(st.none(), st.integers(1, 31)),
)
def test_any_layout_of_files_gives_the_same_rows(
    tmp_path: Path, rows: list, cuts: list[int], endings: list[str], size: int, limit: int | None
) -> None:
    frame = pd.DataFrame(rows, columns=["smiles", "y", "n"]).astype({"y": float})
    extra = tmp_path / "extra.parquet"
    frame[["n"]].rename(columns={"n": "more"}).to_parquet(extra, row_group_size=3)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    files = []
    for number, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        files.append(tmp_path / f"shard_{number}{endings[number]}")
        if endings[number] == ".parquet":
            frame.iloc[start:stop].to_parquet(files[-1], row_group_size=4, index=False)
        else:
            separator = "\t" if ".tsv" in endings[number] else ","
            write(files[-1], frame.iloc[start:stop].to_csv(index=False, sep=separator))
    table = Table(files, limit, extra=extra)
    wanted = frame.assign(more=frame["n"]).iloc[:limit]
    assert (table.num_rows, table.limited) == (len(wanted), limit is not None and limit < len(frame))
    found = read(table, size)
    assert found["smiles"].tolist() == wanted["smiles"].tolist()
    for name in ("y", "n", "more"):
        np.testing.assert_array_equal(found[name].to_numpy(float), wanted[name].to_numpy(float))
    assert list(read(table, size, ["more", "y"]).columns) == ["more", "y"]


def test_a_pattern_is_sorted_by_its_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write(tmp_path / f"s_{number}.csv", f"smiles,y\nC,{number}\nN,{number}\n")
    table = Table(str(tmp_path / "s_*.csv"))
    assert table.column("y").tolist() == [1, 1, 2, 2, 10, 10]
    assert (table.name, table.folder) == ("s_*.csv", tmp_path)
    listed = Table([tmp_path / "s_10.csv", tmp_path / "s_[12].csv"])
    assert listed.column("y").tolist() == [10, 10, 1, 1, 2, 2]
    assert listed.name == "s_10.csv and 2 more"
    assert listed.key != table.key
    assert Table([tmp_path / f"s_{n}.csv" for n in (1, 2, 10)]).key == table.key


def test_columns_that_only_some_files_have(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "smiles,y,only\nC,1,2\n")
    write(tmp_path / "b.csv", "other,y,smiles\n3,2,N\n")
    table = Table([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert table.columns == ["smiles", "y"]
    assert table.partial_columns == {"only": "b.csv", "other": "a.csv"}
    assert read(table, 5).to_numpy().tolist() == [["C", 1], ["N", 2]]
    with pytest.raises(GraphiumError, match=r"b\.csv has no column 'only', and other files of a\.csv and 1 more have"):
        next(table.chunks(["only"], 5))


def test_an_extra_file_that_is_too_short(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", FRAME.to_csv(index=False))
    pd.DataFrame({"q": [1.0, 2.0]}).to_parquet(tmp_path / "extra.parquet")
    with pytest.raises(GraphiumError, match=r"extra\.parquet has fewer rows"):
        list(Table(path, extra=tmp_path / "extra.parquet").chunks(["q"], 2))


def test_more_extra_columns_and_another_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", FRAME.to_csv(index=False))
    pd.DataFrame({"q": range(5)}).to_parquet(tmp_path / "q.parquet")
    pd.DataFrame({"r": range(5, 10)}).to_parquet(tmp_path / "r.parquet")
    table = Table(path, extra=tmp_path / "q.parquet")
    more = table.with_extra(tmp_path / "r.parquet").with_limit(3)
    assert more.columns == ["smiles", "log P [uM]", "r", "q"]
    assert read(more, 2, ["r", "smiles", "q"]).to_numpy().tolist() == [[5, "C", 0], [6, "CC", 1], [7, "CCC", 2]]
    assert (table.columns, table.num_rows) == (["smiles", "log P [uM]", "q"], 5)
    assert len({table.key, more.key, table.with_extra(tmp_path / "r.parquet").key}) == 3


def test_rows_at_once_follow_what_the_cells_take(tmp_path: Path) -> None:
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3300)), columns=[f"y{n}" for n in range(3300)])
    wide = wide.assign(smiles="C")
    wide.to_csv(tmp_path / "wide.csv", index=False)
    wide.to_parquet(tmp_path / "wide.parquet")
    values = np.random.default_rng(0).normal(size=(200, 200)).tolist()
    pd.DataFrame({"q": [values] * 3}).to_parquet(tmp_path / "pairs.parquet")
    for name in ("wide.csv", "wide.parquet"):
        table = Table(tmp_path / name)
        assert table.rows_at_once(table.columns) < 2000
    assert Table(tmp_path / "wide.parquet").rows_at_once(["smiles", "y1"]) == 65_536
    assert Table(tmp_path / "pairs.parquet").rows_at_once(["q"]) < 65_536


def test_a_long_table_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("smiles,a,b,c\n")
        for start in range(0, 300_000, 50_000):
            file.write("".join(f"CCCCCCCCCCCCCCCC,{n},{n / 7},text {n}\n" for n in range(start, start + 50_000)))
    table = Table(path)
    tracemalloc.start()
    rows = sum(len(frame) for _, frame in table.chunks(table.columns, 4096))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 300_000
    assert peak < 8e6


# What is remembered


def test_counts_and_checksums_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memo = Memo(tmp_path / "memo")
    path = write(tmp_path / "t.csv", FRAME.to_csv(index=False))
    old = path.stat().st_mtime - 10
    os.utime(path, (old, old))
    monkeypatch.setattr("graphium.data.tables.sources._SETTLED", -1.0)
    first = Table(path, memo=memo)
    assert (first.num_rows, first.columns) == (5, ["smiles", "log P [uM]"])
    monkeypatch.setattr("graphium.data.tables.formats.DelimitedReader.survey", lambda *_: 1 / 0)
    monkeypatch.setattr("graphium.data.tables.sources.Source._sha256", lambda *_: 1 / 0)
    again = Table(path, memo=memo)
    assert (again.num_rows, again.key) == (5, first.key)
    os.utime(path, (old, old + 1))
    with pytest.raises(ZeroDivisionError):
        _ = Table(path, memo=memo).key
    os.utime(path, (old, old))
    for file in memo.folder.iterdir():
        file.write_text("{")
    with pytest.raises(ZeroDivisionError):
        _ = Table(path, memo=memo).num_rows


def test_a_file_that_has_just_changed_is_read_again(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo")
    path = write(tmp_path / "t.csv", "smiles,y\nC,1\n")
    first = Table(path, memo=memo).key
    write(path, "smiles,y\nN,1\n")
    assert Table(path, memo=memo).key != first


# Addresses


def test_tables_of_other_file_systems(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for number, part in ((2, FRAME.iloc[:2]), (10, FRAME.iloc[2:])):
        part.to_csv(tmp_path / f"t_{number}.csv", index=False)
        part.to_parquet(tmp_path / f"t_{number}.parquet", index=False)
        for ending in ("csv", "parquet"):
            memory.pipe(f"/tables/t_{number}.{ending}", (tmp_path / f"t_{number}.{ending}").read_bytes())
    for ending in ("csv", "parquet"):
        remote, local = Table(f"memory://tables/t_*.{ending}"), Table(f"file://{tmp_path}/t_*.{ending}")
        assert remote.num_rows == 5
        assert (remote.folder, local.folder) == (None, tmp_path)
        assert remote.name == f"t_*.{ending}"
        assert remote.key == local.key
        pd.testing.assert_frame_equal(read(remote, 2), read(local, 2))
    memory.pipe("/tables/t_2.csv", b"smiles,log P [uM]\nC,1\n")
    assert Table("memory://tables/t_*.csv").num_rows == 4
