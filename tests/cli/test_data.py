from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graphium.cli.main import main


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


def test_list_and_info(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(monkeypatch, "list") == 0
    assert "qm9" in capsys.readouterr().out
    assert start(monkeypatch, "info", "qm9") == 0
    assert "smiles" in capsys.readouterr().out
    assert start(monkeypatch, "info", "qm8") == 1
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
