from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from graphium.cli.train import main
from graphium.config import GROUPS, compose, options


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def start(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[object, list[dict[str, Any]]]:
    """Run the command with a stand-in for training; return its exit code and what training was given."""
    import types

    given: list[dict[str, Any]] = []
    stand_in = types.ModuleType("graphium.training.run")
    stand_in.run = given.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "graphium.training.run", stand_in)
    monkeypatch.setattr("sys.argv", ["graphium-train", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code, given


def test_words_become_the_configuration_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["data=toymix", "model=gcn", "model.width=64", "data.targets=[*,-mw]", "name=two words"]
    code, given = start(monkeypatch, *words)
    assert code == 0
    assert given == [compose(words)]


def test_replaced_parts_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    start(monkeypatch, "optim.name=sgd")
    assert "optim is now sgd instead of adamw" in capsys.readouterr().err


@pytest.mark.parametrize(
    "word", ["modle.width=3", "model=gien", "toymix", "data=my.csv", "data.targets=[a(1)]", "--no"]
)
def test_a_wrong_word_trains_nothing(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, given = start(monkeypatch, word)
    assert (code, given) == (1, [])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1


def test_help_lists_groups_options_settings_and_examples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, given = start(monkeypatch, "--help")
    assert (code, given) == (0, [])
    page = capsys.readouterr().out
    for group in GROUPS:
        for name in options(group):
            assert f"{group}={name}" in page
    for word in ("data.path", "model.budget", "optim.lr", "ckpt_path", "--config-dir", "data=table data.path=my.csv"):
        assert word in page


def test_help_knows_the_users_own_folder(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("# A tiny one.\nwidth: 8\n")
    start(monkeypatch, "--config-dir", str(tmp_path), "--help")
    page = capsys.readouterr().out
    assert "model=tiny" in page
    assert "A tiny one." in page


def test_help_imports_no_torch() -> None:
    code = """
import sys
sys.argv = ["graphium-train", "--help"]
from graphium.cli.train import main
try:
    main()
finally:
    heavy = {"torch", "pytorch_lightning", "rdkit", "hydra", "pandas"} & set(sys.modules)
    assert not heavy, heavy
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert "Usage: graphium-train" in done.stdout


def test_composing_imports_no_torch() -> None:
    done = python("import sys, graphium; graphium.compose(['model=gcn']); print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr
