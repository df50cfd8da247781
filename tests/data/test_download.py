from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from graphium.data.download import fetch
from graphium.errors import GraphiumError

TABLE = gzip.compress(b"smiles,y\n" + b"C,1\n" * 5000)


class Handler(BaseHTTPRequestHandler):
    """Serves a good file, a file that breaks off, one that was stored truncated, and 404."""

    hits: list[str] = []

    def do_GET(self) -> None:
        self.hits.append(self.path)
        name = self.path.rsplit("/", 1)[-1]
        if name == "missing.csv.gz":
            self.send_error(404)
            return
        content = TABLE[:-20] if name == "cut.csv.gz" else TABLE
        self.send_response(200)
        self.send_header("Content-Length", str(len(TABLE) if name == "breaks.csv.gz" else len(content)))
        self.end_headers()
        self.wfile.write(content[:-20] if name == "breaks.csv.gz" else content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    Handler.hits = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_is_fetched_once(server: str, tmp_path: Path) -> None:
    path = fetch(f"{server}/a/table.csv.gz", tmp_path, progress=True)
    assert path.name == "table.csv.gz"
    assert path.read_bytes() == TABLE
    assert fetch(f"{server}/a/table.csv.gz", tmp_path) == path
    assert Handler.hits == ["/a/table.csv.gz"]
    other = fetch(f"{server}/b/table.csv.gz", tmp_path, progress=False)
    assert other != path
    assert files(tmp_path) == ["table.csv.gz", "table.csv.gz"]


def test_the_checksum_decides(server: str, tmp_path: Path) -> None:
    good = hashlib.sha256(TABLE).hexdigest()
    assert fetch(f"{server}/table.csv.gz", tmp_path / "good", sha256=good, progress=False).exists()
    with pytest.raises(GraphiumError, match="is not the expected file"):
        fetch(f"{server}/table.csv.gz", tmp_path / "bad", sha256="0" * 64, progress=False)
    assert files(tmp_path / "bad") == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("missing.csv.gz", "answered 404"), ("breaks.csv.gz", "broke off"), ("cut.csv.gz", "truncated file")],
)
def test_nothing_half_is_kept(server: str, tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence) as caught:
        fetch(f"{server}/{name}", tmp_path, progress=False)
    assert f"put '{name}' into a folder and give that with data_dir=" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == []


def test_without_a_network_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        port = http.server_port
    with pytest.raises(GraphiumError, match=f"cannot reach http://127.0.0.1:{port}/qm9.csv.gz.*data_dir="):
        fetch(f"http://127.0.0.1:{port}/qm9.csv.gz", tmp_path, progress=False)


def test_an_address_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="cannot download 'nonsense'"):
        fetch("nonsense", tmp_path, progress=False)
