from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from graphium.cli.main import main
from graphium.models import hub, minimol, push
from graphium.training import calibration


def start(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr("sys.argv", ["graphium", "models", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


@pytest.fixture
def models(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two models."""
    monkeypatch.setenv("GRAPHIUM_CACHE", str(tmp_path))
    for name in ("plain", "every_level"):
        shutil.copytree(repository / "tests" / "models_at_rest" / "format_2" / name, tmp_path / "models" / name)
    return tmp_path / "models"


@pytest.mark.parametrize("width", ["60", "120"])
def test_list(models: Path, width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", width)
    (models / "broken").mkdir()
    (models / "broken" / "config.yaml").write_text("format: 9\n")
    assert start(monkeypatch, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= int(width) for line in lines)
    assert "install a newer graphium" in " ".join(" ".join(lines).split())
    assert ["every_level", "8,214", "13", "every_level"] in [line.split() for line in lines]


def test_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GRAPHIUM_CACHE", str(tmp_path))
    assert start(monkeypatch, "list") == 0
    assert "graphium models import minimol brings one" in capsys.readouterr().out
    assert start(monkeypatch, "check") == 1


@pytest.mark.parametrize("width", ["60", "120"])
def test_info(models: Path, width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert start(monkeypatch, "info", "every_level") == 0
    page = capsys.readouterr().out
    assert all(len(line) <= int(width) for line in page.splitlines())
    rows = [line.split() for line in page.splitlines()]
    assert ["gamma", "nodepair", "binary", "1"] in rows and ["beta", "graph", "binary", "5"] in rows
    words = " ".join(page.split())
    for part in ("8,214", "format 2, written by graphium", "licence not stated", "gf.load_model"):
        assert part in words


def test_a_hostile_card(models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    card = "# [bold]x[/nothing]\x1b[31m\n\n[safe](https://evil.example)\n"
    (models / "plain" / "README.md").write_text(card)
    assert start(monkeypatch, "info", "plain") == 0
    page = capsys.readouterr().out
    assert "\x1b" not in page and "https://evil.example" in page


@pytest.mark.parametrize("words", [["list"], ["info", "plain"], ["--help"]])
def test_looking_imports_no_torch(models: Path, words: list[str]) -> None:
    code = "import sys; from graphium.cli.main import app; "
    code += f"app(['models', *{words!r}], standalone_mode=False); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_check(models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(monkeypatch, "check") == 0
    assert capsys.readouterr().out == "every_level: whole\nplain: whole\n"
    path = models / "plain" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (models / "every_level" / "calibration.safetensors").write_bytes(b"numbers")
    assert start(monkeypatch, "check", "plain", str(models / "every_level")) == 1
    said = capsys.readouterr()
    assert "model.safetensors' is damaged" in said.out and "calibration.safetensors' is damaged" in said.out
    assert said.err == "Error: 2 of 2 models cannot be used\n"


def test_a_model_that_is_not_there(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(monkeypatch, "info", "plan") == 1
    assert "there is no model 'plan'; did you mean 'plain'" in capsys.readouterr().err


def test_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {}

    def bring(to: Path | None, wheel: Path | None) -> Path:
        asked.update(to=to, wheel=wheel)
        return tmp_path / "there"

    monkeypatch.setattr(minimol, "import_minimol", bring)
    assert start(monkeypatch, "import", "minimol", "--wheel", "x.whl") == 0
    assert asked == {"to": None, "wheel": Path("x.whl")}
    said = capsys.readouterr()
    assert said.out == f"the model is in {tmp_path / 'there'}\n" and "graphium predict minimol" in said.err
    assert start(monkeypatch, "import", "chemgpt") == 1


def test_push_and_pull(models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []
    monkeypatch.setattr(push, "push_to_hub", lambda *words, **more: asked.append((words, more)) or "hub:lab/x@v1")
    monkeypatch.setattr(hub, "pull", lambda source: asked.append(source) or Path("/there"))
    assert start(monkeypatch, "push", "plain", "lab/x", "--private", "--revision", "v1") == 0
    assert capsys.readouterr().out == "it is loaded by hub:lab/x@v1\n"
    assert start(monkeypatch, "pull", "lab/x@v1") == 0
    assert start(monkeypatch, "pull", "hub:lab/x") == 0
    assert asked == [(("plain", "lab/x"), {"private": True, "revision": "v1"}), "hub:lab/x@v1", "hub:lab/x"]


def test_calibrate(models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def calibrate_saved(*words: object, **more: object) -> list[str]:
        asked.append((words, more))
        return ["written"]

    monkeypatch.setattr(calibration, "calibrate_saved", calibrate_saved)
    words = ["calibrate", "plain", "data=table", "data.path=x.csv", "--part", "all", "--task", "a=b=y"]
    assert start(monkeypatch, *words) == 0
    assert capsys.readouterr().out == "written\n"
    (model, config), more = asked[0]  # type: ignore[misc]
    assert model == "plain" and config["data"]["path"] == "x.csv"
    assert more == {"part": "all", "renamed": {"a=b": "y"}, "device": "cpu", "trust_code": False}
    assert start(monkeypatch, "calibrate", "plain", "data=qm9", "--task", "y") == 1
    assert "--task 'y' is not COLUMN=TASK" in capsys.readouterr().err
