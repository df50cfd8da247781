from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

import graphium as gf
from graphium.cli.main import main
from graphium.config import compose


def start(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr("sys.argv", ["graphium", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_config_prints_what_a_run_would_get(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data=toymix", "optim.name=sgd"]
    assert start(monkeypatch, "config", *words) == 0
    captured = capsys.readouterr()
    assert yaml.safe_load(captured.out) == compose(words)
    assert "sgd instead of adamw" in captured.err


def test_config_refuses_like_training(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(monkeypatch, "config", "modle=gcn") == 1
    assert "did you mean 'model'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--help"], ["data"], ["data", "--help"]])
def test_help_pages(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(monkeypatch, *words) == 0
    captured = capsys.readouterr()
    assert "Usage" in captured.out + captured.err
    assert "Error" not in captured.err


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == gf.__version__


def test_an_unknown_verb_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(monkeypatch, "confg") == 1
    assert capsys.readouterr().err.startswith("Error: No such command 'confg'")


@pytest.mark.parametrize("words", [["--help"], ["config", "model=gcn"], ["data", "list"], ["data", "info", "qm9"]])
def test_light_commands_import_no_torch(words: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["graphium", *{words!r}]
from graphium.cli.main import main
try:
    main()
finally:
    heavy = {{"torch", "pytorch_lightning"}} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
