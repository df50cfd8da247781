from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from graphium.data.store.work import locked_work, sweep, work_folder
from graphium.errors import GraphiumError


def test_the_second_waits_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with locked_work(tmp_path, "key", said.append):
            order.append("second")

    with locked_work(tmp_path, "key", said.append) as work:
        waiting = threading.Thread(target=second)
        waiting.start()
        while not said:
            time.sleep(0.01)
        order.append("first")
    waiting.join(timeout=100)
    assert order == ["first", "second"]
    assert said == [f"another process prepares the same ({work}); waiting for it"]
    assert not work.exists()


def test_unfinished_work_stays_after_an_error_and_goes_with_the_next_success(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked_work(tmp_path, "key") as work:
        (work / "half").touch()
        raise RuntimeError
    with locked_work(tmp_path, "key") as work:
        assert (work / "half").exists()
    assert not list(tmp_path.iterdir())


def test_a_sweep_leaves_the_work_of_others_alone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked_work(tmp_path, "key") as work:
        for name in ("graphs-1", "features-1"):
            (work / name).mkdir()
        raise RuntimeError
    child = os.fork()
    if child == 0:
        with locked_work(tmp_path, "key"):
            (tmp_path / "held").touch()
            time.sleep(60)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    sweep(tmp_path, "key", "graphs-*")
    assert (work / "graphs-1").exists()
    os.kill(child, 9)
    os.waitpid(child, 0)
    sweep(tmp_path, "key", "graphs-*")
    assert [path.name for path in work_folder(tmp_path, "key").iterdir()] == ["features-1"]
    sweep(tmp_path, "key", "features-*")
    sweep(tmp_path, "key", "features-*")
    assert not work.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="could not be written"), locked_work(tmp_path / "nowhere", "key"):
        pass
