from __future__ import annotations

from collections.abc import Callable

import pytest
import typer

from graphium.cli.terminal import run_app
from graphium.errors import GraphiumError


def app_that(action: Callable[[], object]) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def command() -> None:
        action()

    return app


def raising(error: BaseException) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


def exit_code(app: typer.Typer, monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr("sys.argv", ["tool", *words])
    with pytest.raises(SystemExit) as caught:
        run_app(app, "tool")
    return caught.value.code


def test_success_exits_with_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_code(app_that(lambda: None), monkeypatch) == 0


def test_an_error_is_one_line_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "column 'logP [mg]' is missing in a very long file name " + "x" * 200 + ";\n give another"
    assert exit_code(app_that(raising(GraphiumError(sentence))), monkeypatch) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error: " + " ".join(sentence.split()) + "\n"


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tool"])
    with pytest.raises(ZeroDivisionError):
        run_app(app_that(raising(ZeroDivisionError("bug"))), "tool")


def test_a_wrong_option_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(app_that(lambda: None), monkeypatch, "--widht") == 1
    assert capsys.readouterr().err.startswith("Error: No such option: --widht")


def test_an_interruption_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(app_that(raising(KeyboardInterrupt())), monkeypatch) == 130
    assert capsys.readouterr().err.strip() == "stopped; what was prepared is kept"
