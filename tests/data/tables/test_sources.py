from __future__ import annotations

import functools
import http.server
import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.data.tables.memo import Memo
from graphium.data.tables.readers import Table
from graphium.data.tables.sources import Source, find_sources, is_address, is_pattern, natural_order
from graphium.errors import GraphiumError


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2000), unique=True), st.sampled_from(["s_{}.csv", "{}", "a{}b1.csv", "/x/{}/t.csv"]))
def test_numbers_sort_by_value(numbers: list[int], form: str) -> None:
    names = [form.format(number) for number in numbers]
    assert natural_order(names) == [form.format(number) for number in sorted(numbers)]


def test_addresses_and_patterns() -> None:
    assert [is_address(text) for text in ("s3://a/b", "gcs://a", "a.csv", "C:\\x.csv", "/a/b", "zip::s3://a")] == [
        True, True, False, False, False, True,
    ]  # fmt: skip
    assert [is_pattern(text) for text in ("https://a.org/b.csv?x=1", "https://a.org/*.csv", "a?.csv", "a.csv")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert Source("https://a.org/b%20c.csv.gz?download=1").name == "b c.csv.gz"
    assert Source("s3://bucket/folder/t.parquet").name == "t.parquet"


def test_files_are_found_in_the_order_given(tmp_path: Path) -> None:
    for name in ("b.csv", "a_10.csv", "a_9.csv", "x[1].csv", "x1.csv"):
        (tmp_path / name).write_text("smiles\nC\n")
    (tmp_path / "a_folder.csv").mkdir()

    def names(*given: str) -> list[str]:
        return [source.name for source in find_sources([str(tmp_path / one) for one in given])]

    assert names("b.csv", "a_*.csv") == ["b.csv", "a_9.csv", "a_10.csv"]
    # A file whose own name looks like a pattern is that file.
    assert names("x[1].csv") == ["x[1].csv"]
    assert [source.name for source in find_sources(f"file://{tmp_path}/a_?.csv")] == ["a_9.csv"]
    assert find_sources(tmp_path / "b.csv")[0].local == tmp_path / "b.csv"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nowhere.csv", r"nowhere\.csv' does not exist; give the path of a table"),
        ("nowhere_*.csv", r"no file matches '.*nowhere_\*\.csv'; give a pattern"),
        ("", r"is a folder, not a table; give the path of a file, or a pattern such as '.*\*\.parquet'"),
        ("empty.csv", "is empty"),
        (["t.csv", "t*.csv"], r"t\.csv' is named twice"),
        ([], "the list of files is empty"),
        ("memory://nowhere/t.csv", "does not exist"),
        ("memory://nowhere/t*.csv", "no file matches 'memory://nowhere/t"),
        ("nothing://t.csv", "nothing://t.csv cannot be read .Protocol not known: nothing"),
    ],
)
def test_what_is_not_there(tmp_path: Path, given: str | list[str], sentence: str) -> None:
    (tmp_path / "t.csv").write_text("smiles\nC\n")
    (tmp_path / "empty.csv").write_text("")
    paths = [one if is_address(one) else str(tmp_path / one) for one in ([given] if isinstance(given, str) else given)]
    with pytest.raises(GraphiumError, match=sentence) as caught:
        find_sources(paths[0] if isinstance(given, str) else paths)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("address", "package"), [("s3://bucket/t.csv", "s3fs"), ("gs://bucket/t*.csv", "gcsfs")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, address: str, package: str) -> None:
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setitem(sys.modules, package, None)
    registry._registry.pop(address.split(":")[0], None)
    with pytest.raises(GraphiumError, match=f"needs a package that is not installed: pip install {package}"):
        find_sources(address)


# A web server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the files in ``tmp_path``."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_a_table_of_a_web_server(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("smiles,y\n" + "".join(f"C,{n}\n" for n in range(3000)))
    memo = Memo(tmp_path / "memo")
    table = Table(f"{server}/t.csv", memo=memo)
    assert (table.name, table.num_rows, table.folder) == ("t.csv", 3000, None)
    assert table.column("y").tolist() == list(range(3000))
    assert table.key == Table(tmp_path / "t.csv").key
    monkeypatch.setattr(Source, "_sha256", lambda *_: 1 / 0)
    assert Table(f"{server}/t.csv", memo=memo).key == table.key
    with pytest.raises(GraphiumError, match=r"nowhere\.csv' does not exist"):
        Table(f"{server}/nowhere.csv")


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(GraphiumError, match=r"cannot read http://127\.0\.0\.1:9/t\.csv .*check the address"):
        Table("http://127.0.0.1:9/t.csv")
