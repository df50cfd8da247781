from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest

from graphium.data.datasets import download as module
from graphium.data.datasets.download import cached, download, fetch, file_name
from graphium.errors import GraphiumError

TABLE = gzip.compress(b"smiles,y\n" + Random(0).randbytes(300_000).hex().encode(), mtime=0)
PIECE = 500
HALF = len(TABLE) // 2 // PIECE * PIECE


@dataclass
class Site:
    """One address of the test server and how it behaves."""

    content: bytes = TABLE
    tag: str = '"v1"'
    ranges: bool = True
    # How many bytes each of the next answers sends before it breaks off or stalls; then whole answers.
    breaks: list[int] = field(default_factory=list)
    stalls: bool = False
    status: int = 200
    length: bool = True
    slow: float = 0.0
    seen: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    sites: dict[str, Site] = {}
    release = threading.Event()

    def do_GET(self) -> None:
        site = self.sites[self.path.split("?")[0]]
        asked = self.headers.get("Range", "")
        site.seen.append(asked)
        if site.status != 200:
            self.send_error(site.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and site.ranges else 0
        if self.headers.get("If-Range") != site.tag:
            start = 0
        if start >= len(site.content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(site.content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
        if site.length:
            self.send_header("Content-Length", str(len(site.content) - start))
        if site.tag:
            self.send_header("ETag", site.tag)
        self.end_headers()
        time.sleep(site.slow)
        sent = site.breaks.pop(0) if site.breaks else len(site.content)
        self.wfile.write(site.content[start : start + sent])
        self.wfile.flush()
        if site.stalls and start + sent < len(site.content):
            self.release.wait(10)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(module, "_PIECE", PIECE)
    Handler.sites = {}
    Handler.release = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        Handler.release.set()
        http.shutdown()
        thread.join()


def site(path: str, **behaviour: Any) -> Site:
    Handler.sites[path] = Site(**behaviour)
    return Handler.sites[path]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def refused(url: str, target: Path, **options: Any) -> str:
    with pytest.raises(GraphiumError) as caught:
        download(url, target, progress=False, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_fetched_once(server: str, tmp_path: Path) -> None:
    there = site("/a/table.csv.gz")
    path = fetch(f"{server}/a/table.csv.gz", tmp_path, progress=True)
    assert path == cached(f"{server}/a/table.csv.gz", tmp_path)
    assert path.read_bytes() == TABLE
    assert fetch(f"{server}/a/table.csv.gz", tmp_path) == path
    assert len(there.seen) == 1
    site("/b/table.csv.gz")
    other = fetch(f"{server}/b/table.csv.gz", tmp_path, progress=False)
    assert other != path
    assert files(tmp_path) == ["table.csv.gz", "table.csv.gz", "table.csv.gz.sha256", "table.csv.gz.sha256"]


def test_names_of_files(server: str, tmp_path: Path) -> None:
    assert file_name("https://example.org/a/") == "a"
    assert file_name("https://example.org") == "download"
    there = site("/17", content=b"smiles\ty\nC\t1\n")
    assert fetch(f"{server}/17?x=1#caco.tab", tmp_path, progress=False).name == "caco.tab"
    assert len(there.seen) == 1


def test_the_checksum_decides(server: str, tmp_path: Path) -> None:
    site("/table.csv.gz")
    url = f"{server}/table.csv.gz"
    assert download(url, tmp_path / "good" / "t.csv.gz", sha256=sha(TABLE), progress=False)
    said = refused(url, tmp_path / "bad" / "t.csv.gz", sha256="0" * 64)
    assert "is not the expected file" in said
    assert sha(TABLE) in said
    assert "0" * 64 in said
    assert files(tmp_path / "bad") == []
    assert "is not the published file" in refused(url, tmp_path / "good" / "t.csv.gz", sha256="0" * 64)


def test_the_checksum_is_recorded_at_first_sight_and_holds(server: str, tmp_path: Path) -> None:
    there = site("/t.csv", content=b"smiles,y\nC,1\n")
    url, target = f"{server}/t.csv", tmp_path / "t.csv"
    assert download(url, target, progress=False)
    record = tmp_path / "t.csv.sha256"
    assert record.read_text() == f"{sha(there.content)}  t.csv\n"
    done = subprocess.run(["sha256sum", "-c", record.name], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0
    assert not download(url, target, progress=False)

    target.write_bytes(b"smiles,y\nC,2\n")
    said = refused(url, target)
    assert "has changed since it was downloaded" in said
    assert sha(b"smiles,y\nC,2\n") in said
    assert sha(there.content) in said

    target.unlink()
    first, there.content, there.tag = there.content, b"smiles,y\nCC,1\n", '"v2"'
    said = refused(url, target)
    assert f"{url} has changed" in said
    assert sha(first) in said
    assert sha(there.content) in said
    assert files(tmp_path) == ["t.csv.sha256"]
    record.unlink()
    assert download(url, target, progress=False)


def test_a_file_put_there_by_hand_is_taken_and_recorded(server: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"smiles\n")
    assert not download(f"{server}/t.csv", tmp_path / "t.csv")
    assert (tmp_path / "t.csv.sha256").read_text().split()[0] == sha(b"smiles\n")


def test_a_download_that_breaks_off_goes_on_by_itself(server: str, tmp_path: Path) -> None:
    there = site("/t.csv.gz", breaks=[1000, 2000])
    assert download(f"{server}/t.csv.gz", tmp_path / "t.csv.gz", progress=True)
    assert there.seen == ["", "bytes=1000-", "bytes=3000-"]
    assert (tmp_path / "t.csv.gz").read_bytes() == TABLE
    assert files(tmp_path) == ["t.csv.gz", "t.csv.gz.sha256"]


def test_what_was_fetched_is_kept_for_the_next_call(server: str, tmp_path: Path) -> None:
    there = site("/t.csv.gz", breaks=[HALF, 0])
    url, target = f"{server}/t.csv.gz", tmp_path / "t.csv.gz"
    said = refused(url, target)
    assert f"broke off after {HALF / 1e6:.1f} MB; try again to go on from there" in said
    assert "put 't.csv.gz' into a folder and give that with data_dir=" in said
    assert files(tmp_path) == ["t.csv.gz.part", "t.csv.gz.part.tag"]
    assert download(url, target, progress=False)
    assert there.seen == ["", f"bytes={HALF}-", f"bytes={HALF}-"]
    assert target.read_bytes() == TABLE
    assert files(tmp_path) == ["t.csv.gz", "t.csv.gz.sha256"]


def test_bytes_of_two_versions_do_not_meet(server: str, tmp_path: Path) -> None:
    there = site("/t.csv", content=b"a" * 500_000, breaks=[HALF, 0])
    url, target = f"{server}/t.csv", tmp_path / "t.csv"
    refused(url, target)
    there.content, there.tag = b"b" * 500_000, '"v2"'
    assert download(url, target, progress=False)
    assert target.read_bytes() == there.content


@pytest.mark.parametrize("behaviour", [{"ranges": False}, {"tag": ""}, {"tag": 'W/"weak"'}])
def test_a_server_that_cannot_go_on_starts_again(server: str, tmp_path: Path, behaviour: dict[str, Any]) -> None:
    there = site("/t.csv.gz", breaks=[HALF, 0], **behaviour)
    url, target = f"{server}/t.csv.gz", tmp_path / "t.csv.gz"
    refused(url, target)
    assert download(url, target, progress=False)
    assert target.read_bytes() == TABLE
    assert len(there.seen) == 3


def test_everything_but_the_last_step_was_done(server: str, tmp_path: Path) -> None:
    there = site("/t.csv.gz")
    (tmp_path / "t.csv.gz.part").write_bytes(TABLE)
    (tmp_path / "t.csv.gz.part.tag").write_text(there.tag)
    assert download(f"{server}/t.csv.gz", tmp_path / "t.csv.gz", progress=False)
    assert there.seen == [f"bytes={len(TABLE)}-"]
    # A part that is longer than the file has become is of no use.
    (tmp_path / "u.csv.gz.part").write_bytes(TABLE * 2)
    (tmp_path / "u.csv.gz.part.tag").write_text(there.tag)
    assert download(f"{server}/t.csv.gz", tmp_path / "u.csv.gz", progress=False)
    assert (tmp_path / "u.csv.gz").read_bytes() == TABLE


def test_a_server_that_stalls(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    there = site("/t.csv.gz", breaks=[HALF, 0, 0, 0, 0], stalls=True)
    url, target = f"{server}/t.csv.gz", tmp_path / "t.csv.gz"
    assert f"broke off after {HALF / 1e6:.1f} MB" in refused(url, target)
    there.breaks = []
    assert download(url, target, progress=False)
    assert target.read_bytes() == TABLE


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_an_answer_that_is_no_file(server: str, tmp_path: Path, status: int) -> None:
    site("/t.csv.gz", status=status)
    assert f"answered {status}" in refused(f"{server}/t.csv.gz", tmp_path / "t.csv.gz")
    assert files(tmp_path) == []


def zipped(text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("t.csv", text)
    return packed.getvalue()


def parquet() -> bytes:
    packed = io.BytesIO()
    pd.DataFrame({"smiles": ["C", "CC"]}).to_parquet(packed)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", TABLE),
        ("t.csv.bz2", bz2.compress(b"smiles\nC\n" * 999)),
        ("t.csv.zip", zipped("smiles\nC\n" * 99)),
        ("t.parquet", parquet()),
        ("t.pt", zipped("0 1 2" * 99)),
    ],
)
def test_a_file_that_was_stored_truncated_is_not_taken(server: str, tmp_path: Path, name: str, content: bytes) -> None:
    site("/good", content=content)
    site("/cut", content=content[:-20])
    site("/spoilt", content=content[:40] + b"xxxx" + content[44:])
    assert download(f"{server}/good", tmp_path / "good" / name, progress=False)
    assert "truncated or damaged file" in refused(f"{server}/cut", tmp_path / "cut" / name)
    assert files(tmp_path / "cut") == []
    # A Parquet file has no checksum of its pages; its reader judges them.
    if name != "t.parquet":
        assert "truncated or damaged" in refused(f"{server}/spoilt", tmp_path / "spoilt" / name)


def test_a_login_page_is_no_table(server: str, tmp_path: Path) -> None:
    site("/t.csv", content=b"\n<!DOCTYPE html>\n<html><body>Please log in</body></html>")
    assert "truncated or damaged" in refused(f"{server}/t.csv", tmp_path / "t.csv")
    assert files(tmp_path) == []


def test_without_a_length(server: str, tmp_path: Path) -> None:
    site("/t.csv.gz", length=False)
    assert download(f"{server}/t.csv.gz", tmp_path / "t.csv.gz", progress=True)
    site("/cut.csv.gz", length=False, content=TABLE[:-9])
    assert "truncated" in refused(f"{server}/cut.csv.gz", tmp_path / "cut.csv.gz")


def test_without_a_network_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        port = http.server_port
    said = refused(f"http://127.0.0.1:{port}/qm9.csv.gz", tmp_path / "qm9.csv.gz")
    assert said.startswith(f"cannot reach http://127.0.0.1:{port}/qm9.csv.gz; without a network, put")
    assert files(tmp_path) == []


def test_addresses_that_are_none(tmp_path: Path) -> None:
    assert "cannot download 'nonsense'" in refused("nonsense", tmp_path / "t.csv")
    assert "cannot download 'http:///t.csv'" in refused("http:///t.csv", tmp_path / "t.csv")
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "could not be written" in refused(f"{server}/t.csv", tmp_path / "file" / "t.csv")


def test_two_processes_at_once(server: str, tmp_path: Path) -> None:
    there = site("/t.csv.gz", slow=0.8)
    code = f"""
from pathlib import Path
from graphium.data.datasets.download import download
print(download("{server}/t.csv.gz", Path({str(tmp_path / "t.csv.gz")!r})))
"""
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=400) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], outputs
    assert sorted(out.strip() for out, _ in outputs) == ["False", "False", "True"]
    assert len(there.seen) == 1
    assert (tmp_path / "t.csv.gz").read_bytes() == TABLE
    assert files(tmp_path) == ["t.csv.gz", "t.csv.gz.sha256"]


def test_a_killed_download_goes_on(server: str, tmp_path: Path) -> None:
    there = site("/t.csv.gz", breaks=[HALF], stalls=True)
    url, target = f"{server}/t.csv.gz", tmp_path / "t.csv.gz"
    code = f"""
from pathlib import Path
from graphium.data.datasets import download
download._PIECE = {PIECE}
download.download({url!r}, Path({str(target)!r}), progress=False)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / "t.csv.gz.part"
    for _ in range(1000):
        if part.exists() and part.stat().st_size > HALF // 2:
            break
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = part.stat().st_size
    assert not target.exists()
    assert download(url, target, progress=False)
    assert there.seen == ["", f"bytes={kept}-"]
    assert target.read_bytes() == TABLE


def test_a_disk_that_is_full(server: str, tmp_path: Path) -> None:
    there = site("/t.csv.gz")
    url, target = f"{server}/t.csv.gz", tmp_path / "t.csv.gz"
    code = f"""
import resource
from pathlib import Path
from graphium.data.datasets import download
from graphium.errors import GraphiumError
download._PIECE = {PIECE}
resource.setrlimit(resource.RLIMIT_FSIZE, ({HALF}, {HALF}))
try:
    download.download({url!r}, Path({str(target)!r}), progress=False)
except GraphiumError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"cannot write the download of {url} to {str(tmp_path)!r}" in done.stdout
    kept = (tmp_path / "t.csv.gz.part").stat().st_size
    assert 0 < kept <= HALF
    assert not target.exists()
    assert download(url, target, progress=False)
    assert there.seen == ["", f"bytes={kept}-"]
    assert target.read_bytes() == TABLE
