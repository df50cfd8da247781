from __future__ import annotations

import pytest

from graphium.messages import alike, tell


def test_what_is_said_of_several_is_said_once() -> None:
    said = ["a: SMILES column: 'smiles'", "b: SMILES column: 'smiles'", "b: 2 rows", "a: SMILES column: 'smiles'"]
    assert alike(said) == ["a, b: SMILES column: 'smiles'", "b: 2 rows"]
    assert alike([]) == []


def test_remarks_go_to_stderr_unbroken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    tell(["[red]a[/] sentence that is longer than the terminal is wide"])
    out, err = capsys.readouterr()
    assert (out, err) == ("", "[red]a[/] sentence that is longer than the terminal is wide\n")
