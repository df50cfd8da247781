from __future__ import annotations

import pytest

from graphium.data.store.progress import progress_bar


def test_the_bar_counts_rows_and_failures_and_says_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("small", True) as bar:
        bar.say("another process [prepares] this")
        advance = bar("molecules", 20)
        advance(8, failures=2)
        advance(12, failures=1)
    shown = " ".join(capsys.readouterr().err.split())
    assert "small: another process [prepares] this" in shown
    assert "prepared small" in shown and "20/20" in shown and "3 failed" in shown


def test_a_stage_that_was_there_already_is_shown_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("small", True) as bar:
        bar("labels", 20)
    shown = " ".join(capsys.readouterr().err.split())
    assert "prepared small" in shown and "20/20" in shown


def test_a_second_stage_takes_over_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), progress_bar("small", True) as bar:
        bar("molecules", 4)(4)
        with progress_bar("small", bar) as inner:
            inner("labels", 10)(5)
        raise RuntimeError
    shown = " ".join(capsys.readouterr().err.split())
    assert "preparing small: labels" in shown and "5/10" in shown and "prepared" not in shown


def test_without_progress_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("small", False) as bar:
        bar.say("waiting")
        bar("molecules", 2)(2, failures=1)
    with progress_bar("small", True):
        pass
    assert capsys.readouterr() == ("", "")
